package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/log"
)

// until waits for something that nobody tells.
func (w *world) until(what string, ok func() bool) {
	w.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("waited in vain until %s", what)
		}
	}
}

// The file is written while revocations come in from all sides and the index
// is swept and packed. Whichever file is there when a feed starts, with the
// records since it is the whole log.
func TestStateIsWrittenUnderLoad(t *testing.T) {
	w, file := newStateWorld(t, func(_ *world, c *Config, _ *log.Config) {
		c.StateEvery, c.StateOps = time.Millisecond, 1
	})
	var writers sync.WaitGroup
	done := make(chan struct{})
	for i := range 4 {
		writers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				name := fmt.Sprint(i, "-", n)
				o := Order{Target: target(events.KindToken, name), Reason: events.Other}
				by := Caller{Actor: fmt.Sprint("actor-", i), IdempotencyKey: name}
				res, err := w.feed.Revoke(context.Background(), by, []Order{o}, false)
				if err == nil && n%3 > 0 {
					_, err = w.feed.Restore(context.Background(), by, RestoreOrder{ID: res.Revocations[0].ID, Reason: events.Admin})
				}
				if err != nil {
					w.Errorf("%s: %v", name, err)
					return
				}
			}
		})
	}
	for range 4 {
		n := file.written()
		w.until("the file is written again", func() bool {
			w.feed.sweepIndex(w.time())
			return file.written() > n
		})
	}
	early, used := w.another(file)
	close(done)
	writers.Wait()
	w.must(early.log.WaitFollowed(context.Background(), w.feed.Position().Seq))
	whole, _ := w.another(nil)
	if d := w.differ(whole, early); !used || d != "" {
		t.Errorf("used %v: %s", used, d)
	}
}

func TestStateIsWrittenAtTheEnd(t *testing.T) {
	w, file := newStateWorld(t)
	w.restart()
	if file.written() != 0 {
		t.Fatal("there is nothing to write")
	}
	w.revoke(events.KindSubject, "alice")
	w.restart()
	if file.written() != 1 || w.feed.keeper.seq != 1 {
		t.Fatalf("%d files were written, the last at %d", file.written(), w.feed.keeper.seq)
	}
	w.check()
	if !w.matches(events.Claims{Subject: "alice", IssuedAt: 1}) {
		t.Fatal("alice is not revoked any more")
	}
	w.restart()
	if file.written() != 1 {
		t.Error("written again although nothing is new")
	}
}

// A feed that can't write its state goes on, says so, and starts from the file
// that it has.
func TestStateThatCannotBeWritten(t *testing.T) {
	said, counted := new(logLines), prometheus.NewRegistry()
	w, file := newStateWorld(t, func(_ *world, c *Config, _ *log.Config) {
		c.Logger, c.Metrics = slog.New(slog.NewTextHandler(said, nil)), NewMetrics(counted)
	})
	w.revoke(events.KindSubject, "alice")
	w.restart()
	file.fail = errors.New("the disk is full")
	w.revoke(events.KindSubject, "bob")
	w.restart()
	families, err := counted.Gather()
	w.must(err)
	failures := 0.0
	for _, f := range families {
		if f.GetName() == "revocast_state_failures_total" {
			failures = f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	if failures != 1 || !said.has("the disk is full") {
		t.Errorf("counted %v failures", failures)
	}
	if w.feed.keeper.seq != 1 || w.feed.Position().Seq != 2 {
		t.Errorf("began with the state at %d", w.feed.keeper.seq)
	}
	w.check()
}

// However late the file is, it is used as long as the log joins on to it.
func TestStateWhoseRecordsHaveAgedOut(t *testing.T) {
	short := func(_ *world, c *Config, l *log.Config) {
		l.Retention = 8 * time.Second
		c.Issuer = func(string) (time.Duration, time.Duration, bool) { return time.Second, 0, true }
	}
	tests := map[string]struct {
		later   int // records after the state
		aged    uint64
		wantUse bool
	}{
		"all, and the tick tells": {0, 1, true},
		"up to the state":         {1, 1, true},
		"one beyond the state":    {2, 2, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, file := newStateWorld(t, short)
			w.revoke(events.KindSubject, "alice")
			w.store(file, w.cfg.Keys, nil)
			for n := range tt.later {
				if n == tt.later-1 {
					w.until("the others have aged out", func() bool {
						first, err := w.log.First(context.Background())
						return err == nil && first == tt.aged+1
					})
				}
				_, err := w.feed.Revoke(context.Background(), Caller{Actor: "tester"}, []Order{{Target: target(events.KindSubject, fmt.Sprint(n)), Reason: events.Other}}, false)
				w.must(err)
			}
			w.until("the tick is at the head", func() bool {
				first, err := w.log.First(context.Background())
				return err == nil && first > tt.aged && w.feed.Ready() == nil
			})
			f, used := w.another(file)
			if used != tt.wantUse {
				t.Fatalf("used the state: %v", used)
			}
			// The world's clock stands still: this is a retention that was
			// shortened below what is still in force.
			_, ok := f.Match(events.Claims{Issuer: iss, Subject: "alice", IssuedAt: 1})
			if ok != tt.wantUse {
				t.Errorf("alice is revoked: %v", ok)
			}
			_, _, err := f.List(context.Background(), Filter{}, Cursor{}, 10)
			w.must(err)
		})
	}
}

// An index that was packed beside what went on is the index that was not.
func TestPackedIndexIsTheIndex(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plain, packed := newIndex(), newIndex()
		var seq uint64
		some := func() {
			for range rapid.IntRange(0, 30).Draw(t, "steps") {
				id := [16]byte{15: byte(rapid.IntRange(1, 12).Draw(t, "id"))}
				if rapid.Bool().Draw(t, "remove") {
					plain.remove(id)
					packed.remove(id)
					continue
				}
				seq++
				op := events.Op{Verb: events.Revoke, ID: events.IDFrom(id), Key: events.Key{id[15] % 5}, Kind: events.KindToken, Term: events.Term{Exp: uint32(rapid.IntRange(50, 150).Draw(t, "exp"))}}
				full := &auditOp{Actor: fmt.Sprint("actor-", seq), Reason: events.Admin}
				full.Target.Iss = fmt.Sprint("iss-", seq%3)
				plain.add(op, full, 1, place{seq, 0})
				packed.add(op, full, 1, place{seq, 0})
			}
		}
		for range rapid.IntRange(1, 4).Draw(t, "rounds") {
			some()
			v := packed.frozen()
			p := v.packed()
			some()
			p.follow(packed, v)
			packed = p
			mustAlike(t, plain, packed)
		}
		plain.sweep(100, 0, 1<<30)
		packed.sweep(100, 0, 1<<30)
		mustAlike(t, plain, packed)
		v := packed.frozen()
		if p := v.packed(); len(p.actors.list) != packed.live() { // each has its own
			t.Fatalf("%d names for %d revocations", len(p.actors.list), packed.live())
		}
	})
}

