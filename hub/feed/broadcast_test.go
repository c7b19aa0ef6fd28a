package feed

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/log"
)

// listening is the feed over NATS, as somebody sees it who has no more than a
// connection.
type listening struct {
	*world
	nc     *nats.Conn
	cast   *Broadcast
	frames *nats.Subscription
}

func newListening(t *testing.T, opts ...option) *listening {
	l := &listening{world: newWorld(t, opts...)}
	var err error
	l.nc, err = l.server.Connect()
	l.must(err)
	hub, err := l.server.Connect()
	l.must(err)
	l.frames, err = l.nc.SubscribeSync(events.HubSubject("default", "h1", events.HubFrames))
	l.must(err)
	l.must(l.nc.Flush())
	l.cast, err = l.feed.ServeNATS(hub, "h1")
	l.must(err)
	l.must(hub.Flush())                                                             // nobody has discovered it yet
	t.Cleanup(func() { l.cast.Close(); l.cast.Close(); hub.Close(); l.nc.Close() }) // before the world's
	return l
}

var someSession = strings.Repeat("s", 16)

// ask sends a request and returns the answer and its code.
func (l *listening) ask(what string, req any) (*nats.Msg, int) {
	l.Helper()
	body, err := json.Marshal(req)
	l.must(err)
	m, err := l.nc.Request(events.HubSubject("default", "h1", what), body, 30*time.Second)
	l.must(err)
	code, err := strconv.Atoi(m.Header.Get(events.HeaderCode))
	if err != nil {
		code = 200
	}
	return m, code
}

func (l *listening) mustAnswer(what string, req any, want int) *nats.Msg {
	l.Helper()
	m, code := l.ask(what, req)
	if code != want {
		l.Fatalf("%s %+v: code %d (%s), want %d", what, req, code, m.Header.Get(events.HeaderError), want)
	}
	return m
}

func (l *listening) piece(m *nats.Msg) events.LogPiece {
	l.Helper()
	p, err := events.ParseLogPiece(m.Header.Get(events.HeaderLog), len(m.Data))
	l.must(err)
	return p
}

// What is published and what is read are the same log, without a gap, in
// messages that are not large.
func TestBroadcastIsTheLog(t *testing.T) {
	l := newListening(t)
	att := l.mustAnswer(events.HubAttach, events.AttachRequest{Session: someSession, Subscriber: "s"}, 200)
	p := l.piece(att)
	if !bytes.HasPrefix(att.Data, []byte("event: hello\n")) || p.Length != 0 {
		t.Fatalf("%v %s", p, att.Data)
	}
	var orders []Order
	for i := range 1000 {
		orders = append(orders, Order{Target: target(events.KindToken, fmt.Sprint("t", i)), Reason: events.Logout})
	}
	for range 6 {
		_, err := l.feed.Revoke(t.Context(), Caller{Actor: "tester", Source: "test"}, orders, false)
		l.must(err)
	}
	end := l.feed.frames.headOffset()
	var heard, read []byte
	ticks := 0
	for at := p.Offset; at < end; {
		m, err := l.frames.NextMsg(30 * time.Second)
		l.must(err)
		f := l.piece(m)
		if f.Offset != at || f.Length > pieceSize {
			t.Fatalf("%v after %d", f, at)
		}
		heard = append(heard, m.Data[:f.Length]...)
		at += int64(f.Length)
		ticks += bytes.Count(m.Data[f.Length:], []byte("event: tick\n"))
	}
	for int64(len(read)) < end-p.Offset {
		m := l.mustAnswer(events.HubRead, events.ReadRequest{Session: someSession, Run: p.Run, Offset: p.Offset + int64(len(read))}, 200)
		if f := l.piece(m); f.Length == 0 || f.Length > pieceSize {
			t.Fatal(f)
		}
		read = append(read, m.Data...)
	}
	if end < 2*pieceSize || !bytes.Equal(heard, read) {
		t.Errorf("%d bytes heard, %d read", len(heard), len(read))
	}
	for ticks == 0 { // they come whether or not there is news
		m, err := l.frames.NextMsg(30 * time.Second)
		l.must(err)
		ticks += bytes.Count(m.Data, []byte("event: tick\n"))
	}
}

