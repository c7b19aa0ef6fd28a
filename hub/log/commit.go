package log

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
)

// patience is how long proposals without a Settle are held up by one that
// waits for the follower, which is ordinarily there within a millisecond.
const patience = 100 * time.Millisecond

// committer writes one record after another. While one is in flight, proposals
// queue; the next record takes all of them that fit. It belongs to the one
// goroutine that runs it.
type committer struct {
	*Log
	head head
	// stuck is where the follower was when patience with it ran out, plus
	// one. There is no patience again until it has moved.
	stuck uint64
}

func (c *committer) run() {
	for {
		// Those who were just answered tend to come back at once: let them,
		// rather than leave with the one proposal that is first.
		runtime.Gosched()
		ws := c.queue.wait(c.ctx)
		if c.ctx.Err() != nil {
			c.queue.close(context.Cause(c.ctx))
			return
		}
		if group, draft := c.gather(ws); len(group) > 0 {
			c.write(group, draft)
		}
	}
}

// gather takes those that the next record can hold, and settles them.
func (c *committer) gather(ws []*waiting) (group []*waiting, draft events.Draft) {
	ready, err := c.ready(ws)
	var keys map[events.Key]bool
	for _, w := range ws {
		if w.Settle != nil && !ready {
			if err != nil {
				c.queue.settle(w, outcome{err: err})
			}
			continue
		}
		if w.Key != (events.Key{}) && keys[w.Key] {
			continue
		}
		if len(group) > 0 && (w.Alone || !draft.Fits(&w.Draft)) {
			break
		}
		ops := w.Draft
		if w.Settle != nil {
			d, receipt, err := w.Settle()
			if d.Len() > 0 {
				ops = d
			}
			switch {
			case err != nil || receipt != nil:
				c.queue.settle(w, settledOutcome(receipt, err))
				continue
			case ops.Len() == 0:
				c.queue.settle(w, outcome{err: ErrEmpty})
				continue
			case !fits(&ops):
				c.queue.settle(w, outcome{err: ErrTooLarge})
				continue
			}
			if len(group) > 0 && !draft.Fits(&ops) {
				break
			}
		}
		if !c.queue.take(w) {
			continue
		}
		switch len(group) {
		case 0:
			draft = ops // the caller's, to be read only
		case 1:
			var both events.Draft
			both.Append(draft)
			draft = both
			fallthrough
		default:
			draft.Append(ops)
		}
		group = append(group, w)
		if w.Key != (events.Key{}) {
			if keys == nil {
				keys = make(map[events.Key]bool)
			}
			keys[w.Key] = true
		}
		if w.Alone {
			break
		}
	}
	return group, draft
}

func settledOutcome(receipt *Receipt, err error) outcome {
	if err != nil {
		return outcome{err: err}
	}
	return outcome{Receipt: *receipt}
}

// ready reports whether the follower is at the head, and waits for it if
// anybody needs that. It gives up when others could go on, and returns an
// error if the follower will never be there.
func (c *committer) ready(ws []*waiting) (bool, error) {
	var some, all = false, true
	for _, w := range ws {
		some = some || w.Settle != nil
		all = all && w.Settle != nil
	}
	if !some {
		return false, nil
	}
	// If nobody else is there, newcomers end the wait; else only time does,
	// or the wait would never be one.
	newcomers := c.queue.grew
	var timeout <-chan time.Time
	for {
		seq, moved, ended := c.place.watch()
		switch {
		case seq >= c.head.seq:
			c.stuck = 0
			return true, nil
		case ended != nil:
			return false, ended
		case !all && c.stuck == seq+1:
			return false, nil
		case !all && timeout == nil:
			t := time.NewTimer(patience)
			defer t.Stop()
			timeout, newcomers = t.C, nil
		}
		select {
		case <-moved:
		case <-newcomers:
			return false, nil
		case <-timeout:
			c.stuck = seq + 1
			return false, nil
		case <-c.ctx.Done():
			return false, nil
		}
	}
}

