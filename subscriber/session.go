package subscriber

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/revocast/revocast/events"
)

// session follows one hub from a hello until something ends it. It is the
// Receiver of a stream; but for Alive, its fields belong to the goroutine that
// runs it.
type session struct {
	sub    *Subscriber
	hub    string
	ctx    context.Context // ends with the session
	cancel context.CancelCauseFunc
	alive  *watchdog

	hello  *events.Hello // nil until it has come
	over   bool          // nothing more is handled
	ending ending
	loops  sync.WaitGroup // that report, and that demand a proof
}

// ending is how a session ended, for the supervisor.
type ending struct {
	err      error
	worked   bool          // it brought a proof: the failures before it don't count any more
	again    bool          // go on at once, with the same hub
	bye      bool          // the hub is about to stop; not a failure
	byeAfter time.Duration // wait for a part of this then
}

// errBye ends a session that the hub has taken leave of.
var errBye = errors.New("the hub is about to stop")

// follow runs a session, and if the hub wants that, fetches its snapshot.
func (s *Subscriber) follow(ctx context.Context, hub string) ending {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	alive := newWatchdog(s.tuning.idle, cancel)
	defer alive.stop()
	se := &session{sub: s, hub: hub, ctx: ctx, cancel: cancel, alive: alive}

	s.mu.Lock()
	s.drop = cancel
	from := Start{Subscriber: s.config.Name, After: s.replica.resumeAt()}
	s.mu.Unlock()

	err := s.transport.Follow(ctx, hub, from, se)
	cause := context.Cause(ctx)
	cancel(err)
	se.loops.Wait()

	if !se.over {
		switch {
		case cause != nil:
			err = cause
		case err == nil && se.hello == nil:
			err = errors.New("the stream ended before its hello")
		case err == nil:
			err = errors.New("the stream ended")
		}
		se.ending.err = err
	}
	return se.ending
}

// end makes e the session's ending, with what it has achieved.
func (se *session) end(e ending) {
	if se.over {
		return
	}
	e.worked = se.ending.worked
	se.ending, se.over = e, true
	se.cancel(e.err)
}

// fail ends the session because of a wrong frame. The subscriber is not fresh
// from here on.
func (se *session) fail(err *frameError) {
	s := se.sub
	s.invalid(err.reason)
	s.change(func(r *replica, now moment) { r.fault(err, now) })
	s.log.Warn("wrong frame from the hub", "hub", se.hub, "reason", err.reason, "error", err.detail)
	se.end(ending{err: err})
}

// Alive implements Receiver.
func (se *session) Alive() { se.alive.alive() }

// Event implements Receiver.
func (se *session) Event(e Event) {
	if se.over || se.ctx.Err() != nil {
		return
	}
	name := e.Name
	switch {
	case se.hello == nil && name == events.EventHello:
		se.greet(e)
	case name == events.EventHello:
		se.fail(wrong("hello", "a second one"))
	case name == eventBye:
		se.leave(e.Data)
	case name != events.EventRecord && name != events.EventTick:
		// An event that a later release may have added.
	case se.hello == nil:
		se.fail(wrong("hello", "missing: the stream begins with %.16q", name))
	case name == events.EventRecord:
		se.record(e)
	default:
		se.tick(e)
	}
}

func (se *session) greet(e Event) {
	s := se.sub
	var h events.Hello
	if err := json.Unmarshal(e.Data, &h); err != nil {
		if !e.Cut {
			se.fail(wrong("hello", "%v", err))
		}
		return
	}
	var snapshot, union bool
	var ferr *frameError
	s.change(func(r *replica, now moment) { snapshot, union, ferr = r.hello(&h, now) })
	if ferr != nil {
		se.fail(ferr)
		return
	}
	se.hello = &h
	s.connected(se.hub)
	if snapshot {
		se.resync(union)
		return
	}
	// Between two heartbeats there may be one that got lost on the way to us.
	heartbeat := min(max(time.Duration(h.HeartbeatMS)*time.Millisecond, minHeartbeat), maxHeartbeat)
	if h.HeartbeatMS <= 0 {
		heartbeat = maxHeartbeat
	}
	se.alive.allow(2 * heartbeat)
	se.loops.Go(func() { s.report(se.ctx, se.hub) })
	se.loops.Go(se.demandProof)
}

