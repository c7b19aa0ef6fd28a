package log

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events"
)

// began is a world with a hub that has appended and followed three records.
func began(t *testing.T) (*world, *Log, *reader) {
	t.Helper()
	t.Parallel()
	w := newWorld(t)
	l := w.open()
	r := w.follow(l)
	for _, name := range []string{"a", "b", "c"} {
		w.append(l, name)
	}
	r.catchUp()
	return w, l, r
}

func TestForeignRecordThatFitsIsFollowed(t *testing.T) {
	w, l, r := began(t)
	w.intrude(l, draftOf(t, "foreign"), nil)
	if got := w.append(l, "after"); got.Seq != 5 {
		t.Errorf("the next record is %d, want 5", got.Seq)
	}
	entries := r.catchUp()
	mustChain(t, entries)
	if names := namesIn(t, entries[3]); names[0] != "foreign" {
		t.Errorf("record 4 is %v", names)
	}
}

func TestAlteredRecordsEndTheLog(t *testing.T) {
	other := events.Chain{1}
	tests := map[string]func(*nats.Msg){
		"payload": func(m *nats.Msg) { m.Data = bytes.Replace(m.Data, []byte("logout"), []byte("policy"), 1) },
		"feed part": func(m *nats.Msg) {
			m.Data = bytes.Replace(m.Data, []byte(`"op":"revoke"`), []byte(`"op":"restor"`), 1)
		},
		"no record":   func(m *nats.Msg) { m.Data = []byte("nothing") },
		"no chain":    func(m *nats.Msg) { m.Header.Del(headerBefore) },
		"no headers":  func(m *nats.Msg) { m.Header = nil },
		"chain after": func(m *nats.Msg) { m.Header.Set(headerAfter, other.String()) },
		// Whole in itself, but of another history.
		"chain before": func(m *nats.Msg) {
			forged, _ := encode(m.Subject, m.Data, other)
			*m = *forged
		},
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			w, l, r := began(t)
			w.intrude(l, draftOf(t, "evil"), spoil)
			if h := r.mustFail(Altered); h.Seq != 4 {
				t.Errorf("it shows at %d, want 4", h.Seq)
			}
			if got := r.where("evil"); got != nil {
				t.Error("it was applied")
			}
			if name == "chain before" {
				return // only its neighbour tells
			}
			l.Close()
			if _, err := w.tryOpen(); err == nil {
				t.Error("the log can be opened again")
			}
		})
	}
}

func TestFirstRecordFollowsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.open()
	r := w.follow(l)
	msg, _ := encode(logSubject("default"), new(draftOf(t, "evil")).Message(1), events.Chain{1})
	if _, err := w.js().PublishMsg(w.ctx(), msg); err != nil {
		t.Fatal(err)
	}
	r.mustFail(Altered)
}

func TestRecreatedStreamEndsTheLog(t *testing.T) {
	w, l, r := began(t)
	js := w.js()
	if err := js.DeleteStream(w.ctx(), streamName("default")); err != nil {
		t.Fatal(err)
	}
	again := w.open(func(c *Config) { c.Feed = "default" })
	for range 5 { // longer than what was seen of the first
		w.append(again, "x")
	}
	r.mustFail(Recreated)
	if again.Epoch() == l.Epoch() || again.Salt() == l.Salt() {
		t.Error("another history has the same epoch or salt")
	}
}

func TestRecreatedStreamIsNotAppendedTo(t *testing.T) {
	w, l, r := began(t)
	r.stop() // nobody follows any more
	<-r.done
	if err := w.js().DeleteStream(w.ctx(), streamName("default")); err != nil {
		t.Fatal(err)
	}
	again := w.open()
	if _, err := l.Append(w.ctx(), Proposal{Draft: draftOf(t, "lost")}); err == nil {
		t.Error("appended to another history")
	}
	if head, err := again.Head(w.ctx()); head != 0 || err != nil {
		t.Errorf("the new history has %d records, %v", head, err)
	}
}

func TestDeletedStreamEndsTheLog(t *testing.T) {
	w, _, r := began(t)
	if err := w.js().DeleteStream(w.ctx(), streamName("default")); err != nil {
		t.Fatal(err)
	}
	r.mustFail(Recreated)
}

