//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package feed

import (
	"errors"
	"syscall"
)

// socketsTry: here each write takes a goroutine, which waits.
const socketsTry = false

var errWouldBlock = errors.ErrUnsupported

// socket is never used where socketsTry is false.
type socket struct{ raw syscall.RawConn }

func (*socket) init()                                   {}
func (*socket) write([]byte) (int, error)               { return 0, errWouldBlock }
func (*socket) hear(syscall.RawConn, bool) (int, error) { return 0, nil }