// errNoProof ends a session that has brought no proof for MaxStaleness.
var errNoProof = errors.New("the hub is connected and proves nothing: trying another")

// demandProof ends the session when its hub has proven nothing for
// MaxStaleness and there is another to try. A hub that is cut off from its log
// keeps its streams alive, and would be followed for ever, stale. It is left no
// earlier than that, so hubs that all prove nothing are gone round slowly. It
// returns when the session ends.
func (se *session) demandProof() {
	s := se.sub
	another := func(hub string) bool { return hub != se.hub }
	for wait := s.config.MaxStaleness; sleep(se.ctx, wait); {
		s.mu.Lock()
		wait = s.config.MaxStaleness - s.replica.silence(s.clock.now())
		s.mu.Unlock()
		if wait > 0 {
			continue
		}
		if hubs, err := s.transport.Hubs(se.ctx); err == nil && slices.ContainsFunc(hubs, another) {
			se.cancel(errNoProof)
			return
		}
		wait = s.config.MaxStaleness
	}
}

// minHeartbeat is above the pauses of a busy machine; maxHeartbeat bounds how
// long a hub may make us wait in vain.
const minHeartbeat, maxHeartbeat = 100 * time.Millisecond, 30 * time.Second

// resync replaces the stream by a download of the snapshot, on this goroutine
// still: the stream is read no further. The supervisor then follows on.
func (se *session) resync(union bool) {
	s := se.sub
	reason := se.hello.Mode
	if union && reason != events.ModeReset {
		reason = "disputed"
	}
	se.end(ending{})

	snap, err := s.fetch(s.ctx, se.hub)
	var ferr *frameError
	if err == nil {
		s.change(func(r *replica, now moment) {
			if ferr = r.install(snap, se.hello, union, now); ferr == nil {
				s.resynced(reason) // before the position shows, which may be an earlier one
			}
		})
	} else if !errors.As(err, &ferr) && errors.Is(err, events.ErrSnapshot) {
		ferr = wrong("snapshot", "%v", err)
	}
	if ferr != nil {
		s.invalid(ferr.reason)
		err = ferr
	}
	if err != nil {
		s.log.Warn("snapshot not used", "hub", se.hub, "error", err)
		se.ending.err = fmt.Errorf("snapshot: %w", err)
		return
	}
	s.watch.reindex()
	s.lookAgain() // for what is scheduled
	v := s.view.Load()
	s.log.Info("snapshot installed", "hub", se.hub, "reason", reason, "position", v.position.String(), "kept", v.kept)
	se.ending.again = true
}

func (se *session) record(e Event) {
	s := se.sub
	var part events.FeedPart
	var applied bool
	var err *frameError
	s.change(func(r *replica, now moment) { part, applied, err = r.record(e.Data, e.ID, now) })
	if applied {
		s.details.learn(part)
		s.watch.affected(part.Ops)
		s.config.Metrics.Applied(len(part.Ops))
		if slices.ContainsFunc(part.Ops, func(op events.Op) bool { return op.Effective != 0 }) {
			s.lookAgain()
		}
		if part.Report {
			s.askReport()
		}
		for _, what := range part.Unknown {
			s.log.Error("an operation that this release can't enforce: not fresh until it is upgraded", "operation", what)
			s.invalid("unenforceable")
		}
	}
	switch {
	case err == nil:
	case e.Cut && !err.disputed:
		// What was cut off with the connection is no fault of the hub's; it
		// comes again.
		s.invalid("half_event")
	default:
		se.fail(err)
	}
}

