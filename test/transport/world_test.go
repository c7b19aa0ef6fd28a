// Package transport_test tells the same stories of a subscriber and its hubs
// over each transport: what is promised must not depend on the wire. The hubs,
// their log, and what is said on the wire are the real ones; between hub and
// subscriber sits a man in the middle.
package transport_test

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/feed"
	"github.com/revocast/revocast/hub/log"
	"github.com/revocast/revocast/subscriber"
)

// Nothing is left running by subscribers, transports and hubs that are closed.
func TestMain(m *testing.M) {
	flag.Parse()
	// The stories wait for what takes its time, and hardly compute.
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		f.Value.Set("8")
	}
	goleak.VerifyTestMain(m)
}

const (
	iss       = "https://issuer.example"
	heartbeat = time.Second
	staleness = 4 * time.Second
)

// wire is one way to carry a session.
type wire interface {
	// serve makes a hub reachable; the function that it returns ends that.
	serve(h *hub) (stop func())
	// follow fills in how a subscriber reaches the hubs, with a credential that
	// is good or not.
	follow(c *subscriber.Config, credential bool)
	// sever cuts the connections that are open.
	sever()
	// kill makes a hub silent.
	kill(h *hub)
	// flood sends more than any buffer holds of what means nothing.
	flood()
}

// hub is one hub of the feed.
type hub struct {
	id    string
	nc    *nats.Conn
	log   *log.Log
	feed  *feed.Feed
	close func()
}

// world is a log on a NATS server, its hubs, a subscriber, and who sits
// between.
type world struct {
	*testing.T
	nats   *server.Server // holds the log
	key    events.SigningKey
	wire   wire
	middle *middle
	hubs   []*hub
	sub    *subscriber.Subscriber
	tweak  func(*feed.Config)
	stall  chan struct{} // closed: records are applied; set before start
}

// overEach runs a story over each wire.
func overEach(t *testing.T, story func(w *world)) {
	for name, wire := range map[string]func(*world) wire{"sse": newSSE, "nats": newNATS} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &world{T: t, middle: new(middle)}
			var err error
			w.key, err = events.NewSigningKey(rand.Reader)
			w.must(err)
			w.nats = w.startNATS(&server.Options{JetStream: true, StoreDir: t.TempDir()})
			w.wire = wire(w)
			story(w)
		})
	}
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// startNATS starts a server on a free port of the loopback interface.
func (w *world) startNATS(o *server.Options) *server.Server {
	w.Helper()
	o.Host, o.Port, o.NoSigs, o.NoLog, o.AuthTimeout = "127.0.0.1", server.RANDOM_PORT, true, true, 60
	s, err := server.NewServer(o)
	w.must(err)
	s.Start()
	if !s.ReadyForConnections(time.Minute) {
		w.Fatal("the NATS server does not start")
	}
	w.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s
}

func (w *world) connect(s *server.Server, o ...nats.Option) *nats.Conn {
	w.Helper()
	nc, err := nats.Connect(s.ClientURL(), append([]nats.Option{nats.Timeout(time.Minute), nats.MaxReconnects(-1), nats.ReconnectWait(20 * time.Millisecond), nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})}, o...)...)
	w.must(err)
	w.Cleanup(nc.Close)
	return nc
}

// openHub opens a hub and makes it reachable.
func (w *world) openHub() *hub {
	w.Helper()
	h := &hub{id: fmt.Sprint("hub-", len(w.hubs)+1), nc: w.connect(w.nats)}
	var err error
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		h.log, err = log.Open(context.Background(), h.nc, log.Config{Feed: "default", Logger: slog.New(slog.DiscardHandler)})
		if err == nil || time.Now().After(end) {
			break // the server may still be removing the files of the stream before
		}
	}
	w.must(err)
	cfg := feed.Config{Log: h.log, Keys: w.key, TickEvery: 250 * time.Millisecond, Heartbeat: heartbeat, WriteTimeout: time.Second}
	if w.tweak != nil {
		w.tweak(&cfg)
	}
	h.feed, err = feed.Open(context.Background(), cfg)
	w.must(err)
	stop := w.wire.serve(h)
	h.close = sync.OnceFunc(func() {
		stop()
		h.feed.Close()
		h.log.Close()
	})
	w.hubs = append(w.hubs, h)
	w.Cleanup(h.close)
	return h
}

// subscribe starts the subscriber.
func (w *world) subscribe() {
	w.Helper()
	w.subscribeWith(true)
}

