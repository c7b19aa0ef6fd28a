package log

import (
	"context"
	"errors"
	"fmt"

	"github.com/revocast/revocast/events"
)

// What can become of an append. All but ErrUnknown say that nothing was
// written and nothing will be; so does every other error that Append returns.
var (
	// ErrUnknown: the record may or may not have been stored. The same
	// request may be tried again, with a Key and a Settle that looks for it.
	ErrUnknown = errors.New("log: it is not known whether the record was stored")
	// ErrFull: the stream or the disk is full. What is stored stays.
	ErrFull = errors.New("log: full")
	// ErrTooLarge: no record can hold the proposal.
	ErrTooLarge = errors.New("log: larger than a record can be")
	// ErrBusy: too much is waiting already.
	ErrBusy = errors.New("log: too many appends are waiting")
	// ErrUnavailable: nobody answers for the stream.
	ErrUnavailable = errors.New("log: unavailable")
	// ErrClosed: the log was closed.
	ErrClosed = errors.New("log: closed")
	// ErrEmpty: the proposal has no operations.
	ErrEmpty = errors.New("log: nothing to append")

	// ErrNotFound: the log does not hold the record.
	ErrNotFound = errors.New("log: no such record")
)

// A Proposal is one request's operations: they are appended together in one
// record, or not at all. A record takes the operations of many proposals.
type Proposal struct {
	// Draft holds the operations. Append reads it, and so may the record in
	// flight when Append has returned ErrUnknown.
	Draft events.Draft
	// Key, unless it is zero, is what makes the request the same as another:
	// two proposals with one Key never share a record, so that Settle of the
	// second is called when the first was applied.
	Key events.Key
	// Alone says that the record takes no other proposal.
	Alone bool
	// Settle, if it is not nil, is called when the follower has applied
	// everything up to the head, just before the record is written after that
	// very head. What it sees in the follower's state is what the record
	// follows.
	//
	// An error is given to the caller as it is, and a receipt as the answer;
	// in both cases nothing is written. A draft that is not empty replaces
	// Draft.
	//
	// It runs on the goroutine that appends, and must neither block nor use
	// the Log. It is called again if the record did not become the next one.
	Settle func() (events.Draft, *Receipt, error)
}

// A Receipt says where a proposal's operations are.
type Receipt struct {
	Seq uint64
	At  events.Time // the time in the record
	// Replayed is never set by the log; it is for a Settle that found the
	// request's operations in an earlier record.
	Replayed bool
}

// Append appends a proposal and waits until it is stored. If it returns an
// error that is not ErrUnknown, nothing was written.
//
// If ctx ends while the proposal waits for its record, it is withdrawn and the
// context's error returned; if it ends while the record is in flight, the
// outcome is ErrUnknown. Proposals are taken in order, but those without a
// Settle do not wait for a follower that has fallen behind.
func (l *Log) Append(ctx context.Context, p Proposal) (Receipt, error) {
	if p.Draft.Len() == 0 && p.Settle == nil {
		return Receipt{}, ErrEmpty
	}
	if !fits(&p.Draft) {
		return Receipt{}, ErrTooLarge
	}
	if err := ctx.Err(); err != nil {
		return Receipt{}, err
	}
	if l.space.full() {
		return Receipt{}, fmt.Errorf("%w: fewer than %d bytes are free on the disk", ErrFull, l.cfg.MinFree)
	}
	w := &waiting{Proposal: p, done: make(chan outcome, 1)}
	if err := l.queue.add(w); err != nil {
		return Receipt{}, err
	}
	select {
	case o := <-w.done:
		return o.Receipt, o.err
	case <-ctx.Done():
		return l.queue.leave(w, ctx.Err())
	}
}

// fits reports whether a record can hold the draft.
func fits(d *events.Draft) bool {
	var record events.Draft
	return record.Fits(d)
}
