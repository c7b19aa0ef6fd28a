//go:build !(linux || darwin || freebsd || dragonfly)

package log

import "errors"

func statDisk(string) (disk, error) { return disk{}, errors.ErrUnsupported }
