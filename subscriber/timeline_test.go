package subscriber

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/revocast/revocast/events"
)

// pipes is a network of pipes, on which time passes only when nothing else is
// left to do.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-p.done:
	case <-ctx.Done():
	}
	return nil, errors.New("refused")
}

// TestTimeline goes through an outage with the times that are in force unless
// somebody configures others: 6 s of proof, 30 s of grace.
func TestTimeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		hub := newFakeHubOn(t, "e1", func(s *httptest.Server) { s.Listener.Close(); s.Listener = network })
		s, err := New(Config{
			Hubs: []string{"http://127.0.0.1:1"}, Credential: testKey, Logger: discard,
			Issuers:       []Issuer{{Iss: testIssuer, Keys: testJWKS()}},
			HTTPTransport: &http.Transport{DialContext: network.dial},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		w := &world{t: nil, hub: hub, sub: s}
		w.revoke(events.KindToken, "revoked")
		waitReady(t, s)
		time.Sleep(10 * time.Second)
		raw, c := sign(t, nil), claims("t1", "alice")
		tok, err := s.Authenticate(t.Context(), raw)
		if err != nil {
			t.Fatal(err)
		}
		guarded, stop := s.Guard(t.Context(), tok)
		defer stop()

		gone := time.Now()
		hub.with(func() { hub.refuse = 503; hub.cut++ })
		after := func(d time.Duration) { time.Sleep(time.Until(gone.Add(d))) }
		must := func(state State, o Outcome, allowed bool) {
			t.Helper()
			if got := s.Status().State; got != state {
				t.Errorf("after %v: state %s, want %s", time.Since(gone), got, state)
			}
			if v := s.Check(c); v.Outcome != o {
				t.Errorf("after %v: %+v, want %v", time.Since(gone), v, o)
			}
			if v := s.Check(claims("revoked", "")); v.Outcome != Revoked {
				t.Errorf("after %v: %+v", time.Since(gone), v)
			}
			if _, err := s.Authenticate(t.Context(), raw); (err == nil) != allowed {
				t.Errorf("after %v: %v", time.Since(gone), err)
			}
		}
		must(Fresh, Allowed, true)
		after(3900 * time.Millisecond) // the last report may have been 2 s ago
		must(Fresh, Allowed, true)
		after(6001 * time.Millisecond)
		must(Stale, Unknown, true)
		after(33900 * time.Millisecond)
		must(Stale, Unknown, true)
		if guarded.Err() != nil {
			t.Error("the guard has ended too early")
		}
		<-guarded.Done()
		if d := time.Since(gone); d < 34*time.Second || d > 36*time.Second+10*time.Millisecond || context.Cause(guarded) != ErrStale {
			t.Errorf("the guard has ended after %v: %v", d, context.Cause(guarded))
		}
		after(36001 * time.Millisecond)
		must(Expired, Unknown, false)
		after(10 * time.Minute)
		must(Expired, Unknown, false)

		// Attempts are 15 s apart at most.
		hub.with(func() { hub.refuse = 0 })
		time.Sleep(16 * time.Second)
		must(Fresh, Allowed, true)
		n := len(hub.requests("/v1/feed"))
		if n < 600/15 || n > 600/5 {
			t.Errorf("%d attempts in ten minutes", n)
		}
		if s.Status().Sessions["failed"] == 0 {
			t.Error("no failure is counted")
		}
	})
}