// write appends a record after the head, and tells everyone in the group.
func (c *committer) write(group []*waiting, draft events.Draft) {
	at := max(events.At(c.cfg.Now()), c.head.at)
	msg, chain := encode(logSubject(c.cfg.Feed), draft.Message(at), c.head.chain)
	msg.Header[jetstream.ExpectedStreamHeader] = []string{streamName(c.cfg.Feed)}
	msg.Header[jetstream.ExpectedLastSeqHeader] = []string{strconv.FormatUint(c.head.seq, 10)}

	// Not the log's context: a record in flight is waited for when it closes.
	ctx, cancel := context.WithTimeout(context.Background(), c.cfg.AppendTimeout)
	ack, err := c.publish(ctx, msg)
	cancel()

	switch err = verdict(err); {
	case err == nil && ack.Sequence == c.head.seq+1:
		c.move(head{ack.Sequence, chain, at})
	case err == nil:
		err = fmt.Errorf("%w: %w", ErrUnknown,
			c.fail(c.fault(Gap, c.head.seq+1, "the server stored it as %d", ack.Sequence)))
	case errors.Is(err, errConflict):
		// Another hub was faster, or an append of ours whose outcome was
		// unknown has landed. This record can't any more.
		c.relearn()
		c.queue.giveBack(group)
		return
	}
	for _, w := range group {
		if err != nil {
			c.queue.settle(w, outcome{err: err})
		} else {
			c.queue.settle(w, outcome{Receipt: Receipt{Seq: c.head.seq, At: at}})
		}
	}
	if errors.Is(err, ErrUnknown) {
		c.cfg.Logger.Warn("an append was not answered", "after", c.head.seq, "err", err)
		c.relearn()
	}
}

func (c *committer) move(h head) {
	c.head = h
	c.last.Store(h.seq)
}

// relearn asks where the log ends until there is an answer, or the log ends.
// What a hiccup takes, proposals wait for; in a longer outage they are refused.
func (c *committer) relearn() {
	for wait := retryFirst / 10; c.ctx.Err() == nil; wait = min(2*wait, retryMost) {
		h, err := c.learn(c.ctx)
		if err == nil {
			if h.seq == c.head.seq && h.chain != c.head.chain {
				c.fail(c.fault(Altered, h.seq, "it ends in chain %v, was %v", h.chain, c.head.chain))
				return
			}
			h.at = max(h.at, c.head.at)
			c.move(h)
			return
		}
		if wait == retryMost {
			c.queue.refuse(fmt.Errorf("%w: %w", ErrUnavailable, err))
		}
		c.cfg.Logger.Warn("where the log ends is not known", "err", err, "retry", wait)
		_ = sleep(c.ctx, wait)
	}
}

// publishOnce asks the server to store a message, once: asking again would
// turn the answer to a lost answer into a refusal.
func (l *Log) publishOnce(ctx context.Context, msg *nats.Msg) (*jetstream.PubAck, error) {
	ack, err := l.js.PublishMsg(ctx, msg, jetstream.WithRetryAttempts(0))
	if err == nil {
		err = l.ours(ack)
	}
	return ack, err
}

// ours refuses the word of a stream in another JetStream domain, which has the
// log's subjects and is not the log.
func (l *Log) ours(ack *jetstream.PubAck) error {
	if domain := *l.domain.Load(); ack.Domain != domain {
		return fmt.Errorf("a stream of that name in JetStream domain %q has answered, the log is in %q: remove the other", ack.Domain, domain)
	}
	return nil
}

var errConflict = errors.New("not the next record")

// What the server answers, by number; those that nats.go has no name for.
const (
	codeInsufficientResources = 10023
	codeMemoryExceeded        = 10028
	codeStorageExceeded       = 10047
	codeStoreFailed           = 10077
)

// verdict says what an answer to a publish means. Only an answer, or the
// certainty that nothing was sent, can mean that nothing was stored.
func verdict(err error) error {
	var answer *jetstream.APIError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &answer):
	case errors.Is(err, jetstream.ErrNoStreamResponse),
		errors.Is(err, nats.ErrReconnectBufExceeded),
		errors.Is(err, nats.ErrConnectionReconnecting):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	default:
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	switch answer.ErrorCode {
	case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant:
		return errConflict
	case codeInsufficientResources, codeMemoryExceeded, codeStorageExceeded:
		return fmt.Errorf("%w: %w", ErrFull, err)
	case codeStoreFailed:
		if strings.HasPrefix(answer.Description, "maximum ") { // bytes, messages
			return fmt.Errorf("%w: %w", ErrFull, err)
		}
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	case jetstream.JSErrCodeStreamMessageExceedsMaximum:
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	return fmt.Errorf("append: %w", err)
}
