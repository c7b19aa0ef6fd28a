package natsfeed

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/go-json-experiment/json"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/subscriber"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a NATS server, a hub of which the test says each word, and a
// transport.
type world struct {
	*testing.T
	server    *server.Server
	hub       *nats.Conn
	transport *Transport

	mu  sync.Mutex
	log string // guarded by mu: what attach and read are answered with
}

func newWorld(t *testing.T, permissions *server.Permissions) *world {
	w := &world{T: t}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, AuthTimeout: 60, Users: []*server.User{
		{Username: "hub", Password: "h"}, {Username: "sub", Password: "s", Permissions: permissions}}})
	w.must(err)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server does not start")
	}
	w.server = s
	w.hub, err = nats.Connect(s.ClientURL(), nats.UserInfo("hub", "h"), nats.Timeout(time.Minute))
	w.must(err)
	t.Cleanup(w.hub.Close)
	w.transport, err = New(Config{URLs: []string{s.ClientURL()}, Options: []nats.Option{nats.UserInfo("sub", "s"), nats.Timeout(time.Minute)}})
	w.must(err)
	t.Cleanup(w.transport.Close)
	w.serve(events.HubAttach, func([]byte) *nats.Msg {
		return message(events.LogPiece{Run: "r1", Head: int64(len(w.log))}, "event: hello\ndata: {}\n\n")
	})
	w.serve(events.HubRead, func(body []byte) *nats.Msg {
		var r events.ReadRequest
		w.must(json.Unmarshal(body, &r))
		piece := w.log[r.Offset:min(int(r.Offset)+7, len(w.log))] // odd, so that all is cut in odd places
		return message(events.LogPiece{Run: "r1", Offset: r.Offset, Length: len(piece), Head: int64(len(w.log))}, piece)
	})
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) serve(what string, answer func([]byte) *nats.Msg) {
	w.Helper()
	_, err := w.hub.Subscribe(events.HubSubject("default", "h", what), func(m *nats.Msg) {
		w.mu.Lock()
		defer w.mu.Unlock()
		_ = m.RespondMsg(answer(m.Data))
	})
	w.must(err)
	w.must(w.hub.Flush())
}

func message(p events.LogPiece, text string) *nats.Msg {
	m := nats.NewMsg("")
	m.Header.Set(events.HeaderLog, p.String())
	m.Data = []byte(text)
	return m
}

// say publishes a frame.
func (w *world) say(p events.LogPiece, text string) {
	w.Helper()
	m := message(p, text)
	m.Subject = events.HubSubject("default", "h", events.HubFrames)
	w.must(w.hub.PublishMsg(m))
	w.must(w.hub.Flush())
}

// received is a Receiver that hands on what comes, and waits until it is taken.
type received chan subscriber.Event

func (r received) Alive()                   {}
func (r received) Event(e subscriber.Event) { r <- e }

// follow follows the hub; got has what comes, and ended why it is over.
func (w *world) follow() (got received, ended <-chan error) {
	got = make(received)
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan struct{})
	go func() {
		defer close(over)
		done <- w.transport.Follow(ctx, "h", subscriber.Start{Subscriber: "s"}, got)
	}()
	w.Cleanup(func() {
		cancel()
		for {
			select {
			case <-got:
			case <-over:
				return
			}
		}
	})
	return got, done
}

func (r received) mustBe(t *testing.T, names ...string) {
	t.Helper()
	for _, want := range names {
		select {
		case e := <-r:
			if got := strings.TrimSpace(e.Name + " " + e.ID); got != want {
				t.Fatalf("%q comes, want %q", got, want)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("no %s", want)
		}
	}
}

func record(n int) string {
	return fmt.Sprintf("event: record\ndata: {\"seq\":%d}\nid: e:%d\n\n", n, n)
}

// What is missing is read, what overlaps is skipped, and what is new comes, in
// order and once.
func TestStream(t *testing.T) {
	w := newWorld(t, nil)
	w.log = record(1) + record(2)
	end := int64(len(w.log))
	got, _ := w.follow()
	got.mustBe(t, "hello", "record e:1", "record e:2")
	half := record(3)[:9]
	w.say(events.LogPiece{Run: "r1", Offset: 0, Length: len(record(1)), Head: end}, record(1)) // again
	w.say(events.LogPiece{Run: "r1", Offset: end - 5, Length: 5 + len(half), Head: end + 100}, w.log[end-5:]+half)
	w.say(events.LogPiece{Run: "r1", Offset: end, Length: 0, Head: end}, ":\n\n")
	w.say(events.LogPiece{Run: "r1", Offset: end + 9, Length: len(record(3)) - 9, Head: end + 100}, record(3)[9:]+"event: tick\ndata: {}\n\n:\n\n")
	got.mustBe(t, "record e:3", "tick")
}

// What can't be delivered without a gap, or is no stream, ends it.
func TestEnds(t *testing.T) {
	for name, c := range map[string]struct {
		say  func(w *world)
		want string
	}{
		"lost piece":       {func(w *world) { w.say(events.LogPiece{Run: "r1", Offset: 10, Length: 3, Head: 13}, "abc") }, "10 bytes of the stream got lost"},
		"lost, then quiet": {func(w *world) { w.say(events.LogPiece{Run: "r1", Offset: 10, Head: 10}, ":\n\n") }, "10 bytes of the stream got lost"},
		"hub restarted":    {func(w *world) { w.say(events.LogPiece{Run: "r2"}, ":\n\n") }, errRestarted.Error()},
		"no header": {func(w *world) {
			w.must(w.hub.Publish(events.HubSubject("default", "h", events.HubFrames), []byte(":\n\n")))
		}, errMessage.Error()},
		"half an event beside the log": {func(w *world) { w.say(events.LogPiece{Run: "r1"}, "event: tick\n") }, errMessage.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			got, ended := w.follow()
			got.mustBe(t, "hello")
			w.say(events.LogPiece{Run: "r1"}, "event: tick\ndata: {}\n\n") // the control: this one does not
			got.mustBe(t, "tick")
			c.say(w)
			select {
			case err := <-ended:
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, want %s", err, c.want)
				}
			case <-time.After(30 * time.Second):
				t.Error("goes on")
			}
		})
	}
}

