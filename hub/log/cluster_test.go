package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/internal/natstest"
)

// cluster is shared by the tests: each has a feed of its own in it. TestMain
// stops it.
var cluster struct {
	once sync.Once
	*natstest.Cluster
	err error
}

// clusterWorld is the shared cluster, and what a test has connected to it.
type clusterWorld struct {
	testing.TB
	*natstest.Cluster
	feed string
	home string        // the domain of the log, if it is not these servers'
	wait time.Duration // for the outcome of an append
	log  *logged
}

func newClusterWorld(t testing.TB) *clusterWorld {
	t.Helper()
	cluster.once.Do(func() { cluster.Cluster, cluster.err = natstest.Start(3) })
	if cluster.err != nil {
		t.Fatal(cluster.err)
	}
	return &clusterWorld{TB: t, Cluster: cluster.Cluster, feed: feedOf(t), wait: 2 * time.Second, log: new(logged)}
}

func feedOf(t testing.TB) string {
	feed := strings.ToLower(strings.TrimPrefix(t.Name(), "Test"))
	return feed[:min(len(feed), 32)]
}

func (w *clusterWorld) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), natstest.Patience)
	w.Cleanup(cancel)
	return ctx
}

func (w *clusterWorld) logger() *slog.Logger { return slog.New(slog.NewTextHandler(w.log, nil)) }

func (w *clusterWorld) connect() *nats.Conn {
	w.Helper()
	nc, err := NATS{Servers: w.URLs(), Name: "tester", Logger: w.logger()}.Connect(w.ctx())
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(nc.Close)
	return nc
}

// open opens the log as one more hub does, and follows it.
func (w *clusterWorld) open() *reader {
	w.Helper()
	l, err := Open(w.ctx(), w.connect(), w.config())
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(l.Close)
	return (&world{TB: w.TB}).follow(l)
}

func (w *clusterWorld) config() Config {
	return Config{Feed: w.feed, Home: w.home, Retention: 24 * time.Hour, Replicas: len(w.URLs()), Wait: true, AppendTimeout: w.wait, Logger: w.logger()}
}

// js is for what no hub does.
func (w *clusterWorld) js() jetstream.JetStream {
	w.Helper()
	js, nc, err := w.JetStream()
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(nc.Close)
	return js
}

type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// insist appends until the outcome is known, as a client with an
// Idempotency-Key does, and reports whether it was stored.
func (w *clusterWorld) insist(r *reader, name string) bool {
	for ctx := w.ctx(); ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		_, err := r.log.Append(ctx, r.once(name))
		switch {
		case err == nil:
			return true
		case errors.Is(err, ErrUnknown), errors.Is(err, ErrUnavailable), errors.Is(err, ErrBusy):
		default:
			w.Errorf("append %s: %v", name, err)
			return false
		}
	}
	w.Errorf("append %s: no outcome", name)
	return false
}

func TestLeadersChangeUnderLoad(t *testing.T) {
	w := newClusterWorld(t)
	hubs := []*reader{w.open(), w.open()}
	js := w.js()

	// Two hubs, two callers each, until the leader has changed five times.
	const changes = 5
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	var names []string // guarded by mu
	for h, r := range hubs {
		for c := range 2 {
			wg.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					name := fmt.Sprintf("%d-%d-%d", h, c, n)
					w.insist(r, name)
					mu.Lock()
					names = append(names, name)
					mu.Unlock()
				}
			})
		}
	}
	for n := 0; n < changes; {
		before := w.LeaderOf(streamName(w.feed))
		if before < 0 || w.StepDown(w.ctx(), js.Conn(), streamName(w.feed)) != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		w.until("another leader", func() bool { l := w.LeaderOf(streamName(w.feed)); return l >= 0 && l != before })
		n++
		time.Sleep(50 * time.Millisecond) // under load for a moment
	}
	close(stop)
	wg.Wait()
	t.Logf("%d appends", len(names))
	w.mustHaveOnce(hubs, names...)
}

