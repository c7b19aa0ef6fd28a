package log

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
)

const (
	// idleLook is how often a follower that hears nothing makes sure that
	// there is nothing to hear.
	idleLook = time.Second
	// heartbeat is how often the server says that the consumer is alive; two
	// that are missing begin another session.
	heartbeat = time.Second
	// pullMessages are asked for ahead of what is applied: at most 32 MiB of
	// them. A bound on bytes would have the server add notes of its own to the
	// batch, which take the room of messages in the client's buffer.
	pullMessages = 64
	// gapSessions is how many sessions in a row may begin after a record that
	// should have come first, before it is believed to be missing. Records
	// that age out while a session begins, and a message lost on the way, look
	// the same for one session.
	gapSessions = 3

	retryFirst = 100 * time.Millisecond
	retryMost  = time.Second
)

var (
	errFollowedBefore = errors.New("log: Follow may be called once")
	errNotFollowing   = errors.New("log: the follower has stopped")
)

// Follow calls apply for each record, from the first that the log still holds
// and in order, until ctx or the log ends; it then returns nil. apply runs on
// the caller's goroutine, one call at a time; its error ends Follow and is
// returned as it is. History that is not what it was ends Follow and the log
// with a *HistoryError. Anything that may pass, such as a lost connection, is
// retried for ever. Follow or FollowAfter may be called once in the life of a
// Log.
func (l *Log) Follow(ctx context.Context, apply func(Entry) error) error {
	return l.follow(ctx, follower{Log: l, apply: apply})
}

// FollowAfter is Follow for who has applied everything up to seq already, and
// knows the chain there. The first record to come is seq + 1; one that does not
// continue that chain, or a log that no longer holds it, is a *HistoryError, so
// the caller makes sure with ChainAt first. Followed is seq at once.
func (l *Log) FollowAfter(ctx context.Context, seq uint64, chain events.Chain, apply func(Entry) error) error {
	return l.follow(ctx, follower{Log: l, apply: apply, started: true, seq: seq, chain: chain})
}

func (l *Log) follow(ctx context.Context, f follower) error {
	l.mu.Lock()
	switch {
	case l.closed:
		l.mu.Unlock()
		return ErrClosed
	case l.followed:
		l.mu.Unlock()
		return errFollowedBefore
	}
	l.followed = true
	l.wg.Add(1)
	l.mu.Unlock()
	defer l.wg.Done()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()

	if f.started {
		l.place.advance(f.seq, f.chain)
	}
	err := f.run(ctx)
	// Whoever found the fault, the follower or the committer, it is told here.
	if h := (*HistoryError)(nil); errors.As(context.Cause(l.ctx), &h) {
		err = h
	}
	if err != nil {
		l.place.end(err)
	} else {
		l.place.end(errNotFollowing)
	}
	return err
}

// Followed is how far apply has been called, and the chain there. It is zero
// before the first record.
func (l *Log) Followed() (uint64, events.Chain) {
	seq, chain, _ := l.place.now()
	return seq, chain
}

// WaitFollowed returns nil when everything up to seq has been applied, and an
// error when ctx, the log or Follow ends before that. With Head it tells when
// the first replay is done.
func (l *Log) WaitFollowed(ctx context.Context, seq uint64) error {
	for {
		at, moved, ended := l.place.watch()
		if at >= seq {
			return nil
		}
		if ended != nil {
			return ended
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		case <-l.ctx.Done():
			return context.Cause(l.ctx)
		}
	}
}

// follower belongs to the goroutine that called Follow.
type follower struct {
	*Log
	apply func(Entry) error

	started bool // seq and chain are known
	seq     uint64
	chain   events.Chain
	gaps    int // sessions in a row that ended with a gap
}

// applyError is an error of the caller's.
type applyError struct{ error }

