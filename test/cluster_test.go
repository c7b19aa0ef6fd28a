package test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub"
	"github.com/revocast/revocast/hub/log"
	"github.com/revocast/revocast/internal/natstest"
	"github.com/revocast/revocast/subscriber"
)

// The log, and the mirror of it in another region, as NATS knows them.
const (
	logStream    = "REVOCAST_default"
	mirrorStream = "REVOCAST_default_MIRROR"
)

// clusterWorld is hubs in this process, on NATS servers, and subscribers that
// know all hubs.
type clusterWorld struct {
	*testing.T
	hubs []*clusterHub
}

// clusterHub is a hub that can be stopped and started at its address.
type clusterHub struct {
	cfg    hub.Config
	addr   string
	conns  *severing
	stop   context.CancelFunc
	served chan error
	hub    *hub.Hub
}

func newClusterWorld(t *testing.T, hubs int) *clusterWorld {
	t.Helper()
	c, err := natstest.Start(3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Shutdown)
	return newHubsOn(t, c.URLs(), hubs)
}

// newHubsOn starts hubs on the NATS servers at some URLs.
func newHubsOn(t *testing.T, urls []string, hubs int, change ...func(*hub.Config)) *clusterWorld {
	t.Helper()
	w := &clusterWorld{T: t}
	for i := range hubs {
		h := &clusterHub{addr: freeAddr(t), cfg: hub.Config{
			DataDir: t.TempDir(), Name: fmt.Sprint("hub-", i), NATS: log.NATS{Servers: urls}, AdminKey: adminKey,
			DrainWindow: time.Second, Logger: slog.New(slog.DiscardHandler),
		}}
		for _, f := range change {
			f(&h.cfg)
		}
		w.hubs = append(w.hubs, h)
		w.start(h)
	}
	t.Cleanup(func() {
		for _, h := range w.hubs {
			w.end(h)
		}
	})
	return w
}

func (w *clusterWorld) start(h *clusterHub) {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), natstest.Patience)
	defer cancel()
	var err error
	if h.hub, err = hub.Open(ctx, h.cfg); err != nil {
		w.Fatal(err)
	}
	l, err := net.Listen("tcp", h.addr)
	if err != nil {
		w.Fatal(err)
	}
	run, stop := context.WithCancel(context.Background())
	h.stop, h.served, h.conns = stop, make(chan error, 1), &severing{Listener: l}
	go func() { h.served <- h.hub.Serve(run, h.conns, nil, nil) }()
	w.until("the hub is ready", func() bool { return h.hub.Ready() == nil })
}

func (w *clusterWorld) end(h *clusterHub) {
	w.Helper()
	if h.stop == nil {
		return
	}
	h.stop()
	if err := <-h.served; err != nil {
		w.Error(err)
	}
	h.stop = nil
}

// kill is, to those who are connected, what the death of a process is.
func (w *clusterWorld) kill(h *clusterHub) {
	w.Helper()
	h.conns.sever()
	h.stop()
	<-h.served // it has lost its listener
	h.stop = nil
}

// severing is a listener whose connections can be cut all at once.
type severing struct {
	net.Listener

	mu    sync.Mutex
	conns []*net.TCPConn // guarded by mu; those that are closed, too
	dead  bool           // guarded by mu
}

func (s *severing) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns = append(s.conns, c.(*net.TCPConn))
	if s.dead {
		cut(s.conns)
	}
	return c, nil
}

// sever cuts the connections before the hub can notice that it stops.
func (s *severing) sever() {
	s.mu.Lock()
	s.dead = true
	cut(s.conns)
	s.mu.Unlock()
	s.Listener.Close()
}

func cut(conns []*net.TCPConn) {
	for _, c := range conns {
		_ = c.SetLinger(0) // a reset, and nothing that waits is sent
		c.Close()
	}
}

func (w *clusterWorld) until(what string, ok func() bool) {
	w.Helper()
	for end := time.Now().Add(natstest.Patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("not within %v: %s", natstest.Patience, what)
		}
	}
}

// invalid counts what a subscriber had to refuse, but for ticks that it had seen:
// who connects again before the next one is sent the last again.
func invalid(st subscriber.Status) (n uint64) {
	for reason, of := range st.Invalid {
		if reason != "tick_replayed" {
			n += of
		}
	}
	return n
}

