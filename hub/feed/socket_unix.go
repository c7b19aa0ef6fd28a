//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package feed

import (
	"errors"
	"io"
	"syscall"
)

// socketsTry says that this system's sockets can be asked to do what they can
// do at once.
const socketsTry = true

var errWouldBlock = errors.New("the reader has not read what came before")

// socket does to one connection after the other what does not block: Go has
// all its sockets in non-blocking mode, but waits for them. What a call needs
// lies here so that it allocates nothing. It is for one goroutine.
type socket struct {
	raw syscall.RawConn // what write writes to

	bytes   []byte
	n       int
	err     error
	scratch [4 << 10]byte

	tryWrite, tryRead, tryPeek func(fd uintptr) bool
}

func (s *socket) init() {
	s.tryWrite = func(fd uintptr) bool {
		s.try(func() (int, error) { return syscall.Write(int(fd), s.bytes) })
		return true // in any case: false would wait
	}
	s.tryRead = func(fd uintptr) bool {
		s.try(func() (int, error) { return syscall.Read(int(fd), s.scratch[:]) })
		return true
	}
	s.tryPeek = func(fd uintptr) bool {
		s.try(func() (int, error) {
			n, _, err := syscall.Recvfrom(int(fd), s.scratch[:1], syscall.MSG_PEEK)
			return n, err
		})
		return true
	}
}

func (s *socket) try(call func() (int, error)) {
	for {
		if s.n, s.err = call(); s.err != syscall.EINTR {
			s.n = max(s.n, 0)
			return
		}
	}
}

// write writes as much of b to raw as the system takes at once, and returns
// errWouldBlock if that is not all.
func (s *socket) write(b []byte) (int, error) {
	s.bytes = b
	err := s.raw.Write(s.tryWrite)
	s.bytes = nil
	switch {
	case err != nil:
		return 0, err
	case s.err == syscall.EAGAIN, s.err == nil && s.n < len(b):
		return s.n, errWouldBlock
	}
	return s.n, s.err
}

// hear returns how many bytes have come, io.EOF if no more will, or why that
// can't be known. It throws them away, a few at a time, unless it only peeks.
func (s *socket) hear(raw syscall.RawConn, peek bool) (int, error) {
	try := s.tryRead
	if peek {
		try = s.tryPeek
	}
	switch err := raw.Read(try); {
	case err != nil:
		return 0, err
	case s.err == syscall.EAGAIN:
		return 0, nil
	case s.err == nil && s.n == 0:
		return 0, io.EOF
	}
	return s.n, s.err
}
