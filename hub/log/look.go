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
	state, _, err := l.look(ctx)
	return firstSeq(state), err
}

// Head asks the server for the last record that was stored. In a cluster it
// waits, for at most ten seconds, until the one who answers has shown that it
// leads: a record that was acknowledged before Head was called is never beyond.
func (l *Log) Head(ctx context.Context) (uint64, error) {
	state, err := l.lookSurely(ctx)
	return state.LastSeq, err
}

// RecordSize asks the server how many bytes a record takes on average, with
// what is stored beside it; 0 if none is held.
func (l *Log) RecordSize(ctx context.Context) (uint64, error) {
	state, _, err := l.look(ctx)
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
// log has failed. What it returns may be past, if the lease does not vouch for
// it.
func (l *Log) look(ctx context.Context) (state jetstream.StreamState, vouched bool, err error) {
	for n := 1; ; n++ {
		state, vouched, fault, err := l.lookOnce(ctx)
		if err != nil {
			return state, false, fmt.Errorf("ask for the state of the log: %w", err)
		}
		if fault == nil {
			return state, vouched, nil
		}
		if n == looksCluster || n == looks && l.copies == 1 {
			return state, false, l.fail(fault)
		}
		if err := sleep(ctx, lookPause); err != nil {
			return state, false, err
		}
	}
}

func (l *Log) lookOnce(ctx context.Context) (state jetstream.StreamState, vouched bool, fault *HistoryError, err error) {
	followed, _ := l.Followed()
	seen := max(followed, l.last.Load()) // before the question, not after
	if l.mirror != nil {
		seen = max(seen, l.mirror.holds.Load())
	}
	asked := time.Now()
	info, err := l.stream.Info(ctx)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return state, false, l.fault(Recreated, seen, "the stream is gone"), nil
	}
	if err != nil {
		return state, false, nil, err
	}
	if vouched, err = l.lease.vouches(info.Cluster, asked, time.Now()); err != nil {
		return state, false, nil, err
	}
	id, err := readIdentity(info)
	switch {
	case err != nil:
		fault = l.fault(Recreated, seen, "%v", err)
	case id.epoch != l.id.epoch:
		fault = l.fault(Recreated, seen, "epoch is %s, was %s", id.epoch, l.id.epoch)
	case !id.created.Equal(l.id.created):
		fault = l.fault(Recreated, seen, "created %v, was %v", id.created, l.id.created)
	case info.State.LastSeq < seen:
		fault = l.fault(Rewound, seen, "the stream ends at %d", info.State.LastSeq)
	default:
		l.domain.Store(&info.Domain)
		l.oldest.Store(oldestIn(info))
	}
	return info.State, vouched, fault, nil
}
