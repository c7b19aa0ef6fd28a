package test

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/api"
	"github.com/revocast/revocast/hub/feed"
	"github.com/revocast/revocast/hub/log"
	"github.com/revocast/revocast/subscriber"
)

// hubWithClock serves, in this process, a hub whose clock can be set. Its
// store keeps the true time.
func (w *world) hubWithClock() (set func(ahead time.Duration)) {
	w.Helper()
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	quiet := slog.New(slog.DiscardHandler)
	srv, err := log.StartServer(log.ServerConfig{Dir: w.dir, MaxStore: 1 << 30, Logger: quiet, DangerouslySkipSync: true})
	w.must(err)
	w.Cleanup(srv.Shutdown)
	nc, err := srv.Connect()
	w.must(err)
	w.Cleanup(nc.Close)
	l, err := log.Open(context.Background(), nc, log.Config{Feed: "default", Logger: quiet, Now: now})
	w.must(err)
	w.Cleanup(l.Close)
	signing, err := events.NewSigningKey(rand.Reader)
	w.must(err)
	f, err := feed.Open(context.Background(), feed.Config{
		Log: l, Keys: signing, TickEvery: 100 * time.Millisecond, Heartbeat: 200 * time.Millisecond, Now: now})
	w.must(err)
	w.Cleanup(f.Close)
	keys, _, err := api.NewKeyring(func(change func([]byte) ([]byte, error)) error {
		_, err := change(nil) // kept nowhere
		return err
	}, nil, adminKey)
	w.must(err)
	server := httptest.NewServer(api.New(api.Config{
		Feed: f, Keys: keys, HubKeys: []string{signing.ID()}, Signing: signing, Version: "test",
		Heartbeat: 200 * time.Millisecond, Logger: quiet, Metrics: prometheus.NewRegistry(),
	}))
	w.Cleanup(server.Close)
	w.Cleanup(server.CloseClientConnections)
	w.listen = strings.TrimPrefix(server.URL, "http://")
	return func(by time.Duration) { ahead.Store(int64(by)) }
}

// Promise 2 with a hub whose clock is set: forwards, back, and back to before
// it began. Nobody is told less than the truth, and nobody goes stale over it.
func TestHubClockJumps(t *testing.T) {
	w := newWorld(t)
	set := w.hubWithClock()
	tr := newTrial(w)
	tr.pace = time.Millisecond
	const within = 2 * time.Second
	sub := w.subscribe(func(c *subscriber.Config) { c.MaxStaleness = within })
	tr.observe("subscriber", sub, within)
	tr.produce(2)
	random := dice(t)
	jumps := []time.Duration{time.Hour, 0, -time.Hour, 0, 5 * time.Second, -5 * time.Second}
	for n := range quickOr(len(jumps), 500) {
		by := time.Duration(random.Int64N(int64(2*time.Hour))) - time.Hour
		if n < len(jumps) {
			by = jumps[n]
		}
		enough := tr.acknowledged() + 20
		set(by)
		w.eventually("revocations are taken", func() bool { return tr.acknowledged() > enough })
		set := time.Now()
		w.eventually("the subscriber has a proof that is younger than the jump", func() bool {
			s := sub.Status()
			return s.State == subscriber.Fresh && s.Staleness < time.Since(set)
		})
	}
	set(0)
	tr.verdict()
}

// stoppedPart is what the subscriber needs that is to be stopped.
type stoppedPart struct {
	Hub          string
	MaxStaleness time.Duration
	Gap          time.Duration // how long it has to have stood still
}

// playStopped checks a token that is revoked meanwhile, again and again, and
// prints what the first check says after the process has stood still.
func playStopped(part []byte) error {
	var p stoppedPart
	if err := unmarshal(part, &p); err != nil {
		return err
	}
	s, err := subscriber.New(subscriber.Config{
		Hubs: []string{p.Hub}, Credential: adminKey, MaxStaleness: p.MaxStaleness, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.WaitReady(context.Background()); err != nil {
		return err
	}
	for last := time.Now(); ; time.Sleep(time.Millisecond) {
		began := time.Now()
		outcome := revokedIn(s, "stolen").Outcome
		if began.Sub(last) > p.Gap {
			say("first %s", outcome)
			return nil
		}
		if outcome == subscriber.Allowed {
			say("ready")
		}
		last = began
	}
}

func init() { roles["stopped"] = playStopped }

// Promise 2 for a process that is stopped, as a machine that swaps or a
// debugger stops one: its first verdict afterwards does not rely on what it
// knew before.
func TestSubscriberIsStopped(t *testing.T) {
	stopped, within := 2500*time.Millisecond, time.Second
	if *long {
		stopped, within = 30*time.Second, subscriber.DefaultMaxStaleness
	}
	if first := stopAndAsk(t, stopped, within); first != subscriber.Unknown.String() {
		t.Errorf("its first verdict is %s", first)
	}
}

// The negative control: one that takes a minute for fresh is caught.
func TestStoppedSubscriberWouldBeNoticed(t *testing.T) {
	if first := stopAndAsk(t, 2500*time.Millisecond, time.Minute); first != subscriber.Allowed.String() {
		t.Errorf("its first verdict is %s: the stop does not reach what it is to show", first)
	}
}

// stopAndAsk stops a subscriber for a time in which what it asks about is
// revoked, and returns the first verdict after it.
func stopAndAsk(t *testing.T, stopped, within time.Duration) string {
	w := newWorld(t)
	w.startHub()
	p := newProxy(t, w.url(), dice(t))
	cmd := roleCommand("stopped", stoppedPart{p.server.URL, within, stopped / 2})
	lines := newLines(w, cmd)
	lines.await("ready")
	w.must(cmd.Process.Signal(syscall.SIGSTOP))
	p.fail(halfOpen, nil) // or the revocation would wait in its socket, and may be applied first
	w.revoke(events.KindToken, "stolen")
	time.Sleep(stopped)
	w.must(cmd.Process.Signal(syscall.SIGCONT))
	first, _ := strings.CutPrefix(lines.await("first "), "first ")
	return first
}
