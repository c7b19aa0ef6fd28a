package log

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
)

func TestAppendFollowRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	now := time.Date(2026, 11, 22, 3, 0, 0, 123e6, time.UTC)
	l := w.open(func(c *Config) { c.Now = func() time.Time { return now } })
	r := w.follow(l)

	draft := draftOf(t, "alice", "bob")
	got, err := l.Append(w.ctx(), Proposal{Draft: draft})
	if err != nil {
		t.Fatal(err)
	}
	if want := (Receipt{Seq: 1, At: events.At(now)}); got != want {
		t.Fatalf("receipt %+v, want %+v", got, want)
	}
	want := draft.Record(events.At(now))
	e := r.catchUp()[0]
	if !bytes.Equal(e.Feed, want.Feed) || !bytes.Equal(e.Audit, want.Audit) {
		t.Errorf("followed\n%s\n%s\nwant\n%s\n%s", e.Feed, e.Audit, want.Feed, want.Audit)
	}
	if since := time.Since(e.At); since < 0 || since > soon {
		t.Errorf("stored at %v", e.At)
	}
	read, err := l.Read(w.ctx(), 1)
	if err != nil {
		t.Fatal(err)
	}
	mustAgree(t, []Entry{read}, []Entry{e})
	seq, chain := l.Followed()
	if seq != 1 || chain != (events.Chain{}).Next(events.HashPart(want.Feed), events.HashPart(want.Audit)) {
		t.Errorf("followed to %d, %v", seq, chain)
	}
	for _, seq := range []uint64{0, 2} {
		if _, err := l.Read(w.ctx(), seq); !errors.Is(err, ErrNotFound) {
			t.Errorf("read %d: %v, want ErrNotFound", seq, err)
		}
	}
}

func TestTimesNeverGoBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	now := time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	back := func(d time.Duration) func(*Config) {
		return func(c *Config) { c.Now = func() time.Time { return now.Add(-d) } }
	}
	first := w.append(w.open(back(0)), "a")
	behind := w.open(back(time.Hour)) // another hub, whose clock is wrong
	for _, name := range []string{"b", "c"} {
		if got := w.append(behind, name); got.At < first.At {
			t.Errorf("%s is at %v, the record before it at %v", name, got.At, first.At)
		}
	}
}

func TestConcurrentAppendsShareRecords(t *testing.T) {
	t.Parallel()
	const n = 2000
	w := newWorld(t)
	l := w.open()
	r := w.follow(l)
	receipts := make([]Receipt, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { receipts[i] = w.append(l, fmt.Sprint("a", i), fmt.Sprint("b", i)) })
	}
	wg.Wait()
	entries := r.catchUp()
	if len(entries) > n/4 {
		t.Errorf("%d proposals took %d records", n, len(entries))
	}
	names := make([][]string, len(entries))
	for i, e := range entries {
		names[i] = namesIn(t, e)
		if ops := len(names[i]); ops > events.MaxOps || len(e.Encode()) > events.MaxRecordSize {
			t.Errorf("record %d has %d operations, %d bytes", e.Seq, ops, len(e.Encode()))
		}
	}
	for i, got := range receipts {
		names := names[got.Seq-1]
		at := slices.Index(names, fmt.Sprint("a", i))
		if at < 0 || at+1 >= len(names) || names[at+1] != fmt.Sprint("b", i) {
			t.Fatalf("proposal %d is not whole in record %d", i, got.Seq)
		}
	}
}

// hold keeps the committer busy until release is called: everything that is
// appended meanwhile is there when it makes its next record.
func (w *world) hold(l *Log, r *reader) (release func()) {
	w.Helper()
	entered, leave := make(chan struct{}), make(chan struct{})
	errHeld := errors.New("held")
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := l.Append(w.ctx(), Proposal{Settle: func() (events.Draft, *Receipt, error) {
			close(entered)
			<-leave
			return events.Draft{}, nil, errHeld
		}})
		if err != errHeld {
			w.Errorf("a refusal came back as %v", err)
		}
	}()
	select {
	case <-entered:
	case <-time.After(soon):
		w.Fatal("Settle was not called")
	}
	return func() { close(leave); <-done }
}

