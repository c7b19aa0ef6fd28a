package subscriber

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
)

func TestRevokeAndRestore(t *testing.T) {
	w := newWorld(t)
	alice := claims("t1", "alice")
	if v := w.sub.Check(alice); v.Outcome == Allowed && !w.sub.Ready() {
		t.Fatal("allowed before anything is known")
	}
	waitReady(t, w.sub)
	w.mustBeAllowed(alice)

	w.revoke(events.KindToken, "t1")
	w.mustBeRevoked(alice)
	eventually(t, "the verdict explains", func() bool { // a moment after it is one
		v := w.sub.Check(alice)
		return v.Kind == events.KindToken && v.ID != "" && time.Since(v.Since) < time.Minute
	})
	w.revoke(events.KindSubject, "alice")
	w.mustReach()
	w.restore(events.KindToken, "t1")
	w.mustReach()
	if v := w.sub.Check(alice); v.Outcome != Revoked || v.Kind != events.KindSubject {
		t.Errorf("after the restore of one of two: %+v", v)
	}
	w.restore(events.KindSubject, "alice")
	w.mustReach()
	w.mustBeAllowed(alice)
}

// Each kind of revocation reaches the tokens that it is about, and no others.
func TestKinds(t *testing.T) {
	w := newWorld(t)
	full := events.Claims{Issuer: testIssuer, ID: "j", Subject: "s", Session: "sid", Client: "c", KeyID: "k",
		Handle: events.HandleOf("a.b"), Device: "d", Grants: []string{"other grant", "g"},
		Actors:   []events.Actor{{Issuer: testIssuer, Subject: "service"}, {Issuer: testIssuer, Subject: "a"}},
		Extra:    []events.ClaimValue{{Name: testClaim, Value: "x"}},
		IssuedAt: time.Now().UnixMilli() - 5000, Expires: time.Now().UnixMilli() + 3600_000}
	values := map[events.Kind]string{events.KindToken: "j", events.KindHandle: full.Handle, events.KindSubject: "s",
		events.KindSession: "sid", events.KindClient: "c", events.KindKey: "k", events.KindIssuer: "",
		events.KindGrant: "g", events.KindSubjectClient: "s", events.KindActor: "a", events.KindDevice: "d", events.KindClaim: "x"}
	waitReady(t, w.sub)
	for _, kind := range events.Kinds() {
		w.mustBeAllowed(full)
		w.revoke(kind, values[kind])
		if v := w.mustBeRevoked(full); v.Kind != kind {
			t.Errorf("%v: verdict %+v", kind, v)
		}
		other := events.Claims{Issuer: "https://other.example", ID: "j", Subject: "s", Session: "sid", Client: "c", KeyID: "k"}
		if v := w.sub.Check(other); v.Outcome == Revoked {
			t.Errorf("%v: a token of another issuer is revoked", kind)
		}
		if !kind.Outright() {
			later := full
			later.IssuedAt = time.Now().UnixMilli() + 1000
			if v := w.sub.Check(later); v.Outcome == Revoked {
				t.Errorf("%v: a token issued after the cutoff is revoked", kind)
			}
		}
		w.restore(kind, values[kind])
		w.mustReach()
	}
}

// What is scheduled is enforced at its time by the hub's clock, whatever ours
// says, and ends the guards then.
func TestScheduled(t *testing.T) {
	w := newWorld(t)
	waitReady(t, w.sub)
	w.step.Store(-30 * 60 * 1000) // half an hour behind
	eventually(t, "a tick tells the hub's time", func() bool {
		w.sub.mu.Lock()
		defer w.sub.mu.Unlock()
		return w.sub.replica.hubAhead > 29*60*1000
	})
	c := claims("j", "alice")
	ctx, stop := w.sub.Guard(t.Context(), w.sub.Prepare(c))
	defer stop()
	op := w.op(events.Revoke, events.KindSubject, "alice")
	op.ID = events.IDFrom([16]byte{1})
	at := time.Now().Add(2 * time.Second)
	op.Effective = at.UnixMilli()
	w.hub.append(false, op)
	w.mustReach()
	if v := w.sub.Check(c); time.Now().Before(at) && v.Outcome == Revoked {
		t.Fatalf("%v before its time: %+v", time.Until(at), v)
	}
	select {
	case <-ctx.Done():
	case <-time.After(30 * time.Second):
		t.Fatal("the guard was not ended")
	}
	if late := time.Since(at); late < -5*time.Millisecond {
		t.Errorf("%v before its time", -late)
	}
	if revoked := (*RevokedError)(nil); !errors.As(context.Cause(ctx), &revoked) {
		t.Errorf("the guard was ended by %v", context.Cause(ctx))
	}
	w.mustBeRevoked(c)
}

