package feed

import (
	"slices"
	"sync"
	"time"

	"github.com/revocast/revocast/events"
)

// copies are the snapshots that are being fetched over NATS, a piece at each
// request, by all who ask. A slow one must be able to finish with the bytes
// that it began with, though the log goes on; and many who begin at different
// times must not make us hold many.
type copies struct {
	mu   sync.Mutex
	list []*copied // guarded by mu: the latest made is the last; at most maxCopies
}

type copied struct {
	data []byte // never changes
	at   events.Position
	used time.Time // guarded by copies.mu
}

const (
	maxCopies = 3
	copyLapse = 30 * time.Second // nobody has asked for a piece of it
)

// get returns the copy at a position, or errGone; without a position, one to
// begin with.
func (c *copies) get(f *Feed, position string) (*copied, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.list = slices.DeleteFunc(c.list, func(e *copied) bool { return now.Sub(e.used) > copyLapse })
	e, err := c.choose(f, position)
	if err == nil {
		e.used = now
	}
	return e, err
}

// choose is called with mu held; so one snapshot is built at a time, which is
// the rule anyway.
func (c *copies) choose(f *Feed, position string) (*copied, error) {
	if position != "" {
		for _, e := range c.list {
			if e.at.String() == position {
				return e, nil
			}
		}
		return nil, errGone
	}
	if len(c.list) == maxCopies {
		// The latest has to do, if the records since are there for who has
		// loaded it.
		if e := c.list[maxCopies-1]; f.frames.holds(e.at.Seq) {
			return e, nil
		}
		c.list = slices.Delete(c.list, 0, 1)
	}
	data, at, err := f.snapshot()
	if err != nil {
		return nil, err
	}
	for _, e := range c.list {
		if e.at == at {
			return e, nil
		}
	}
	e := &copied{data: data, at: at}
	c.list = append(c.list, e)
	return e, nil
}
