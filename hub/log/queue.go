package log

import (
	"container/list"
	"context"
	"fmt"
	"sync"

	"github.com/revocast/revocast/events"
)

// waiting is a proposal between Append and its outcome.
type waiting struct {
	Proposal
	done chan outcome // takes one outcome without blocking

	state state         // guarded by the queue's mu
	elem  *list.Element // guarded by the queue's mu; set while queued
}

type state byte

const (
	queued  state = iota // nothing is written; the caller may withdraw it
	flying               // the committer has it in a record
	settled              // its outcome is known, or its caller has left
)

type outcome struct {
	Receipt
	err error
}

// queue holds the proposals that wait for their record. Callers add and
// withdraw them; the committer takes them.
type queue struct {
	max, maxBytes int
	grew          chan struct{} // holds a token when there is something new

	mu     sync.Mutex
	list   list.List // guarded by mu: the queued *waiting, in order
	bytes  int       // guarded by mu: of their drafts
	closed error     // guarded by mu: why nothing is added any more
}

func newQueue(max, maxBytes int) queue {
	return queue{max: max, maxBytes: maxBytes, grew: make(chan struct{}, 1)}
}

func (q *queue) add(w *waiting) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed != nil:
		return q.closed
	case q.list.Len() >= q.max || q.bytes+w.Draft.Size() > q.maxBytes:
		return ErrBusy
	}
	w.elem = q.list.PushBack(w)
	q.bytes += w.Draft.Size()
	select {
	case q.grew <- struct{}{}:
	default:
	}
	return nil
}

// remove takes w out of the list. Called with mu held.
func (q *queue) remove(w *waiting, next state) {
	if w.elem != nil {
		q.list.Remove(w.elem)
		w.elem = nil
		q.bytes -= w.Draft.Size()
	}
	w.state = next
}

// leave is for a caller that can't wait any longer.
func (q *queue) leave(w *waiting, why error) (Receipt, error) {
	q.mu.Lock()
	was := w.state
	q.remove(w, settled)
	q.mu.Unlock()
	switch was {
	case queued:
		return Receipt{}, why
	case flying:
		return Receipt{}, fmt.Errorf("%w: %w", ErrUnknown, why)
	}
	o := <-w.done
	return o.Receipt, o.err
}

// wait returns the first of those that are queued, no more than a record can
// take, and nothing when ctx has ended.
func (q *queue) wait(ctx context.Context) []*waiting {
	for ctx.Err() == nil {
		q.mu.Lock()
		ws := make([]*waiting, 0, min(q.list.Len(), events.MaxOps))
		for e := q.list.Front(); e != nil && len(ws) < cap(ws); e = e.Next() {
			ws = append(ws, e.Value.(*waiting))
		}
		q.mu.Unlock()
		if len(ws) > 0 {
			return ws
		}
		select {
		case <-q.grew:
		case <-ctx.Done():
		}
	}
	return nil
}

// take puts w in flight, unless its caller has left.
func (q *queue) take(w *waiting) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if w.state != queued {
		return false
	}
	q.remove(w, flying)
	return true
}

// giveBack queues those that did not fly after all, in front of the others,
// unless their callers have left.
func (q *queue) giveBack(ws []*waiting) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := len(ws) - 1; i >= 0; i-- {
		if w := ws[i]; w.state == flying {
			w.state = queued
			w.elem = q.list.PushFront(w)
			q.bytes += w.Draft.Size()
		}
	}
}

// settle tells a caller its outcome, unless it has left.
func (q *queue) settle(w *waiting, o outcome) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.settleLocked(w, o)
}

func (q *queue) settleLocked(w *waiting, o outcome) {
	if w.state != settled {
		q.remove(w, settled)
		w.done <- o
	}
}

// refuse answers everyone who waits.
func (q *queue) refuse(why error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for e := q.list.Front(); e != nil; e = q.list.Front() {
		q.settleLocked(e.Value.(*waiting), outcome{err: why})
	}
}

// close refuses everyone, those that wait and those to come.
func (q *queue) close(why error) {
	q.mu.Lock()
	q.closed = why
	q.mu.Unlock()
	q.refuse(why)
}
