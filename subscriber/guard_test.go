package subscriber

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
)

func mustEnd(t *testing.T, ctx context.Context) error {
	t.Helper()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(10 * time.Second):
		t.Fatal("the guard has not ended")
		return nil
	}
}

func (w *world) guard(c events.Claims) (context.Context, func()) {
	w.t.Helper()
	ctx, stop := w.sub.Guard(w.t.Context(), w.sub.Prepare(c))
	w.t.Cleanup(stop)
	return ctx, stop
}

func TestGuard(t *testing.T) {
	t.Run("revoked", func(t *testing.T) {
		w := newWorld(t)
		waitReady(t, w.sub)
		alice, _ := w.guard(claims("t1", "alice"))
		bob, _ := w.guard(claims("t2", "bob"))
		both, _ := w.guard(claims("t3", "alice"))
		w.revoke(events.KindSubject, "alice")
		var revoked *RevokedError
		for _, ctx := range []context.Context{alice, both} {
			if err := mustEnd(t, ctx); !errors.As(err, &revoked) || revoked.Verdict.Kind != events.KindSubject || revoked.Verdict.ID == "" {
				t.Errorf("cause %v", err)
			}
		}
		if bob.Err() != nil {
			t.Error("another token's guard has ended")
		}
		eventually(t, "released", func() bool { return w.sub.Status().Guards == 1 })
	})
	t.Run("revoked before", func(t *testing.T) {
		w := newWorld(t)
		w.revoke(events.KindToken, "t1")
		w.mustReach()
		ctx, _ := w.guard(claims("t1", ""))
		if ctx.Err() == nil {
			t.Error("not ended when Guard returns")
		}
	})
	t.Run("issued after the cutoff", func(t *testing.T) {
		w := newWorld(t)
		waitReady(t, w.sub)
		c := claims("t1", "alice")
		c.IssuedAt = time.Now().Add(time.Minute).UnixMilli()
		ctx, _ := w.guard(c)
		w.revoke(events.KindSubject, "alice")
		w.mustReach()
		if ctx.Err() != nil {
			t.Error("ended")
		}
	})
	t.Run("expires", func(t *testing.T) {
		w := newWorld(t)
		waitReady(t, w.sub)
		c := claims("t1", "")
		c.Expires = time.Now().Add(50 * time.Millisecond).UnixMilli()
		ctx, _ := w.guard(c)
		if err := mustEnd(t, ctx); err != ErrExpired {
			t.Errorf("cause %v", err)
		}
		again, _ := w.guard(c)
		if err := mustEnd(t, again); err != ErrExpired {
			t.Errorf("cause %v", err)
		}
	})
	t.Run("expires while the machine is suspended", func(t *testing.T) {
		w := newWorld(t, func(_ *world, c *Config) { c.Policy = DangerouslyOpen() }) // else the policy is quicker
		waitReady(t, w.sub)
		ctx, _ := w.guard(claims("t1", ""))
		w.step.Store(2 * 3600_000)
		if err := mustEnd(t, ctx); err != ErrExpired {
			t.Errorf("cause %v", err)
		}
	})
	t.Run("policy closes", func(t *testing.T) {
		w := newWorld(t, soonClosed)
		waitReady(t, w.sub)
		ctx, _ := w.guard(claims("t1", ""))
		w.hub.with(func() { w.hub.noTicks = true })
		if err := mustEnd(t, ctx); err != ErrStale {
			t.Errorf("cause %v", err)
		}
		if s := w.sub.Status(); s.Staleness < testStaleness+time.Second {
			t.Errorf("before the grace was over: %+v", s)
		}
		again, _ := w.guard(claims("t1", ""))
		if again.Err() == nil {
			t.Error("not ended when Guard returns")
		}
	})
	t.Run("before anything is known", func(t *testing.T) {
		w := newWorld(t, soonClosed, func(w *world, _ *Config) { w.hub.refuse = 503 })
		ctx, _ := w.guard(claims("t1", ""))
		if err := mustEnd(t, ctx); err != ErrStale {
			t.Errorf("cause %v", err)
		}
	})
	t.Run("released", func(t *testing.T) {
		w := newWorld(t)
		waitReady(t, w.sub)
		_, stop := w.guard(claims("t1", ""))
		parent, cancel := context.WithCancel(t.Context())
		ctx, stop2 := w.sub.Guard(parent, w.sub.Prepare(claims("t1", "")))
		defer stop2()
		stop()
		stop()
		cancel()
		eventually(t, "released", func() bool { return w.sub.Status().Guards == 0 })
		if err := context.Cause(ctx); err != context.Canceled {
			t.Errorf("cause %v", err)
		}
		w.sub.watch.mu.Lock()
		defer w.sub.watch.mu.Unlock()
		if len(w.sub.watch.byKey) > 0 || len(w.sub.watch.all) > 0 {
			t.Error("something is left in the index")
		}
	})
	t.Run("snapshot", func(t *testing.T) {
		w := newWorld(t)
		waitReady(t, w.sub)
		ctx, _ := w.guard(claims("t1", ""))
		w.hub.with(func() { w.hub.hold = true })
		w.revoke(events.KindToken, "t1")
		w.hub.with(func() { w.hub.oldest, w.hub.hold = w.hub.head(), false; w.hub.cut++ })
		var revoked *RevokedError
		if err := mustEnd(t, ctx); !errors.As(err, &revoked) {
			t.Errorf("cause %v", err)
		}
	})
	t.Run("closed", func(t *testing.T) {
		w := newWorld(t)
		waitReady(t, w.sub)
		ctx, _ := w.guard(claims("t1", ""))
		w.sub.Close()
		if err := mustEnd(t, ctx); err != ErrClosed {
			t.Errorf("cause %v", err)
		}
		after, _ := w.guard(claims("t1", ""))
		if err := mustEnd(t, after); err != ErrClosed {
			t.Errorf("cause %v", err)
		}
		if err := w.sub.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Guards that come and go while their tokens are being revoked: none is
// forgotten.
func TestGuardRace(t *testing.T) {
	w := newWorld(t)
	waitReady(t, w.sub)
	const n = 200
	done := make(chan error, n)
	for i := range n {
		go func() {
			ctx, stop := w.sub.Guard(t.Context(), w.sub.Prepare(claims(fmt.Sprint("t", i), "")))
			defer stop()
			select {
			case <-ctx.Done():
				done <- nil
			case <-time.After(10 * time.Second):
				done <- fmt.Errorf("guard %d has not ended", i)
			}
		}()
		w.revoke(events.KindToken, fmt.Sprint("t", i))
	}
	for range n {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

func TestOnRevoked(t *testing.T) {
	t.Run("told once", func(t *testing.T) {
		told := make(chan Revocation, 100)
		w := newWorld(t, func(_ *world, c *Config) { c.OnRevoked = func(r Revocation) { told <- r } })
		waitReady(t, w.sub)
		known, err := w.sub.Authenticate(t.Context(), sign(t, nil), "orders")
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := w.sub.Guard(t.Context(), known)
		defer stop()
		w.revoke(events.KindToken, "unknown")
		w.revoke(events.KindSubject, "alice")
		w.revoke(events.KindToken, "t1")
		mustEnd(t, ctx)
		r := <-told
		if r.Token != known || r.Verdict.Outcome != Revoked || r.Verdict.Kind != events.KindSubject || r.Verdict.ID == "" {
			t.Errorf("%+v", r)
		}
		w.mustReach()
		w.restore(events.KindToken, "t1")
		w.restore(events.KindSubject, "alice")
		w.mustReach()
		if len(told) > 0 {
			t.Errorf("told again: %+v", <-told)
		}
		w.revoke(events.KindToken, "t1")
		<-told
	})
	t.Run("by a snapshot", func(t *testing.T) {
		told := make(chan Revocation, 100)
		w := newWorld(t, func(_ *world, c *Config) { c.OnRevoked = func(r Revocation) { told <- r } })
		waitReady(t, w.sub)
		if _, err := w.sub.Authenticate(t.Context(), sign(t, nil)); err != nil {
			t.Fatal(err)
		}
		w.hub.newEpoch("e2", false)
		w.revoke(events.KindToken, "t1")
		<-told
	})
	t.Run("blocks", func(t *testing.T) {
		blocked := make(chan struct{})
		w := newWorld(t, func(_ *world, c *Config) { c.OnRevoked = func(Revocation) { <-blocked } })
		waitReady(t, w.sub)
		for i := range maxCalls + 10 {
			_, stop := w.sub.Guard(t.Context(), w.sub.Prepare(claims(fmt.Sprint("t", i), "alice")))
			defer stop()
		}
		w.revoke(events.KindSubject, "alice")
		w.mustCount(func(s Status) map[string]uint64 { return s.Callbacks }, "lost")
		w.mustReach()
		close(blocked)
	})
	t.Run("forgotten tokens", func(t *testing.T) {
		w := newWorld(t, func(_ *world, c *Config) { c.VerifiedTokens = 2; c.OnRevoked = func(Revocation) {} })
		waitReady(t, w.sub)
		for i := range 10 {
			if _, err := w.sub.Authenticate(t.Context(), sign(t, map[string]any{"jti": fmt.Sprint("t", i)})); err != nil {
				t.Fatal(err)
			}
		}
		w.sub.watch.mu.Lock()
		defer w.sub.watch.mu.Unlock()
		if n := len(w.sub.watch.all); n != 2 {
			t.Errorf("%d tokens are watched", n)
		}
	})
}
