package log

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/internal/natstest"
)

// mustNotOpen returns why.
func (w *clusterWorld) mustNotOpen() error {
	w.Helper()
	l, err := Open(w.ctx(), w.connect(), w.config())
	if err == nil {
		l.Close()
		w.Fatal("it opens")
	}
	return err
}

func mustSay(t testing.TB, err error, want ...string) {
	t.Helper()
	for _, text := range want {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%v: want %q", err, text)
		}
	}
}

func TestAWrongMirrorIsRefusedByField(t *testing.T) {
	w := newRegionsWorld(t)
	home := w.home.open()
	js := w.edge.js()
	right := mirrorStream(w.edge.config(), home.log.id)
	for want, spoil := range map[string]func(*jetstream.StreamConfig){
		"mirror is none, want REVOCAST_" + w.edge.feed + " of $JS.home.API": func(c *jetstream.StreamConfig) { c.Mirror = nil; c.Subjects = []string{w.edge.feed} },
		"of $JS.other.API, want": func(c *jetstream.StreamConfig) { c.Mirror.External.APIPrefix = "$JS.other.API" },
		"not all of it":          func(c *jetstream.StreamConfig) { c.Mirror.OptStartSeq = 5 },
		"discard is DiscardOld":  func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld },
		"storage is Memory":      func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage },
		"deny_delete is false":   func(c *jetstream.StreamConfig) { c.DenyDelete = false },
		"max_msgs is 7":          func(c *jetstream.StreamConfig) { c.MaxMsgs = 7 },
		"epoch":                  func(c *jetstream.StreamConfig) { c.Metadata = newMetadata() },
		metaFormat:               func(c *jetstream.StreamConfig) { c.Metadata = nil },
	} {
		wrong := right
		source, external := *right.Mirror, *right.Mirror.External
		source.External, wrong.Mirror = &external, &source
		spoil(&wrong)
		if _, err := js.CreateStream(w.edge.ctx(), wrong); err != nil {
			t.Fatal(want, err)
		}
		mustSay(t, w.edge.mustNotOpen(), want, right.Name)
		if err := js.DeleteStream(w.edge.ctx(), right.Name); err != nil {
			t.Fatal(err)
		}
	}
	w.edge.open()
	if have := w.mirror().CachedInfo().Config; have.MaxAge != 24*time.Hour || have.Replicas != 1 {
		t.Errorf("the mirror is %+v", have)
	}
}

func TestAHubWithoutItsHomeDoesNotMakeAnotherLog(t *testing.T) {
	w := newRegionsWorld(t)
	w.home.open()
	w.edge.home = ""
	mustSay(t, w.edge.mustNotOpen(), "in another JetStream domain")

	// Without the link nobody answers for the log, but its mirror is there.
	w.edge.home = natstest.HomeDomain
	w.edge.open().catchUp()
	if err := w.Cut(); err != nil {
		t.Fatal(err)
	}
	w.edge.home = ""
	mustSay(t, w.edge.mustNotOpen(), "in another JetStream domain")
	if err := w.Heal(); err != nil {
		t.Fatal(err)
	}
}

// If there is another log on the same subjects after all, its word counts for
// nothing.
func TestTheWordOfAnotherDomainIsNotTaken(t *testing.T) {
	w := newRegionsWorld(t)
	w.home.open()
	edge := w.edge.open()
	for _, other := range []jetstream.StreamConfig{logStream(w.edge.config()), tickStream(w.edge.config())} {
		if _, err := w.edge.js().CreateStream(w.edge.ctx(), other); err != nil {
			t.Fatal(err)
		}
	}
	// Which of the two answers first is not ours to say; nearly always it is the
	// one that is near.
	w.edge.until("the other answers", func() bool {
		_, err := edge.log.Append(w.edge.ctx(), Proposal{Draft: draftOf(t, "x")})
		if err != nil && !errors.Is(err, ErrUnknown) {
			t.Errorf("append: %v", err)
		}
		return err != nil && strings.Contains(err.Error(), "domain \"edge\" has answered")
	})
	w.edge.until("the other answers a tick", func() bool {
		err := edge.log.Tick(w.edge.ctx(), "edge-1", nil)
		return err != nil && strings.Contains(err.Error(), "domain \"edge\" has answered")
	})
}

