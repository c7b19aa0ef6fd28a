package log

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// First asks the server for the first record that is still held. If none is,
// First is Head + 1.
func (l *Log) First(ctx context.Context) (uint64, error) {
	state, err := l.look(ctx)
	return firstSeq(state), err
}

// Head asks the server for the last record that was stored.
func (l *Log) Head(ctx context.Context) (uint64, error) {
	state, err := l.look(ctx)
	return state.LastSeq, err
}

// RecordSize asks the server how many bytes a record takes on average, with
// what is stored beside it; 0 if none is held.
func (l *Log) RecordSize(ctx context.Context) (uint64, error) {
	state, err := l.look(ctx)
	return state.Bytes / max(1, state.Msgs), err
}

func firstSeq(state jetstream.StreamState) uint64 {
	if state.Msgs == 0 {
		return state.LastSeq + 1
	}
	return state.FirstSeq
}

// What would end the log is looked at more than once: who answers may have
// just started, and not know what there is yet. A cluster takes longer.
const (
	looks        = 3
	looksCluster = 25
	lookPause    = 200 * time.Millisecond
)

// look asks for the state of the stream, and makes sure that it is still the
// stream that was opened and still holds all that was seen in it. If not, the
// log has failed.
func (l *Log) look(ctx context.Context) (jetstream.StreamState, error) {
	for n := 1; ; n++ {
		state, fault, err := l.lookOnce(ctx)
		if err != nil {
			return state, fmt.Errorf("ask for the state of the log: %w", err)
		}
		if fault == nil {
			return state, nil
		}
		if n == looksCluster || n == looks && l.copies == 1 {
			return state, l.fail(fault)
		}
		if err := sleep(ctx, lookPause); err != nil {
			return state, err
		}
	}
}

func (l *Log) lookOnce(ctx context.Context) (jetstream.StreamState, *HistoryError, error) {
	followed, _ := l.Followed()
	seen := max(followed, l.last.Load()) // before the question, not after
	if l.mirror != nil {
		seen = max(seen, l.mirror.holds.Load())
	}
	info, err := l.stream.Info(ctx)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return jetstream.StreamState{}, l.fault(Recreated, seen, "the stream is gone"), nil
	}
	if err != nil {
		return jetstream.StreamState{}, nil, err
	}
	if err := leased(info.Cluster); err != nil {
		return jetstream.StreamState{}, nil, err
	}
	id, err := readIdentity(info)
	switch {
	case err != nil:
		return info.State, l.fault(Recreated, seen, "%v", err), nil
	case id.epoch != l.id.epoch:
		return info.State, l.fault(Recreated, seen, "epoch is %s, was %s", id.epoch, l.id.epoch), nil
	case !id.created.Equal(l.id.created):
		return info.State, l.fault(Recreated, seen, "created %v, was %v", id.created, l.id.created), nil
	case info.State.LastSeq < seen:
		return info.State, l.fault(Rewound, seen, "the stream ends at %d", info.State.LastSeq), nil
	}
	l.domain.Store(&info.Domain)
	l.oldest.Store(oldestIn(info))
	return info.State, nil, nil
}

// lease is how recently a leader must have heard from a majority for its word
// to be taken. Nobody else is elected for four seconds after that; a leader
// that was cut off or stopped, and does not know yet that there is another,
// would tell of an end of the log that is past.
const lease = 3500 * time.Millisecond

var errNoLease = errors.New("the leader of the stream has not heard from a majority of its replicas lately")

// leased reports whether an answer may be taken as that of the one leader.
func leased(c *jetstream.ClusterInfo) error {
	if c == nil || len(c.Replicas) == 0 {
		return nil // one copy: nobody else could be the leader
	}
	heard := 1 // of itself
	for _, r := range c.Replicas {
		if r.Active > 0 && r.Active <= lease { // zero: not yet
			heard++
		}
	}
	if heard <= (len(c.Replicas)+1)/2 {
		return errNoLease
	}
	return nil
}
