package feed

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/log"
)

func TestRevokeReachesAReaderWhoWasThere(t *testing.T) {
	carriages(t, func(t *testing.T, how option) {
		w := newWorld(t, how)
		r := w.newReader()
		r.connect()
		if r.hello.Mode != events.ModeDelta || r.hello.HeartbeatMS != 200 {
			t.Fatalf("hello %+v", r.hello)
		}
		w.revoke(events.KindToken, "t1")
		r.catchUp()
		w.revoke(events.KindSubject, "alice")
		r.catchUp()
		for r.ticks < 3 {
			r.take(r.next())
		}
	})
}

func TestReaderComesBackAndMissesNothing(t *testing.T) {
	carriages(t, func(t *testing.T, how option) {
		w := newWorld(t, how)
		r := w.newReader()
		r.connect()
		w.revoke(events.KindToken, "t1")
		r.catchUp()
		r.disconnect()
		id := w.revoke(events.KindToken, "t2")
		w.restore(id)
		w.revoke(events.KindClient, "app")
		r.connect()
		if r.hello.Mode != events.ModeDelta {
			t.Fatalf("mode %s", r.hello.Mode)
		}
		r.catchUp()

		w.restart()
		w.revoke(events.KindKey, "kid-1")
		r.connect()
		if r.hello.Mode != events.ModeDelta || r.hello.Head != r.at.Seq+1 {
			t.Fatalf("after a restart: %+v at %v", r.hello, r.at)
		}
		r.catchUp()
	})
}

func TestReaderWhoseRecordsAreGoneIsSentToTheSnapshot(t *testing.T) {
	w := newWorld(t, func(_ *world, c *Config, _ *log.Config) { c.KeepFrames = 1 })
	r := w.newReader()
	big := make([]Order, 900) // each record fills a chunk of the frames
	for i := range 3 {
		for j := range big {
			big[j] = Order{Target: target(events.KindToken, fmt.Sprintf("%200d-%d", i, j)), Reason: events.Logout}
		}
		_, err := w.feed.Revoke(context.Background(), Caller{Actor: "tester", Source: "test"}, big, false)
		w.must(err)
	}
	for i := range 2500 {
		w.feed.frames.mu.Lock()
		gone := w.feed.frames.first > 1
		w.feed.frames.mu.Unlock()
		if gone {
			break
		}
		_, err := w.feed.Revoke(context.Background(), Caller{Actor: "tester", Source: "test"},
			[]Order{{Target: target(events.KindToken, fmt.Sprint(i)), Reason: events.Logout}}, false)
		w.must(err)
	}
	r.connect()
	if r.hello.Mode != events.ModeSnapshot {
		t.Fatalf("a new reader of a long log got mode %s", r.hello.Mode)
	}
	r.disconnect()
	r.loadSnapshot()
	w.revoke(events.KindToken, "after the snapshot")
	r.connect()
	if r.hello.Mode != events.ModeDelta {
		t.Fatalf("with a snapshot's position: mode %s", r.hello.Mode)
	}
	r.catchUp()
}

func TestReaderOfAnotherHistoryIsReset(t *testing.T) {
	w := newWorld(t)
	w.revoke(events.KindToken, "t1")
	for _, at := range []events.Position{
		{Epoch: "another", Seq: 1},
		{Epoch: w.feed.Position().Epoch, Seq: 2}, // more than the log has
	} {
		r := w.newReader()
		r.at = at
		r.connect()
		if r.hello.Mode != events.ModeReset {
			t.Errorf("at %v: mode %s, want reset", at, r.hello.Mode)
		}
		r.disconnect()
	}
}

func TestNonsensePositionIsRefused(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"x", ":1", "e:", "e:-1", "e:01", "e:1:2", "E:1", "e:18446744073709551616"} {
		req, _ := http.NewRequest("GET", w.http.URL+"/v1/feed", nil)
		req.Header.Set("Last-Event-ID", id)
		resp, err := http.DefaultClient.Do(req)
		w.must(err)
		resp.Body.Close()
		if resp.StatusCode != http.StatusTeapot {
			t.Errorf("Last-Event-ID %q: %s", id, resp.Status)
		}
	}
}