// A hub that revokes by claims which this subscriber does not read sends what
// can't be enforced here.
func TestClaimsThatAreNotRead(t *testing.T) {
	w := newWorld(t, func(w *world, c *Config) {
		w.hub.with(func() { w.hub.claims = events.ClaimNames{Extra: []string{"role"}} })
	})
	eventually(t, "connected", func() bool { return w.sub.Status().Hub != "" })
	time.Sleep(2 * testStaleness)
	s := w.sub.Status()
	if s.Ready || s.State == Fresh || len(s.Unenforceable) != 1 {
		t.Fatalf("%+v", s)
	}
}

func TestReconnect(t *testing.T) {
	w := newWorld(t)
	waitReady(t, w.sub)
	for i := range 5 {
		w.revoke(events.KindToken, fmt.Sprint("t", i))
		w.mustReach()
		w.cutStream()
		w.revoke(events.KindToken, fmt.Sprint("u", i))
		w.mustBeRevoked(claims(fmt.Sprint("u", i), ""))
		w.mustReach()
	}
	reqs := w.hub.requests("/v1/feed")
	if reqs[0].lastEventID != "" {
		t.Errorf("a new subscriber resumes after %q", reqs[0].lastEventID)
	}
	last := reqs[len(reqs)-1]
	if !strings.HasPrefix(last.lastEventID, "e1:") || last.name != "sub" || last.auth != "Bearer "+testKey {
		t.Errorf("the last request is %+v", last)
	}
	if n := len(w.sub.Status().Resyncs); n != 0 {
		t.Errorf("%d resyncs", n)
	}
}

// F11: duplicates change nothing.
func TestDuplicates(t *testing.T) {
	w := newWorld(t, func(w *world, _ *Config) { w.hub.twice = true })
	for i := range 20 {
		w.revoke(events.KindSubject, fmt.Sprint("s", i%5))
		if i%3 == 0 {
			w.restore(events.KindSubject, fmt.Sprint("s", i%5))
		}
	}
	w.mustReach()
	if n := len(w.sub.Status().Invalid); n != 0 {
		t.Errorf("duplicates are counted as %v", w.sub.Status().Invalid)
	}
}

// Promise 3: whatever is wrong with a record is counted, the subscriber is not
// fresh meanwhile, and it comes to the truth by itself.
func TestWrongRecords(t *testing.T) {
	for _, c := range []struct {
		name   string
		reason string
		resync bool                                              // by a snapshot
		always bool                                              // else only the first time
		change func(w *world, seq uint64, f *events.RecordFrame) // of seq 3
	}{
		{"dropped once", "gap", false, false, func(_ *world, _ uint64, f *events.RecordFrame) { f.Seq = 0 }},
		{"dropped always", "gap", true, true, func(_ *world, _ uint64, f *events.RecordFrame) { f.Seq = 0 }},
		{"another chain", "chain", true, false, func(_ *world, _ uint64, f *events.RecordFrame) { f.Chain[0] ^= 1 }},
		{"another audit part", "chain", true, true, func(_ *world, _ uint64, f *events.RecordFrame) { f.Audit[0] ^= 1 }},
		{"an operation changed", "chain", true, true, func(w *world, _ uint64, f *events.RecordFrame) {
			f.Feed = []byte(strings.Replace(string(f.Feed), "revoke", "restore", 1))
		}},
		{"not JSON", "record", false, false, func(_ *world, _ uint64, f *events.RecordFrame) { f.Feed = []byte(`{"at":"\u0000","at":1}`) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			waitReady(t, w.sub)
			w.revoke(events.KindToken, "a")
			w.revoke(events.KindToken, "b")
			w.mustReach()
			done := false
			w.hub.with(func() {
				w.hub.recordWith = func(seq uint64, f *events.RecordFrame) {
					if seq == 3 && (c.always || !done) {
						done = true
						c.change(w, seq, f)
					}
				}
			})
			w.revoke(events.KindToken, "c")
			w.revoke(events.KindToken, "d")
			w.mustCount(invalids, c.reason)
			w.mustReach()
			for _, jti := range []string{"a", "b", "c", "d"} {
				w.mustBeRevoked(claims(jti, ""))
			}
			if got := w.sub.Status().Resyncs["disputed"] > 0; got != c.resync {
				t.Errorf("resync is %v, want %v: %+v", got, c.resync, w.sub.Status())
			}
		})
	}
}