func TestBroadcastRefuses(t *testing.T) {
	l := newListening(t, func(_ *world, c *Config, _ *log.Config) { c.MaxSubscribers, c.MaxPerActor = 2, 2 })
	l.revoke(events.KindToken, "t")
	run := l.piece(l.mustAnswer(events.HubAttach, events.AttachRequest{Session: someSession, Subscriber: "s"}, 200)).Run
	report := events.Report{Subscriber: "s", State: "fresh", Nonce: "n"}
	for _, c := range []struct {
		what string
		req  any
		code int
	}{
		{events.HubAttach, events.AttachRequest{Session: "short", Subscriber: "s"}, 400},
		{events.HubAttach, events.AttachRequest{Session: someSession, Subscriber: "a\nb"}, 400},
		{events.HubAttach, events.AttachRequest{Session: someSession, After: "x"}, 400},
		{events.HubAttach, []int{1}, 400},
		{events.HubAttach, strings.Repeat("x", maxRequest), 400},
		{events.HubRead, events.ReadRequest{Session: someSession, Run: run, Offset: 1 << 50}, 400},
		{events.HubRead, events.ReadRequest{Session: someSession, Run: run, Offset: -1}, 410},
		{events.HubRead, events.ReadRequest{Session: someSession, Run: "another"}, 410},
		{events.HubSnapshot, events.SnapshotRequest{Session: someSession, Position: "e:1"}, 410},
		{events.HubSnapshot, events.SnapshotRequest{Session: someSession, Offset: 1 << 50}, 400},
		{events.HubReport, events.ReportRequest{Session: someSession}, 400},
		{events.HubReport, events.ReportRequest{Session: "short", Report: report}, 400},
		// The controls, and the bound.
		{events.HubReport, events.ReportRequest{Session: someSession, Report: report}, 200},
		{events.HubRead, events.ReadRequest{Session: someSession, Run: run}, 200},
		{events.HubAttach, events.AttachRequest{Session: someSession + "2", Subscriber: "s2"}, 200},
		{events.HubAttach, events.AttachRequest{Session: someSession + "3", Subscriber: "s3"}, 503},
	} {
		l.mustAnswer(c.what, c.req, c.code)
	}
	// Who leaves makes room.
	body, _ := json.Marshal(events.DetachRequest{Session: someSession})
	l.must(l.nc.Publish(events.HubSubject("default", "h1", events.HubDetach), body))
	for end := time.Now().Add(30 * time.Second); l.feed.audience.size() != 1; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not leave")
		}
	}
	l.mustAnswer(events.HubAttach, events.AttachRequest{Session: someSession + "3", Subscriber: "s3"}, 200)
}

// A session that asks too often is told so; another one is not.
func TestBroadcastRate(t *testing.T) {
	s := newSessions(newWorld(t).feed)
	refused := 0
	for range sessionBurst * 4 {
		if s.admit(someSession) == errTooFast {
			refused++
		}
	}
	if refused == 0 {
		t.Error("nobody is refused")
	}
	if err := s.admit(someSession + "2"); err != nil {
		t.Error(err)
	}
}

// Who says nothing for long is not counted, until it reports.
func TestBroadcastLapse(t *testing.T) {
	w := newWorld(t)
	s := newSessions(w.feed)
	w.must(s.admit(someSession))
	w.must(s.join(someSession, "s", 0))
	s.sweep()
	if w.feed.audience.size() != 1 {
		t.Fatal("gone at once")
	}
	s.by[someSession].heard = time.Now().Add(-sessionLapse - time.Second)
	s.sweep()
	if w.feed.audience.size() != 0 || len(s.by) != 0 {
		t.Error("still counted")
	}
	w.must(s.admit(someSession))
	w.must(s.join(someSession, "s", 0))
	if w.feed.audience.size() != 1 {
		t.Error("not counted again")
	}
	s.close()
}

// A copy stays for who has begun it, though the log goes on, and there are
// never many.
func TestCopies(t *testing.T) {
	w := newWorld(t)
	var c copies
	w.revoke(events.KindToken, "t0")
	first, err := c.get(w.feed, "")
	w.must(err)
	bytesThen := slices.Clone(first.data)
	for i := range 2 * maxCopies {
		w.revoke(events.KindToken, fmt.Sprint("t", i))
		w.feed.snapshots.builtAt = time.Time{} // that one is not to be handed out again
		_, err := c.get(w.feed, "")
		w.must(err)
		if len(c.list) > maxCopies {
			t.Fatalf("%d copies", len(c.list))
		}
	}
	again, err := c.get(w.feed, first.at.String())
	w.must(err)
	if !bytes.Equal(again.data, bytesThen) {
		t.Error("another copy under the same position")
	}
	for _, e := range c.list {
		e.used = time.Now().Add(-copyLapse - time.Second)
	}
	if _, err := c.get(w.feed, first.at.String()); err != errGone || len(c.list) != 0 {
		t.Errorf("after a while: %v, %d copies", err, len(c.list))
	}
}

// A hub that drains takes its leave once, is not offered any more, and takes
// nobody in.
func TestBroadcastDrains(t *testing.T) {
	l := newListening(t)
	presences, err := l.nc.SubscribeSync(events.HubsSubject("default"))
	l.must(err)
	presence := func() (p events.Presence) {
		m, err := presences.NextMsg(30 * time.Second)
		l.must(err)
		l.must(json.Unmarshal(m.Data, &p))
		return p
	}
	if p := presence(); p.Hub != "h1" || p.Leaving || p.EveryMS != 200 {
		t.Errorf("%+v", p)
	}
	l.feed.Drain(70 * time.Millisecond)
	for !presence().Leaving {
	}
	l.mustAnswer(events.HubAttach, events.AttachRequest{Session: someSession, Subscriber: "s"}, 503)
	l.cast.Close()
	byes := 0
	for {
		m, err := l.frames.NextMsg(200 * time.Millisecond)
		if err != nil {
			break
		}
		byes += bytes.Count(m.Data, []byte("event: bye\n"))
		if byes == 1 && !bytes.Contains(m.Data, []byte(`{"retry_ms":70}`)) && bytes.Contains(m.Data, []byte("event: bye\n")) {
			t.Errorf("%s", m.Data)
		}
	}
	if byes != 1 {
		t.Errorf("%d byes", byes)
	}
}
