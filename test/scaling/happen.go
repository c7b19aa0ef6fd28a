package main

import (
	"slices"
	"time"
)

// attempt is a subscriber asking the hub whose turn it is.
func (w *world) attempt(i int32) {
	s := &w.subs[i]
	n := w.hubOf(s)
	h := &w.hubs[n]
	w.seen.attempted(w.now)
	switch {
	case !h.up:
		w.tryNext(i, w.backoff(s))
	case !w.admits(h):
		// Retry-After: 1, and up to a quarter more.
		w.seen.SentAway++
		w.tryNext(i, time.Second+time.Duration(w.Float64()*float64(time.Second/4)))
	default:
		h.busy = max(h.busy, w.now) + w.PerConnect
		ready := h.busy + w.latency(n, int(i))
		w.join(i)
		w.catchUp(i, h, ready)
		w.seen.Outage.add(ready - s.lost)
	}
}

// tryNext waits, and asks the next hub of the list then.
func (w *world) tryNext(i int32, wait time.Duration) {
	s := &w.subs[i]
	s.failures = min(s.failures+1, 100)
	s.at = (s.at + 1) % int8(len(s.hubs))
	w.attemptAfter(wait, i)
}

// backoff is full jitter (subscriber/backoff.go).
func (w *world) backoff(s *sub) time.Duration {
	bound := min(w.BackoffFirst<<min(s.failures, 20), w.BackoffMost)
	if w.NoJitter {
		return bound
	}
	return time.Duration(w.Float64() * float64(bound))
}

func (w *world) admits(h *hub) bool {
	if second := int(w.now / time.Second); second != h.second {
		h.second, h.admitted = second, 0
	}
	if h.admitted >= w.Admit || len(h.members) >= w.Capacity {
		return false
	}
	h.admitted++
	return true
}

// catchUp applies what a subscriber lacks and its hub has.
func (w *world) catchUp(i int32, h *hub, at time.Duration) {
	s := &w.subs[i]
	for head := len(w.acked) - h.behind; int(s.applied) < head; s.applied++ {
		w.enforced(s, int(s.applied), at, &w.seen.Late)
	}
	if !h.cut {
		s.proven = at
	}
}

// enforced notes that a subscriber has applied a record, and whether it said
// that it was fresh while it should have had it long ago.
func (w *world) enforced(s *sub, record int, at time.Duration, hist *Histogram) {
	took := at - w.acked[record]
	hist.add(took)
	if took > w.Staleness && s.proven > w.acked[record] {
		w.seen.FreshWhileBehind++
	}
}

// revoke acknowledges a record; each hub sends it on as soon as it has it.
func (w *world) revoke() {
	w.acked = append(w.acked, w.now)
	for n := range w.hubs {
		h := &w.hubs[n]
		switch {
		case !h.up:
		case h.cut:
			h.behind++
		default:
			record := len(w.acked) - 1
			w.after(w.Regions[h.region].Mirror, func() { w.deliver(n, record) })
		}
	}
}

// deliver sends a record to all who are connected, one after the other.
func (w *world) deliver(n, record int) {
	h := &w.hubs[n]
	if !h.up {
		return
	}
	if h.cut {
		h.behind++
		return
	}
	h.busy = max(h.busy, w.now)
	for _, i := range h.members {
		h.busy += w.PerDelivery
		s := &w.subs[i]
		if int(s.applied) != record {
			continue // it came with the records that it lacked
		}
		s.applied++
		w.enforced(s, record, h.busy+w.latency(n, int(i)), &w.seen.OnTime)
	}
}

// tick proves to all who are connected that they are at the head.
func (w *world) tick() {
	for n := range w.hubs {
		if h := &w.hubs[n]; h.up && !h.cut {
			for _, i := range h.members {
				w.subs[i].proven = w.now
			}
		}
	}
	stale, gone := 0, 0
	for i := range w.subs {
		if w.now-w.subs[i].proven > w.Staleness {
			stale++
		}
		if w.subs[i].place < 0 {
			gone++
		}
	}
	w.seen.second(w.now, gone, stale)
	// Without proof for too long: another hub may have it.
	for n := range w.hubs {
		if h := &w.hubs[n]; h.cut {
			for _, i := range slices.Clone(h.members) {
				if s := &w.subs[i]; w.now-s.proven > w.Staleness {
					w.leave(i)
					w.tryNext(i, w.backoff(s))
				}
			}
		}
	}
}

// kill ends a hub. Its subscribers see the connection end, or, if the host is
// gone, that nothing comes any more.
func (w *world) kill(n int, silently bool) {
	h := &w.hubs[n]
	h.up = false
	notice := time.Duration(0)
	if silently {
		notice = w.Idle
	}
	for _, i := range slices.Clone(h.members) {
		w.leave(i)
		w.tryNext(i, notice+w.backoff(&w.subs[i]))
	}
}

// drain stops a hub in good order: it sends its subscribers away one by one.
func (w *world) drain(n int) {
	h := &w.hubs[n]
	for _, i := range slices.Clone(h.members) {
		w.after(time.Duration(w.Float64()*float64(w.Drain)), func() {
			if s := &w.subs[i]; s.place >= 0 && w.hubOf(s) == n {
				w.leave(i)
				w.tryNext(i, 0)
			}
		})
	}
	w.after(w.Drain, func() { h.up = false })
}

func (w *world) start(n int) {
	h := &w.hubs[n]
	h.up, h.behind, h.busy = true, 0, 0
}

// cut and heal are of a hub's way to the log.
func (w *world) cut(n int) { w.hubs[n].cut = true }

func (w *world) heal(n int) {
	h := &w.hubs[n]
	h.cut, h.behind = false, 0
	for _, i := range h.members {
		h.busy = max(h.busy, w.now) + w.PerDelivery
		w.catchUp(i, h, h.busy+w.latency(n, int(i)))
	}
}
