package main

import "time"

// scale is how much is measured.
type scale struct {
	Rounds int           // of each contender, in turn with the others
	Slice  time.Duration // about how long one round of one contender takes
	Turns  int           // pieces that a round is cut into, to alternate more often; 0 is 1

	Live    []int // sizes of the sets that are looked up in
	Lookups int   // different tokens of the cold look-ups
	Apply   int   // operations that are applied while others look up

	Standing int           // revocations that stand while strategies are compared
	Requests int           // whose latency is taken, of those that use the network
	Trials   int           // revocations whose enforcement is timed
	Interval time.Duration // of caches and pollers

	Load        time.Duration // how long each load of the ingest lasts
	Connections []int
	Arrivals    []int         // requests a second, rising
	Arriving    time.Duration // how long they come at each rate

	Snapshot  int   // revocations in it, and in a hub that is restarted
	Restart   int   // in another one
	History   int   // records that have expired, before a million live ones; 0: left out
	Newcomers int   // subscribers that start at once
	AtOnce    int   // of those, how many connections are being made
	ColdLive  []int // revocations that they need

	Burst       int   // readers of a burst
	Crowds      []int // readers of what is paced
	Rates       []int // revocations a second
	RateReaders int   // that get them
	Paced       int   // how long one measurement takes, in seconds
	Idle        int   // readers for whom there is nothing; 0: left out
}

var scaleFull = scale{
	Rounds: 11, Slice: 25 * time.Millisecond,
	Live: []int{1_000, 100_000, 1_000_000}, Lookups: 1 << 17, Apply: 1_000_000,
	Standing: 100_000, Requests: 2_000, Trials: 200, Interval: time.Second,
	Load: 700 * time.Millisecond, Connections: []int{1, 8, 64},
	Arrivals: []int{250, 1_000, 2_000, 4_000, 6_000, 8_000, 10_000, 12_000, 14_000, 16_000, 20_000, 24_000}, Arriving: time.Second,
	Snapshot: 1_000_000, Restart: 100_000, Newcomers: 10_000, AtOnce: 256, ColdLive: []int{1_000},
	Burst: 1000, Crowds: []int{10, 100, 1_000, 10_000}, Rates: []int{1, 10, 100, 1_000, 10_000, 100_000}, RateReaders: 100, Paced: 2, Idle: 10_000,
}

var scaleShort = scale{
	Rounds: 2, Slice: time.Millisecond,
	Live: []int{1_000}, Lookups: 1 << 10, Apply: 5_000,
	Standing: 1_000, Requests: 80, Trials: 4, Interval: 50 * time.Millisecond,
	Load: 50 * time.Millisecond, Connections: []int{1, 8},
	Arrivals: []int{100, 200}, Arriving: 100 * time.Millisecond,
	Snapshot: 5_000, Restart: 1_000, Newcomers: 50, AtOnce: 16, ColdLive: []int{100},
	Burst: 20, Crowds: []int{10}, Rates: []int{10, 2_000}, RateReaders: 10, Paced: 1,
}

// few are the rounds of what takes long.
func (s scale) few() int { return max(1, s.Rounds/3) }

// paired is for contenders whose difference is smaller than what the speed of
// the machine drifts by within a round.
func (s scale) paired() scale {
	s.Slice, s.Turns = 4*s.Slice, 16
	return s
}

func (s scale) long() scale {
	s.Live = append(s.Live[:len(s.Live):len(s.Live)], 10_000_000)
	s.History = 10_000_000
	s.ColdLive = append(s.ColdLive[:len(s.ColdLive):len(s.ColdLive)], 100_000)
	return s
}
