package main

import "time"

// scale is how much is measured.
type scale struct {
	Rounds int           // of each contender, in turn with the others
	Slice  time.Duration // about how long one round of one contender takes

	Live    []int // sizes of the sets that are looked up in
	Lookups int   // different tokens of the cold look-ups

	Standing int           // revocations that stand while strategies are compared
	Requests int           // whose latency is taken, of those that use the network
	Trials   int           // revocations whose enforcement is timed
	Interval time.Duration // of caches and pollers

	Load        time.Duration // how long each load of the ingest lasts
	Connections []int

	Snapshot int   // revocations in it
	Restart  []int // revocations in the hub that is restarted
	Fanout   bool  // whether hub/feed's own benchmark is run
}

var scaleFull = scale{
	Rounds: 11, Slice: 25 * time.Millisecond,
	Live: []int{1_000, 100_000, 1_000_000}, Lookups: 1 << 17,
	Standing: 100_000, Requests: 2_000, Trials: 200, Interval: time.Second,
	Load: 700 * time.Millisecond, Connections: []int{1, 8, 64},
	Snapshot: 1_000_000, Restart: []int{100_000}, Fanout: true,
}

var scaleShort = scale{
	Rounds: 2, Slice: time.Millisecond,
	Live: []int{1_000}, Lookups: 1 << 10,
	Standing: 1_000, Requests: 20, Trials: 4, Interval: 50 * time.Millisecond,
	Load: 50 * time.Millisecond, Connections: []int{1, 8},
	Snapshot: 5_000, Restart: []int{1_000},
}

func (s scale) long() scale {
	s.Live = append(s.Live[:len(s.Live):len(s.Live)], 10_000_000)
	s.Restart = append(s.Restart[:len(s.Restart):len(s.Restart)], 1_000_000)
	return s
}
