package subscriber

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
)

// coldStart runs a subscriber with a snapshot file to the end, then another
// one while the hub is away.
func coldStart(t *testing.T, between func(w *world, file string), with ...func(*world, *Config)) *world {
	t.Helper()
	file := filepath.Join(t.TempDir(), "revocations")
	keep := func(_ *world, c *Config) { c.SnapshotFile = file }
	w := newWorld(t, keep)
	w.revoke(events.KindToken, "t1")
	w.revoke(events.KindSubject, "bob")
	w.mustReach()
	if err := w.sub.Close(); err != nil {
		t.Fatal(err)
	}
	stat, err := os.Stat(file)
	if err != nil || stat.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", stat, err)
	}
	if left, _ := filepath.Glob(file + ".*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	w.hub.with(func() { w.hub.refuse = 503 })
	between(w, file)
	w.start(append([]func(*world, *Config){keep}, with...)...)
	return w
}

// F20: a cold start while the hub is away is usable, stale, and says so.
func TestColdStart(t *testing.T) {
	w := coldStart(t, func(w *world, _ string) { w.step.Store(600_000) }, func(_ *world, c *Config) { c.Policy = GraceThenClosed(5 * time.Second) })
	raw := sign(t, map[string]any{"jti": "t5"})
	if v := w.sub.Check(claims("t1", "")); v.Outcome != Revoked {
		t.Errorf("%+v", v)
	}
	if v := w.sub.Check(claims("t2", "")); v.Outcome != Unknown || v.Staleness < 10*time.Minute {
		t.Errorf("%+v", v)
	}
	if w.sub.Ready() || w.state() != Starting {
		t.Errorf("%+v", w.sub.Status())
	}
	if _, err := w.sub.Authenticate(t.Context(), raw); err != nil {
		t.Errorf("within the grace: %v", err)
	}
	eventually(t, "the grace is over", func() bool {
		_, err := w.sub.Authenticate(t.Context(), raw)
		return err != nil
	})
	refused := len(w.hub.requests("/v1/feed"))
	w.hub.with(func() { w.hub.refuse = 0 })
	w.revoke(events.KindToken, "t3")
	w.mustReach()
	// None begins from nothing; one that was cut off later resumes later.
	for _, r := range w.hub.requests("/v1/feed")[refused:] {
		if r.lastEventID != "e1:2" && r.lastEventID != "e1:3" {
			t.Errorf("resumed after %q", r.lastEventID)
		}
	}
	w.mustBeRevoked(claims("t1", ""))
}

// F20, F21: a file that can't be relied on is not used, and said to be so.
func TestColdStartRefused(t *testing.T) {
	for name, spoil := range map[string]func(w *world, file string){
		"too old":            func(w *world, _ string) { w.step.Store(2 * 3600_000) },
		"from the future":    func(w *world, _ string) { w.step.Store(-2 * 3600_000) },
		"others may write":   func(_ *world, file string) { os.Chmod(file, 0o622) },
		"a bit flipped":      func(w *world, file string) { edit(w.t, file, func(b []byte) []byte { b[len(b)/2] ^= 4; return b }) },
		"cut short":          func(w *world, file string) { edit(w.t, file, func(b []byte) []byte { return b[:len(b)-1] }) },
		"empty":              func(w *world, file string) { edit(w.t, file, func([]byte) []byte { return nil }) },
		"larger than wanted": func(w *world, file string) { edit(w.t, file, func(b []byte) []byte { return append(b, b...) }) },
	} {
		t.Run(name, func(t *testing.T) {
			w := coldStart(t, spoil)
			if v := w.sub.Check(claims("t1", "")); v.Outcome != Unknown {
				t.Errorf("%+v", v)
			}
			if _, err := w.sub.Authenticate(t.Context(), sign(t, nil)); err == nil {
				t.Error("allowed by who knows nothing")
			}
			w.mustCount(invalids, "file")
			w.step.Store(0)
			w.hub.with(func() { w.hub.refuse = 0 })
			w.mustReach()
			w.mustBeRevoked(claims("t1", ""))
		})
	}
}

func edit(t *testing.T, file string, f func([]byte) []byte) {
	b, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, f(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The file of another feed, or of another history, does not keep anybody from
// following this one.
func TestColdStartElsewhere(t *testing.T) {
	for name, change := range map[string]func(h *fakeHub){
		"feed":    func(h *fakeHub) { h.feed = "other" },
		"history": func(h *fakeHub) { h.epoch = "e2" },
	} {
		t.Run(name, func(t *testing.T) {
			w := coldStart(t, func(*world, string) {})
			w.hub.with(func() { change(w.hub); w.hub.refuse = 0 })
			w.mustReach()
			w.mustBeRevoked(claims("t1", ""))
		})
	}
}

// What is not the whole truth is not written down.
func TestNotSavedWhileInDoubt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "revocations")
	w := newWorld(t, func(_ *world, c *Config) { c.SnapshotFile = file })
	waitReady(t, w.sub)
	w.hub.appendRaw(`{"at":"2026-01-02T03:04:05.000Z","ops":[{"op":"later","k":"AAAAAAAAAAAAAAAAAAAAAA","kind":"token","id":"rev_01ARZ3NDEKTSV4RRFFQ69G5FAV"}]}`)
	w.mustCount(invalids, "unenforceable")
	if err := w.sub.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("a file was written")
	}
}

// F23: the wall clock steps. Proofs age by the other clock; what was forgotten
// at a later time and may be live again is fetched anew.
func TestWallClockSteps(t *testing.T) {
	w := newWorld(t)
	w.revoke(events.KindToken, "t1")
	w.mustReach()

	// A machine that was suspended: the first check says so.
	w.hub.with(func() { w.hub.noTicks, w.hub.noReports = true, true })
	w.step.Store(3600_000)
	if v := w.sub.Check(claims("t2", "")); v.Outcome != Unknown || v.Staleness < time.Hour {
		t.Errorf("%+v", v)
	}
	w.hub.with(func() { w.hub.noTicks, w.hub.noReports = false, false })
	w.mustReach()

	// Back by some minutes: nothing.
	w.step.Store(3600_000 - 300_000)
	time.Sleep(50 * time.Millisecond)
	w.mustReach()
	if s := w.sub.Status(); len(s.Resyncs) > 0 {
		t.Errorf("%+v", s)
	}

	// Forward beyond the expiry, so that it is forgotten, and back.
	w.step.Store(4 * 3600_000)
	eventually(t, "forgotten", func() bool { return w.sub.Status().Live["token"] == 0 })
	w.step.Store(0)
	w.mustCount(resyncs, "disputed")
	w.mustReach()
	w.mustBeRevoked(claims("t1", ""))
	if s := w.sub.Status(); s.Invalid["clock"] != 1 {
		t.Errorf("%+v", s)
	}
}
