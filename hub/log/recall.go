package log

import (
	"context"
	"errors"

	"github.com/revocast/revocast/events"
)

// head is a place after which a record can be appended.
type head struct {
	seq   uint64
	chain events.Chain
	at    events.Time // of the record at seq
}

// recall asks where the log ends, for the first time, and compares its ends
// with what the last ticks have seen. A store whose newest block is damaged
// after a crash, or whose oldest is missing, is to the server a shorter
// history, and valid.
func (l *Log) recall(ctx context.Context) (head, error) {
	last, first, err := l.ticked(ctx) // before the question, since others may be ticking
	if err != nil {
		return head{}, err
	}
	l.last.Store(last.seq) // so that a log that ends before is a fault
	h, err := l.learn(ctx)
	if err != nil {
		return h, err
	}
	begins := h.seq + 1
	if o := l.oldest.Load(); o != nil {
		begins = o.seq
	}
	for _, o := range first {
		if o.missed(begins, l.cfg.Retention, l.stream.CachedInfo().TimeStamp) { // by the clock that ages records out
			return h, l.fail(l.fault(Gap, o.seq, "it is gone before its time; the stream begins at %d", begins))
		}
	}
	if last.seq < begins {
		return h, nil
	}
	e, _, err := l.read(ctx, last.seq)
	if err == nil && e.Chain != last.chain {
		err = l.fail(l.fault(Altered, last.seq, "its chain is %v, and was %v when a hub ticked", e.Chain, last.chain))
	}
	if errors.Is(err, ErrNotFound) {
		err = nil // it has aged out this moment
	}
	return h, err
}

// learn asks the server where the log ends.
func (l *Log) learn(ctx context.Context) (head, error) {
	state, _, err := l.look(ctx)
	if err != nil || state.LastSeq == 0 {
		return head{}, err
	}
	if state.Msgs == 0 {
		chain, err := l.remember(ctx, state.LastSeq)
		return head{state.LastSeq, chain, events.At(state.LastTime)}, err
	}
	e, _, err := l.read(ctx, state.LastSeq)
	if err != nil {
		if h := (*HistoryError)(nil); errors.As(err, &h) {
			l.fail(h)
		}
		return head{}, err
	}
	part, err := events.ParseFeed(e.Feed)
	if err != nil {
		return head{}, l.fail(l.fault(Altered, e.Seq, "%v", err))
	}
	return head{e.Seq, e.Chain, part.At}, nil
}

// remember finds the chain at the head of a log whose records have all aged
// out: the follower may have it, and so has the last tick of any hub.
func (l *Log) remember(ctx context.Context, seq uint64) (events.Chain, error) {
	if followed, chain := l.Followed(); followed == seq {
		return chain, nil
	}
	chain, ok, err := l.chainInTicks(ctx, seq)
	if err == nil && !ok {
		// Nobody is left who could tell. All hubs begin again with the same
		// chain; an auditor sees the seam, as it is one.
		l.cfg.Logger.Warn("all records have aged out and no tick tells their chain: it begins anew", "seq", seq)
	}
	return chain, err
}
