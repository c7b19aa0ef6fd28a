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
