package main

import (
	"math/rand/v2"
	"time"
)

// Fleet is what is simulated. The times of subscribers and hubs are those of
// the packages subscriber and hub; the costs are measured (docs/performance.md).
type Fleet struct {
	Subscribers int
	Regions     []Region // the first holds the log
	Seed        uint64

	// Of a hub.
	PerDelivery time.Duration // CPU time to send one frame to one subscriber
	PerConnect  time.Duration // CPU time to take one subscriber in: TLS, hello, the records that it lacks
	Admit       int           // subscribers taken in per second; the others are sent away with Retry-After: 1
	Capacity    int           // subscribers that it holds at most
	Drain       time.Duration // over which a hub that stops sends its subscribers away

	// Of a subscriber.
	BackoffFirst, BackoffMost time.Duration // full jitter between 0 and a bound that doubles
	Idle                      time.Duration // without a byte: the connection is given up
	Staleness                 time.Duration // without a proof: not fresh
	NoJitter                  bool          // the negative control: all come back at once
}

// Region is a place with hubs and subscribers of its own.
type Region struct {
	Name   string
	Hubs   int
	Mirror time.Duration // from the log to the hubs here
	Line   time.Duration // from a hub here to a subscriber here
	Abroad time.Duration // from a hub elsewhere to a subscriber here
}

// DefaultFleet is a million subscribers in three regions.
func DefaultFleet() Fleet {
	return Fleet{
		Subscribers: 1_000_000,
		Regions: []Region{
			{"eu", 20, 1 * time.Millisecond, 2 * time.Millisecond, 60 * time.Millisecond},
			{"us", 20, 45 * time.Millisecond, 2 * time.Millisecond, 60 * time.Millisecond},
			{"ap", 20, 90 * time.Millisecond, 2 * time.Millisecond, 90 * time.Millisecond},
		},
		Seed:        1,
		PerDelivery: 5 * time.Microsecond, // one event at a time: the kernel's price of a write, not that of a burst
		PerConnect:  500 * time.Microsecond,
		Admit:       1000,
		Capacity:    60_000,
		Drain:       5 * time.Second,

		BackoffFirst: 250 * time.Millisecond, BackoffMost: 15 * time.Second,
		Idle: 4 * time.Second, Staleness: 6 * time.Second,
	}
}

// hub is one hub of the fleet.
type hub struct {
	region  int
	up      bool
	cut     bool    // from the log: it holds its connections and proves nothing
	members []int32 // subscribers that are connected
	busy    time.Duration
	behind  int // records that it could not read while it was cut off

	second   int // of the admissions counted
	admitted int
}

// sub is one subscriber.
type sub struct {
	hubs     [3]int16 // two at home, one elsewhere, in the order of preference
	at       int8     // which of them is next, or followed
	place    int32    // in the members of its hub; -1: not connected
	failures uint8
	applied  int32         // records
	proven   time.Duration // when it last had proof
	lost     time.Duration // when it was last without a hub
}

// world is a fleet at a moment.
type world struct {
	Fleet
	*rand.Rand
	now   time.Duration
	hubs  []hub
	subs  []sub
	due   queue
	acked []time.Duration // when each record was acknowledged
	seen  Result
}

func newWorld(f Fleet) *world {
	w := &world{Fleet: f, Rand: rand.New(rand.NewPCG(f.Seed, 0))}
	first := make([]int, len(f.Regions)+1) // the number of a region's first hub
	for r, region := range f.Regions {
		first[r+1] = first[r] + region.Hubs
		for range region.Hubs {
			w.hubs = append(w.hubs, hub{region: r, up: true})
		}
	}
	w.subs = make([]sub, f.Subscribers)
	for i := range w.subs {
		home := i % len(f.Regions)
		away := (home + 1 + w.IntN(max(len(f.Regions)-1, 1))) % len(f.Regions)
		one := w.IntN(f.Regions[home].Hubs)
		two := (one + 1 + w.IntN(max(f.Regions[home].Hubs-1, 1))) % f.Regions[home].Hubs
		w.subs[i] = sub{place: -1, hubs: [3]int16{
			int16(first[home] + one), int16(first[home] + two), int16(first[away] + w.IntN(f.Regions[away].Hubs)),
		}}
		w.join(int32(i)) // the simulation begins with all connected
	}
	return w
}

func (w *world) hubOf(s *sub) int { return int(s.hubs[s.at]) }

// join connects a subscriber to the hub that is its turn.
func (w *world) join(i int32) {
	s := &w.subs[i]
	h := &w.hubs[w.hubOf(s)]
	s.place = int32(len(h.members))
	s.failures = 0
	h.members = append(h.members, i)
}

// leave takes a subscriber from its hub.
func (w *world) leave(i int32) {
	s := &w.subs[i]
	h := &w.hubs[w.hubOf(s)]
	last := h.members[len(h.members)-1]
	h.members[s.place] = last
	w.subs[last].place = s.place
	h.members = h.members[:len(h.members)-1]
	s.place, s.lost = -1, w.now
}

// latency is the line between a hub and a subscriber.
func (w *world) latency(h, i int) time.Duration {
	home := i % len(w.Regions)
	if w.hubs[h].region == home {
		return w.Regions[home].Line
	}
	return w.Regions[home].Abroad
}
