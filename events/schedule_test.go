package events

import (
	"bytes"
	"slices"
	"testing"
	"time"
)

const hourMS = 3_600_000

// A subject is to be revoked at noon. Its tokens go on until then, and not a
// millisecond longer.
func TestScheduledTakesEffectOnTime(t *testing.T) {
	const noon = 1_800_000_000_000
	s := NewLiveSet()
	key := testKey(1)
	keys := newKeys(map[Kind]Key{KindSubject: key})
	// The cutoff is the effect's time: whoever signs in afterwards may stay.
	op := Op{Verb: Revoke, Kind: KindSubject, Key: key, Term: Term{Cutoff: noon, Exp: Never}, ID: testID, Effective: noon}
	s.Apply(op, noon-hourMS)
	for _, c := range []struct {
		now, next int64
		revoked   bool
	}{
		{noon - hourMS, noon, false},
		{noon - 1, noon, false},
		{noon, 0, true},
		{noon + 1, 0, true},
		{noon - 1, 0, true}, // a clock that is set back brings nothing to life
	} {
		next := s.Advance(c.now)
		if c.now < noon && c.revoked {
			next = 0
		}
		if _, ok := matchAt(s, keys, noon-hourMS, c.now/1000); ok != c.revoked || next != c.next {
			t.Errorf("at noon%+d ms: revoked %v, next at %d; want %v, %d", c.now-noon, ok, next, c.revoked, c.next)
		}
	}
	if _, ok := matchAt(s, keys, noon+1, noon/1000); ok {
		t.Error("whoever signed in after noon is revoked")
	}
	// Read for the first time an hour late, it takes effect as it is read.
	late := NewLiveSet()
	late.Apply(op, noon+hourMS)
	if _, ok := matchAt(late, keys, noon-hourMS, noon/1000); !ok {
		t.Error("read late, it has no effect")
	}
}

// What is restored before it takes effect never does.
func TestScheduledAndRestored(t *testing.T) {
	s := NewLiveSet()
	key := testKey(1)
	s.Apply(Op{Verb: Revoke, Kind: KindToken, Key: key, Term: Term{Exp: Never}, ID: testID, Effective: 2000}, 1000)
	s.Apply(Op{Verb: Restore, Kind: KindToken, Key: key, ID: testID}, 1500)
	if next := s.Advance(3000); next != 0 || s.Len() != 0 || len(s.Scheduled()) != 0 {
		t.Errorf("next %d, %d in effect, %d scheduled", next, s.Len(), len(s.Scheduled()))
	}
}

// Promise 4: what a reader does not know yet must not make it forget. A is
// scheduled, and B of the same target is restored before A's time; so the hub
// says that nothing is left. A reader who was away reads both long after A's
// time, and asks the clock in between, as it may at any moment. A stands.
func TestRestoreReadLongAfterItWasWritten(t *testing.T) {
	key := testKey(1)
	a := Op{Verb: Revoke, Kind: KindSubject, Key: key, Term: Term{Suspended: true, Exp: Never}, ID: "rev_01JDQ4Y7M0000000000000000A", Effective: 10 * hourMS}
	b := Op{Verb: Revoke, Kind: KindSubject, Key: key, Term: Term{Cutoff: 5, Exp: Never}, ID: "rev_01JDQ4Y7M0000000000000000B"}
	restoreB := Op{Verb: Restore, Kind: KindSubject, Key: key, ID: b.ID} // written at nine
	for _, away := range []time.Duration{0, 2 * time.Hour, 9*time.Minute + time.Hour, 11*time.Minute + time.Hour, 30 * 24 * time.Hour} {
		for _, snapshot := range []bool{false, true} {
			now := 9*hourMS + away.Milliseconds()
			s := NewLiveSet()
			s.Apply(a, now)
			s.Apply(b, now)
			s.Advance(now)
			if snapshot {
				var buf bytes.Buffer
				if err := WriteSnapshot(&buf, testHeader, s, now/1000); err != nil {
					t.Fatal(err)
				}
				s = must(ReadSnapshot(&buf, 1<<20)).Set
				s.Advance(now)
			}
			s.Apply(restoreB, now)
			s.Advance(max(now, a.Effective))
			if got, ok := s.Lookup(KindSubject, key); !ok || got != a.Term {
				t.Errorf("read %v later (snapshot %v): %+v, %v is left", away, snapshot, got, ok)
			}
			// And only its own restore takes it away.
			s.Apply(Op{Verb: Restore, Kind: KindSubject, Key: key, ID: a.ID}, now+hourMS)
			s.Advance(now + 20*hourMS)
			if got, ok := s.Lookup(KindSubject, key); ok || len(s.Scheduled()) > 0 {
				t.Errorf("read %v later (snapshot %v): restored, and yet %+v", away, snapshot, got)
			}
		}
	}
}