func (w *clusterWorld) until(what string, ok func() bool) {
	w.Helper()
	for end := time.Now().Add(natstest.Patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("not within %v: %s", natstest.Patience, what)
		}
	}
}

// mustHaveOnce checks that every hub has read the same: each name in exactly
// one record, and nothing else.
func (w *clusterWorld) mustHaveOnce(hubs []*reader, names ...string) {
	w.Helper()
	first := hubs[0].catchUp()
	for _, r := range hubs {
		all := r.catchUp()
		if len(all) != len(first) || all[len(all)-1].Chain != first[len(first)-1].Chain {
			w.Fatalf("hubs differ: %d and %d records", len(all), len(first))
		}
		for _, name := range names {
			if at := r.where(name); len(at) != 1 {
				w.Errorf("%s is in the records %v, want one", name, at)
			}
		}
		r.mu.Lock()
		if len(r.seen) != len(names) {
			w.Errorf("%d names, want %d", len(r.seen), len(names))
		}
		r.mu.Unlock()
	}
}

func TestAServerOfThreeStops(t *testing.T) {
	w := newClusterWorld(t)
	hubs := []*reader{w.open(), w.open()}
	w.insist(hubs[0], "before")
	for _, r := range hubs {
		r.catchUp()
	}
	leader := w.LeaderOf(streamName(w.feed))
	w.StopServer(leader)
	for i, r := range hubs {
		w.insist(r, fmt.Sprint("while-", i))
	}
	if err := w.StartServer(leader); err != nil {
		t.Fatal(err)
	}
	w.insist(hubs[0], "after")
	w.mustHaveOnce(hubs, "before", "while-0", "while-1", "after")
}

func TestTwoServersOfThreeStop(t *testing.T) {
	w := newClusterWorld(t)
	r := w.open()
	w.insist(r, "before")
	r.catchUp()
	w.StopServer(0)
	w.StopServer(1)
	restart := sync.OnceFunc(func() {
		for i := range 2 {
			if err := w.StartServer(i); err != nil {
				t.Fatal(err)
			}
		}
	})
	defer restart()

	// Nothing is acknowledged, and nobody vouches for the end of the log.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := r.log.Append(ctx, Proposal{Draft: draftOf(t, "while")}); err == nil {
		t.Error("an append was acknowledged without a majority")
	}
	if err := r.log.Tick(ctx, "tester", []byte("{}")); err == nil {
		t.Error("a tick was acknowledged without a majority")
	}
	restart()
	w.insist(r, "after")
	if n := len(r.where("before")); n != 1 {
		t.Errorf("before is there %d times", n)
	}
	if n := len(r.where("while")); n > 1 {
		t.Errorf("while is there %d times", n)
	}
	r.catchUp()
	if n := len(r.where("after")); n != 1 {
		t.Errorf("after is there %d times", n)
	}
}

func TestARecreatedStreamOfAClusterFailsTheLog(t *testing.T) {
	w := newClusterWorld(t)
	r := w.open()
	w.insist(r, "lost")
	js := w.js()
	if err := js.DeleteStream(w.ctx(), streamName(w.feed)); err != nil {
		t.Fatal(err)
	}
	other := w.config()
	l, err := Open(w.ctx(), w.connect(), other)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if l.Epoch() == r.log.Epoch() {
		t.Error("another history has the same epoch")
	}
	r.mustFail(Recreated)
}

func TestAWrongStreamOfAClusterIsRefusedByField(t *testing.T) {
	w := newClusterWorld(t)
	wrong := logStream(Config{Feed: w.feed, Retention: time.Hour, MaxBytes: -1, Replicas: 1})
	wrong.Discard, wrong.DenyDelete = jetstream.DiscardOld, false
	if _, err := w.js().CreateStream(w.ctx(), wrong); err != nil {
		t.Fatal(err)
	}
	_, err := Open(w.ctx(), w.connect(), w.config())
	if err == nil {
		t.Fatal("a wrong stream is taken")
	}
	for _, want := range []string{"discard is DiscardOld, want DiscardNew", "deny_delete is false, want true", "num_replicas is 1, want at least 3"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %q", err, want)
		}
	}
}
