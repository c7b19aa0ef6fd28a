package feed

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/tmaxmax/go-sse"
	"go.uber.org/goleak"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/log"
)

func TestMain(m *testing.M) {
	if crowd, ok := os.LookupEnv(crowdEnv); ok { // this process is the readers of a benchmark
		if err := serveCrowd(crowd); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

const iss = "https://issuer.example"

// world is one feed on a real log, and what a test does to it.
type world struct {
	testing.TB
	dir    string
	sync   bool     // the log syncs before it acknowledges
	way    carriage // of the streams
	buffer int      // what the system keeps for each reader, about; 0: as much as it likes
	cfg    Config
	server *log.Server
	log    *log.Log
	feed   *Feed
	http   *httptest.Server
	close  func()
	asked  map[string]Result // what became of requests, by Idempotency-Key

	metrics    *prometheus.Registry
	inHandlers atomic.Int64 // requests

	mu      sync.Mutex
	now     time.Time // guarded by mu
	invalid bool      // guarded by mu: the credential is
}

type option func(*world, *Config, *log.Config)

func newWorld(t testing.TB, opts ...option) *world {
	w := &world{TB: t, dir: t.TempDir(), now: time.Now()}
	key, err := events.NewSigningKey(rand.Reader)
	w.must(err)
	w.metrics = prometheus.NewRegistry()
	w.cfg = Config{Keys: key, TickEvery: 50 * time.Millisecond, Heartbeat: 200 * time.Millisecond, Now: w.time, Metrics: NewMetrics(w.metrics)}
	w.start(opts...)
	t.Cleanup(func() { w.close() })
	return w
}

func (w *world) start(opts ...option) {
	w.Helper()
	server, err := log.StartServer(log.ServerConfig{Dir: w.dir, DangerouslySkipSync: !w.sync})
	w.must(err)
	nc, err := server.Connect()
	w.must(err)
	lc := log.Config{Feed: "default", Now: w.time}
	for _, o := range opts {
		o(w, &w.cfg, &lc)
	}
	l, err := log.Open(context.Background(), nc, lc)
	w.must(err)
	w.cfg.Log = l
	f, err := Open(context.Background(), w.cfg)
	w.must(err)
	w.server, w.log, w.feed = server, l, f
	w.serve()
	w.close = func() {
		w.http.CloseClientConnections()
		w.http.Close()
		f.Close()
		l.Close()
		nc.Close()
		server.Shutdown()
	}
}

// carriage is a way to carry streams.
type carriage string

const (
	taken     carriage = "taken"      // from the HTTP server, over TCP
	takenTLS  carriage = "taken TLS"  // the same, over TLS
	inHandler carriage = "in handler" // HTTP/1.1, by somebody in between who does not give connections away
	overHTTP2 carriage = "HTTP/2"
)

// carriages runs a test for each way to carry streams.
func carriages(t *testing.T, test func(t *testing.T, how option)) {
	for _, way := range []carriage{taken, takenTLS, inHandler, overHTTP2} {
		t.Run(string(way), func(t *testing.T) { test(t, by(way)) })
	}
}

func by(way carriage) option { return func(w *world, _ *Config, _ *log.Config) { w.way = way } }

// kept hides that a connection can be taken.
type kept struct {
	http.ResponseWriter
	rc *http.ResponseController
}

func (k kept) FlushError() error                   { return k.rc.Flush() }
func (k kept) SetWriteDeadline(at time.Time) error { return k.rc.SetWriteDeadline(at) }

// serve starts an HTTP server.
func (w *world) serve() {
	f, way := w.feed, w.way
	w.http = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.inHandlers.Add(1)
		defer w.inHandlers.Add(-1)
		rw.Header()["X-Middleware"] = []string{"a", "b"}
		if way == inHandler {
			rw = kept{rw, http.NewResponseController(rw)}
		}
		serve := map[string]func() error{
			"/v1/feed":     func() error { return f.ServeStream(rw, r, "tester", w.valid) },
			"/v1/snapshot": func() error { return f.ServeSnapshot(rw, r) },
		}[r.URL.Path]
		if err := serve(); err != nil {
			http.Error(rw, err.Error(), http.StatusTeapot)
		}
	}))
	if w.buffer > 0 {
		w.http.Config.ConnState = func(c net.Conn, state http.ConnState) {
			if state == http.StateNew {
				if err := transport(c).SetWriteBuffer(w.buffer); err != nil {
					w.Error(err)
				}
			}
		}
	}
	switch w.http.EnableHTTP2 = way == overHTTP2; way {
	case takenTLS, overHTTP2:
		w.http.TLS = &tls.Config{Certificates: []tls.Certificate{w.certificate()}}
		w.http.Listener = Gathering(w.http.Listener) // as the hub does
		w.http.StartTLS()
	default:
		w.http.Start()
	}
}

