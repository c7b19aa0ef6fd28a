package log

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/internal/natstest"
)

func TestMain(m *testing.M) {
	// Each check makes streams on a real disk; -rapid.checks asks for more.
	_ = flag.Set("rapid.checks", "20")
	code := m.Run()
	if cluster.Cluster != nil {
		cluster.Shutdown()
	}
	if regions.Regions != nil {
		regions.Shutdown()
	}
	if err := natstest.Leaks(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// quiet is for servers and logs whose complaints are the point of the test.
var quiet = slog.New(slog.DiscardHandler)

// soon bounds what should take milliseconds.
const soon = 20 * time.Second

// world is an embedded server and what is connected to it. All of it ends with
// the test.
type world struct {
	testing.TB
	dir string
	srv atomic.Pointer[Server]

	mu    sync.Mutex
	conns []*nats.Conn // guarded by mu
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{TB: t, dir: t.TempDir()}
	w.startServer()
	return w
}

func (w *world) startServer() {
	w.Helper()
	srv, err := StartServer(ServerConfig{Dir: w.dir, MaxStore: 1 << 30, Logger: quiet})
	if err != nil {
		w.Fatal(err)
	}
	w.srv.Store(srv)
	w.Cleanup(srv.Shutdown)
}

// stopServer returns when every connection has noticed.
func (w *world) stopServer() {
	w.Helper()
	w.srv.Load().Shutdown()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, nc := range w.conns {
		w.until("a connection is lost", func() bool { return !nc.IsConnected() })
	}
}

// InProcessConn makes connections find the server that runs at the moment, as
// those to a cluster would.
func (w *world) InProcessConn() (net.Conn, error) { return w.srv.Load().nats.InProcessConn() }

func (w *world) connect() *nats.Conn {
	w.Helper()
	nc, err := nats.Connect("", nats.InProcessServer(w), nats.Timeout(soon), nats.MaxReconnects(-1),
		nats.ReconnectWait(10*time.Millisecond), nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrSlowConsumer) {
				w.Errorf("messages were lost in the client: %v", err)
			}
		}))
	if err != nil {
		w.Fatal(err)
	}
	w.mu.Lock()
	w.conns = append(w.conns, nc)
	w.mu.Unlock()
	w.Cleanup(nc.Close)
	return nc
}

// js is for what no hub does.
func (w *world) js() jetstream.JetStream {
	w.Helper()
	js, err := jetstream.New(w.connect())
	if err != nil {
		w.Fatal(err)
	}
	return js
}

func (w *world) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	w.Cleanup(cancel)
	return ctx
}

// open opens the log as one more hub does, with its own connection.
func (w *world) open(change ...func(*Config)) *Log {
	w.Helper()
	l, err := w.tryOpen(change...)
	if err != nil {
		w.Fatal(err)
	}
	return l
}

func (w *world) tryOpen(change ...func(*Config)) (*Log, error) {
	w.Helper()
	cfg := Config{Feed: "default", Retention: 24 * time.Hour, Logger: quiet}
	for _, f := range change {
		f(&cfg)
	}
	l, err := Open(w.ctx(), w.connect(), cfg)
	if err == nil {
		w.Cleanup(l.Close)
	}
	return l, err
}

// reader is a follower and what it was given.
type reader struct {
	*world
	log  *Log
	stop context.CancelFunc
	done chan struct{} // closed when Follow has returned
	err  error         // what it returned; after done

	mu      sync.Mutex
	entries []Entry             // guarded by mu
	seen    map[string][]uint64 // guarded by mu: the records that name a target
}

// follow follows the log until the test ends.
func (w *world) follow(l *Log) *reader {
	r := &reader{seen: make(map[string][]uint64)}
	return w.followWith(l, r, r.apply)
}

// followBlindly keeps nothing.
func (w *world) followBlindly(l *Log) *reader {
	return w.followWith(l, &reader{}, func(Entry) error { return nil })
}

func (w *world) followWith(l *Log, r *reader, apply func(Entry) error) *reader {
	ctx, stop := context.WithCancel(context.Background())
	r.world, r.log, r.stop, r.done = w, l, stop, make(chan struct{})
	go func() {
		defer close(r.done)
		r.err = l.Follow(ctx, apply)
	}()
	w.Cleanup(func() {
		stop()
		<-r.done
	})
	return r
}

func (r *reader) apply(e Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(r.entries, e)
	for _, name := range namesIn(r, e) {
		r.seen[name] = append(r.seen[name], e.Seq)
	}
	return nil
}

func (r *reader) where(name string) []uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen[name])
}

