package test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// proxy stands between a subscriber and its hub, and is at fault as it is
// told: with the bytes of its connections to the subscriber, and with the
// frames of the feed.
type proxy struct {
	hub    string
	server *httptest.Server
	client *http.Client

	mu     sync.Mutex
	random *rand.Rand            // guarded by mu
	bytes  byteFault             // guarded by mu
	frames frameFault            // guarded by mu
	conns  map[*proxied]struct{} // guarded by mu
	tape   [][]byte              // guarded by mu: the frames of the first session, as long as nothing is at fault
	bites  int                   // guarded by mu: how often something was at fault
}

// byteFault is what a write to the subscriber comes to. It may write other
// than it is told, and blocks as long as it likes.
type byteFault func(p *proxy, c *proxied, b []byte) error

// frameFault is what becomes of a frame of the feed.
type frameFault func(p *proxy, frame []byte) (out []byte)

func newProxy(t testing.TB, hub string, random *rand.Rand) *proxy {
	p := &proxy{hub: hub, client: &http.Client{Transport: &http.Transport{DisableCompression: true}}, random: random, conns: make(map[*proxied]struct{})}
	p.server = httptest.NewUnstartedServer(http.HandlerFunc(p.serve))
	p.server.Listener = proxiedListener{p.server.Listener, p}
	p.server.Start()
	t.Cleanup(func() {
		p.heal()
		p.server.CloseClientConnections()
		p.server.Close()
		p.client.CloseIdleConnections()
	})
	return p
}

// fail makes the proxy fail. It begins with the connections that are open.
func (p *proxy) fail(bytes byteFault, frames frameFault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes, p.frames = bytes, frames
}

// heal makes it good again. Connections that it has spoilt are cut.
func (p *proxy) heal() {
	p.mu.Lock()
	p.bytes, p.frames = nil, nil
	var open []*proxied
	for c := range p.conns {
		open = append(open, c)
	}
	p.mu.Unlock()
	for _, c := range open {
		c.Close()
	}
}

func (p *proxy) bit() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bites++
}

func (p *proxy) bitten() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bites
}

func (p *proxy) dice(n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.random.IntN(n)
}

func (p *proxy) serve(w http.ResponseWriter, r *http.Request) {
	out, err := http.NewRequestWithContext(r.Context(), r.Method, p.hub+r.URL.RequestURI(), r.Body)
	if err != nil {
		panic(err)
	}
	out.Header = r.Header.Clone()
	out.ContentLength = r.ContentLength
	resp, err := p.client.Do(out)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer resp.Body.Close()
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(resp.StatusCode)
	if r.URL.Path == "/v1/feed" && resp.StatusCode == http.StatusOK {
		p.feed(w, resp.Body)
	} else {
		io.Copy(w, resp.Body)
	}
}

// feed passes on frame by frame.
func (p *proxy) feed(w http.ResponseWriter, body io.Reader) {
	frames := bufio.NewScanner(body)
	frames.Buffer(nil, 4<<20)
	frames.Split(func(data []byte, eof bool) (int, []byte, error) {
		if i := bytes.Index(data, []byte("\n\n")); i >= 0 {
			return i + 2, data[:i+2], nil
		}
		return 0, nil, nil
	})
	flush := http.NewResponseController(w)
	for frames.Scan() {
		frame := bytes.Clone(frames.Bytes())
		p.mu.Lock()
		fault := p.frames
		if fault == nil {
			p.tape = append(p.tape, frame)
		}
		p.mu.Unlock()
		if fault != nil {
			frame = fault(p, frame)
		}
		if len(frame) == 0 {
			continue
		}
		if _, err := w.Write(frame); err != nil || flush.Flush() != nil {
			return
		}
	}
}

type proxiedListener struct {
	net.Listener
	p *proxy
}

func (l proxiedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	pc := &proxied{Conn: c, p: l.p, ctx: ctx, stop: stop}
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	l.p.conns[pc] = struct{}{}
	return pc, nil
}

// proxied is a connection to the subscriber.
type proxied struct {
	net.Conn
	p    *proxy
	ctx  context.Context // ends when it is closed
	stop context.CancelFunc
	late lateWriter
}