// revokeAt asks a hub to revoke a jti, once.
func revokeAt(addr, query, jti string) (*http.Response, []byte, error) {
	req, err := http.NewRequest("POST", "http://"+addr+"/v1/revocations"+query, strings.NewReader(order(events.KindToken, jti)))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+adminKey)
	req.Header.Set("Content-Type", "application/json")
	req.GetBody = nil // or the client would ask again by itself
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, body, err
}

// revoke revokes a jti at any hub, as often as it takes to be acknowledged.
func (w *clusterWorld) revoke(jti string) {
	w.Helper()
	for end := time.Now().Add(natstest.Patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		for _, h := range w.hubs {
			req, err := http.NewRequest("POST", "http://"+h.addr+"/v1/revocations", strings.NewReader(order(events.KindToken, jti)))
			if err != nil {
				w.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+adminKey)
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Idempotency-Key", jti)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				continue
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode == http.StatusCreated {
				return
			}
		}
	}
	w.Errorf("%s was never acknowledged", jti)
}

// get asks a hub as admin.
func (w *clusterWorld) get(h *clusterHub, path string, into any) {
	w.Helper()
	req, err := http.NewRequest("GET", "http://"+h.addr+path, nil)
	if err != nil {
		w.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminKey)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil || resp.StatusCode != http.StatusOK {
		w.Fatalf("%s: %d: %v", path, resp.StatusCode, err)
	}
}

// hello is how a hub answers who has come to a position.
func (w *clusterWorld) hello(h *clusterHub, at string) (hello events.Hello) {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), natstest.Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+h.addr+"/v1/feed", nil)
	if err != nil {
		w.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminKey)
	req.Header.Set("Last-Event-ID", at)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			if err := json.Unmarshal([]byte(data), &hello); err != nil {
				w.Fatal(err)
			}
			return hello
		}
	}
	w.Fatal("no hello")
	return hello
}

// Hubs that share a log are restarted one by one while revocations are made:
// each one is enforced in time by every subscriber, or that one is not fresh;
// and nobody needs a snapshot, because the other hub has the records, and so
// has the one that has just started.
func TestHubsAreRestartedOneByOne(t *testing.T) {
	w := newClusterWorld(t, 2)
	urls := []string{"http://" + w.hubs[0].addr, "http://" + w.hubs[1].addr}
	var subs []*subscriber.Subscriber
	for i := range 8 {
		s, err := subscriber.New(subscriber.Config{
			Hubs: []string{urls[i%2], urls[1-i%2]}, Credential: adminKey, Name: fmt.Sprint("sub-", i),
			Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		subs = append(subs, s)
	}
	w.revoke("first")
	for _, s := range subs {
		w.until("a subscriber is ready", s.Ready)
	}

	stop := make(chan struct{})
	var load sync.WaitGroup
	var acknowledged []string // by the goroutine below, and after it has ended
	load.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			jti := fmt.Sprint("t-", n)
			w.revoke(jti)
			acknowledged = append(acknowledged, jti)
			load.Go(func() {
				time.Sleep(subscriber.DefaultMaxStaleness) // this is the promise
				for i, s := range subs {
					if revokedIn(s, jti).Outcome == subscriber.Allowed {
						t.Errorf("%s was acknowledged %v ago, and sub-%d does not have it and calls itself fresh", jti, subscriber.DefaultMaxStaleness, i)
					}
				}
			})
		}
	})
	for _, h := range w.hubs {
		w.end(h)
		w.until("everybody is with the other hub", func() bool {
			for _, s := range subs {
				if st := s.Status(); st.Hub == "http://"+h.addr || st.State != subscriber.Fresh {
					return false
				}
			}
			return true
		})
		w.start(h)
		// It has what came before it started, for those who are behind.
		epoch, _, _ := strings.Cut(subs[0].Status().Position, ":")
		if hello := w.hello(h, epoch+":1"); hello.Mode != events.ModeDelta {
			t.Errorf("a hub that has just started answers %+v to who has one record", hello)
		}
	}
	close(stop)
	load.Wait()
	for i, s := range subs {
		for _, jti := range acknowledged {
			w.until(jti+" is enforced", func() bool { return revokedIn(s, jti).Outcome == subscriber.Revoked })
		}
		if st := s.Status(); len(st.Resyncs) > 0 || invalid(st) > 0 || st.Sessions["bye"] == 0 {
			t.Errorf("sub-%d: %+v", i, st)
		}
	}
	t.Logf("%d revocations", len(acknowledged))
}