// together appends proposals that are all there before the next record is made.
func (w *world) together(l *Log, r *reader, ps ...Proposal) []Receipt {
	w.Helper()
	release := w.hold(l, r)
	receipts := make([]Receipt, len(ps))
	var wg sync.WaitGroup
	for i, p := range ps {
		wg.Go(func() {
			var err error
			if receipts[i], err = l.Append(w.ctx(), p); err != nil {
				w.Errorf("proposal %d: %v", i, err)
			}
		})
		w.until("it is queued", func() bool { return l.queue.len() == i+2 })
	}
	release()
	wg.Wait()
	return receipts
}

func (w *world) until(what string, ok func() bool) {
	w.Helper()
	for deadline := time.Now().Add(soon); !ok(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(deadline) {
			w.Fatalf("waited in vain until %s", what)
		}
	}
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.list.Len()
}

func TestWhoSharesARecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.open()
	r := w.follow(l)
	plain := func(name string) Proposal { return Proposal{Draft: draftOf(t, name)} }
	alone := func(name string) Proposal { return Proposal{Draft: draftOf(t, name), Alone: true} }
	same := func(name string) Proposal { return Proposal{Draft: draftOf(t, name), Key: keyOf("same")} }
	long := func(name string) Proposal { return Proposal{Draft: draftOf(t, name+strings.Repeat("x", 300<<10))} }
	many := func(name string) Proposal {
		return Proposal{Draft: draftOf(t, slices.Repeat([]string{name}, 600)...)}
	}
	tests := map[string]struct {
		proposals []Proposal
		want      []uint64 // the record of each, relative to the first
	}{
		"as many as there are":        {[]Proposal{plain("a"), plain("b"), plain("c")}, []uint64{0, 0, 0}},
		"alone is alone":              {[]Proposal{plain("a"), alone("b"), plain("c"), plain("d")}, []uint64{0, 1, 2, 2}},
		"alone comes first":           {[]Proposal{alone("a"), plain("b")}, []uint64{0, 1}},
		"one key, two records":        {[]Proposal{same("a"), same("b"), plain("c")}, []uint64{0, 1, 0}},
		"no more than a record's ops": {[]Proposal{many("a"), many("b"), plain("c")}, []uint64{0, 1, 1}},
		"no more than its size":       {[]Proposal{long("a"), long("b"), plain("c")}, []uint64{0, 1, 1}},
	}
	for name, test := range tests {
		receipts := w.together(l, r, test.proposals...)
		for i, got := range receipts {
			if rel := got.Seq - receipts[0].Seq; rel != test.want[i] {
				t.Errorf("%s: proposal %d is in record %d, want %d", name, i, rel, test.want[i])
			}
		}
	}
	for _, e := range r.catchUp() {
		if size := len(e.Encode()); size > events.MaxRecordSize {
			t.Errorf("record %d has %d bytes", e.Seq, size)
		}
	}
}

func TestProposalsThatNoRecordCanHold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.open()
	w.follow(l)
	names := slices.Repeat([]string{"x"}, events.MaxOps+1)
	big := draftOf(t, strings.Repeat("x", events.MaxRecordSize))
	tests := map[string]struct {
		Proposal
		want error
	}{
		"too many operations": {Proposal{Draft: draftOf(t, names...)}, ErrTooLarge},
		"too many bytes":      {Proposal{Draft: big}, ErrTooLarge},
		"nothing":             {Proposal{}, ErrEmpty},
		"settled to nothing": {Proposal{Settle: func() (events.Draft, *Receipt, error) {
			return events.Draft{}, nil, nil
		}}, ErrEmpty},
		"settled to too much": {Proposal{Draft: draftOf(t, "a"), Settle: func() (events.Draft, *Receipt, error) {
			return big, nil, nil
		}}, ErrTooLarge},
	}
	for name, test := range tests {
		if _, err := l.Append(w.ctx(), test.Proposal); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
	w.append(l, names[1:]...) // as many as a record can hold
	if head, err := l.Head(w.ctx()); head != 1 || err != nil {
		t.Errorf("head is %d, %v, want 1", head, err)
	}
}

