package test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/log"
	"github.com/revocast/revocast/internal/natstest"
	"github.com/revocast/revocast/subscriber"
)

// natsServer is the program of nats-server, built once.
var natsServer = sync.OnceValues(func() (string, error) { return natstest.Build(bin) })

// natsWorld is three NATS servers as processes, two hubs on them, two
// subscribers that know both hubs, and a trial of all that: its producers send
// to both hubs, as through a load balancer.
type natsWorld struct {
	*clusterWorld
	servers *natstest.Processes
	js      jetstream.JetStream // for what no hub does
	trial   *trial
	subs    []*subscriber.Subscriber
}

const natsWithin = 2 * time.Second // MaxStaleness of the subscribers

func newNATSWorld(t *testing.T) *natsWorld {
	t.Helper()
	t.Parallel() // they wait for elections more than they work
	program, err := natsServer()
	if err != nil {
		t.Fatal(err)
	}
	servers, err := natstest.StartProcesses(program, 3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			for i := range 3 {
				t.Logf("server %d:\n%s", i, servers.Log(i))
			}
		}
		servers.Shutdown()
	})
	w := &natsWorld{clusterWorld: newHubsOn(t, servers.URLs(), 2), servers: servers}
	if w.js, err = servers.Connect(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.js.Conn().Close)
	w.trial = newTrial(&world{TB: t, listen: w.balance()})
	w.trial.pace = 5 * time.Millisecond
	for i := range w.hubs {
		urls := []string{"http://" + w.hubs[i].addr, "http://" + w.hubs[1-i].addr}
		s, err := subscriber.New(subscriber.Config{
			Hubs: urls, Credential: adminKey, Name: fmt.Sprint("sub-", i), MaxStaleness: natsWithin,
			Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		w.subs = append(w.subs, s)
		w.trial.observe(fmt.Sprint("sub-", i), s, natsWithin)
		w.until("a subscriber is ready", s.Ready)
	}
	return w
}

// balance sends requests to the hubs in turn. A request that a hub does not
// answer is not answered.
func (w *natsWorld) balance() (addr string) {
	var turn atomic.Uint64
	transport := new(http.Transport)
	front := httptest.NewServer(&httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: w.hubs[turn.Add(1)%uint64(len(w.hubs))].addr})
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	})
	w.Cleanup(func() { front.Close(); transport.CloseIdleConnections() })
	return front.Listener.Addr().String()
}

func (w *natsWorld) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// leader is the server that leads the log.
func (w *natsWorld) leader() int {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), natstest.Patience)
	defer cancel()
	i, err := w.servers.LeaderOf(ctx, w.js, logStream)
	w.must(err)
	return i
}

// writesGoOn waits until revocations are acknowledged that were sent after it
// was called.
func (w *natsWorld) writesGoOn() {
	w.Helper()
	enough := w.trial.acknowledged() + 20
	w.until("revocations are acknowledged", func() bool { return w.trial.acknowledged() > enough })
}

// allBecome waits until all subscribers are fresh, or none is.
func (w *natsWorld) allBecome(fresh bool) {
	w.Helper()
	w.until(fmt.Sprint("all subscribers are fresh: ", fresh), func() bool {
		return !slices.ContainsFunc(w.subs, func(s *subscriber.Subscriber) bool { return (s.Status().State == subscriber.Fresh) != fresh })
	})
}

// settle waits until both hubs and both subscribers are at one position.
func (w *natsWorld) settle() {
	w.Helper()
	w.until("all are at one position, and fresh", func() bool {
		var at []string
		for _, h := range w.hubs {
			at = append(at, positionOf(h.hub.Handler()))
		}
		for _, s := range w.subs {
			if st := s.Status(); st.State == subscriber.Fresh {
				at = append(at, st.Position)
			} else {
				at = append(at, "")
			}
		}
		return at[0] != "" && len(slices.Compact(at)) == 1
	})
}