// mustAlike compares what two indexes answer.
func mustAlike(t *rapid.T, a, b *index) {
	type said struct {
		rev
		iss, actor string
	}
	say := func(x *index, r rev) said {
		s := said{r, x.issuers.list[r.iss], x.actors.list[r.actor]}
		s.rev.iss, s.rev.actor, s.older = 0, 0, 0
		if n, ok := x.actors.find(s.actor); !ok || n != r.actor {
			t.Fatalf("actor %s is %d and %d", s.actor, r.actor, n)
		}
		return s
	}
	all := func(x *index) (list []said) {
		for i, r := range x.revs.from(0) {
			if got, ok := x.get(events.IDFrom(r.id), 0); ok && x.dead.has(i) && got.place == r.place {
				t.Fatalf("%x is dead, and found by its id", r.id)
			}
		}
		for r := range x.newestBefore(place{}, 0) {
			list = append(list, say(x, r))
			if got, ok := x.get(events.IDFrom(r.id), 0); !ok || got != r {
				t.Fatalf("%x is not found by its id", r.id)
			}
		}
		for k := range byte(5) {
			for r := range x.of(events.Key{k}, 0) {
				list = append(list, say(x, r))
			}
		}
		return list
	}
	if x, y := all(a), all(b); !slices.Equal(x, y) || a.live() != b.live() {
		t.Fatalf("%+v and %+v", x, y)
	}
}

// Names that nobody has any more go when the index is packed.
func TestNamesAreForgotten(t *testing.T) {
	w := newWorld(t)
	for i := range 20 {
		by := Caller{Actor: fmt.Sprint("actor-", i), Source: "test"}
		res, err := w.feed.Revoke(context.Background(), by, []Order{{Target: events.Target{Kind: events.KindSubject, Iss: fmt.Sprint("https://issuer.example/", i), Value: "alice"}, Reason: events.Other}}, false)
		w.must(err)
		if i > 0 {
			w.restore(res.Revocations[0].ID)
		}
	}
	w.feed.sweepIndex(w.time())
	w.check()
	if x := w.feed.index; len(x.actors.list) != 1 || len(x.issuers.list) != 1 || x.revs.len() != 1 {
		t.Errorf("%d actors, %d issuers, %d revocations", len(x.actors.list), len(x.issuers.list), x.revs.len())
	}
	list, _, err := w.feed.List(context.Background(), Filter{Actor: "actor-0"}, Cursor{}, 10)
	if err != nil || len(list) != 1 {
		t.Errorf("list %+v, %v", list, err)
	}
}

func TestRequestsAreForgottenInTheirTime(t *testing.T) {
	r := requestsOf(nil)
	key := func(n byte) events.Key { return events.Key{n} }
	for n := range byte(4) {
		r.add(events.Request{Key: key(n % 3)}, events.Time(n)*1000, place{uint64(n), 0})
	}
	r.sweep(time.Unix(2, 0))
	for n, want := range []uint64{3, 0, 2} {
		if got, ok := r.find(key(byte(n))); ok != (want != 0) || got.seq != want {
			t.Errorf("request %d is in record %d, %v", n, got.seq, ok)
		}
	}
	r = requestsOf(r.list)
	r.sweep(time.Unix(9, 0))
	if len(r.byKey) != 0 || len(r.list) != 0 {
		t.Errorf("%+v is left", r)
	}
}