// F14: an event that was cut off with its connection is not applied, and its
// id does not count.
func TestHalfEvent(t *testing.T) {
	w := newWorld(t)
	waitReady(t, w.sub)
	w.hub.with(func() { w.hub.cutHalf = true })
	w.revoke(events.KindToken, "t1")
	w.mustBeRevoked(claims("t1", ""))
	w.mustReach()
	if s := w.sub.Status(); len(s.Resyncs) > 0 || s.Invalid["half_event"] != 1 {
		t.Errorf("%+v", s)
	}
}

func TestSnapshotModes(t *testing.T) {
	t.Parallel()
	w := &world{t: t, hub: newFakeHub(t, "e1")}
	for i := range 50 {
		w.revoke(events.KindToken, fmt.Sprint("t", i))
	}
	w.hub.with(func() { w.hub.oldest = 40 })
	w.start()
	w.mustReach()
	w.mustBeRevoked(claims("t7", ""))
	if s := w.sub.Status(); s.Resyncs["snapshot"] != 1 || s.Kept != 0 {
		t.Errorf("%+v", s)
	}

	// Behind by more than the hub can replay: the snapshot replaces what is
	// held, so that what was restored meanwhile is allowed.
	w.hub.with(func() { w.hub.hold = true })
	w.restore(events.KindToken, "t7")
	w.revoke(events.KindToken, "x")
	w.hub.with(func() { w.hub.oldest, w.hub.hold = w.hub.head(), false; w.hub.cut++ })
	w.mustReach()
	w.mustBeRevoked(claims("x", ""))
	w.mustBeAllowed(claims("t7", ""))
	if s := w.sub.Status(); s.Resyncs["snapshot"] != 2 || s.HubBehind {
		t.Errorf("%+v", s)
	}
}

// F16, F17, promise 4: another history takes nothing away, whether its keys
// are made as before or not.
func TestAnotherHistory(t *testing.T) {
	for _, keep := range []bool{true, false} {
		t.Run(fmt.Sprintf("same salt %v", keep), func(t *testing.T) {
			w := newWorld(t)
			tok := w.sub.Prepare(claims("t1", "alice"))
			w.revoke(events.KindToken, "t1")
			w.revoke(events.KindSubject, "bob")
			w.mustReach()
			ctx, stop := w.sub.Guard(t.Context(), w.sub.Prepare(claims("t9", "carol")))
			defer stop()

			w.hub.newEpoch("e2", keep)
			w.revoke(events.KindToken, "t2")
			w.mustReach()
			w.mustBeRevoked(claims("t1", ""))
			w.mustBeRevoked(claims("", "bob"))
			w.mustBeRevoked(claims("t2", ""))
			if v := w.sub.CheckPrepared(tok); v.Outcome != Revoked {
				t.Errorf("keys prepared before: %+v", v)
			}
			s := w.sub.Status()
			if !s.HubBehind || s.Kept != 2 || s.Resyncs["reset"] != 1 {
				t.Errorf("%+v", s)
			}
			// A guard from before knows the new keys.
			w.revoke(events.KindToken, "t9")
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Second):
				t.Error("the guard has not ended")
			}
		})
	}
}

// A hub that was set back to an old copy of its log has the same epoch and a
// lower head. It is followed on from there, and what it lacks is kept.
func TestHistoryCutShort(t *testing.T) {
	w := newWorld(t)
	for _, jti := range []string{"t1", "t2", "t3"} {
		w.revoke(events.KindToken, jti)
	}
	w.mustReach()
	w.hub.with(func() { w.hub.records = w.hub.records[:1]; w.hub.cut++ })
	w.mustReach()
	if s := w.sub.Status(); !s.HubBehind || s.Kept != 2 || s.Resyncs["reset"] != 1 || s.Head != 1 {
		t.Errorf("%+v", s)
	}
	w.revoke(events.KindToken, "t4") // where t2 was
	w.mustReach()
	for _, jti := range []string{"t1", "t2", "t3", "t4"} {
		w.mustBeRevoked(claims(jti, ""))
	}
}

// A feed that is made anew, with other keys each time, again and again, does
// not fill the memory; nor is anything dropped.
func TestKeptSetsAreBounded(t *testing.T) {
	w := newWorld(t)
	for i := range maxKept + 1 {
		w.revoke(events.KindToken, fmt.Sprint("t", i))
		w.mustReach()
		w.hub.newEpoch(fmt.Sprint("f", i), false)
	}
	w.mustCount(invalids, "snapshot")
	w.mustStayUnfresh()
	for i := range maxKept + 1 {
		w.mustBeRevoked(claims(fmt.Sprint("t", i), ""))
	}
}

