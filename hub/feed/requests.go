package feed

import (
	"time"

	"github.com/revocast/revocast/events"
)

// requests remembers, for as long as the log does, which requests carried an
// Idempotency-Key and where their operations stand, so that one that is sent
// again is answered with what it did the first time.
//
// It is not safe for concurrent use; Feed.mu guards it.
type requests struct {
	byKey map[events.Key]request
	order []events.Key // oldest first
}

type request struct {
	place
	at   events.Time
	body events.Key
	ops  int
}

func newRequests() requests { return requests{byKey: make(map[events.Key]request)} }

func (r *requests) add(q events.Request, at events.Time, p place) {
	if _, ok := r.byKey[q.Key]; !ok {
		r.order = append(r.order, q.Key)
	}
	r.byKey[q.Key] = request{p, at, q.Body, q.Ops}
}

func (r *requests) sweep(before time.Time) {
	n := 0
	for n < len(r.order) && r.byKey[r.order[n]].at < events.At(before) {
		delete(r.byKey, r.order[n])
		n++
	}
	r.order = r.order[n:]
}