func TestSettleSeesEverythingBeforeItsRecord(t *testing.T) {
	t.Parallel()
	const n = 300
	w := newWorld(t)
	hubs := []*Log{w.open(), w.open()}
	readers := []*reader{w.follow(hubs[0]), w.follow(hubs[1])}
	// Each request writes how many records its hub had applied when it was
	// settled; so its record must be the next. Plain ones run in between.
	var wg sync.WaitGroup
	for i := range n {
		hub, r := hubs[i%2], readers[i%2]
		wg.Go(func() {
			var saw uint64
			got, err := hub.Append(w.ctx(), Proposal{Settle: func() (events.Draft, *Receipt, error) {
				saw, _ = hub.Followed()
				if r.where(fmt.Sprint("settled", i)) != nil {
					t.Errorf("%d is settled after it was written", i)
				}
				return draftOf(t, fmt.Sprint("settled", i)), nil, nil
			}})
			if err != nil || got.Seq != saw+1 {
				t.Errorf("settled at %d, written as %d, %v", saw, got.Seq, err)
			}
		})
		wg.Go(func() { w.append(hub, fmt.Sprint("plain", i)) })
	}
	wg.Wait()
	mustAgree(t, readers[0].catchUp(), readers[1].catchUp())
}

func TestSettleMayRefuseOrAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.open()
	w.follow(l)
	refusal := errors.New("no")
	if _, err := l.Append(w.ctx(), Proposal{Draft: draftOf(t, "a"), Settle: func() (events.Draft, *Receipt, error) {
		return draftOf(t, "b"), nil, refusal
	}}); err != refusal {
		t.Errorf("refused: %v", err)
	}
	answer := Receipt{Seq: 7, At: 8, Replayed: true}
	if got, err := l.Append(w.ctx(), Proposal{Draft: draftOf(t, "a"), Settle: func() (events.Draft, *Receipt, error) {
		return events.Draft{}, &answer, nil
	}}); got != answer || err != nil {
		t.Errorf("answered: %v, %v", got, err)
	}
	if head, err := l.Head(w.ctx()); head != 0 || err != nil {
		t.Errorf("something was written: head is %d, %v", head, err)
	}
}

func TestSameRequestTwiceIsWrittenOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.open()
	r := w.follow(l)
	receipts := w.together(l, r, r.once("a"), r.once("b"), r.once("a"))
	if receipts[0].Seq != receipts[2].Seq || receipts[0].Replayed || !receipts[2].Replayed {
		t.Errorf("receipts %+v", receipts)
	}
	r.catchUp()
	if got := r.where("a"); len(got) != 1 {
		t.Errorf("written in records %v", got)
	}
}

func TestPlainProposalsDoNotWaitForTheFollower(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.open()
	leave := make(chan struct{})
	entered := make(chan struct{}, 1)
	r := w.followWith(l, &reader{}, func(Entry) error {
		entered <- struct{}{}
		<-leave
		return nil
	})
	w.append(l, "first")
	<-entered
	settled := make(chan Receipt)
	go func() {
		got, err := l.Append(w.ctx(), Proposal{Settle: func() (events.Draft, *Receipt, error) {
			return draftOf(t, "settled"), nil, nil
		}})
		if err != nil {
			t.Error(err)
		}
		settled <- got
	}()
	w.until("it is queued", func() bool { return l.queue.len() == 1 })
	fastest := time.Hour
	for i := range 100 {
		begin := time.Now()
		w.append(l, fmt.Sprint("plain", i))
		fastest = min(fastest, time.Since(begin))
	}
	if fastest > patience/2 {
		t.Errorf("each of 100 appends took %v or more behind a follower that stands still", fastest)
	}
	close(leave)
	go func() {
		for range entered {
		}
	}()
	if got := <-settled; got.Seq != 102 {
		t.Errorf("settled as record %d, want 102", got.Seq)
	}
	r.stop()
	<-r.done
	close(entered)
	w.append(l, "not followed")
	if _, err := l.Append(w.ctx(), Proposal{Settle: func() (events.Draft, *Receipt, error) {
		return draftOf(t, "never"), nil, nil
	}}); err == nil || errors.Is(err, ErrUnknown) {
		t.Errorf("settle without a follower: %v", err)
	}
}