// F27, F32: what can't be enforced is said, and the rest is enforced.
func TestUnknownOperation(t *testing.T) {
	w := newWorld(t)
	waitReady(t, w.sub)
	known := w.op(events.Revoke, events.KindToken, "t1")
	w.hub.appendRaw(fmt.Sprintf(`{"at":"2026-01-02T03:04:05.000Z","ops":[`+
		`{"op":"quarantine","k":%q,"kind":"token","id":"rev_01ARZ3NDEKTSV4RRFFQ69G5FAV"},`+
		`{"op":"revoke","k":%q,"kind":"token","exp":4000000000,"id":"rev_01ARZ3NDEKTSV4RRFFQ69G5FAV","new":1}]}`, known.Key, known.Key),
		events.Op{Verb: events.Revoke, Kind: events.KindToken, Key: known.Key, Term: events.Term{Exp: 4000000000}})
	w.mustBeRevoked(claims("t1", ""))
	w.mustStayUnfresh()
	w.cutStream()
	w.mustStayUnfresh()
	if s := w.sub.Status(); len(s.Unenforceable) != 1 || !strings.Contains(s.Unenforceable[0], "quarantine") {
		t.Errorf("%+v", s)
	}
	// A snapshot that this release understands is the proof that it matters
	// no more.
	w.hub.with(func() { w.hub.hold = true })
	w.revoke(events.KindToken, "t2")
	w.hub.with(func() { w.hub.oldest, w.hub.hold = w.hub.head(), false; w.hub.cut++ })
	w.mustReach()
}

// F21: a snapshot that is not right is refused, and what was held stays.
func TestWrongSnapshots(t *testing.T) {
	for name, c := range map[string]struct {
		head  func(*events.SnapshotHeader)
		bytes func([]byte) []byte
	}{
		"bit flipped":     {bytes: func(b []byte) []byte { b[len(b)-40] ^= 1; return b }},
		"cut short":       {bytes: func(b []byte) []byte { return b[:len(b)-7] }},
		"longer":          {bytes: func(b []byte) []byte { return append(b, 0) }},
		"not a snapshot":  {bytes: func(b []byte) []byte { return []byte("<html>") }},
		"larger":          {bytes: func(b []byte) []byte { return append(b, make([]byte, 100<<10)...) }},
		"another feed":    {head: func(h *events.SnapshotHeader) { h.Feed = "other" }},
		"another history": {head: func(h *events.SnapshotHeader) { h.Epoch = "zzz" }},
		"another salt":    {head: func(h *events.SnapshotHeader) { h.Salt[0] ^= 1 }},
		"from before":     {head: func(h *events.SnapshotHeader) { h.Seq = 1 }},
		"another chain":   {head: func(h *events.SnapshotHeader) { h.Chain[3] ^= 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, soonClosed, func(_ *world, c *Config) { c.MaxSnapshotSize = 64 << 10 })
			w.revoke(events.KindToken, "t1")
			w.revoke(events.KindToken, "t2")
			w.mustReach()
			w.hub.with(func() { w.hub.hold = true; w.hub.snapHead, w.hub.snapWith = c.head, c.bytes })
			w.revoke(events.KindToken, "t3")
			w.hub.with(func() { w.hub.oldest, w.hub.hold = w.hub.head(), false; w.hub.cut++ })
			w.mustBecome(Expired)
			w.mustStayUnfresh()
			if v := w.sub.Check(claims("t1", "")); v.Outcome != Revoked {
				t.Error("what was held is gone")
			}
			w.hub.with(func() { w.hub.snapHead, w.hub.snapWith = nil, nil })
			w.mustReach()
			w.mustBeRevoked(claims("t3", ""))
		})
	}
}

