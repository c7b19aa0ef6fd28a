package subscriber

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
)

// slowNet is a network that hands over what it carries late, or byte by byte.
type slowNet struct {
	delay   atomic.Int64
	slices  atomic.Bool
	dialing net.Dialer
}

type slowConn struct {
	net.Conn
	net *slowNet
}

func (c slowConn) Read(p []byte) (int, error) {
	if c.net.slices.Load() && len(p) > 1 {
		p = p[:1]
	}
	n, err := c.Conn.Read(p)
	time.Sleep(time.Duration(c.net.delay.Load()))
	return n, err
}

func (s *slowNet) use(_ *world, c *Config) {
	c.HTTPTransport = &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := s.dialing.DialContext(ctx, network, addr)
		return slowConn{conn, s}, err
	}}
}

// F15, and a man in the middle who delays all that passes: stale, not fooled.
func TestEverythingDelayed(t *testing.T) {
	slow := new(slowNet)
	w := newWorld(t, slow.use)
	w.mustReach()
	slow.delay.Store(int64(2 * testStaleness))
	eventually(t, "stale", func() bool { return w.sub.Status().Staleness > testStaleness })
	w.mustStayUnfresh()
	w.revoke(events.KindToken, "t1")
	w.mustBeRevoked(claims("t1", ""))
	slow.delay.Store(0)
	w.mustReach()
}

// F14: a network that delivers one byte at a time.
func TestBytewise(t *testing.T) {
	slow := new(slowNet)
	slow.slices.Store(true)
	w := newWorld(t, slow.use)
	w.revoke(events.KindToken, "t1")
	w.mustReach()
	w.mustBeRevoked(claims("t1", ""))
}

// counted is a Metrics that remembers what it was told.
type counted struct {
	mu sync.Mutex
	n  map[string]int // guarded by mu
}

func (c *counted) add(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = make(map[string]int)
	}
	c.n[name]++
}

func (c *counted) State(s State)             { c.add("state " + string(s)) }
func (c *counted) Verdict(o Outcome)         { c.add("verdict " + o.String()) }
func (c *counted) Refused(code Code)         { c.add("refused " + string(code)) }
func (c *counted) Decision(p string, _ bool) { c.add("decision " + p) }
func (c *counted) Exchange(outcome string)   { c.add("exchange " + outcome) }
func (c *counted) Applied(int)               { c.add("applied") }
func (c *counted) Resync(reason string)      { c.add("resync " + reason) }
func (c *counted) Invalid(reason string)     { c.add("invalid " + reason) }
func (c *counted) Reported(ok bool)          { c.add("reported") }
func (c *counted) Disconnected()             { c.add("disconnected") }

func TestMetrics(t *testing.T) {
	m := new(counted)
	w := newWorld(t, func(_ *world, c *Config) { c.Metrics = m })
	waitReady(t, w.sub)
	w.revoke(events.KindToken, "t1")
	w.mustBeRevoked(claims("t1", ""))
	w.sub.Authenticate(t.Context(), sign(t, nil))
	w.hub.newEpoch("e2", true)
	w.mustReach()
	w.hub.with(func() { w.hub.noTicks = true })
	w.mustBecome(Stale)
	w.sub.Authenticate(t.Context(), sign(t, map[string]any{"jti": "t2"}))
	for _, want := range []string{"state syncing", "state fresh", "state stale", "verdict revoked", "refused revoked", "decision grace_then_closed",
		"applied", "resync reset", "reported", "disconnected"} {
		eventually(t, want, func() bool { m.mu.Lock(); defer m.mu.Unlock(); return m.n[want] > 0 })
	}
}
