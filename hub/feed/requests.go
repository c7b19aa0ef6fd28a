package feed

import (
	"time"

	"github.com/revocast/revocast/events"
)

// requests remembers, for as long as the log does, which requests carried an
// Idempotency-Key and where their operations stand, so that one that is sent
// again is answered with what it did the first time. The list only grows at
// its end and shrinks at its beginning, and what is in it never changes.
//
// It is not safe for concurrent use; Feed.mu guards it.
type requests struct {
	list    []request // oldest first
	dropped uint64    // from the beginning of the list, ever
	byKey   map[events.Key]uint64
}

// request is one that was done.
type request struct {
	place
	key, body events.Key
	at        events.Time
	ops       uint32
}

func requestsOf(list []request) requests {
	r := requests{list: list, byKey: make(map[events.Key]uint64, len(list))}
	for i := range list {
		r.byKey[list[i].key] = uint64(i)
	}
	return r
}

func (r *requests) add(q events.Request, at events.Time, p place) {
	r.byKey[q.Key] = r.dropped + uint64(len(r.list))
	r.list = append(r.list, request{p, q.Key, q.Body, at, uint32(q.Ops)})
}

// find returns the latest request with a key.
func (r *requests) find(key events.Key) (request, bool) {
	n, ok := r.byKey[key]
	if !ok {
		return request{}, false
	}
	return r.list[n-r.dropped], true
}

func (r *requests) sweep(before time.Time) {
	n := 0
	for n < len(r.list) && r.list[n].at < events.At(before) {
		key := r.list[n].key
		if r.byKey[key] == r.dropped+uint64(n) {
			delete(r.byKey, key)
		}
		n++
	}
	r.list = r.list[n:]
	r.dropped += uint64(n)
}
