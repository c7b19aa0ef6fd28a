//go:build !unix

package feed

import "time"

// cpuTime is not to be had here.
func cpuTime() time.Duration { return 0 }

func kernelTime() time.Duration { return 0 }