func TestWrongHello(t *testing.T) {
	other, _ := events.NewSigningKey(strings.NewReader(strings.Repeat("x", 64)))
	for name, change := range map[string]func(*events.Hello){
		"version":           func(h *events.Hello) { h.V = 2 },
		"no epoch":          func(h *events.Hello) { h.Epoch = "" },
		"epoch":             func(h *events.Hello) { h.Epoch = "E1:" },
		"no feed":           func(h *events.Hello) { h.Feed = "" },
		"mode":              func(h *events.Hello) { h.Mode = "partial" },
		"no keys":           func(h *events.Hello) { h.Keys = nil },
		"key and other kid": func(h *events.Hello) { h.Keys[0].KeyID = "k" },
		"not the pinned":    func(h *events.Hello) { h.Keys = []events.PublicKey{other.Public()} },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(w *world, c *Config) {
				c.HubKeys = []events.PublicKey{w.hub.key.Public()}
				w.hub.helloWith = change
			})
			w.mustCount(invalids, "hello")
			if w.sub.Ready() {
				t.Fatal("ready")
			}
			w.hub.with(func() { w.hub.helloWith = nil; w.hub.cut++ })
			w.mustReach()
		})
	}
	t.Run("another feed later", func(t *testing.T) {
		w := newWorld(t)
		w.mustReach()
		w.hub.with(func() { w.hub.feed = "other"; w.hub.cut++ })
		w.mustCount(invalids, "hello")
		eventually(t, "not fresh", func() bool { return w.state() != Fresh })
		w.mustStayUnfresh()
	})
	t.Run("twice", func(t *testing.T) {
		w := newWorld(t)
		w.mustReach()
		w.hub.with(func() { w.hub.once = frame(events.EventHello, events.Hello{}, "") })
		w.mustCount(invalids, "hello")
		w.hub.with(func() { w.hub.once = "" })
		w.mustReach()
	})
	t.Run("missing", func(t *testing.T) {
		w := newWorld(t, func(w *world, c *Config) {
			srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("Content-Type", "text/event-stream")
				fmt.Fprint(rw, "event: tick\ndata: {}\n\n")
			}))
			t.Cleanup(srv.Close)
			c.Hubs = []string{srv.URL}
		})
		w.mustCount(invalids, "hello")
	})
	t.Run("unknown events and fields are ignored", func(t *testing.T) {
		w := newWorld(t)
		w.hub.with(func() { w.hub.once = "event: news\ndata: {}\n\n:comment\n\nevent: record\n\n" })
		w.mustCount(invalids, "record") // the last one, which has no data
		w.hub.with(func() { w.hub.once = "event: news\ndata: {}\nid: e1:999\n\n: comment\n\n" })
		w.revoke(events.KindToken, "t1")
		w.mustReach()
		if id := w.sub.Status().Position; id != "e1:1" {
			t.Errorf("position %s", id)
		}
	})
}

// F18, F19: a hub that is away adds nothing to a request, and the subscriber
// says how stale it is until the policy closes.
func TestHubGone(t *testing.T) {
	w := newWorld(t, func(_ *world, c *Config) { c.Policy = GraceThenClosed(5 * time.Second) })
	w.revoke(events.KindToken, "t1")
	w.mustReach()
	w.hub.with(func() { w.hub.refuse = 503; w.hub.cut++ })
	w.mustBecome(Stale)
	slowest := time.Duration(0)
	for range 1000 {
		begin := time.Now()
		if v := w.sub.Check(claims("t1", "")); v.Outcome != Revoked {
			t.Fatal(v)
		}
		v := w.sub.Check(claims("t2", ""))
		slowest = max(slowest, time.Since(begin))
		if v.Outcome != Unknown || v.Staleness < testStaleness {
			t.Fatal(v)
		}
	}
	t.Log("slowest pair of checks:", slowest)
	w.mustBecome(Expired)
	w.hub.with(func() { w.hub.refuse = 0 })
	w.mustReach()
	if !w.sub.Ready() {
		t.Error("not ready any more")
	}
}

// A hub that was away for many attempts, and has forgotten the records since,
// is followed on at once with its snapshot: the attempts that failed were no
// snapshots that led nowhere.
func TestSnapshotAfterFailures(t *testing.T) {
	w := newWorld(t)
	w.revoke(events.KindToken, "t1")
	w.mustReach()
	before := len(w.hub.requests("/v1/feed"))
	w.hub.with(func() { w.hub.refuse = 503; w.hub.cut++ })
	w.revoke(events.KindToken, "t2")
	eventually(t, "it was sent away often", func() bool { return len(w.hub.requests("/v1/feed")) > before+2*maxRounds })
	w.hub.with(func() { w.hub.refuse = 0; w.hub.oldest = 2 })
	w.mustReach()
	w.mustBeRevoked(claims("t2", ""))
	if s := w.sub.Status(); s.Resyncs["snapshot"] != 1 || strings.Contains(s.LastError, errNoProgress.Error()) {
		t.Errorf("resyncs %v, the last error is %q", s.Resyncs, s.LastError)
	}
}