func TestTheMirrorOfAnotherHistoryIsRefused(t *testing.T) {
	w := newRegionsWorld(t)
	first, edge := w.home.open(), w.edge.open()
	w.home.insist(first, "a")
	edge.catchUp()
	if err := w.home.js().DeleteStream(w.home.ctx(), streamName(w.home.feed)); err != nil {
		t.Fatal(err)
	}
	first.mustFail(Recreated)
	home := w.home.open()
	for _, name := range []string{"b", "c", "d"} { // longer than the first
		w.home.insist(home, name)
	}
	edge.mustFail(Recreated)
	remove := "remove stream " + mirrorName(w.edge.feed) + " in this region"
	mustSay(t, w.edge.mustNotOpen(), "the mirror is not of this history", remove)

	if err := w.edge.js().DeleteStream(w.edge.ctx(), mirrorName(w.edge.feed)); err != nil {
		t.Fatal(err)
	}
	w.home.mustHaveOnce([]*reader{home, w.edge.open()}, "b", "c", "d")
}

// A log that was set back to an old copy has the same epoch: the mirror knows
// more of it than it does.
func TestTheMirrorOfALogThatWasSetBackIsRefused(t *testing.T) {
	t.Parallel() // its servers take ten seconds to notice
	w := newRegionsWorld(t)
	stream := streamName(w.home.feed)
	js := w.home.js()
	home, edge := w.home.open(), w.edge.open()
	w.home.insist(home, "a")
	old := w.home.backup(js.Conn(), stream)
	w.home.insist(home, "b")
	w.home.insist(home, "c")
	edge.catchUp()
	for _, r := range []*reader{home, edge} {
		r.log.Close()
	}
	if err := js.DeleteStream(w.home.ctx(), stream); err != nil {
		t.Fatal(err)
	}
	w.home.restore(js.Conn(), old)
	remove := "remove stream " + mirrorName(w.edge.feed) + " in this region"
	mustSay(t, w.edge.mustNotOpen(), "history rewound at record 3", "ends at 1", remove)

	home = w.home.open()
	w.home.insist(home, "B")
	w.home.insist(home, "C")
	mustSay(t, w.edge.mustNotOpen(), "history altered at record 3", remove)
	// The mirror goes on with what has come after its own end.
	w.home.insist(home, "D")
	w.edge.until("the mirror has it", func() bool { return w.mirror().CachedInfo().State.LastSeq == 4 })
	mustSay(t, w.edge.open().mustFail(Altered), "at record 4", remove)

	if err := w.edge.js().DeleteStream(w.edge.ctx(), mirrorName(w.edge.feed)); err != nil {
		t.Fatal(err)
	}
	w.home.mustHaveOnce([]*reader{home, w.edge.open()}, "a", "B", "C", "D")
}

// spoilt makes a mirror of the first records, and lets spoil do what can't be
// done to one that denies it.
func (w *regionsWorld) spoilt(home *reader, spoil func(s jetstream.Stream) error) {
	w.home.Helper()
	right := mirrorStream(w.edge.config(), home.log.id)
	open := right
	open.DenyDelete, open.DenyPurge = false, false
	js := w.edge.js()
	s, err := js.CreateStream(w.edge.ctx(), open)
	if err != nil {
		w.home.Fatal(err)
	}
	w.edge.until("it is copied", func() bool { return w.mirror().CachedInfo().State.LastSeq == home.log.last.Load() })
	if err := spoil(s); err != nil {
		w.home.Fatal(err)
	}
	if _, err := js.UpdateStream(w.edge.ctx(), right); err != nil {
		w.home.Fatal(err)
	}
}

func TestWhatTheMirrorHasForgottenIsReadFromTheLog(t *testing.T) {
	w := newRegionsWorld(t)
	home := w.home.open()
	for _, name := range []string{"a", "b", "c"} {
		w.home.insist(home, name)
	}
	w.spoilt(home, func(s jetstream.Stream) error { return s.Purge(w.edge.ctx(), jetstream.WithPurgeSequence(3)) })
	edge := w.edge.open()
	w.home.insist(home, "d")
	w.home.mustHaveOnce([]*reader{home, edge}, "a", "b", "c", "d")
	w.home.until("the mirror begins at 3, and the hub at the edge consumes it", func() bool {
		m := w.mirror().CachedInfo()
		return m.State.FirstSeq == 3 && m.State.Consumers == 1
	})
	if e, err := edge.log.Read(w.edge.ctx(), 1); err != nil || namesIn(t, e)[0] != "a" {
		t.Errorf("read what the mirror has forgotten: %v", err)
	}
}

func TestAGapInTheMirrorEndsTheEdgeOnly(t *testing.T) {
	w := newRegionsWorld(t)
	home := w.home.open()
	for _, name := range []string{"a", "b", "c"} {
		w.home.insist(home, name)
	}
	w.spoilt(home, func(s jetstream.Stream) error { return s.DeleteMsg(w.edge.ctx(), 2) })
	mustSay(t, w.edge.open().mustFail(Gap), "at record 2", "remove stream")
	w.home.insist(home, "d")
	home.catchUp()
}