func (c *proxied) Write(b []byte) (int, error) {
	c.p.mu.Lock()
	fault := c.p.bytes
	c.p.mu.Unlock()
	if fault == nil {
		return c.Conn.Write(b)
	}
	if err := fault(c.p, c, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (c *proxied) Close() error {
	c.stop()
	c.p.mu.Lock()
	delete(c.p.conns, c)
	c.p.mu.Unlock()
	c.late.wait()
	return c.Conn.Close()
}

// pause sleeps, or returns when the connection is closed.
func (c *proxied) pause(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-c.ctx.Done():
		return net.ErrClosed
	}
}

// lateWriter writes what it is given in order, each piece after a delay of its
// own, and holds nobody up.
type lateWriter struct {
	mu      sync.Mutex
	queue   []latePiece // guarded by mu
	running bool        // guarded by mu
	wg      sync.WaitGroup
}

type latePiece struct {
	due time.Time
	b   []byte
}

func (l *lateWriter) write(c *proxied, b []byte, after time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = append(l.queue, latePiece{time.Now().Add(after), bytes.Clone(b)})
	if l.running {
		return
	}
	l.running = true
	l.wg.Go(func() { // ends when the queue is empty, or the connection closed
		for {
			l.mu.Lock()
			if len(l.queue) == 0 {
				l.running = false
				l.mu.Unlock()
				return
			}
			next := l.queue[0]
			l.queue = l.queue[1:]
			l.mu.Unlock()
			if c.pause(time.Until(next.due)) != nil {
				return
			}
			if _, err := c.Conn.Write(next.b); err != nil {
				return
			}
		}
	})
}

func (l *lateWriter) wait() { l.wg.Wait() }

// The faults of bytes.

// resets cuts a connection now and then, in the middle of what is written.
func resets(p *proxy, c *proxied, b []byte) error {
	if p.dice(40) > 0 {
		_, err := c.Conn.Write(b)
		return err
	}
	p.bit()
	c.Conn.Write(b[:p.dice(len(b)+1)])
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		tcp.SetLinger(0) // so that it is a reset, not an end
	}
	c.Conn.Close()
	return errors.New("reset")
}

// halfOpen swallows everything; neither side is told.
func halfOpen(p *proxy, _ *proxied, _ []byte) error {
	p.bit()
	return nil
}

// slicesOf hands over one byte at a time.
func slicesOf(p *proxy, c *proxied, b []byte) error {
	p.bit()
	for i := range b {
		if _, err := c.Conn.Write(b[i : i+1]); err != nil {
			return err
		}
	}
	return nil
}

// stalls stops now and then, for longer than a subscriber may take for fresh.
func stalls(most time.Duration) byteFault {
	return func(p *proxy, c *proxied, b []byte) error {
		if p.dice(20) == 0 {
			p.bit()
			if err := c.pause(time.Duration(p.dice(int(most)))); err != nil {
				return err
			}
		}
		_, err := c.Conn.Write(b)
		return err
	}
}

// delays keeps everything for a time.
func delays(by time.Duration) byteFault {
	return func(p *proxy, c *proxied, b []byte) error {
		p.bit()
		c.late.write(c, b, by)
		return nil
	}
}

// The faults of frames.

func dropping(event string) frameFault {
	return func(p *proxy, frame []byte) []byte {
		if !strings.HasPrefix(string(frame), "event: "+event+"\n") {
			return frame
		}
		p.bit()
		return nil
	}
}

// buffering hands on only what fills a buffer, as a proxy does that was not
// told that this is a stream.
func buffering(size int) frameFault {
	var mu sync.Mutex
	var held []byte // guarded by mu
	return func(p *proxy, frame []byte) []byte {
		p.bit()
		mu.Lock()
		defer mu.Unlock()
		held = append(held, frame...)
		if len(held) < size {
			return nil
		}
		out := held
		held = nil
		return out
	}
}

// replaying gives, for each frame of the hub, a frame of the first session.
func replaying() frameFault {
	var mu sync.Mutex
	n := 0 // guarded by mu
	return func(p *proxy, _ []byte) []byte {
		mu.Lock()
		defer mu.Unlock()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.bites++
		n++
		return p.tape[(n-1)%len(p.tape)]
	}
}