// F22: ticks arrive and records are held back. The subscriber is not fresh, and
// after a while gets them by another way.
func TestRecordsHeldBack(t *testing.T) {
	w := newWorld(t)
	w.mustReach()
	w.hub.with(func() { w.hub.hold = true })
	w.revoke(events.KindToken, "t1")
	eventually(t, "fresh or revoked, but never the one without the other", func() bool {
		fresh := w.state() == Fresh && w.sub.Status().Staleness < testStaleness/2
		revoked := w.sub.Check(claims("t1", "")).Outcome == Revoked
		if w.sub.Status().Invalid["held_back"] > 0 && fresh && !revoked {
			t.Fatal("fresh")
		}
		return revoked
	})
	w.mustCount(invalids, "held_back")
	w.mustReach()
}

// Without the one proof or the other, the set is stale.
func TestProofs(t *testing.T) {
	other, _ := events.NewSigningKey(strings.NewReader(strings.Repeat("x", 64)))
	var old events.Tick
	for _, c := range []struct {
		name, reason string
		change       func(*fakeHub)
	}{
		{"no ticks", "", func(h *fakeHub) { h.noTicks = true; h.once = ": still here\n\n" }},
		{"no reports", "", func(h *fakeHub) { h.noReports = true }},
		{"tick forged", "tick_signature", func(h *fakeHub) {
			h.tickWith = func(t *events.Tick) bool { t.Sign("default", "e1", other); return true }
		}},
		{"tick changed", "tick_signature", func(h *fakeHub) {
			h.tickWith = func(t *events.Tick) bool { t.Seq += 7; return true }
		}},
		{"tick of another feed", "tick_signature", func(h *fakeHub) {
			h.tickWith = func(t *events.Tick) bool { t.Sign("other", "e1", h.key); return true }
		}},
		{"old tick replayed", "tick_replayed", func(h *fakeHub) {
			h.tickWith = func(t *events.Tick) bool {
				if old.Seq == 0 {
					old = *t
				}
				*t = old
				return true
			}
		}},
		{"tick for another history", "tick", func(h *fakeHub) {
			h.tickWith = func(t *events.Tick) bool { t.Chain[0] ^= 1; t.Sign("default", "e1", h.key); return true }
		}},
		{"log goes back", "tick", func(h *fakeHub) {
			h.tickWith = func(t *events.Tick) bool {
				t.Seq, t.Chain = 1, h.records[0].chain
				t.Sign("default", "e1", h.key)
				return true
			}
		}},
		{"answer forged", "answer_signature", func(h *fakeHub) {
			h.answerWith = func(a *events.ReportAnswer) { a.Sign("default", other) }
		}},
		{"answer changed", "answer_signature", func(h *fakeHub) { h.answerWith = func(a *events.ReportAnswer) { a.Head-- } }},
		{"answer to another report", "answer", func(h *fakeHub) {
			h.answerWith = func(a *events.ReportAnswer) { a.Nonce = "n"; a.Sign("default", h.key) }
		}},
		{"answer of another epoch", "answer", func(h *fakeHub) {
			h.answerWith = func(a *events.ReportAnswer) { a.Epoch = "e9"; a.Sign("default", h.key) }
		}},
		{"answer beyond what is sent", "", func(h *fakeHub) {
			h.answerWith = func(a *events.ReportAnswer) { a.Head = 9; a.Sign("default", h.key) }
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.revoke(events.KindToken, "t1")
			w.revoke(events.KindToken, "t2")
			w.mustReach()
			w.hub.with(func() { c.change(w.hub) })
			// On a machine that stalls, it may be stale for a moment before the
			// last good proof, sent before the change, has arrived.
			eventually(t, "stale for good", func() bool { return w.sub.Status().Staleness > 2*testStaleness })
			w.mustStayUnfresh()
			if c.reason != "" {
				w.mustCount(invalids, c.reason)
			}
			w.mustBeRevoked(claims("t1", ""))
			w.hub.with(func() {
				w.hub.noTicks, w.hub.noReports, w.hub.tickWith, w.hub.answerWith = false, false, nil, nil
			})
			// What was signed is not taken back: the head has to be reached.
			for i := range 7 {
				w.revoke(events.KindToken, fmt.Sprint("u", i))
			}
			w.mustReach()
		})
	}
}

// F14: nothing arrives on a connection that looks open.
func TestIdle(t *testing.T) {
	w := newWorld(t, func(w *world, _ *Config) { w.hub.helloWith = func(h *events.Hello) { h.HeartbeatMS = 150 } })
	w.mustReach()
	before := len(w.hub.requests("/v1/feed"))
	w.hub.with(func() { w.hub.noBytes = true })
	eventually(t, "another attempt", func() bool { return len(w.hub.requests("/v1/feed")) > before })
	eventually(t, "it says why", func() bool { return w.sub.Status().LastError == errIdle.Error() })
	w.hub.with(func() { w.hub.noBytes = false })
	w.mustReach()
}

