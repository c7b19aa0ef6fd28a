package log

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"
)

// toldBy is an answer of a leader that has heard from its replicas so long ago.
func toldBy(leader string, ages ...time.Duration) *jetstream.ClusterInfo {
	c := &jetstream.ClusterInfo{Leader: leader}
	for _, age := range ages {
		c.Replicas = append(c.Replicas, &jetstream.PeerInfo{Active: age})
	}
	return c
}

func TestAMajorityHasToBeHeardOf(t *testing.T) {
	for _, c := range []struct {
		info *jetstream.ClusterInfo
		age  time.Duration
		ok   bool
	}{
		{toldBy("a", time.Second, time.Minute), time.Second, true},
		{toldBy("a", time.Minute, 4*time.Second), 0, false},
		{toldBy("a", 0, 0), 0, false},
		{toldBy("a", 0, 2*time.Second), 2 * time.Second, true},
		{toldBy("a", 1, 4*time.Second, time.Minute), 0, false}, // two of four are no majority
		{toldBy("a", time.Minute, 1, time.Minute, 2), 2, true},
		{toldBy("a", time.Second), time.Second, true}, // both of two
	} {
		switch age, ok := heard(c.info); {
		case ok != c.ok, ok && age != c.age:
			t.Errorf("%v: %v, %v", c.info.Replicas, age, ok)
		}
	}
}

func TestALeaseIsRenewedInTime(t *testing.T) {
	const (
		now  = time.Duration(0)
		tick = time.Second
	)
	begun := time.Now()
	for name, story := range map[string][]struct {
		asked, answered time.Duration
		told            *jetstream.ClusterInfo
		want            bool
		err             error
	}{
		"one copy": {
			{now, now, nil, true, nil},
			{now, now, toldBy("a"), true, nil},
		},
		"the first answer vouches for the second": {
			{now, now + 5, toldBy("a", 1, 1), false, nil},
			{tick, tick + 5, toldBy("a", 1, 1), true, nil},
			{2 * tick, 2*tick + 5, toldBy("a", 1, 1), true, nil},
		},
		"but not at once": {
			{now, 10 * time.Millisecond, toldBy("a", 1, 1), false, nil},
			{50 * time.Millisecond, 60 * time.Millisecond, toldBy("a", 1, 1), false, nil},
			{110 * time.Millisecond, 120 * time.Millisecond, toldBy("a", 1, 1), true, nil},
		},
		"nor for what was asked before it came": {
			{now, 2 * tick, toldBy("a", 1, 1), false, nil},
			{tick, 2 * tick, toldBy("a", 1, 1), false, nil},
			{3 * tick, 3 * tick, toldBy("a", 1, 1), true, nil},
		},
		"nor for what comes too late": {
			{now, now, toldBy("a", tick, 1), false, nil},
			{tick, now + leaseTime, toldBy("a", 1, 1), false, nil},
		},
		"its age counts": {
			{now, now, toldBy("a", 3*tick, time.Minute), false, nil},
			{tick, tick, toldBy("a", 1, 1), false, nil},
			{2 * tick, 2 * tick, toldBy("a", 1, 1), true, nil},
		},
		"it runs from the question, for nobody knows how long the answer lay about": {
			{now, 3 * tick, toldBy("a", 1, 1), false, nil},
			{3*tick + 200*time.Millisecond, now + leaseTime, toldBy("a", 1, 1), false, nil},
		},
		"another leader begins anew": {
			{now, now, toldBy("a", 1, 1), false, nil},
			{tick, tick, toldBy("b", 1, 1), false, nil},
			{2 * tick, 2 * tick, toldBy("a", 1, 1), false, nil},
			{3 * tick, 3 * tick, toldBy("a", 1, 1), true, nil},
		},
		"who leads no majority ends it": {
			{now, now, toldBy("a", 1, 1), false, nil},
			{tick, tick, toldBy("a", 0, 0), false, errNoLease},
			{2 * tick, 2 * tick, toldBy("a", 1, 1), false, nil},
			{3 * tick, 3 * tick, toldBy("a", 1, 1), true, nil},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var l lease
			for n, s := range story {
				got, err := l.vouches(s.told, begun.Add(s.asked), begun.Add(s.answered))
				if got != s.want || !errors.Is(err, s.err) {
					t.Errorf("answer %d: %v, %v, want %v, %v", n, got, err, s.want, s.err)
				}
			}
		})
	}
}

// raft is a leader, and the worst that its peers may do: elect another as soon
// as they have not heard from it for so long.
type raft struct {
	now     time.Duration
	contact time.Duration // when a majority has really heard from it
	thinks  time.Duration // when it thinks that was
	paused  bool
	resumed time.Duration
	asked   []time.Duration // questions that lie in its socket
	lease   lease
}

const (
	electsAfter = 4 * time.Second        // in nats-server's Raft
	noticesIn   = 90 * time.Millisecond  // what it takes to read that one is deposed
	heartbeats  = 500 * time.Millisecond // of the leader
)

func (r *raft) deposed() bool { return r.now >= r.contact+electsAfter }

// pass lets time pass: who runs hears from its peers, or that it is deposed; it
// is then elected again.
func (r *raft) pass(d time.Duration) {
	r.now += d
	if r.paused || r.now < r.resumed+noticesIn && r.deposed() {
		return
	}
	if r.now-r.contact >= heartbeats || r.deposed() {
		r.contact, r.thinks = r.now, r.now
	}
}

// answer answers all that was asked, and makes sure that nothing past is
// vouched for.
func (r *raft) answer(t *rapid.T) {
	if r.paused {
		return
	}
	for _, asked := range r.asked {
		told := toldBy("a", r.now-r.thinks+1, time.Hour)
		vouched, _ := r.lease.vouches(told, time.Time{}.Add(asked), time.Time{}.Add(r.now))
		if vouched && r.deposed() {
			t.Fatalf("asked at %v and answered at %v: vouched for, and peers have not heard of it since %v", asked, r.now, r.contact)
		}
	}
	r.asked = nil
}

// Whatever pauses, questions and answers come in which order: what is vouched
// for was said while nobody else could lead. A leader that goes on after a pause
// takes what lay in its sockets for news. It runs for longer than it takes to
// settle before it is paused again (see decision 13).
func TestNothingPastIsVouchedFor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := &raft{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				r.asked = append(r.asked, r.now)
			case 1:
				r.answer(t)
			case 2:
				r.pass(time.Duration(rapid.SampledFrom([]int{1, 20, 100, 500, 1000, 3000, 5000}).Draw(t, "ms")) * time.Millisecond)
			case 3:
				switch {
				case r.paused:
					r.paused, r.resumed = false, r.now
					r.thinks = r.now // replies that came when the pause began
				case r.now >= r.resumed+leaseSettles:
					r.paused = true
				}
			}
		}
	})
}