// The promises hold while one of three servers is killed or paused, which
// stops nobody for longer than an election, and while two are, which stops
// everybody: then nothing is acknowledged, and nobody calls itself fresh.
func TestNATSServersFail(t *testing.T) {
	w := newNATSWorld(t)
	w.trial.produce(4)
	w.writesGoOn()
	kill := func(i int) (revive func()) {
		w.servers.Kill(i)
		return func() { w.must(w.servers.Start(i)) }
	}
	pause := func(i int) (revive func()) {
		w.must(w.servers.Pause(i))
		return func() { w.must(w.servers.Resume(i)) }
	}
	faults := []struct {
		name   string
		strike func(int) (revive func())
		two    bool
	}{
		{"the leader is killed", kill, false},
		{"two are paused", pause, true},
		{"the leader is paused", pause, false},
		{"two are killed", kill, true},
	}
	first := dice(t).IntN(len(faults)) // so that all have their turn in quick forms, too
	for n := range quickOr(2, 100) {
		f := faults[(first+n)%len(faults)]
		begun := time.Now()
		i := w.leader()
		revive := []func(){f.strike(i)}
		if f.two {
			revive = append(revive, f.strike((i+1)%3))
			w.nothingIsAcknowledged(time.Now())
		} else {
			w.writesGoOn()
		}
		for _, r := range revive {
			r()
		}
		w.writesGoOn()
		w.allBecome(true)
		t.Logf("%s: over after %v", f.name, time.Since(begun))
	}
	w.trial.rest()
	w.settle()
	w.trial.verdict()
	for _, s := range w.subs {
		if st := s.Status(); len(st.Resyncs) > 0 {
			t.Errorf("%s needed a snapshot: %v", st.Name, st.Resyncs)
		}
	}
}

// nothingIsAcknowledged waits until no subscriber is fresh, and makes sure that
// each hub says what became of a revocation, by 503. What was proven just before
// the fault may still make somebody fresh, who moves to the other hub: so it is
// waited out first. What was sent before it may have been stored before it, and
// be told later.
func (w *natsWorld) nothingIsAcknowledged(since time.Time) {
	w.Helper()
	time.Sleep(natsWithin * 5 / 4)
	w.allBecome(false)
	var asking sync.WaitGroup
	for i, h := range w.hubs {
		asking.Go(func() {
			sent := time.Now()
			jti := fmt.Sprintf("refused-%d-%d", i, sent.UnixNano())
			resp, body, err := revokeAt(h.addr, "", jti)
			if err != nil {
				w.Error(err)
				return
			}
			if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Content-Type") != "application/problem+json" {
				w.Errorf("%s without a majority: %d %s", h.addr, resp.StatusCode, body)
			}
			claimed := claim{jti: jti, producer: -1 - i, sent: sent, outcome: refused, told: time.Now()}
			if strings.Contains(string(body), `"outcome":"unknown"`) {
				claimed.outcome = unknown
			}
			w.trial.mu.Lock()
			w.trial.claims = append(w.trial.claims, claimed)
			w.trial.mu.Unlock()
		})
	}
	asking.Wait()
	w.trial.mu.Lock()
	for _, c := range w.trial.claims {
		if c.outcome == acknowledged && c.sent.After(since) {
			w.Errorf("%s was acknowledged without a majority, %v after the fault", c.jti, c.sent.Sub(since))
		}
	}
	w.trial.mu.Unlock()
	for _, s := range w.subs {
		if st := s.Status(); st.State == subscriber.Fresh {
			w.Errorf("%s is fresh, and nobody can know that: %+v", st.Name, st)
		}
	}
}

// positionOf is the position that a hub tells; "" if it can't.
func positionOf(h http.Handler) string {
	r := httptest.NewRequest("GET", "/v1/status", nil)
	r.Header.Set("Authorization", "Bearer "+adminKey)
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	var s struct {
		Epoch string
		Head  uint64
	}
	if rec.Code != http.StatusOK || json.Unmarshal(rec.Body.Bytes(), &s) != nil {
		return ""
	}
	return events.Position{Epoch: s.Epoch, Seq: s.Head}.String()
}

// mustFail waits until a hub has ended by itself, with a fault in its history.
func (w *natsWorld) mustFail(h *clusterHub, want log.Fault) {
	w.Helper()
	select {
	case err := <-h.served:
		var fault *log.HistoryError
		if !errors.As(err, &fault) || fault.Fault != want {
			w.Errorf("the hub ended with %v, want %s", err, want)
		}
	case <-time.After(natstest.Patience):
		w.Fatalf("the hub goes on, on a history that is %s", want)
	}
	h.stop()
	h.stop = nil
}