// A revocation published while a reader is between its history and the live
// stream must reach it exactly once.
func TestNoGapBetweenHistoryAndLive(t *testing.T) {
	carriages(t, func(t *testing.T, how option) {
		w := newWorld(t, how)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					_, err := w.feed.Revoke(context.Background(), Caller{Actor: "tester", Source: "test"},
						[]Order{{Target: target(events.KindToken, fmt.Sprintf("%d-%d", i, n)), Reason: events.Logout}}, false)
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		r := w.newReader()
		for range 20 {
			r.connect()
			for range 20 {
				r.take(r.next()) // fails on any gap, duplicate, or broken chain
			}
			r.disconnect()
			// What was read but not applied counts as not received.
		}
		close(stop)
		wg.Wait()
		r.connect()
		r.catchUp()
	})
}

func TestRestoreLeavesWhatOthersSay(t *testing.T) {
	w := newWorld(t)
	alice := events.Claims{Subject: "alice"}
	at := func(d time.Duration) events.Claims {
		c := alice
		c.IssuedAt = w.time().Add(d).UnixMilli()
		return c
	}
	early := w.order(Order{Target: target(events.KindSubject, "alice"), Cutoff: events.At(w.time().Add(-time.Hour)), Reason: events.Logout})
	late := w.revoke(events.KindSubject, "alice")
	if !w.matches(at(-time.Minute)) {
		t.Fatal("the later cutoff does not match")
	}
	w.restore(late)
	if w.matches(at(-time.Minute)) || !w.matches(at(-2*time.Hour)) {
		t.Fatal("restoring the later cutoff must leave the earlier one")
	}
	w.restore(early.Revocations[0].ID)
	if w.matches(at(-2 * time.Hour)) {
		t.Fatal("nothing is left to match")
	}
	_, err := w.feed.Restore(context.Background(), Caller{Actor: "tester"}, RestoreOrder{ID: late, Reason: events.Admin})
	w.mustRefuse(err, NotFound)
}

func TestCompromisedIsRestoredByForceOnly(t *testing.T) {
	w := newWorld(t)
	id := w.order(Order{Target: target(events.KindToken, "stolen"), Reason: events.Compromised}).Revocations[0].ID
	_, err := w.feed.Restore(context.Background(), Caller{Actor: "tester"}, RestoreOrder{ID: id, Reason: events.Admin})
	w.mustRefuse(err, Protected)
	if !w.matches(events.Claims{ID: "stolen"}) {
		t.Fatal("a refused restore has restored")
	}
	_, err = w.feed.Restore(context.Background(), Caller{Actor: "tester"}, RestoreOrder{ID: id, Reason: events.Admin, Force: true})
	w.must(err)
	w.check()
}

func TestRefusals(t *testing.T) {
	w := newWorld(t, func(_ *world, c *Config, lc *log.Config) {
		lc.Retention = 48 * time.Hour
		c.Issuer = func(s string) (time.Duration, time.Duration, bool) { return time.Hour, 2 * time.Second, s == iss }
	})
	now := events.At(w.time())
	for name, c := range map[string]struct {
		order Order
		code  Code
	}{
		"unknown issuer":  {Order{Target: events.Target{Kind: events.KindToken, Iss: "https://else", Value: "x"}}, UnknownIssuer},
		"expired":         {Order{Target: target(events.KindToken, "x"), ExpiresAt: now - 3000}, AlreadyExpired},
		"future cutoff":   {Order{Target: target(events.KindSubject, "x"), Cutoff: now + 10_000}, FutureCutoff},
		"beyond the log":  {Order{Target: target(events.KindToken, "x"), ExpiresAt: now + 49*3600*1000}, RetentionExceeded},
		"just beyond it":  {Order{Target: target(events.KindToken, "x"), ExpiresAt: now + 48*3600*1000}, RetentionExceeded},
		"one of a second": {Order{Target: target(events.KindHandle, events.HandleOf("x")), ExpiresAt: now - 2001}, AlreadyExpired},
	} {
		c.order.Reason = events.Other
		_, err := w.feed.Revoke(context.Background(), Caller{Actor: "tester"}, []Order{c.order}, false)
		t.Log(name)
		w.mustRefuse(err, c.code)
	}
	if seq := w.feed.Position().Seq; seq != 0 {
		t.Fatalf("refused requests left %d records", seq)
	}
}