// What was scheduled is forgotten with what it revoked, so that neither
// memory nor snapshots grow for ever.
func TestScheduledIsForgotten(t *testing.T) {
	s := NewLiveSet()
	s.Apply(Op{Verb: Revoke, Kind: KindToken, Key: testKey(1), Term: Term{Exp: 1000}, ID: testID, Effective: 500_000}, 0)
	for _, c := range []struct {
		now       int64
		scheduled int
	}{{0, 1}, {500_000, 1}, {999_999, 1}, {1_599_999, 1}, {1_600_000, 0}} {
		s.Advance(c.now)
		if got := len(s.Scheduled()); got != c.scheduled {
			t.Errorf("at %d: %d scheduled, want %d", c.now, got, c.scheduled)
		}
		s.Sweep(c.now/1000 - remembered)
	}
	// One that is dead before it takes effect never shows.
	s = NewLiveSet()
	s.Apply(Op{Verb: Revoke, Kind: KindToken, Key: testKey(1), Term: Term{Exp: 1000}, ID: testID, Effective: 5_000_000}, 0)
	if s.Advance(5_000_000); s.Len() != 0 || len(s.Scheduled()) != 0 {
		t.Error("the dead took effect")
	}
}

// A renewal has the id of what it renews, and a duplicate is the same: neither
// makes a second one.
func TestScheduledTwiceIsOne(t *testing.T) {
	s := NewLiveSet()
	op := Op{Verb: Revoke, Kind: KindToken, Key: testKey(1), Term: Term{Exp: Never}, ID: testID, Effective: 7000}
	other := op
	other.ID, other.Effective = "rev_7ZZZZZZZZZZZZZZZZZZZZZZZZZ", 6000
	for _, o := range []Op{op, other, op, op, other} {
		s.Apply(o, 0)
	}
	op.Effective = 5000
	s.Apply(op, 0)
	var at []int64
	for _, p := range s.Scheduled() {
		at = append(at, p.Effective)
	}
	if !slices.Equal(at, []int64{5000, 6000}) {
		t.Errorf("scheduled at %v", at)
	}
}

// Whoever may revoke may schedule, a million times. Neither the hub that takes
// them in nor a subscriber that reads the snapshot may be held up by that.
func TestManyScheduled(t *testing.T) {
	n := 20_000
	if raceEnabled {
		n = 2_000
	}
	s, o := NewLiveSet(), new(oracle)
	begun := time.Now()
	for i := range n {
		s.Apply(Op{Verb: Revoke, Kind: KindToken, Key: testKey(uint64(i)), Term: Term{Exp: Never}, ID: o.newID(), Effective: 1_000_000 + int64(i%1000)}, 0)
	}
	snap := must(readSnapshotBytes(writeSnapshot(t, s, 0)))
	if len(snap.Set.Scheduled()) != n || snap.Set.Advance(2_000_000) != 0 || snap.Set.Len() != n {
		t.Errorf("%d scheduled, %d in effect", len(snap.Set.Scheduled()), snap.Set.Len())
	}
	// A quadratic one takes five seconds and more.
	if took := time.Since(begun); took > 2*time.Second && !raceEnabled {
		t.Errorf("%d took %v", n, took)
	}
}

// A later release may schedule kinds that this one does not know. The rest of
// its snapshot is good, and what can't be enforced is named.
func TestScheduledOfAnUnknownKind(t *testing.T) {
	good := Scheduled{KindToken, Key{1}, Term{Exp: 9}, testID, 7}
	for _, kind := range []Kind{13, 255} {
		s, err := readSnapshotBytes(seal(sections(section("scheduled", 2, 86)), scheduledBytes(Scheduled{kind, Key{1}, everyCondition, testID, 7}), scheduledBytes(good)))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(s.Unknown, []string{kind.String()}) || len(s.Set.Scheduled()) != 1 || s.Set.Scheduled()[0] != good {
			t.Errorf("unknown %v, scheduled %v", s.Unknown, s.Set.Scheduled())
		}
	}
}