// unforgotten makes sure that every subscriber enforces what was acknowledged.
func (w *natsWorld) unforgotten(claims []claim) {
	w.Helper()
	for _, s := range w.subs {
		for _, c := range claims {
			if c.outcome == acknowledged && revokedIn(s, c.jti).Outcome != subscriber.Revoked {
				w.Errorf("%s has forgotten %s of %d", s.Status().Name, c.jti, c.seq)
			}
		}
	}
}

// mustMiss is the negative control: to the judge, what an operator has lost is
// lost.
func (w *natsWorld) mustMiss(claims []claim) {
	w.Helper()
	if found := broken(judge(history{claims: claims, log: w.trial.readLog()})); !strings.Contains(found, string(lost)) {
		w.Errorf("nothing is missed in the log: it is not the case that is meant: %s", found)
	}
}

// A stream that is deleted under its hubs ends them, with an error that says so.
// Started again they make another history; the subscribers are reset, and keep
// what they know.
func TestStreamIsMadeAnew(t *testing.T) {
	w := newNATSWorld(t)
	w.trial.produce(2)
	w.writesGoOn()
	w.trial.rest()
	w.settle()
	before := w.trial.verdict()
	epoch, _, _ := strings.Cut(w.subs[0].Status().Position, ":")

	ctx, cancel := context.WithTimeout(context.Background(), natstest.Patience)
	defer cancel()
	w.must(w.js.DeleteStream(ctx, logStream))
	for _, h := range w.hubs {
		w.mustFail(h, log.Recreated)
	}
	w.allBecome(false)
	w.unforgotten(before.claims)
	for _, h := range w.hubs {
		w.start(h)
	}
	w.settle()
	w.revoke("after")
	w.settle()
	w.unforgotten(before.claims)
	for _, s := range w.subs {
		st := s.Status()
		if now, _, _ := strings.Cut(st.Position, ":"); now == epoch || st.Resyncs[events.ModeReset] == 0 || st.Kept == 0 || !st.HubBehind {
			t.Errorf("after epoch %s: %+v", epoch, st)
		}
		if revokedIn(s, "after").Outcome != subscriber.Revoked {
			t.Error("the new history is not enforced")
		}
	}
	w.mustMiss(before.claims)
}

// Servers that are set back to an old copy of their data have a history that is
// shorter than what is known of it. The hubs that run say so and end; started
// again they serve it, and the subscribers keep what they know beyond it, and
// say that the hub is behind.
func TestServersAreRestoredFromAnOldCopy(t *testing.T) {
	w := newNATSWorld(t)
	if !w.trial.ask(9, "in-the-copy", true) {
		t.Fatal("not acknowledged")
	}
	w.settle()
	stop := func() {
		for i := range 3 {
			w.servers.Kill(i)
		}
	}
	start := func() {
		for i := range 3 {
			w.must(w.servers.Start(i))
		}
	}
	stop()
	copied, err := w.servers.Copy()
	w.must(err)
	start()
	w.trial.produce(2)
	w.writesGoOn()
	w.trial.rest()
	w.settle()
	before := w.trial.verdict()

	stop()
	w.allBecome(false)
	w.must(w.servers.Restore(copied))
	start()
	for _, h := range w.hubs {
		w.mustFail(h, log.Rewound)
	}
	w.unforgotten(before.claims)
	for _, h := range w.hubs {
		w.start(h)
	}
	w.settle()
	w.unforgotten(before.claims)
	for _, s := range w.subs {
		if st := s.Status(); !st.HubBehind || st.Kept == 0 || st.Resyncs[events.ModeReset] == 0 {
			t.Errorf("it does not say that the hub is behind: %+v", st)
		}
	}
	// The history grows another end, in which the same positions mean something
	// else.
	for n := range 5 {
		w.revoke(fmt.Sprint("after-", n))
	}
	w.settle()
	w.unforgotten(before.claims)
	for _, s := range w.subs {
		for n := range 5 {
			if revokedIn(s, fmt.Sprint("after-", n)).Outcome != subscriber.Revoked {
				t.Errorf("after-%d is not enforced", n)
			}
		}
	}
	w.mustMiss(before.claims)
}