// run goes from session to session: one consumer each, begun with a look at
// the streams, so that nothing about it is taken for granted after a break.
func (f *follower) run(ctx context.Context) error {
	wait := retryFirst
	for {
		before := f.seq
		err := f.session(ctx)
		var applied applyError
		var fault *HistoryError
		switch {
		case errors.As(err, &applied):
			return applied.error
		case errors.As(err, &fault):
			return fault
		case ctx.Err() != nil:
			return nil
		case err == nil:
			continue
		}
		if f.seq > before {
			wait = retryFirst
		}
		f.cfg.Logger.Warn("following the log was interrupted", "seq", f.seq, "err", err, "retry", wait)
		if sleep(ctx, wait) != nil {
			return nil
		}
		wait = min(2*wait, retryMost)
	}
}

// session follows the log through one consumer. It returns nil if another
// session should begin at once.
func (f *follower) session(ctx context.Context) error {
	mirror, err := f.openMirror(ctx)
	if err != nil {
		return err
	}
	state, _, err := f.look(ctx)
	if err != nil {
		return err
	}
	first := firstSeq(state)
	switch {
	case f.started && first > f.seq+1:
		return f.fail(f.fault(Gap, f.seq+1, "it aged out before it was followed; the stream begins at %d", first))
	case !f.started && state.Msgs == 0 && state.LastSeq > 0:
		chain, err := f.remember(ctx, state.LastSeq)
		if err != nil {
			return err
		}
		f.advance(state.LastSeq, chain)
	case !f.started:
		f.seq = first - 1
	}

	source, until := f.source(mirror)

	connected := f.nc.StatusChanged(nats.CONNECTED)
	defer f.nc.RemoveStatusListener(connected)
	c, err := source.CreateConsumer(ctx, jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       f.seq + 1,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: time.Minute,
	})
	if err != nil {
		return fmt.Errorf("consume the log: %w", err)
	}
	defer f.forget(source, c.CachedInfo().Name)
	msgs, err := c.Messages(
		jetstream.PullMaxMessages(pullMessages),
		jetstream.PullHeartbeat(heartbeat),
		jetstream.WithMessagesErrOnMissingHeartbeat(true))
	if err != nil {
		return fmt.Errorf("consume the log: %w", err)
	}
	over, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-connected: // again, and who knows to what
		case <-ctx.Done():
		case <-over:
		}
		msgs.Stop()
	}()
	defer func() { close(over); <-ended }()

	var end uint64 // of the source, as the last idle look saw it
	for f.seq != until || until == 0 {
		msg, err := msgs.Next(jetstream.NextMaxWait(idleLook))
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, jetstream.ErrMsgIteratorClosed):
			return nil
		case errors.Is(err, nats.ErrTimeout):
			// A consumer that was asked to start beyond the end of a
			// stream gets nothing and no error.
			if f.seq < end {
				return nil
			}
			if end, err = f.ends(ctx, source, end); err != nil {
				return err
			}
			continue
		case err != nil:
			return fmt.Errorf("consume the log: %w", err)
		}
		meta, err := msg.Metadata()
		if err != nil {
			return fmt.Errorf("consume the log: %w", err)
		}
		seq := meta.Sequence.Stream
		if seq <= f.seq {
			continue
		}
		if seq != f.seq+1 {
			if f.gaps++; f.gaps < gapSessions {
				return nil
			}
			return f.fail(f.fault(Gap, f.seq+1, "the next record that the stream has is %d", seq))
		}
		e, before, err := decode(seq, meta.Timestamp, nats.Header(msg.Headers()), msg.Data())
		if err == nil && f.started && before != f.chain {
			err = fmt.Errorf("it follows chain %v, the record before it ends in %v", before, f.chain)
		}
		if err != nil {
			return f.fail(f.fault(Altered, seq, "%v", err))
		}
		if err := f.apply(e); err != nil {
			return applyError{err}
		}
		f.advance(seq, e.Chain)
	}
	return nil
}

func (f *follower) advance(seq uint64, chain events.Chain) {
	f.started, f.seq, f.chain, f.gaps = true, seq, chain, 0
	f.place.advance(seq, chain)
}

// forget deletes the consumer of a session that is over, so that a hub that
// reconnects often does not fill the stream's share of consumers. The server
// would do it, too, but later.
func (f *follower) forget(source jetstream.Stream, consumer string) {
	if !f.nc.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = source.DeleteConsumer(ctx, consumer)
}