func transport(c net.Conn) *net.TCPConn {
	if s, ok := c.(*tls.Conn); ok {
		c = s.NetConn()
	}
	if g, ok := c.(*gatherer); ok {
		c = g.Conn
	}
	return c.(*net.TCPConn)
}

// certificate makes a certificate for the address of tests; signing with its
// key takes little time.
func (w *world) certificate() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.must(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"example.com"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	w.must(err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// restart stops everything and starts it again on the same directory.
func (w *world) restart() {
	w.Helper()
	w.close()
	w.start()
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) time() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) valid() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.invalid
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func target(kind events.Kind, value string) events.Target {
	return events.Target{Kind: kind, Iss: iss, Value: value}
}

func (w *world) order(o Order) Result {
	w.Helper()
	res, err := w.feed.Revoke(context.Background(), Caller{Actor: "tester", Source: "test"}, []Order{o}, false)
	w.must(err)
	w.check()
	return res
}

// revoke revokes one target and returns the id.
func (w *world) revoke(kind events.Kind, value string) events.ID {
	w.Helper()
	return w.order(Order{Target: target(kind, value), Reason: events.Logout}).Revocations[0].ID
}

func (w *world) restore(id events.ID) {
	w.Helper()
	_, err := w.feed.Restore(context.Background(), Caller{Actor: "tester", Source: "test"}, RestoreOrder{ID: id, Reason: events.Admin})
	w.must(err)
	w.check()
}

func (w *world) mustRefuse(err error, code Code) {
	w.Helper()
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Code != code {
		w.Fatalf("got %v, want a refusal with code %s", err, code)
	}
}

func (w *world) matches(c events.Claims) bool {
	c.Issuer = iss
	_, ok := w.feed.Match(c)
	return ok
}

// check holds the invariant: what the feed knows is what a naive reading of
// the whole log adds up to.
func (w *world) check() {
	w.Helper()
	type said struct {
		key  events.Key
		kind events.Kind
		term events.Term

		effective int64
	}
	now := w.time().Unix()
	byID := make(map[events.ID]said)
	for r, err := range w.feed.Audit(context.Background(), 0) {
		w.must(err)
		for _, op := range r.Ops {
			if op.Verb == events.Restore {
				delete(byID, op.ID)
			} else {
				byID[op.ID] = said{w.feed.salt.Key(op.Target), op.Target.Kind, op.Term(w.feed.salt), int64(op.EffectiveAt)}
			}
		}
	}
	want := make(map[events.Key]said)
	live := 0
	for _, s := range byID {
		if !s.term.Live(now) {
			continue
		}
		live++
		if s.effective > w.time().UnixMilli() {
			continue
		}
		if have, ok := want[s.key]; ok {
			s.term = s.term.Join(have.term)
		}
		want[s.key] = s
	}
	for key, s := range want {
		if t, ok := w.feed.live.Lookup(s.kind, key); !ok || t != s.term {
			w.Fatalf("live set says %+v %v of a %s, the log %+v", t, ok, s.kind, s.term)
		}
	}
	have := 0
	for _, k := range events.Kinds() {
		for key, t := range w.feed.live.All(k) {
			if _, ok := want[key]; t.Live(now) && !ok {
				w.Fatalf("live set has a %s that the log has not", k)
			} else if ok {
				have++
			}
		}
	}
	list, _, err := w.feed.List(context.Background(), Filter{}, Cursor{}, 1_000_000)
	w.must(err)
	if have != len(want) || len(list) != live {
		w.Fatalf("live set has %d targets and the list %d revocations; the log has %d and %d", have, len(list), len(want), live)
	}
}

// ended is how many streams have ended for a reason.
func (w *world) ended(why string) (n int) {
	w.Helper()
	families, err := w.metrics.Gather()
	w.must(err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "revocast_streams_ended_total" && m.GetLabel()[0].GetValue() == why {
				n += int(m.GetCounter().GetValue())
			}
		}
	}
	return n
}

// await waits until something is so.
func (w *world) await(what string, so func() bool) {
	w.Helper()
	for deadline := time.Now().Add(20 * time.Second); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("20 s have passed, and still not: %s", what)
		}
	}
}

// reader is a subscriber reduced to the protocol: it keeps a fold of its own
// from what the stream gives it, and an independent parser reads the stream.
type reader struct {
	*world
	set    *events.LiveSet
	hello  events.Hello
	at     events.Position
	chain  events.Chain
	ticks  int
	events chan sse.Event
	cancel context.CancelFunc // of a stream that the reader has opened itself
	raw    net.Conn           // of one that a test has opened by hand
	resp   *http.Response
}

func (w *world) newReader() *reader { return &reader{world: w, set: events.NewLiveSet()} }

