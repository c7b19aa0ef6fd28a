package feed

import (
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"syscall"
)

// Gathering returns a listener for what is to be served over TLS. TLS makes a
// record of each 16 KiB, and would ask the system to send each by itself; where
// a stream is sent more at once, a connection of this listener gathers several
// of them for one write(2). All else it writes as l's would.
func Gathering(l net.Listener) net.Listener { return gatheringListener{l} }

type gatheringListener struct{ net.Listener }

func (l gatheringListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &gatherer{Conn: c}, nil
}

// gatherer is a connection beneath TLS.
type gatherer struct {
	net.Conn

	mu  sync.Mutex // held while Conn.Write may block: TLS would wait for it, too
	buf []byte     // guarded by mu: what was gathered, within its capacity; nil: nothing is to be
}

const (
	// tlsRecord is the most that goes into one record (RFC 8446 section 5.1).
	tlsRecord = 16 << 10
	// gatherSize is what is written at once: eight records and what they carry
	// beside.
	gatherSize = 8 * (tlsRecord + 256)
)

// Write writes b, or keeps it for later.
func (g *gatherer) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.buf == nil {
		return g.Conn.Write(b)
	}
	if len(g.buf)+len(b) > cap(g.buf) {
		if err := g.flush(); err != nil {
			return 0, err
		}
	}
	if len(b) > cap(g.buf) {
		return g.Conn.Write(b)
	}
	g.buf = append(g.buf, b...)
	return len(b), nil
}

// flush is called with mu held.
func (g *gatherer) flush() error {
	if len(g.buf) == 0 {
		return nil
	}
	_, err := g.Conn.Write(g.buf)
	g.buf = g.buf[:0]
	return err
}

// send writes b to secret, which is TLS on top of g. How much was sent is not
// known if that fails.
func (g *gatherer) send(secret *tls.Conn, b []byte, room gatherRoom) (int, error) {
	buf := room.take()
	if buf == nil {
		return secret.Write(b)
	}
	g.mu.Lock()
	g.buf = buf
	g.mu.Unlock()
	n, err := secret.Write(b)
	g.mu.Lock()
	err = errors.Join(err, g.flush())
	g.buf = nil
	g.mu.Unlock()
	room.give(buf)
	if err != nil {
		return 0, err
	}
	return n, nil
}

// SyscallConn makes it a syscall.Conn, for who looks at many at once.
func (g *gatherer) SyscallConn() (syscall.RawConn, error) {
	if sc, ok := g.Conn.(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// gatherRoom bounds how many connections gather at once. A reader that is stuck
// keeps its buffer until its deadline has passed; others go on without, as if
// nothing was ever gathered.
type gatherRoom chan []byte

func newGatherRoom(n int) gatherRoom {
	r := make(gatherRoom, n)
	for range n {
		r <- nil // made when it is needed
	}
	return r
}

// take returns an empty buffer, or nil if all are in use.
func (r gatherRoom) take() []byte {
	select {
	case buf := <-r:
		if buf == nil {
			buf = make([]byte, 0, gatherSize)
		}
		return buf[:0]
	default:
		return nil
	}
}

func (r gatherRoom) give(buf []byte) { r <- buf }
