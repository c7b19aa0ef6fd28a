package log

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestFollowOnlyOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.open()
	r := w.follow(l)
	w.append(l, "a")
	r.catchUp()
	if err := l.Follow(w.ctx(), func(Entry) error { return nil }); err == nil {
		t.Error("there are two followers")
	}
}

func TestFollowEndsWithItsContext(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.open()
	r := w.follow(l) // nothing to follow yet
	r.stop()
	<-r.done
	if r.err != nil {
		t.Errorf("follow: %v", r.err)
	}
	w.append(l, "a") // the log goes on
	if err := l.WaitFollowed(w.ctx(), 1); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for nobody: %v", err)
	}
}

func TestFollowReturnsWhatApplySays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.open()
	enough := errors.New("enough")
	var got int
	r := w.followWith(l, &reader{}, func(e Entry) error {
		if got++; got == 2 {
			return enough
		}
		return nil
	})
	for range 3 {
		w.append(l, "x")
	}
	<-r.done
	if r.err != enough || got != 2 {
		t.Errorf("follow: %v after %d records", r.err, got)
	}
	if seq, _ := l.Followed(); seq != 1 {
		t.Errorf("followed to %d; the record that was not applied does not count", seq)
	}
}

func TestReplayOfManyRecords(t *testing.T) {
	t.Parallel()
	const n = 1000
	w := newWorld(t)
	l := w.open()
	for range n {
		w.append(l, "x")
	}
	r := w.follow(l)
	mustChain(t, r.catchUp())
	for range 10 {
		w.append(l, "y")
	}
	if got := r.catchUp(); len(got) != n+10 {
		t.Errorf("followed %d records, want %d", len(got), n+10)
	}
}

func TestWaitFollowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.open()
	w.follow(l)
	if err := l.WaitFollowed(w.ctx(), 0); err != nil {
		t.Errorf("an empty log: %v", err)
	}
	ctx, cancel := context.WithTimeout(w.ctx(), 10*time.Millisecond)
	defer cancel()
	if err := l.WaitFollowed(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("for what never comes: %v", err)
	}
	done := make(chan error)
	go func() { done <- l.WaitFollowed(w.ctx(), 2) }()
	w.append(l, "a")
	w.append(l, "b")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A slow apply holds nobody else up, and loses nothing: the server waits.
func TestSlowFollowerMissesNothing(t *testing.T) {
	t.Parallel()
	const n = 3 * pullMessages
	w := newWorld(t)
	l := w.open()
	r := &reader{seen: make(map[string][]uint64)}
	w.followWith(l, r, func(e Entry) error {
		if e.Seq%100 == 0 {
			time.Sleep(20 * time.Millisecond)
		}
		return r.apply(e)
	})
	for range n {
		w.append(l, "x")
	}
	if got := r.catchUp(); len(got) != n {
		t.Errorf("followed %d records, want %d", len(got), n)
	}
	mustChain(t, r.catchUp())
}

func TestFollowAfter(t *testing.T) {
	w, l, r := began(t)
	entries := r.catchUp()
	again := w.open()
	late := &reader{seen: make(map[string][]uint64)}
	late.world, late.log, late.done = w, again, make(chan struct{})
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		defer close(late.done)
		late.err = again.FollowAfter(ctx, 2, entries[1].Chain, late.apply)
	}()
	t.Cleanup(func() { stop(); <-late.done })
	if err := again.WaitFollowed(w.ctx(), 2); err != nil {
		t.Fatal(err)
	}
	w.append(l, "d")
	got := late.catchUp()
	if len(got) != 2 || got[0].Seq != 3 || got[1].Seq != 4 {
		t.Fatalf("after record 2 come %d records, %+v", len(got), got)
	}
	mustAgree(t, got[:1], entries[2:])
}

// Nobody goes on from where the log has never been.
func TestFollowAfterAnotherHistory(t *testing.T) {
	for name, tt := range map[string]struct {
		seq   uint64
		chain int // of which record
		want  Fault
	}{
		"the chain of another record": {2, 1, Altered},
		"beyond the end":              {9, 2, Rewound},
	} {
		t.Run(name, func(t *testing.T) {
			w, _, r := began(t)
			chain := r.catchUp()[tt.chain-1].Chain
			again := w.open()
			err := again.FollowAfter(w.ctx(), tt.seq, chain, func(e Entry) error {
				t.Errorf("record %d was applied", e.Seq)
				return nil
			})
			var h *HistoryError
			if !errors.As(err, &h) || h.Fault != tt.want {
				t.Errorf("follow: %v, want history %s", err, tt.want)
			}
		})
	}
}

func TestChainAt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	short := func(c *Config) { c.Retention = 6 * time.Second }
	l := w.open(short)
	r := w.follow(l)
	for _, name := range []string{"a", "b", "c"} {
		w.append(l, name)
	}
	entries := r.catchUp()
	for _, e := range entries {
		if got, err := l.ChainAt(w.ctx(), e.Seq); err != nil || got != e.Chain {
			t.Errorf("chain at %d: %v, %v", e.Seq, got, err)
		}
	}
	for _, seq := range []uint64{4, 1000, 1<<64 - 1} {
		if _, err := l.ChainAt(w.ctx(), seq); !errors.Is(err, ErrNotFound) {
			t.Errorf("chain at %d, after the end: %v", seq, err)
		}
	}
	aged := func(first uint64) func() bool {
		return func() bool {
			got, err := l.First(w.ctx())
			return err == nil && got == first
		}
	}
	w.until("all have aged out", aged(4))
	if got, err := l.ChainAt(w.ctx(), 3); err != nil || got != entries[2].Chain {
		t.Errorf("chain at the head of what has aged out: %v, %v", got, err)
	}
	w.append(l, "d")
	if got, err := l.ChainAt(w.ctx(), 3); err != nil || got != entries[2].Chain {
		t.Errorf("chain before the first: %v, %v", got, err)
	}
	if _, err := l.ChainAt(w.ctx(), 2); !errors.Is(err, ErrNotFound) {
		t.Errorf("chain before that: %v", err)
	}
}