func TestUnknownOutcomes(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		fate   int32
		stored bool // when the caller was told that nobody knows
	}{
		"answer lost":  {answerLost, true},
		"message lost": {lost, false},
		"message late": {late, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			l := w.open()
			n := w.network(l)
			r := w.follow(l)
			w.append(l, "before")

			n.fate.Store(test.fate)
			if _, err := l.Append(w.ctx(), r.once("a")); !errors.Is(err, ErrUnknown) {
				t.Fatalf("append: %v, want ErrUnknown", err)
			}
			if got := len(r.catchUp()) == 2; got != test.stored {
				t.Fatalf("stored is %v, want %v", got, test.stored)
			}
			got, err := l.Append(w.ctx(), r.once("a"))
			if err != nil || got.Seq != 2 {
				t.Fatalf("again: %+v, %v", got, err)
			}
			// A late message lands before the second attempt, which is then
			// refused its place and finds the first.
			if got.Replayed != (test.stored || test.fate == late) {
				t.Errorf("replayed is %v", got.Replayed)
			}
			w.append(l, "after")
			r.catchUp()
			for _, name := range []string{"before", "a", "after"} {
				if at := r.where(name); len(at) != 1 {
					t.Errorf("%s is in records %v", name, at)
				}
			}
		})
	}
}

func TestLateMessageIsRefusedItsPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.open()
	n := w.network(l)
	r := w.follow(l)
	n.fate.Store(late)
	if _, err := l.Append(w.ctx(), Proposal{Draft: draftOf(t, "late")}); !errors.Is(err, ErrUnknown) {
		t.Fatal(err)
	}
	w.append(w.open(), "faster") // another hub takes the place meanwhile
	w.append(l, "after")         // delivers the late one first
	r.catchUp()
	if got := r.where("late"); got != nil {
		t.Errorf("the late message landed in records %v", got)
	}
}

func TestAppendCanBeCancelled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.open()
	r := w.follow(l)
	release := w.hold(l, r)
	ctx, cancel := context.WithCancel(w.ctx())
	result := make(chan error)
	go func() {
		_, err := l.Append(ctx, Proposal{Draft: draftOf(t, "withdrawn")})
		result <- err
	}()
	w.until("it is queued", func() bool { return l.queue.len() == 2 })
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnknown) {
		t.Errorf("withdrawn while queued: %v", err)
	}
	release()

	inFlight, late := make(chan struct{}), make(chan struct{})
	l2 := w.open()
	l2.publish = func(context.Context, *nats.Msg) (*jetstream.PubAck, error) {
		close(inFlight)
		<-late // until the append's own time is up, not the caller's
		return nil, context.DeadlineExceeded
	}
	ctx, cancel = context.WithCancel(w.ctx())
	go func() { <-inFlight; cancel() }()
	if _, err := l2.Append(ctx, Proposal{Draft: draftOf(t, "in-flight")}); !errors.Is(err, ErrUnknown) || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled in flight: %v", err)
	}
	close(late)
	l2.Close()
	w.append(l, "after")
	r.catchUp()
	if got := r.where("withdrawn"); got != nil {
		t.Errorf("what was withdrawn is in records %v", got)
	}
}

