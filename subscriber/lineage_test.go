package subscriber

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
)

// A child that was made from a parent and embeds another token dies with any
// of them, and the verdict says with which; what has no such parent does not.
func TestCheckOfSeveralLineages(t *testing.T) {
	w := newWorld(t, func(_ *world, c *Config) { c.MaxStaleness = 10 * time.Second }) // it is about other things
	waitReady(t, w.sub)
	child, parent, embedded := claims("child", "service"), claims("parent", "alice"), claims("embedded", "device")
	all := []events.Claims{parent, embedded}
	prepared := w.sub.Prepare(child, all...)
	must := func(want Outcome, lineage int, kind events.Kind) {
		t.Helper()
		w.mustReach()
		for name, v := range map[string]Verdict{"Check": w.sub.Check(child, all...), "CheckPrepared": w.sub.CheckPrepared(prepared)} {
			if v.Outcome != want || v.Lineage != lineage || v.Kind != kind {
				t.Errorf("%s: %+v, want %v by lineage %d", name, v, want, lineage)
			}
		}
		w.check()
	}
	must(Allowed, 0, 0)

	w.revoke(events.KindToken, "kept")
	w.revoke(events.KindToken, "embedded")
	must(Revoked, 2, events.KindToken)
	w.mustBeAllowed(child) // by itself, it is good
	// Another history, with other keys, in which nobody has revoked anything:
	// what was known is kept, for all lineages.
	w.hub.newEpoch("e2", false)
	must(Revoked, 2, events.KindToken)
	w.mustBeRevoked(claims("kept", ""))
	w.revoke(events.KindSubject, "alice")
	must(Revoked, 1, events.KindSubject)
	w.revoke(events.KindToken, "child")
	must(Revoked, 0, events.KindToken)
	w.restore(events.KindToken, "child")
	must(Revoked, 1, events.KindSubject)

	// A parent that has expired revokes no less, and by itself nothing.
	parent.Expires = time.Now().Add(-time.Minute).UnixMilli()
	if v := w.sub.Check(claims("c", "s"), parent); v.Outcome != Revoked || v.Lineage != 1 {
		t.Errorf("%+v", v)
	}
	parent.Subject = "bob"
	if v := w.sub.Check(claims("c", "s"), parent); v.Outcome != Allowed {
		t.Errorf("%+v", v)
	}
}

// What Prepare was given can be changed afterwards without any effect.
func TestPrepareKeepsItsOwn(t *testing.T) {
	w := newWorld(t)
	waitReady(t, w.sub)
	from := []events.Claims{claims("parent", "alice")}
	prepared := w.sub.Prepare(claims("child", ""), from...)
	from[0].ID = "other"
	w.revoke(events.KindToken, "parent")
	w.mustReach()
	w.hub.newEpoch("e2", false) // the keys are made anew, for both histories
	w.mustReach()
	if v := w.sub.CheckPrepared(prepared); v.Outcome != Revoked {
		t.Errorf("%+v", v)
	}
}

// A job that hangs on two tokens ends with either, and OnRevoked says which.
func TestGuardOfSeveralLineages(t *testing.T) {
	told := make(chan Revocation, 10)
	w := newWorld(t, func(_ *world, c *Config) { c.OnRevoked = func(r Revocation) { told <- r } })
	waitReady(t, w.sub)
	job := func(jti, parent string) (ended <-chan struct{}, cause func() error) {
		ctx, stop := w.sub.Guard(t.Context(), w.sub.Prepare(claims(jti, ""), claims(parent, "")))
		t.Cleanup(stop)
		return ctx.Done(), func() error { return mustEnd(t, ctx) }
	}
	_, byParent := job("t1", "p1")
	_, byItself := job("t2", "p2")
	other, _ := job("t3", "p3")
	w.revoke(events.KindToken, "p1")
	var revoked *RevokedError
	if err := byParent(); !errors.As(err, &revoked) || revoked.Verdict.Lineage != 1 || !strings.Contains(err.Error(), "comes from") {
		t.Errorf("cause %v", err)
	}
	if r := <-told; r.Verdict.Lineage != 1 || r.Token.Claims.ID != "t1" {
		t.Errorf("told %+v", r.Verdict)
	}
	w.revoke(events.KindToken, "t2")
	if err := byItself(); !errors.As(err, &revoked) || revoked.Verdict.Lineage != 0 || strings.Contains(err.Error(), "comes from") {
		t.Errorf("cause %v", err)
	}
	<-told
	w.mustReach()
	select {
	case <-other:
		t.Error("another job has ended")
	default:
	}
	if len(told) > 0 {
		t.Errorf("told of %+v", <-told)
	}
}

// Further lineages cost hashes, and nothing else.
func TestCheckOfSeveralLineagesDoesNotAllocate(t *testing.T) {
	s := benchSubscriber(t, 1000)
	child, parent := claims("child", "service"), claims("parent", "alice")
	if n := testing.AllocsPerRun(100, func() {
		if v := s.Check(child, parent, child); v.Outcome != Allowed {
			t.Fatal(v)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