func (se *session) tick(e Event) {
	s := se.sub
	var proof bool
	var err *frameError
	s.change(func(r *replica, now moment) { proof, err = r.proveTick(e.Data, now) })
	switch {
	case err != nil && e.Cut && !err.disputed:
		s.invalid("half_event")
	case err != nil:
		se.fail(err)
	case proof:
		se.ending.worked = true
	default:
		s.invalid("tick_replayed")
	}
}

// eventBye is what a hub sends before it stops, so that its subscribers move
// on without haste: {"retry_ms":N}.
const eventBye = "bye"

func (se *session) leave(data []byte) {
	var bye struct {
		RetryMS int `json:"retry_ms"`
	}
	if json.Unmarshal(data, &bye) != nil {
		bye.RetryMS = 0 // it leaves, whatever it says
	}
	wait := time.Duration(min(max(bye.RetryMS, 0), int(maxRetryAfter/time.Millisecond))) * time.Millisecond
	se.end(ending{err: errBye, bye: true, byeAfter: wait})
}

// supervise follows one hub after the other until ctx ends. It owns all
// reconnecting.
func (s *Subscriber) supervise(ctx context.Context) {
	times := make(hubTimes)
	failures, rounds := 0, 0
	hub := s.firstHub(ctx)
	for ctx.Err() == nil {
		end := s.follow(ctx, hub)
		if ctx.Err() != nil {
			return
		}
		now := s.clock.now().mono
		if end.worked {
			failures, rounds = 0, 0
		}
		// Snapshot after snapshot is no progress.
		if !end.again {
			rounds = 0
		} else if rounds++; rounds <= maxRounds {
			continue
		} else {
			end.err = errNoProgress
		}
		var wait time.Duration
		var refused *RefusedError
		switch {
		case end.bye:
			wait = time.Duration(rand.Float64() * float64(end.byeAfter))
		case errors.As(end.err, &refused) && refused.Credential:
			// It takes a person to change that: a steady, slow pace.
			failures++
			wait = s.tuning.backoffMost/2 + backoff(s.tuning.backoffMost, s.tuning.backoffMost, 1, rand.Float64())/2
		default:
			failures++
			wait = backoff(s.tuning.backoffFirst, s.tuning.backoffMost, failures, rand.Float64())
			if refused != nil && refused.RetryAfter > 0 {
				// All who were sent away are not to come back at once.
				after := min(refused.RetryAfter, maxRetryAfter)
				times[hub] = now + after + time.Duration(rand.Float64()*float64(after)/4)
			}
		}
		s.disconnected(hub, end, wait)
		if !sleep(ctx, wait) {
			return
		}
		next, until := times.next(s.findHubs(ctx), hub, s.clock.now().mono)
		hub = next
		if !sleep(ctx, until) {
			return
		}
	}
}

// findHubs waits until the transport knows a hub. It returns none only when
// ctx has ended.
func (s *Subscriber) findHubs(ctx context.Context) []string {
	for failures := 1; ; failures++ {
		hubs, err := s.transport.Hubs(ctx)
		if ctx.Err() != nil || err == nil && len(hubs) > 0 {
			return hubs
		}
		if err == nil {
			err = errNoHub
		}
		wait := backoff(s.tuning.backoffFirst, s.tuning.backoffMost, failures, rand.Float64())
		s.log.Warn("no hub", "error", err, "wait", wait)
		s.failed(fmt.Errorf("find a hub: %w", err))
		if !sleep(ctx, wait) {
			return nil
		}
	}
}

func (s *Subscriber) firstHub(ctx context.Context) string {
	for _, hub := range s.findHubs(ctx) {
		return hub
	}
	return ""
}

var errNoHub = errors.New("none is known")

var errNoProgress = errors.New("one snapshot after the other, and no proof")

// maxRounds is how often a session may follow another at once.
const maxRounds = 3

// sleep waits for d and reports whether ctx has not ended meanwhile.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