func (w *world) subscribeWith(credential bool) {
	w.Helper()
	out := io.Discard
	if testing.Verbose() {
		out = w.Output()
	}
	c := subscriber.Config{
		Name: "orders", HubKeys: []events.PublicKey{w.key.Public()}, MaxStaleness: staleness, Policy: subscriber.GraceThenClosed(time.Minute),
		Logger: slog.New(slog.NewTextHandler(out, nil)), Metrics: &stalling{w: w},
	}
	w.wire.follow(&c, credential)
	var err error
	w.sub, err = subscriber.New(c)
	w.must(err)
	w.Cleanup(func() { w.must(w.sub.Close()) })
}

// stalling is a Metrics that keeps the session waiting when a record has been
// applied.
type stalling struct {
	silent
	w *world
}

type silent struct{}

func (silent) State(subscriber.State)     {}
func (silent) Verdict(subscriber.Outcome) {}
func (silent) Refused(subscriber.Code)    {}
func (silent) Decision(string, bool)      {}
func (silent) Resync(string)              {}
func (silent) Invalid(string)             {}
func (silent) Reported(bool)              {}
func (silent) Disconnected()              {}
func (silent) Exchange(string)            {}

func (s *stalling) Applied(int) {
	if s.w.stall != nil {
		<-s.w.stall
	}
}

// revoke revokes tokens at a hub, in one record, and returns its seq.
func (w *world) revoke(h *hub, jtis ...string) uint64 {
	w.Helper()
	var orders []feed.Order
	for _, jti := range jtis {
		orders = append(orders, feed.Order{Target: events.Target{Kind: events.KindToken, Iss: iss, Value: jti}, Reason: events.Logout})
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	res, err := h.feed.Revoke(ctx, feed.Caller{Actor: "tester", Source: "test"}, orders, false)
	w.must(err)
	return res.Position.Seq
}

// eventually waits for what the subscriber's status says.
func (w *world) eventually(what string, ok func(subscriber.Status) bool) {
	w.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		s := w.sub.Status()
		if ok(s) {
			return
		}
		if time.Now().After(end) {
			w.Fatalf("not within a minute: %s: %+v", what, s)
		}
	}
}

func (w *world) check(jti string) subscriber.Outcome {
	return w.sub.Check(events.Claims{Issuer: iss, ID: jti, IssuedAt: time.Now().UnixMilli()}).Outcome
}

func (w *world) mustEnforce(jtis ...string) {
	w.Helper()
	for _, jti := range jtis {
		w.eventually(jti+" is revoked", func(subscriber.Status) bool { return w.check(jti) == subscriber.Revoked })
	}
}

// mustReach waits until the subscriber is fresh at the head of a hub.
func (w *world) mustReach(h *hub) {
	w.Helper()
	w.eventually("fresh at the head", func(s subscriber.Status) bool {
		return s.State == subscriber.Fresh && s.Position == h.feed.Position().String()
	})
}

// mustGoStale waits until the proofs of before have lapsed, and a while longer.
func (w *world) mustGoStale() {
	w.Helper()
	w.eventually("stale", func(s subscriber.Status) bool {
		return s.State == subscriber.Stale && s.Staleness > staleness+staleness/2
	})
}

// mustResync checks how often a snapshot was needed, by why.
func (w *world) mustResync(want map[string]uint64) {
	w.Helper()
	if got := w.sub.Status().Resyncs; fmt.Sprint(got) != fmt.Sprint(want) {
		w.Fatalf("resyncs %v, want %v", got, want)
	}
}

var never = map[string]uint64{}

// forget makes the log anew: another history.
func (w *world) forget() {
	w.Helper()
	for _, h := range w.hubs {
		h.close()
	}
	nc := w.connect(w.nats)
	js, err := jetstream.New(nc)
	w.must(err)
	for _, name := range []string{"REVOCAST_default", "REVOCAST_default_TICKS"} {
		w.must(js.DeleteStream(context.Background(), name))
	}
}

// middle is who sits between, and may do what any network or attacker may.
type middle struct {
	mu     sync.Mutex
	down   bool                           // guarded by mu: nothing passes
	event  func(name, text string) string // guarded by mu: what passes in place of an event; "" nothing
	answer func(body []byte) []byte       // guarded by mu: in place of the answer to a report; nil: none
}

func (m *middle) with(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

func (m *middle) isDown() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.down
}

// pass is what becomes of an event.
func (m *middle) pass(text string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	name, _, _ := strings.Cut(strings.TrimPrefix(text, "event: "), "\n")
	if m.event == nil {
		return text
	}
	return m.event(name, text)
}

func (m *middle) passAnswer(body []byte) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.answer == nil {
		return body
	}
	return m.answer(slices.Clone(body))
}

// eventsIn splits what a hub wrote into events; none is cut in the stories.
func eventsIn(text string) (list []string) {
	for len(text) > 0 {
		i := strings.Index(text, "\n\n")
		if i < 0 {
			return append(list, text)
		}
		list, text = append(list, text[:i+2]), text[i+2:]
	}
	return list
}