func TestRefusals(t *testing.T) {
	t.Run("credential", func(t *testing.T) {
		w := newWorld(t, func(_ *world, c *Config) { c.Credential = "rvk_wrong" })
		eventually(t, "the error shows", func() bool { return strings.Contains(w.sub.Status().LastError, "401") })
		if strings.Contains(fmt.Sprintf("%+v", w.sub.Status()), "rvk_") {
			t.Error("the status has the credential in it")
		}
	})
	t.Run("retry after", func(t *testing.T) {
		w := newWorld(t, func(w *world, _ *Config) { w.hub.refuse, w.hub.retryAfter = 503, "1" })
		eventually(t, "the first attempt", func() bool { return len(w.hub.requests("/v1/feed")) > 0 })
		w.hub.with(func() { w.hub.refuse = 0 })
		w.mustReach()
		reqs := w.hub.requests("/v1/feed")
		if wait := reqs[1].at.Sub(reqs[0].at); wait < time.Second {
			t.Errorf("came back after %v", wait)
		}
	})
	t.Run("redirect", func(t *testing.T) {
		asked := make(chan string, 10)
		elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.Header.Get("Authorization") }))
		defer elsewhere.Close()
		w := newWorld(t, func(w *world, _ *Config) { w.hub.redirect = elsewhere.URL })
		eventually(t, "the error shows", func() bool { return strings.Contains(w.sub.Status().LastError, "307") })
		if len(asked) > 0 {
			t.Errorf("went elsewhere, with %q", <-asked)
		}
	})
	t.Run("content type", func(t *testing.T) {
		w := newWorld(t, func(w *world, _ *Config) { w.hub.wrongType = true })
		eventually(t, "the error shows", func() bool { return strings.Contains(w.sub.Status().LastError, "text/html") })
	})
}

// The hub says that it stops; its subscribers go without haste and without
// being stale.
func TestBye(t *testing.T) {
	w := newWorld(t, func(_ *world, c *Config) { c.MaxStaleness = 30 * time.Second }) // so that no stall of the machine is what is seen
	w.mustReach()
	w.hub.with(func() { w.hub.once = "event: bye\ndata: {\"retry_ms\":20}\n\n" })
	w.mustCount(func(s Status) map[string]uint64 { return s.Sessions }, "bye")
	w.hub.with(func() { w.hub.once = "" })
	w.mustReach()
	// (A report that took too long on a busy machine is no failed session.)
	if s := w.sub.Status(); s.Sessions["failed"] > 0 {
		t.Errorf("%+v", s)
	}
}

// Two addresses of one feed: the second is followed from where the first
// left off.
func TestSecondHub(t *testing.T) {
	w := newWorld(t, func(w *world, c *Config) {
		down := httptest.NewServer(http.NotFoundHandler())
		down.Close()
		c.Hubs = []string{down.URL, w.hub.server.URL + "/"}
	})
	w.revoke(events.KindToken, "t1")
	w.mustReach()
	if s := w.sub.Status(); s.Hub != w.hub.server.URL {
		t.Errorf("%+v", s)
	}
	w.cutStream()
	w.revoke(events.KindToken, "t2")
	w.mustReach()
}

// A hub that is cut off from its log keeps its streams alive and proves nothing.
// Who knows another hub goes there, with its position.
func TestHubThatProvesNothing(t *testing.T) {
	for name, silence := range map[string]func(*fakeHub){
		"no ticks":   func(h *fakeHub) { h.noTicks = true },
		"no answers": func(h *fakeHub) { h.noReports = true },
	} {
		t.Run(name, func(t *testing.T) {
			var other *fakeHub
			w := newWorld(t, func(w *world, c *Config) {
				other = newFakeHub(t, "e1")
				other.key, other.salt = w.hub.key, w.hub.salt
				c.Hubs = append(c.Hubs, other.server.URL)
			})
			w.mustReach()
			w.hub.with(func() { silence(w.hub) })
			eventually(t, "fresh at the other hub", func() bool {
				s := w.sub.Status()
				return s.Hub == other.server.URL && s.State == Fresh
			})
			if at := other.requests("/v1/feed")[0].lastEventID; at != "e1:0" {
				t.Errorf("it came with %q", at)
			}
			// If that one falls silent, too, it goes round, slowly: a session
			// lasts MaxStaleness at least.
			other.with(func() { silence(other) })
			w.mustBecome(Stale)
			begin, before := time.Now(), len(w.hub.requests("/v1/feed"))
			eventually(t, "it has gone round twice", func() bool { return len(w.hub.requests("/v1/feed")) >= before+2 })
			if took := time.Since(begin); took < 2*testStaleness {
				t.Errorf("twice round in %v", took)
			}
		})
	}
}

