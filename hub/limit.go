package hub

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"github.com/revocast/revocast/hub/api"
)

// limit bounds how many connections of a listener are open at once, and how
// many of one address. Those beyond most wait in the system's queue, and are
// refused there when it is full; those beyond perAddress are closed at once,
// and counted by refused.
func limit(l net.Listener, most, perAddress int, refused func()) net.Listener {
	return &limitedListener{
		Listener: l, places: make(chan struct{}, most), closed: make(chan struct{}),
		perAddress: perAddress, refused: refused, open: make(map[netip.Prefix]int),
	}
}

type limitedListener struct {
	net.Listener
	places     chan struct{} // holds one for each open connection
	closed     chan struct{} // closed by Close
	once       sync.Once     // Close
	perAddress int
	refused    func()

	mu   sync.Mutex
	open map[netip.Prefix]int // guarded by mu: connections by address
}

func (l *limitedListener) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			<-l.places
			return nil, err
		}
		from := api.AddressOf(c.RemoteAddr().String())
		if !l.enter(from) {
			l.refused()
			c.Close()
			continue
		}
		return &limitedConn{Conn: c, leave: sync.OnceFunc(func() {
			l.exit(from)
			<-l.places
		})}, nil
	}
}

func (l *limitedListener) enter(from netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[from] >= l.perAddress {
		return false
	}
	l.open[from]++
	return true
}

func (l *limitedListener) exit(from netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[from]--; l.open[from] == 0 {
		delete(l.open, from)
	}
}

func (l *limitedListener) Close() error {
	err := l.Listener.Close()
	l.once.Do(func() { close(l.closed) })
	return err
}

type limitedConn struct {
	net.Conn
	leave func()
}

func (c *limitedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// SyscallConn makes it a syscall.Conn, for who writes on many at once.
func (c *limitedConn) SyscallConn() (syscall.RawConn, error) {
	if sc, ok := c.Conn.(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}
