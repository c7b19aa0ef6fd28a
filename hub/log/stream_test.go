package log

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
)

func TestNewLogHasAnIdentity(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.open(func(c *Config) { c.Feed = "a" })
	b := w.open(func(c *Config) { c.Feed = "b" })
	if !events.ValidEpoch(a.Epoch()) || a.Epoch() == b.Epoch() {
		t.Errorf("epochs %q and %q", a.Epoch(), b.Epoch())
	}
	if a.Salt() == b.Salt() || a.Salt() == (events.Salt{}) {
		t.Error("the salts are no secret")
	}
	if a.Feed() != "a" || a.Retention() != 24*time.Hour {
		t.Errorf("feed %q, retention %v", a.Feed(), a.Retention())
	}
	if again := w.open(func(c *Config) { c.Feed = "a" }); again.Epoch() != a.Epoch() || again.Salt() != a.Salt() {
		t.Error("the second hub sees another history")
	}
}

func TestFeedsAreSeparate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.open(func(c *Config) { c.Feed = "a" })
	b := w.open(func(c *Config) { c.Feed = "b" })
	r := w.follow(b)
	w.append(a, "of-a")
	w.append(b, "of-b")
	if len(r.catchUp()) != 1 || r.where("of-a") != nil {
		t.Error("a record of one feed is in another")
	}
}

func TestWrongStreamsAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	js := w.js()
	wrong := jetstream.StreamConfig{
		Name:              streamName("default"),
		Subjects:          []string{"revocast.default.log", "more"},
		Storage:           jetstream.MemoryStorage,
		Retention:         jetstream.InterestPolicy,
		Discard:           jetstream.DiscardOld,
		MaxMsgs:           5,
		MaxMsgsPerSubject: 6,
		MaxMsgSize:        7,
		MaxBytes:          8 << 20,
		AllowMsgTTL:       true,
		AllowRollup:       true,
		SubjectTransform:  &jetstream.SubjectTransformConfig{Source: "more", Destination: "less"},
	}
	if _, err := js.CreateStream(w.ctx(), wrong); err != nil {
		t.Fatal(err)
	}
	_, err := w.tryOpen()
	if err == nil {
		t.Fatal("opened")
	}
	for _, setting := range []string{
		"subjects", "storage", "retention is interest, want limits", "discard", "deny_delete", "deny_purge", "max_msgs is 5",
		"max_msgs_per_subject", "max_msg_size", "allow_direct", "allow_msg_ttl", "allow_rollup_hdrs", "subject_transform",
	} {
		if !strings.Contains(strings.ToLower(err.Error()), "stream revocast_default: "+setting) {
			t.Errorf("the error does not name %s", setting)
		}
	}
	t.Log(err)
}

func TestStreamOfSomebodyElseIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg, err := Config{Feed: "default"}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	right := newMetadata()
	tests := map[string]map[string]string{
		"no metadata":     nil,
		"another release": {metaFormat: "2", metaEpoch: right[metaEpoch], metaSalt: right[metaSalt]},
		"no epoch":        {metaFormat: format, metaSalt: right[metaSalt]},
		"no salt":         {metaFormat: format, metaEpoch: right[metaEpoch]},
	}
	js := w.js()
	for name, meta := range tests {
		stream := logStream(cfg)
		stream.Metadata = meta
		if _, err := js.CreateStream(w.ctx(), stream); err != nil {
			t.Fatal(err)
		}
		if _, err := w.tryOpen(func(c *Config) { c.Retention = 0 }); err == nil {
			t.Errorf("%s: opened", name)
		}
		if err := js.DeleteStream(w.ctx(), stream.Name); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRetentionFollowsTheConfiguration(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.open()
	w.append(first, "a")
	for _, retention := range []time.Duration{48 * time.Hour, time.Minute, 0} {
		l := w.open(func(c *Config) { c.Retention = retention })
		info, err := l.stream.Info(w.ctx())
		if err != nil {
			t.Fatal(err)
		}
		if info.Config.MaxAge != l.Retention() || retention != 0 && l.Retention() != retention {
			t.Errorf("retention %v: the stream holds records for %v", retention, info.Config.MaxAge)
		}
		if l.Epoch() != first.Epoch() {
			t.Error("the epoch has changed")
		}
	}
	if got := w.append(first, "b"); got.Seq != 2 {
		t.Errorf("the next record is %d, want 2", got.Seq)
	}
}

func TestRecordsCanNotBeDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.append(w.open(), "a")
	s, err := w.js().Stream(w.ctx(), streamName("default"))
	if err != nil {
		t.Fatal(err)
	}
	if s.DeleteMsg(w.ctx(), 1) == nil || s.SecureDeleteMsg(w.ctx(), 1) == nil || s.Purge(w.ctx()) == nil {
		t.Error("a record was deleted")
	}
}

func TestConfigMistakes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, feed := range []string{"", "A", "a.b", "a_ticks", "a*", "-a", "a b", strings.Repeat("a", 33)} {
		if _, err := w.tryOpen(func(c *Config) { c.Feed = feed }); err == nil {
			t.Errorf("feed %q is accepted", feed)
		}
	}
	if _, err := w.tryOpen(func(c *Config) { c.Retention = time.Millisecond }); err == nil {
		t.Error("a retention of a millisecond is accepted")
	}
	l := w.open()
	for _, hub := range []string{"", "a.b", "*", ">", "a b", strings.Repeat("a", 65)} {
		if err := l.Tick(w.ctx(), hub, nil); err == nil {
			t.Errorf("hub %q may tick", hub)
		}
	}
}

func TestOnlyTheLastTickOfAHubIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.open()
	for _, tick := range [][2]string{{"hub-1", "a"}, {"hub-2", "b"}, {"hub-1", "c"}} {
		if err := l.Tick(w.ctx(), tick[0], []byte(tick[1])); err != nil {
			t.Fatal(err)
		}
	}
	info, err := l.ticks.Info(w.ctx())
	if err != nil {
		t.Fatal(err)
	}
	last, err := l.ticks.GetLastMsgForSubject(w.ctx(), "revocast.default.tick.hub-1")
	if err != nil {
		t.Fatal(err)
	}
	if info.State.Msgs != 2 || string(last.Data) != "c" {
		t.Errorf("%d ticks are kept, hub-1's is %q", info.State.Msgs, last.Data)
	}
	if head, err := l.Head(w.ctx()); head != 0 || err != nil {
		t.Errorf("ticks are in the log: head %d, %v", head, err)
	}
	w.stopServer()
	if err := l.Tick(w.ctx(), "hub-1", nil); err == nil {
		t.Error("a tick without a server is acknowledged")
	}
}