// With nowhere else to go, it stays: a hub that proves nothing may again.
func TestTheOnlyHubThatProvesNothing(t *testing.T) {
	w := newWorld(t, soonClosed)
	w.mustReach()
	w.hub.with(func() { w.hub.noTicks = true })
	w.mustBecome(Expired) // more than MaxStaleness later
	w.hub.with(func() { w.hub.noTicks = false })
	w.mustReach()
	if n := len(w.hub.requests("/v1/feed")); n != 1 {
		t.Errorf("%d sessions, want the first one", n)
	}
}

// A record may ask for a report, which then does not wait for its turn.
func TestReportAtOnce(t *testing.T) {
	w := newWorld(t, func(_ *world, c *Config) { c.MaxStaleness = 30 * time.Second })
	w.mustReach()
	begin := time.Now()
	seq := w.hub.append(true, w.op(events.Revoke, events.KindToken, "t1"))
	eventually(t, "the report", func() bool {
		w.hub.mu.Lock()
		defer w.hub.mu.Unlock()
		last := w.hub.reports[len(w.hub.reports)-1]
		return last.Applied == seq && last.Epoch == "e1" && last.Subscriber == "sub" && last.State == string(Fresh)
	})
	if d := time.Since(begin); d > 5*time.Second {
		t.Errorf("after %v", d)
	}
}

// What does not fit into the memory budget is not applied, nor is anything
// dropped for it.
func TestMemoryBudget(t *testing.T) {
	w := newWorld(t, func(_ *world, c *Config) { c.MemoryBudget = 10 * outrightBytes })
	for i := range 10 {
		w.revoke(events.KindToken, fmt.Sprint("t", i))
	}
	w.mustReach()
	w.revoke(events.KindToken, "t10")
	w.mustCount(invalids, "memory_budget")
	w.mustStayUnfresh()
	for i := range 10 {
		w.mustBeRevoked(claims(fmt.Sprint("t", i), ""))
	}
	s := w.sub.Status()
	if s.LiveBytes > 10*outrightBytes || len(s.Resyncs) > 0 {
		t.Errorf("%+v", s)
	}
}

// The LRU of details costs the explanation, never the denial.
func TestDetailsAreForgotten(t *testing.T) {
	w := newWorld(t, func(_ *world, c *Config) { c.Details = 1 })
	w.revoke(events.KindToken, "t1")
	w.revoke(events.KindSubject, "bob")
	w.revoke(events.KindToken, "t2")
	w.mustReach()
	if v := w.mustBeRevoked(claims("t1", "")); v.ID != "" || v.Kind != events.KindToken {
		t.Errorf("%+v", v)
	}
	if v := w.mustBeRevoked(claims("", "bob")); v.ID != "" || v.Since.IsZero() {
		t.Errorf("the cutoff is known whatever is forgotten: %+v", v)
	}
	if v := w.mustBeRevoked(claims("t2", "")); v.ID == "" {
		t.Errorf("%+v", v)
	}
}

// What a restore leaves is the work of other revocations: the details of the
// one that is gone must not explain it.
func TestRestoreLeaves(t *testing.T) {
	w := newWorld(t)
	w.revoke(events.KindToken, "t1")
	w.mustBeRevoked(claims("t1", ""))
	eventually(t, "the verdict explains", func() bool { return w.sub.Check(claims("t1", "")).ID != "" })
	op := w.op(events.Restore, events.KindToken, "t1")
	op.Left = &events.Term{Exp: uint32(time.Now().Unix() + 3600)}
	w.hub.append(false, op)
	w.mustReach()
	if v := w.mustBeRevoked(claims("t1", "")); v.ID != "" {
		t.Errorf("%+v", v)
	}
}

// A large record, and many at once.
func TestLargeRecords(t *testing.T) {
	w := newWorld(t)
	var ops []events.Op
	for i := range events.MaxOps {
		ops = append(ops, w.op(events.Revoke, events.KindToken, fmt.Sprint("t", i)))
	}
	w.hub.append(false, ops...)
	for i := range 300 {
		w.revoke(events.KindToken, fmt.Sprint("u", i))
	}
	w.mustReach()
	if n := w.sub.Status().Live["token"]; n != events.MaxOps+300 {
		t.Errorf("%d live", n)
	}
}
