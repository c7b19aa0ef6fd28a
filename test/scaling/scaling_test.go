package main

import (
	"reflect"
	"slices"
	"testing"
	"time"
)

// small is a fleet that a test has time for, with the costs that make its hubs
// as busy as those of the large one.
func small() Fleet {
	f := DefaultFleet()
	f.Subscribers = 12_000
	for i := range f.Regions {
		f.Regions[i].Hubs = 4
	}
	f.Capacity, f.Admit = 4_000, 200
	f.PerDelivery, f.PerConnect = 80*time.Microsecond, 2*time.Millisecond
	return f
}

func quiet(float64) {}

func TestEveryoneIsBackAndNobodyWasWrong(t *testing.T) {
	r, chapters := simulate(small(), quiet)
	if len(chapters) == 0 || r.Late.N == 0 || r.SentAway == 0 {
		t.Fatalf("nothing went wrong: %d late, %d sent away", r.Late.N, r.SentAway)
	}
	if r.FreshWhileBehind != 0 {
		t.Errorf("%d times a subscriber called itself fresh while it was behind", r.FreshWhileBehind)
	}
	if gone := r.Gone[len(r.Gone)-1]; gone != 0 {
		t.Errorf("%v subscribers have no hub in the end", gone)
	}
	if stale := r.Stale[len(r.Stale)-1]; stale != 0 {
		t.Errorf("%v subscribers are not fresh in the end", stale)
	}
	if total := r.OnTime.N + r.Late.N; total > small().Subscribers*len(r.Seconds) {
		t.Errorf("%d enforcements of %d records by %d subscribers", total, len(r.Seconds), small().Subscribers)
	}
}

// The judgement above can fail: a subscriber that trusts a proof for longer
// than it says is caught.
func TestOneThatTrustsOldProofsIsCaught(t *testing.T) {
	w := newWorld(small())
	w.revoke()
	s := &w.subs[0]
	s.proven = 10 * time.Second // proof of something that it has not got
	w.enforced(s, 0, 20*time.Second, &w.seen.Late)
	if w.seen.FreshWhileBehind != 1 {
		t.Error("not noticed")
	}
}

func TestJitterIsWhatFlattensTheWave(t *testing.T) {
	f := small()
	with, _ := simulate(f, quiet)
	f.NoJitter = true
	without, _ := simulate(f, quiet)
	wave := func(r Result) float64 {
		last := len(r.Seconds) - 90 // when the whole region has been killed
		return slices.Max(r.Attempts[last:])
	}
	if wave(without) <= wave(with) {
		t.Errorf("the highest wave has %v attempts in a second with jitter, %v without", wave(with), wave(without))
	}
}

func TestTheSameSeedTellsTheSameStory(t *testing.T) {
	one, _ := simulate(small(), quiet)
	two, _ := simulate(small(), quiet)
	if !reflect.DeepEqual(one, two) {
		t.Error("two runs differ")
	}
}

func TestQuantiles(t *testing.T) {
	var h Histogram
	for i := 1; i <= 1000; i++ {
		h.add(time.Duration(i) * time.Millisecond)
	}
	for q, want := range map[float64]time.Duration{.5: 500 * time.Millisecond, .99: 990 * time.Millisecond, 1: time.Second} {
		if got := h.Quantile(q); got < want || float64(got) > float64(want)*1.06 {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
}