func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	draft := draftOf(t, "x")
	limits := map[string]func(*Config){
		"count": func(c *Config) { c.MaxQueued = 3 },
		"bytes": func(c *Config) { c.MaxQueuedBytes = 3 * draft.Size() },
	}
	for name, limit := range limits {
		l := w.open(limit)
		r := w.follow(l)
		release := w.hold(l, r) // counts as one, and has almost no bytes
		var wg sync.WaitGroup
		for i := range 2 {
			wg.Go(func() { w.append(l, "x") })
			w.until("it is queued", func() bool { return l.queue.len() == i+2 })
		}
		if _, err := l.Append(w.ctx(), Proposal{Draft: draft}); !errors.Is(err, ErrBusy) {
			t.Errorf("%s: %v, want ErrBusy", name, err)
		}
		release()
		wg.Wait()
		w.append(l, "x") // there is room again
		l.queue.mu.Lock()
		if l.queue.bytes != 0 {
			t.Errorf("%s: %d bytes are left in an empty queue", name, l.queue.bytes)
		}
		l.queue.mu.Unlock()
	}
}

func TestFullStreamKeepsWhatItHas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const room = 64 << 10
	l := w.open(func(c *Config) { c.MaxBytes = room })
	r := w.follow(l)
	var stored int
	var err error
	for ; stored < 1000; stored++ {
		if _, err = l.Append(w.ctx(), Proposal{Draft: draftOf(t, fmt.Sprint(stored))}); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrFull) {
		t.Fatalf("after %d records: %v, want ErrFull", stored, err)
	}
	for i, e := range r.catchUp() {
		if got, err := l.Read(w.ctx(), uint64(i+1)); err != nil || got.Chain != e.Chain {
			t.Errorf("record %d: %v", i+1, err)
		}
	}
	if err := l.Tick(w.ctx(), "hub", nil); err != nil {
		t.Errorf("tick: %v", err)
	}
	l.Close()
	if _, err := w.tryOpen(func(c *Config) { c.MaxBytes = room / 2 }); err == nil || !strings.Contains(err.Error(), "max_bytes") {
		t.Errorf("less room: %v", err)
	}
	if got := w.append(w.open(func(c *Config) { c.MaxBytes = 2 * room }), "more"); got.Seq != uint64(stored+1) {
		t.Errorf("with more room: %+v, want record %d", got, stored+1)
	}
}

func TestFullDiskIsLeftAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.open(func(c *Config) { c.Dir, c.MinFree = w.dir, 1<<20 })
	free, asked := uint64(1<<20), 0
	l.space.stat = func(dir string) (disk, error) {
		asked++
		return disk{size: 1 << 40, free: free}, nil
	}
	w.append(l, "a")
	if next := l.space.next.Load(); next < time.Now().UnixNano()-int64(soon) || next > time.Now().Add(time.Second).UnixNano() {
		t.Errorf("the next look is due at %v", time.Unix(0, next))
	}
	l.space.next.Store(math.MaxInt64)
	free--
	w.append(l, "b") // before the next look
	l.space.next.Store(0)
	if _, err := l.Append(w.ctx(), Proposal{Draft: draftOf(t, "c")}); !errors.Is(err, ErrFull) {
		t.Errorf("append: %v, want ErrFull", err)
	}
	free++
	l.space.next.Store(0)
	w.append(l, "d")
	if asked != 3 {
		t.Errorf("asked %d times for 4 appends, want 3", asked)
	}
	if d, err := statDisk(w.dir); err != nil || d.size < d.free || d.free == 0 {
		t.Errorf("the real disk: %+v, %v", d, err)
	}
}