func TestRestartOfTheServerIsNoFault(t *testing.T) {
	w, l, r := began(t)
	w.stopServer()
	w.startServer()
	w.until("an append works again", func() bool {
		_, err := l.Append(w.ctx(), r.once("d"))
		return err == nil
	})
	mustChain(t, r.catchUp())
	if got := r.where("d"); len(got) != 1 {
		t.Errorf("d is in records %v", got)
	}
}

func TestRestoredBackupEndsTheLog(t *testing.T) {
	w, l, r := began(t)
	w.stopServer()
	backup := t.TempDir()
	if err := os.CopyFS(backup, os.DirFS(w.dir)); err != nil {
		t.Fatal(err)
	}
	w.startServer()
	w.until("an append works again", func() bool {
		_, err := l.Append(w.ctx(), r.once("d"))
		return err == nil
	})
	r.catchUp()
	w.stopServer()
	w.dir = backup
	w.startServer()
	if h := r.mustFail(Rewound); h.Seq != 4 {
		t.Errorf("it shows at %d, want 4", h.Seq)
	}
}

func TestGapEndsTheLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// Nothing can be deleted from a log, so it was none when it happened.
	cfg, err := Config{Feed: "default"}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	right := logStream(cfg)
	right.Metadata = newMetadata()
	open := right
	open.DenyDelete, open.DenyPurge = false, false
	js := w.js()
	s, err := js.CreateStream(w.ctx(), open)
	if err != nil {
		t.Fatal(err)
	}
	var chain events.Chain
	for range 3 {
		var msg *nats.Msg
		msg, chain = encode(right.Subjects[0], new(draftOf(t, "x")).Message(1), chain)
		if _, err := js.PublishMsg(w.ctx(), msg); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.DeleteMsg(w.ctx(), 2); err != nil {
		t.Fatal(err)
	}
	if _, err := js.UpdateStream(w.ctx(), right); err != nil {
		t.Fatal(err)
	}
	l := w.open(func(c *Config) { c.Retention = 0 })
	r := w.follow(l)
	if h := r.mustFail(Gap); h.Seq != 2 {
		t.Errorf("it shows at %d, want 2", h.Seq)
	}
	if seq, _ := l.Followed(); seq != 1 {
		t.Errorf("followed to %d, want 1", seq)
	}
}

func TestAgedOutHistoryGoesOn(t *testing.T) {
	t.Parallel()
	for name, ticks := range map[string]bool{"with ticks": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			short := func(c *Config) { c.Retention = 6 * time.Second }
			l := w.open(short)
			r := w.follow(l)
			w.append(l, "a")
			w.append(l, "b")
			r.catchUp()
			_, chain := l.Followed()
			if ticks {
				if err := l.Tick(w.ctx(), "hub-1", []byte("tick")); err != nil {
					t.Fatal(err)
				}
			}
			w.until("all has aged out", func() bool {
				first, err := l.First(w.ctx())
				return err == nil && first == 3
			})
			if head, err := l.Head(w.ctx()); head != 2 || err != nil {
				t.Errorf("head is %d, %v, want 2", head, err)
			}
			l.Close()

			again := w.open(short)
			late := w.follow(again)
			if err := again.WaitFollowed(w.ctx(), 2); err != nil {
				t.Fatal(err)
			}
			if _, got := again.Followed(); ticks && got != chain {
				t.Errorf("the chain is %v, was %v", got, chain)
			}
			if got := w.append(again, "c"); got.Seq != 3 {
				t.Errorf("the next record is %d, want 3", got.Seq)
			}
			if got := late.catchUp(); len(got) != 1 {
				t.Errorf("followed %d records, want 1", len(got))
			}
		})
	}
}

func TestFollowBeginsWithTheFirstRecordHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	short := func(c *Config) { c.Retention = 6 * time.Second }
	l := w.open(short)
	w.append(l, "a")
	w.append(l, "b")
	time.Sleep(4 * time.Second)
	w.append(l, "c")
	w.until("the first two have aged out", func() bool {
		first, err := l.First(w.ctx())
		return err == nil && first == 3
	})
	r := w.follow(l)
	w.append(l, "d")
	for _, e := range r.catchUp() {
		if e.Seq < 3 {
			t.Errorf("followed record %d, which had aged out", e.Seq)
		}
	}
	if got := r.where("d"); len(got) != 1 || got[0] != 4 {
		t.Errorf("d is in records %v", got)
	}
}