// catchUp waits until the reader is at the head, and returns all it was given.
func (r *reader) catchUp() []Entry {
	r.Helper()
	head, err := r.log.Head(r.ctx())
	if err != nil {
		r.Fatal(err)
	}
	if err := r.log.WaitFollowed(r.ctx(), head); err != nil {
		r.Fatalf("the follower is not at %d: %v", head, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.entries)
}

// mustFail waits for the follower to find a fault.
func (r *reader) mustFail(want Fault) *HistoryError {
	r.Helper()
	select {
	case <-r.done:
	case <-time.After(soon):
		r.Fatal("the follower did not notice")
	}
	var h *HistoryError
	if !errors.As(r.err, &h) || h.Fault != want {
		r.Fatalf("the follower ended with %v, want history %s", r.err, want)
	}
	if _, err := r.log.Append(r.ctx(), Proposal{Draft: draftOf(r, "too-late")}); !errors.As(err, &h) {
		r.Fatalf("append to a broken history: %v", err)
	}
	if err := r.log.WaitFollowed(r.ctx(), 1<<60); !errors.As(err, &h) {
		r.Fatalf("wait for a broken history: %v", err)
	}
	return h
}

// append appends one operation for each name, in one proposal.
func (w *world) append(l *Log, names ...string) Receipt {
	w.Helper()
	got, err := l.Append(w.ctx(), Proposal{Draft: draftOf(w, names...)})
	if err != nil {
		w.Errorf("append %d operations, %.20q first: %v", len(names), names[0], err)
	}
	return got
}

// once is a request that may be sent again: it is answered with the record
// that the reader has of it already, if any.
func (r *reader) once(name string) Proposal {
	return Proposal{Draft: draftOf(r, name), Key: keyOf(name), Settle: func() (events.Draft, *Receipt, error) {
		if at := r.where(name); len(at) > 0 {
			return events.Draft{}, &Receipt{Seq: at[0], Replayed: true}, nil
		}
		return events.Draft{}, nil, nil
	}}
}

func keyOf(name string) events.Key {
	sum := sha256.Sum256([]byte(name))
	return events.Key(sum[:])
}

// draftOf makes a draft of one operation for each name.
func draftOf(t testing.TB, names ...string) events.Draft {
	t.Helper()
	var d events.Draft
	for _, name := range names {
		target := events.Target{Kind: events.KindToken, Iss: "https://issuer.example", Value: name}
		op := events.Op{
			Verb: events.Revoke,
			Key:  events.Salt{}.Key(target),
			Kind: events.KindToken,
			Term: events.Term{Exp: 1764000000},
			ID:   "rev_01KAMYC1W0AAAAAAAAAAAAAAAA",
		}
		full := events.AuditOp{
			Verb: events.Revoke, ID: op.ID, Target: target, RetainUntil: 1764000000000,
			Reason: events.Logout, Actor: "tester", Source: "api",
		}
		if err := d.Add(op, full); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// namesIn lists the targets of a record, in order.
func namesIn(t testing.TB, e Entry) []string {
	_, ops, err := events.ParseAudit(e.Audit)
	if err != nil {
		t.Errorf("record %d: %v", e.Seq, err)
	}
	names := make([]string, len(ops))
	for i, op := range ops {
		names[i] = op.Target.Value
	}
	return names
}

// network is between a log and its server, and loses what it is told to.
type network struct {
	*Log
	fate atomic.Int32 // of the next message; then it is delivered again
	held *nats.Msg    // by the committer's goroutine: delivered before the next message
}

const (
	delivered  int32 = iota
	answerLost       // stored, but nobody hears of it
	lost             // never stored
	late             // stored, or refused, after the log has looked for it
)

func (w *world) network(l *Log) *network {
	n := &network{Log: l}
	l.publish = n.publish
	return n
}

func (n *network) publish(ctx context.Context, msg *nats.Msg) (*jetstream.PubAck, error) {
	if n.held != nil {
		_, _ = n.publishOnce(ctx, n.held)
		n.held = nil
	}
	switch n.fate.Swap(delivered) {
	case answerLost:
		if _, err := n.publishOnce(ctx, msg); err != nil {
			return nil, err
		}
		return nil, context.DeadlineExceeded
	case lost:
		return nil, context.DeadlineExceeded
	case late:
		n.held = msg
		return nil, context.DeadlineExceeded
	}
	return n.publishOnce(ctx, msg)
}

// intrude appends a record from outside any hub, after what is the head now.
// spoil, if not nil, may change the message.
func (w *world) intrude(l *Log, draft events.Draft, spoil func(*nats.Msg)) {
	w.Helper()
	if err := w.tryIntrude(l, draft, spoil); err != nil {
		w.Fatal(err)
	}
}

func (w *world) tryIntrude(l *Log, draft events.Draft, spoil func(*nats.Msg)) error {
	w.Helper()
	h, err := l.learn(w.ctx())
	if err != nil {
		return err
	}
	msg, _ := encode(logSubject(l.Feed()), draft.Message(max(h.at, events.At(time.Now()))), h.chain)
	if spoil != nil {
		spoil(msg)
	}
	_, err = l.js.PublishMsg(w.ctx(), msg, jetstream.WithExpectLastSequence(h.seq))
	return err
}