func TestUnreachableLogIsCertain(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]int32{"before an append": delivered, "during one": lost} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			l := w.open()
			n := w.network(l)
			w.append(l, "a")
			w.stopServer()
			if before == lost {
				n.fate.Store(lost)
				if _, err := l.Append(w.ctx(), Proposal{Draft: draftOf(t, "b")}); !errors.Is(err, ErrUnknown) {
					t.Errorf("during: %v, want ErrUnknown", err)
				}
			}
			if _, err := l.Append(w.ctx(), Proposal{Draft: draftOf(t, "c")}); !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnknown) {
				t.Errorf("after: %v, want ErrUnavailable", err)
			}
			w.startServer()
			w.until("it is back", func() bool {
				_, err := l.Append(w.ctx(), Proposal{Draft: draftOf(t, "d")})
				return err == nil
			})
			if head, err := l.Head(w.ctx()); head != 2 || err != nil {
				t.Errorf("head is %d, %v, want 2: a and d", head, err)
			}
		})
	}
}

func TestTwoHubsOnOneStream(t *testing.T) {
	t.Parallel()
	const each = 200
	w := newWorld(t)
	hubs := []*Log{w.open(), w.open()}
	readers := []*reader{w.follow(hubs[0]), w.follow(hubs[1])}
	var wg sync.WaitGroup
	for h, hub := range hubs {
		for i := range each {
			wg.Go(func() { w.append(hub, fmt.Sprintf("%d-%d", h, i)) })
		}
	}
	for i := range 20 {
		// Someone who is no hub; it may lose the race, which is its affair.
		_ = w.tryIntrude(hubs[0], draftOf(t, fmt.Sprint("foreign", i)), nil)
	}
	wg.Wait()
	a, b := readers[0].catchUp(), readers[1].catchUp()
	mustAgree(t, a, b)
	mustChain(t, a)
	for h := range hubs {
		for i := range each {
			if at := readers[0].where(fmt.Sprintf("%d-%d", h, i)); len(at) != 1 {
				t.Errorf("%d-%d is in records %v", h, i, at)
			}
		}
	}
}

func TestCloseAnswersEveryone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.open()
	r := w.follow(l)
	release := w.hold(l, r)
	result := make(chan error)
	go func() {
		_, err := l.Append(w.ctx(), Proposal{Draft: draftOf(t, "queued")})
		result <- err
	}()
	w.until("it is queued", func() bool { return l.queue.len() == 2 })
	closed := make(chan struct{})
	go func() { l.Close(); close(closed) }()
	<-r.done // Follow ends with the log
	if r.err != nil {
		t.Errorf("follow: %v", r.err)
	}
	release()
	if err := <-result; err != nil && !errors.Is(err, ErrClosed) {
		t.Errorf("queued: %v", err)
	}
	<-closed
	l.Close() // does nothing
	_, err := l.Append(w.ctx(), Proposal{Draft: draftOf(t, "late")})
	for what, err := range map[string]error{
		"append": err,
		"tick":   l.Tick(w.ctx(), "hub", nil),
		"follow": l.Follow(w.ctx(), nil),
		"wait":   l.WaitFollowed(w.ctx(), 1<<60),
	} {
		if err == nil || what != "wait" && !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: %v", what, err)
		}
	}
}

// mustAgree compares what two readers were given.
func mustAgree(t testing.TB, a, b []Entry) {
	t.Helper()
	if len(a) != len(b) {
		t.Fatalf("%d records and %d", len(a), len(b))
	}
	for i := range a {
		if a[i].Seq != b[i].Seq || a[i].Chain != b[i].Chain || !a[i].At.Equal(b[i].At) ||
			a[i].FeedHash != b[i].FeedHash || a[i].AuditHash != b[i].AuditHash ||
			!bytes.Equal(a[i].Feed, b[i].Feed) || !bytes.Equal(a[i].Audit, b[i].Audit) {
			t.Fatalf("records differ:\n%+v\n%+v", a[i], b[i])
		}
	}
}

// mustChain computes the chain from the records alone.
func mustChain(t testing.TB, entries []Entry) {
	t.Helper()
	var chain events.Chain
	for i, e := range entries {
		chain = chain.Next(events.HashPart(e.Feed), events.HashPart(e.Audit))
		if e.Seq != uint64(i+1) || e.Chain != chain {
			t.Fatalf("record %d has seq %d, chain %v, want %v", i+1, e.Seq, e.Chain, chain)
		}
	}
}
