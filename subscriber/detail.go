package subscriber

import (
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/revocast/revocast/events"
)

// details is the revocation cache: it remembers, for the revocations that
// arrived or matched most recently, what a verdict tells about them. It has no
// say in the verdict: what it forgets is enforced without an explanation.
type details struct {
	cache *lru.Cache[events.Key, detail]
}

type detail struct {
	id    events.ID
	since events.Time
}

func newDetails(size int) details {
	c, err := lru.New[events.Key, detail](size)
	if err != nil {
		panic(err) // the size is not positive, and checked has seen to it that it is
	}
	return details{c}
}

// learn takes note of what a record did.
func (d details) learn(part events.FeedPart) {
	for _, op := range part.Ops {
		if op.Verb == events.Revoke {
			d.cache.Add(op.Key, detail{op.ID, part.At})
		} else {
			// What is left, if anything, is the work of others.
			d.cache.Remove(op.Key)
		}
	}
}

func (d details) explain(hit events.Verdict) (events.ID, time.Time) {
	if got, ok := d.cache.Get(hit.Key); ok {
		return got.id, got.since.Std()
	}
	if hit.Term.Cutoff > 0 {
		return "", events.Time(hit.Term.Cutoff).Std()
	}
	return "", time.Time{}
}