// A receiver that takes nothing loses the stream, and the memory is bounded.
func TestSlowConsumer(t *testing.T) {
	w := newWorld(t, nil)
	got, ended := w.follow()
	got.mustBe(t, "hello")
	for range maxPendingMsgs * 2 {
		m := message(events.LogPiece{Run: "r1"}, "event: tick\ndata: {}\n\n")
		m.Subject = events.HubSubject("default", "h", events.HubFrames)
		w.must(w.hub.PublishMsg(m))
	}
	w.must(w.hub.Flush())
	for end := time.Now().Add(30 * time.Second); w.transport.nc.Stats().InMsgs < maxPendingMsgs*2; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the frames do not arrive")
		}
	}
	for {
		select {
		case <-got:
		case err := <-ended:
			if !errors.Is(err, nats.ErrSlowConsumer) {
				t.Errorf("%v, want %v", err, nats.ErrSlowConsumer)
			}
			return
		case <-time.After(30 * time.Second):
			t.Fatal("goes on")
		}
	}
}

// A missing permission is told as what it is: for a person to grant.
func TestPermissions(t *testing.T) {
	for name, p := range map[string]*server.Permissions{
		"listen": {Subscribe: &server.SubjectPermission{Deny: []string{"revocast.default.hub.*.frames"}}},
		"attach": {Publish: &server.SubjectPermission{Deny: []string{"revocast.default.hub.*.attach"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, p)
			got, ended := w.follow()
			if name == "listen" {
				got.mustBe(t, "hello")
			}
			select {
			case err := <-ended:
				if refused := (*subscriber.RefusedError)(nil); !errors.As(err, &refused) || !refused.Credential {
					t.Errorf("%v, want a refusal of the credential", err)
				}
			case <-time.After(30 * time.Second):
				t.Error("goes on")
			}
		})
	}
}

// Hubs come, are listed in one order, and go: when they say so, or are silent.
func TestHubs(t *testing.T) {
	h, now := newHubs(), time.Now()
	say := func(p events.Presence) {
		data, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		h.take(data, now)
	}
	list := func() string { l, _ := h.there(now); return strings.Join(l, " ") }
	say(events.Presence{Hub: "a", EveryMS: 1000})
	say(events.Presence{Hub: "b", EveryMS: 1000})
	say(events.Presence{Hub: "not a hub", EveryMS: 1000})
	h.take([]byte("{"), now)
	both := list()
	if both != "a b" && both != "b a" || both != list() {
		t.Fatalf("%q", both)
	}
	say(events.Presence{Hub: "a", Leaving: true})
	if list() != "b" {
		t.Errorf("%q after a has left", list())
	}
	now = now.Add(missed*time.Second + 1)
	if list() != "" {
		t.Errorf("%q after a silence", list())
	}
	for i := range 2 * maxHubs {
		say(events.Presence{Hub: fmt.Sprint("h", i), EveryMS: 1 << 30})
	}
	if l, _ := h.there(now); len(l) != maxHubs {
		t.Errorf("%d hubs are known", len(l))
	}
	now = now.Add(missed*maxPresence + 1)
	if list() != "" {
		t.Error("a hub says for how long it is believed")
	}
}

func TestConfig(t *testing.T) {
	for _, c := range []Config{{}, {Feed: "a.b", URLs: []string{"nats://x"}}, {Conn: new(nats.Conn), URLs: []string{"nats://x"}}} {
		if _, err := New(c); !errors.As(err, new(*subscriber.ConfigError)) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