func TestRequestSentTwiceTakesEffectOnce(t *testing.T) {
	w := newWorld(t)
	by := Caller{Actor: "tester", Source: "test", IdempotencyKey: "k1", Body: []byte("one")}
	orders := []Order{
		{Target: target(events.KindToken, "a"), Reason: events.Logout},
		{Target: target(events.KindToken, "b"), Reason: events.Logout},
	}
	first, err := w.feed.Revoke(context.Background(), by, orders, false)
	w.must(err)
	w.restart() // any time later
	again, err := w.feed.Revoke(context.Background(), by, orders, false)
	w.must(err)
	if !again.Replayed || fmt.Sprint(again.Revocations) != fmt.Sprint(first.Revocations) || again.Position != first.Position {
		t.Fatalf("first %+v\nagain %+v", first, again)
	}
	other := by
	other.Body = []byte("two")
	_, err = w.feed.Revoke(context.Background(), other, orders, false)
	w.mustRefuse(err, KeyReused)
	other.Actor = "somebody else"
	if res, err := w.feed.Revoke(context.Background(), other, orders, false); err != nil || res.Replayed {
		t.Fatalf("another actor's key is another key: %+v %v", res, err)
	}
	w.check()
}

func TestConcurrentDuplicatesTakeEffectOnce(t *testing.T) {
	w := newWorld(t)
	var wg sync.WaitGroup
	ids := make([]events.ID, 32)
	for i := range ids {
		wg.Go(func() {
			res, err := w.feed.Revoke(context.Background(),
				Caller{Actor: "tester", Source: "test", IdempotencyKey: "same", Body: []byte("b")},
				[]Order{{Target: target(events.KindToken, "a"), Reason: events.Logout}}, false)
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = res.Revocations[0].ID
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("two answers to one request: %v", ids)
		}
	}
	if n := w.feed.Status().Revocations; n != 1 {
		t.Fatalf("%d revocations", n)
	}
	w.check()
}

func TestExpiredIsForgottenEverywhere(t *testing.T) {
	w := newWorld(t)
	w.order(Order{Target: target(events.KindToken, "short"), ExpiresAt: events.At(w.time().Add(time.Minute)), Reason: events.Logout})
	w.revoke(events.KindSubject, "alice")
	w.advance(2 * time.Hour)
	w.check()
	list, _, err := w.feed.List(context.Background(), Filter{}, Cursor{}, 10)
	w.must(err)
	if len(list) != 1 || list[0].Target.Kind != events.KindSubject {
		t.Fatalf("list %+v", list)
	}
	deadline := time.Now().Add(5 * time.Second)
	for w.feed.live.LenKind(events.KindToken) != 0 {
		if time.Now().After(deadline) {
			t.Fatal("the live set keeps what has expired")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestRevocationWithoutEndIsRenewed(t *testing.T) {
	w := newWorld(t)
	id := w.revoke(events.KindKey, "kid-1")
	before := w.feed.Position().Seq
	w.advance(46 * 24 * time.Hour) // more than half the retention
	w.feed.renew(context.Background(), w.time())
	w.check()
	got, err := w.feed.Get(context.Background(), id)
	w.must(err)
	if got.Seq <= before || got.Source != "renewal" || got.Target.Value != "kid-1" {
		t.Fatalf("after renewal: %+v", got)
	}
	w.feed.renew(context.Background(), w.time())
	if seq := w.feed.Position().Seq; seq != got.Seq {
		t.Fatal("renewed again at once")
	}
	w.restore(id)
	if w.matches(events.Claims{KeyID: "kid-1"}) {
		t.Fatal("a renewed revocation can't be restored")
	}
}

// A margin for signing in again: the record is there at once, the effect at
// its time, and only for tokens issued before the record.
func TestScheduled(t *testing.T) {
	w := newWorld(t)
	before := events.Claims{Subject: "alice", IssuedAt: w.time().UnixMilli() - 1}
	in := func(d time.Duration) events.Time { return events.At(w.time().Add(d)) }
	id := w.order(Order{Target: target(events.KindSubject, "alice"), EffectiveAt: in(30 * time.Second), Reason: events.Policy}).Revocations[0].ID
	if w.matches(before) {
		t.Fatal("in effect before its time")
	}
	w.advance(29 * time.Second)
	if w.matches(before) {
		t.Fatal("in effect before its time")
	}
	w.advance(time.Second)
	after := events.Claims{Subject: "alice", IssuedAt: w.time().UnixMilli() - 1000}
	if !w.matches(before) || w.matches(after) {
		t.Fatal("at its time, want what was issued before the record, and nothing later")
	}
	// Another one is on its way when this one is restored.
	w.order(Order{Target: target(events.KindSubject, "alice"), EffectiveAt: in(10 * time.Second), Reason: events.Policy})
	w.restore(id)
	if w.matches(before) {
		t.Fatal("restored, and in effect all the same")
	}
	w.restart()
	if w.matches(before) {
		t.Fatal("a restart put it into effect")
	}
	w.advance(10 * time.Second)
	if !w.matches(before) {
		t.Fatal("a restart, or the restore of another, made the hub forget what was scheduled")
	}
	again := w.order(Order{Target: target(events.KindSubject, "bob"), EffectiveAt: in(time.Minute), Reason: events.Policy}).Revocations[0].ID
	w.restore(again)
	w.advance(2 * time.Minute)
	if w.matches(events.Claims{Subject: "bob", IssuedAt: before.IssuedAt}) {
		t.Fatal("restored before its time, and in effect at it")
	}
}

func TestListPagesAndFilters(t *testing.T) {
	w := newWorld(t)
	for i := range 7 {
		w.revoke(events.KindToken, fmt.Sprint("t", i))
		w.order(Order{Target: target(events.KindSubject, fmt.Sprint("s", i%2)), Reason: events.Policy})
	}
	var seen []Revocation
	var from Cursor
	for {
		page, next, err := w.feed.List(context.Background(), Filter{}, from, 3)
		w.must(err)
		seen = append(seen, page...)
		if next == nil {
			break
		}
		from = *next
	}
	if len(seen) != 14 {
		t.Fatalf("%d of 14 in pages", len(seen))
	}
	for i := 1; i < len(seen); i++ {
		if seen[i-1].Seq < seen[i].Seq {
			t.Fatal("not newest first")
		}
	}
	for name, c := range map[string]struct {
		by   Filter
		want int
	}{
		"kind":           {Filter{Kind: events.KindToken}, 7},
		"reason":         {Filter{Reason: events.Policy}, 7},
		"actor":          {Filter{Actor: "tester"}, 14},
		"unknown actor":  {Filter{Actor: "nobody"}, 0},
		"unknown issuer": {Filter{Iss: "https://else"}, 0},
		"value":          {Filter{Iss: iss, Value: "s0"}, 4},
		"kind and value": {Filter{Kind: events.KindToken, Iss: iss, Value: "s0"}, 0},
	} {
		list, _, err := w.feed.List(context.Background(), c.by, Cursor{}, 100)
		w.must(err)
		if len(list) != c.want {
			t.Errorf("%s: %d, want %d", name, len(list), c.want)
		}
	}
	page, next, err := w.feed.List(context.Background(), Filter{Iss: iss, Value: "s0"}, Cursor{}, 3)
	w.must(err)
	rest, end, err := w.feed.List(context.Background(), Filter{Iss: iss, Value: "s0"}, *next, 3)
	w.must(err)
	if len(page) != 3 || len(rest) != 1 || end != nil {
		t.Fatalf("pages of a value: %d, %d, %v", len(page), len(rest), end)
	}
}

func TestReachCountsThoseWhoSaySo(t *testing.T) {
	carriages(t, func(t *testing.T, how option) {
		w := newWorld(t, how)
		r := w.newReader()
		r.connect()
		res, err := w.feed.Revoke(context.Background(), Caller{Actor: "tester"},
			[]Order{{Target: target(events.KindToken, "x"), Reason: events.Logout}}, true)
		w.must(err)
		short, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
		defer cancel()
		if got := w.feed.WaitReach(short, res.Position.Seq); got.Applied != 0 || got.Connected != 1 {
			t.Fatalf("before the report: %+v", got)
		}
		r.catchUp()
		report := events.Report{Subscriber: "reader", Epoch: r.at.Epoch, Applied: r.at.Seq, State: "fresh", Nonce: "n1"}
		done := make(chan Reach)
		go func() { done <- w.feed.WaitReach(context.Background(), res.Position.Seq) }()
		answer, err := w.feed.Report(context.Background(), "tester", report)
		w.must(err)
		if got := <-done; got.Applied != 1 || got.Connected != 1 || got.Hubs != 1 {
			t.Fatalf("after the report: %+v", got)
		}
		if err := answer.Verify("default", r.hello.Keys); err != nil || answer.Nonce != "n1" || answer.Head != r.at.Seq {
			t.Fatalf("answer %+v: %v", answer, err)
		}
		report.Epoch = "another"
		_, err = w.feed.Report(context.Background(), "tester", report)
		w.must(err)
		if subs := w.feed.ownSubscribers(); len(subs) != 1 || subs[0].Applied != 0 {
			t.Fatalf("a report of another epoch counts: %+v", subs)
		}
	})
}

func TestNoTickWithoutTheLog(t *testing.T) {
	carriages(t, func(t *testing.T, how option) {
		w := newWorld(t, how)
		r := w.newReader()
		r.connect()
		r.take(r.next())
		w.await("the feed is ready", func() bool { return w.feed.Ready() == nil })
		w.server.Shutdown()
		deadline := time.Now().Add(20 * time.Second)
		for w.feed.Ready() == nil {
			if time.Now().After(deadline) {
				t.Fatal("ready without a log")
			}
			time.Sleep(20 * time.Millisecond)
		}
		// What was on its way comes; then it falls silent, and does not end.
		for silent := false; !silent; {
			select {
			case ev, ok := <-r.events:
				if !ok {
					t.Fatal("the stream ended; it should only fall silent")
				}
				if time.Now().After(deadline) {
					t.Fatalf("%s while the log is gone", ev.Type)
				}
			case <-time.After(300 * time.Millisecond):
				silent = true
			}
		}
	})
}

// Any mix of what can happen leaves the fold, the index, and every reader
// with what the log says.
func TestAnyHistory(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		way := by(rapid.SampledFrom([]carriage{taken, takenTLS, inHandler, overHTTP2}).Draw(rt, "carriage"))
		w := newWorld(t, way, func(_ *world, c *Config, _ *log.Config) { c.Claims.Extra = []string{"role"} })
		defer func() {
			w.close()
			w.close = func() {}
		}()
		anyHistory(w, rt)
	})
}

// What is scheduled is left to TestScheduled: here the world's clock stands
// still, and the reader's with it.
func anyHistory(w *world, t *rapid.T) {
	r := w.newReader()
	r.connect()
	var ids []events.ID
	connected := true
	for range rapid.IntRange(1, 12).Draw(t, "steps") {
		switch rapid.IntRange(0, 4).Draw(t, "step") {
		case 0, 1:
			kind := rapid.SampledFrom(events.Kinds()).Draw(t, "kind")
			value := fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "value"))
			o := Order{Target: target(kind, value), Reason: events.Other}
			switch kind {
			case events.KindIssuer:
				o.Target.Value = ""
			case events.KindHandle:
				o.Target.Value = events.HandleOf(value)
			case events.KindClaim:
				o.Target.Claim = "role"
			case events.KindSubjectClient:
				o.Target.Client = "app"
			}
			if !kind.Outright() {
				switch rapid.IntRange(0, 4).Draw(t, "condition") {
				case 0, 1:
					o.Cutoff = events.At(w.time().Add(-time.Duration(rapid.IntRange(0, 5).Draw(t, "ago")) * time.Second))
				case 2:
					if kind != events.KindActor {
						o.Except = &events.Except{JTI: fmt.Sprint(rapid.IntRange(0, 1).Draw(t, "spared"))}
					}
				case 3:
					o.MinVersion = int64(rapid.IntRange(1, 3).Draw(t, "version"))
				case 4:
					o.Suspend = true
				}
			}
			ids = append(ids, w.order(o).Revocations[0].ID)
		case 2:
			if len(ids) > 0 {
				i := rapid.IntRange(0, len(ids)-1).Draw(t, "which")
				w.restore(ids[i])
				ids = append(ids[:i], ids[i+1:]...)
			}
		case 3:
			if connected {
				r.disconnect()
			} else {
				r.connect()
			}
			connected = !connected
		case 4:
			w.advance(time.Second)
		}
	}
	if !connected {
		r.connect()
	}
	r.catchUp()
	r.disconnect()
}
