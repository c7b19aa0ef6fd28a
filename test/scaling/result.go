package main

import (
	"math"
	"time"
)

// Result is what a simulation has seen.
type Result struct {
	OnTime, Late     Histogram // from the acknowledgement to the enforcement: by those connected, and by those who came back
	Outage           Histogram // how long a subscriber was without a hub
	SentAway         int       // attempts answered with Retry-After
	FreshWhileBehind int       // has to be 0

	Seconds  []float64 // the time axis
	Gone     []float64 // subscribers without a hub, each second
	Stale    []float64 // subscribers that say they are not fresh, each second
	Attempts []float64 // connection attempts in each second
}

func (r *Result) attempted(now time.Duration) {
	s := int(now / time.Second)
	for len(r.Attempts) <= s {
		r.Attempts = append(r.Attempts, 0)
	}
	r.Attempts[s]++
}

func (r *Result) second(now time.Duration, gone, stale int) {
	r.Seconds = append(r.Seconds, now.Seconds())
	r.Gone = append(r.Gone, float64(gone))
	r.Stale = append(r.Stale, float64(stale))
}

// Histogram counts durations in buckets that grow by 5 %.
type Histogram struct {
	N       int
	Most    time.Duration
	buckets [512]int
}

const growth = 1.05

func (h *Histogram) add(d time.Duration) {
	h.N++
	h.Most = max(h.Most, d)
	b := 0
	if us := float64(d) / float64(time.Microsecond); us > 1 {
		b = min(int(math.Log(us)/math.Log(growth)), len(h.buckets)-1)
	}
	h.buckets[b]++
}

// Quantile is at most 5 % above the true one.
func (h *Histogram) Quantile(q float64) time.Duration {
	rank := int(q * float64(h.N))
	for b, n := range h.buckets {
		if rank -= n; rank < 0 {
			return min(time.Duration(math.Pow(growth, float64(b+1))*float64(time.Microsecond)), h.Most)
		}
	}
	return h.Most
}