// connect opens the stream at the reader's position and reads the hello.
func (r *reader) connect() {
	r.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	req, err := http.NewRequestWithContext(ctx, "GET", r.http.URL+"/v1/feed", nil)
	r.must(err)
	if r.at != (events.Position{}) {
		req.Header.Set("Last-Event-ID", r.at.String())
	}
	req.Header.Set(SubscriberHeader, "reader")
	r.resp, err = r.http.Client().Transport.RoundTrip(req)
	r.must(err)
	if r.resp.StatusCode != 200 {
		body, _ := io.ReadAll(r.resp.Body)
		r.Fatalf("feed: %s: %s", r.resp.Status, body)
	}
	r.follow()
}

// follow reads the stream of an answer from its hello on.
func (r *reader) follow() {
	r.Helper()
	ch := make(chan sse.Event, 4096)
	r.events = ch
	body := r.resp.Body
	go func() {
		defer close(ch)
		for ev, err := range sse.Read(body, &sse.ReadConfig{MaxEventSize: 8 << 20}) {
			if err != nil {
				return
			}
			ch <- ev
		}
	}()
	r.Cleanup(r.disconnect)
	ev := r.next()
	if ev.Type != events.EventHello {
		r.Fatalf("first event is %q", ev.Type)
	}
	r.hello = events.Hello{}
	r.must(json.Unmarshal([]byte(ev.Data), &r.hello))
}

func (r *reader) disconnect() {
	if r.cancel != nil {
		r.cancel()
	}
	if r.raw != nil {
		r.raw.Close()
	}
	r.resp.Body.Close()
	for range r.events {
	}
}

func (r *reader) next() sse.Event {
	r.Helper()
	select {
	case ev, ok := <-r.events:
		if !ok {
			r.Fatal("the stream ended")
		}
		return ev
	case <-time.After(20 * time.Second):
		r.Fatal("nothing came for 20 s")
	}
	panic("unreachable")
}

// take applies one event as the protocol says.
func (r *reader) take(ev sse.Event) {
	r.Helper()
	switch ev.Type {
	case events.EventRecord:
		var f events.RecordFrame
		r.must(json.Unmarshal([]byte(ev.Data), &f))
		if f.Seq != r.at.Seq+1 || ev.LastEventID != fmt.Sprintf("%s:%d", r.hello.Epoch, f.Seq) {
			r.Fatalf("record %d with id %s after %d", f.Seq, ev.LastEventID, r.at.Seq)
		}
		if r.chain = r.chain.Next(events.HashPart(f.Feed), f.Audit); r.chain != f.Chain {
			r.Fatalf("chain broken at %d", f.Seq)
		}
		part, err := events.ParseFeed(f.Feed)
		r.must(err)
		for _, op := range part.Ops {
			r.set.Apply(op, r.time().UnixMilli())
		}
		r.at = events.Position{Epoch: r.hello.Epoch, Seq: f.Seq}
	case events.EventTick:
		var tick events.Tick
		r.must(json.Unmarshal([]byte(ev.Data), &tick))
		r.must(tick.Verify("default", r.hello.Epoch, r.hello.Keys))
		// Records may overtake a tick while it is written, never the reverse.
		if tick.Seq > r.at.Seq || tick.Seq == r.at.Seq && tick.Chain != r.chain {
			r.Fatalf("tick for %d after record %d", tick.Seq, r.at.Seq)
		}
		r.ticks++
	default:
		r.Fatalf("event %q", ev.Type)
	}
}

// catchUp reads until the record at the feed's head has been applied, and
// compares the reader's set with the feed's.
func (r *reader) catchUp() {
	r.Helper()
	for r.at.Seq < r.feed.Position().Seq {
		r.take(r.next())
	}
	for _, k := range events.Kinds() {
		n := 0
		for key, t := range r.feed.live.All(k) {
			if u, ok := r.set.Lookup(k, key); !ok || u != t {
				r.Fatalf("reader has %+v %v for a %s, the hub %+v", u, ok, k, t)
			}
			n++
		}
		if r.set.LenKind(k) != n {
			r.Fatalf("reader has %d of kind %s, the hub %d", r.set.LenKind(k), k, n)
		}
	}
}

// loadSnapshot fetches and loads the snapshot.
func (r *reader) loadSnapshot() {
	r.Helper()
	resp, err := r.http.Client().Get(r.http.URL + "/v1/snapshot")
	r.must(err)
	defer resp.Body.Close()
	s, err := events.ReadSnapshot(bufio.NewReader(resp.Body), 1<<30)
	r.must(err)
	if got := strings.Trim(resp.Header.Get("ETag"), `"`); got != s.Position().String() {
		r.Fatalf("ETag %s, position %s", got, s.Position())
	}
	r.set, r.at, r.chain = s.Set, s.Position(), s.Chain
}
