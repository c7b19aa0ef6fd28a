package subscriber

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/revocast/revocast/internal/token"
)

// Subscriber holds the live revocations of a feed and answers from memory.
// Its methods may be called by many goroutines at once.
type Subscriber struct {
	// Set once.
	config    Config // checked
	tuning    tuning
	clock     clock
	log       *slog.Logger
	transport Transport
	verifier  *token.Verifier
	verified  *verifiedCache
	details   details
	watch     *watch
	calls     *calls // nil without OnRevoked
	ctx       context.Context
	stop      context.CancelFunc
	running   sync.WaitGroup // supervisor, steward, calls
	closing   sync.Once

	reportNow chan struct{} // holds one
	scheduled chan struct{} // holds one: something takes effect at a time of its own
	ready     chan struct{} // closed when the first head is reached

	// view is what checks see. It is stored with mu held.
	view atomic.Pointer[view]
	// wall is the wall clock, in unix milliseconds, when a view was last shown.
	// The steward sees to it that this was a second ago at most.
	wall atomic.Int64

	mu      sync.Mutex
	replica *replica
	drop    context.CancelCauseFunc // ends the session
	sweptTo int64                   // unix second: what expired before it may be forgotten
	saved   uint64                  // changes, as of the last snapshot written
	changes uint64                  // of the replica

	exchanged atomic.Int64 // entries in the caches of all gateways

	info  info
	tally tally
}

// tuning are times that nobody needs to configure.
type tuning struct {
	idle                      time.Duration // before the hello, and while a snapshot is downloaded: how long nothing may arrive
	backoffFirst, backoffMost time.Duration
	steward                   time.Duration // how often, at least, the steward looks
	save                      time.Duration // how often the snapshot file is written
}

var defaultTuning = tuning{
	idle:         10 * time.Second,
	backoffFirst: 250 * time.Millisecond,
	backoffMost:  15 * time.Second,
	steward:      time.Second,
	save:         time.Minute,
}

// ErrClosed is the cause of what ends because the subscriber was closed.
var ErrClosed = errors.New("subscriber: closed")

// New starts a subscriber, or returns all mistakes in the configuration: a
// join of *ConfigError and of those of the issuers. It reads SnapshotFile but
// does not wait for a hub; see WaitReady. The caller has to Close it.
func New(config Config) (*Subscriber, error) { return start(config, defaultTuning, newClock()) }

func start(config Config, tuning tuning, clock clock) (*Subscriber, error) {
	config, err := config.checked()
	// The issuers' mistakes are reported with the others, so the verifier is
	// made even if there are some, and closed again.
	verifier, verr := token.New(config.Issuers, token.Options{
		Transport:                   config.HTTPTransport,
		Claims:                      config.Claims,
		Logger:                      config.Logger,
		Now:                         func() time.Time { return time.UnixMilli(clock.now().wall) },
		DangerouslyAllowPrivateJWKS: config.DangerouslyAllowPrivateJWKS,
	})
	if err := errors.Join(err, verr); err != nil {
		if verifier != nil {
			verifier.Close()
		}
		return nil, err
	}

	s := &Subscriber{
		config:    config,
		tuning:    tuning,
		clock:     clock,
		log:       config.Logger.With("subscriber", config.Name),
		transport: config.Transport,
		verifier:  verifier,
		details:   newDetails(config.Details),
		reportNow: make(chan struct{}, 1),
		scheduled: make(chan struct{}, 1),
		ready:     make(chan struct{}),
		replica:   newReplica(config, clock.now()),
		tally:     newTally(),
	}
	if s.transport == nil {
		s.transport = newHubClient(config)
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.info.set(func(i *seen) { i.state, i.since = Starting, time.UnixMilli(clock.now().wall) })
	s.watch = newWatch(s)
	s.verified = newVerifiedCache(config.VerifiedTokens, s.watch.remove)
	s.view.Store(s.replica.view())
	s.wall.Store(clock.now().wall)
	s.loadFile()

	if config.OnRevoked != nil {
		s.calls = newCalls(config.OnRevoked, s.tally)
		s.running.Go(func() { s.calls.run(s.ctx) })
	}
	s.running.Go(func() { s.supervise(s.ctx) })
	s.running.Go(func() { s.steward(s.ctx) })
	return s, nil
}

// Close stops following, ends all guards with the cause ErrClosed, writes
// SnapshotFile, and returns when nothing runs any more; it waits for a call of
// OnRevoked that is under way. Checks still work, and grow stale. Closing
// again does nothing. The error is that of writing the file.
func (s *Subscriber) Close() (err error) {
	s.closing.Do(func() {
		s.stop()
		s.running.Wait()
		s.watch.close()
		s.verifier.Close()
		s.closeIdle()
		err = s.saveFile()
	})
	return err
}

// closeIdle closes what the transport would use again, as http.Client does.
func (s *Subscriber) closeIdle() {
	if t, ok := s.transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// Ready reports whether the first head has been reached: from then on the set
// is or was complete. It is what a readiness probe should ask, and stays true.
func (s *Subscriber) Ready() bool {
	select {
	case <-s.ready:
		return true
	default:
		return false
	}
}

// WaitReady waits until Ready, and returns nil then. The error otherwise is
// that of ctx, or ErrClosed.
func (s *Subscriber) WaitReady(ctx context.Context) error {
	select {
	case <-s.ready:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.ctx.Done():
		return ErrClosed
	}
}

// change lets f change the replica and shows the result to checks.
func (s *Subscriber) change(f func(r *replica, now moment)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.now()
	f(s.replica, now)
	s.changes++
	s.publish(now)
}

// publish shows the replica as it is. s.mu is held.
func (s *Subscriber) publish(now moment) {
	v := s.replica.view()
	s.view.Store(v)
	s.wall.Store(now.wall)
	if v.standing(now, s.config.MaxStaleness).fresh && !s.Ready() {
		close(s.ready)
	}
	s.noteState(v, now)
}

// stateOf names a view's standing at a moment, under the policy of the Config.
func (s *Subscriber) stateOf(v *view, now moment) State {
	st := v.standing(now, s.config.MaxStaleness)
	switch {
	case st.fresh:
		return Fresh
	case !s.Ready() && !v.greeted:
		return Starting
	case !s.Ready():
		return Syncing
	case s.config.Policy.closes(st):
		return Expired
	}
	return Stale
}

// noteState tells operators of a change of state, once. s.mu is held, so that
// changes are told in order.
func (s *Subscriber) noteState(v *view, now moment) {
	state := s.stateOf(v, now)
	old := s.info.get().state
	if state == old {
		return
	}
	s.info.set(func(i *seen) { i.state, i.since = state, time.UnixMilli(now.wall) })
	level := slog.LevelInfo
	if state == Stale || state == Expired {
		level = slog.LevelWarn
	}
	s.log.Log(context.Background(), level, "state", "from", string(old), "to", string(state),
		"trouble", v.trouble.names(), "position", v.position.String(), "head", v.head)
	s.config.Metrics.State(state)
}

// steward does what has to be done as time passes, whatever arrives: it
// notices that the set has gone stale, closes guards, forgets what has
// expired, and writes the snapshot file.
func (s *Subscriber) steward(ctx context.Context) {
	last := s.clock.now()
	saved := last.mono
	for {
		now := s.clock.now()
		s.keepHouse(now)
		if drift := (now.wall-last.wall)*int64(time.Millisecond) - int64(now.mono-last.mono); drift > int64(time.Second) || drift < -int64(time.Second) {
			// The timers of the guards count on the other clock.
			s.watch.recheck()
		}
		last = now
		if s.config.SnapshotFile != "" && now.mono-saved >= s.tuning.save {
			saved = now.mono
			if err := s.saveFile(); err != nil {
				s.log.Error("snapshot file not written", "error", err)
				s.failed(err)
			}
		}
		look := time.NewTimer(s.nextLook(now))
		select {
		case <-look.C:
		case <-s.scheduled:
		case <-ctx.Done():
		}
		look.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// keepHouse is one round of the steward.
func (s *Subscriber) keepHouse(now moment) {
	s.mu.Lock()
	held := s.replica.held
	effective := s.replica.advance(now)
	s.replica.sweep(now)
	reindex := held != s.replica.held
	if held != nil && now.wall/1000 < s.sweptTo {
		// Something may have been forgotten that is live again by this clock.
		s.log.Error("the wall clock was set back: fetching the set anew", "seconds", s.sweptTo-now.wall/1000)
		s.invalid("clock")
		s.replica.trouble |= disputed
		s.replica.settle(now)
		s.sweptTo = horizon(now)
		if s.drop != nil {
			s.drop(errClock)
		}
	}
	s.sweptTo = max(s.sweptTo, horizon(now))
	s.publish(now)
	v := s.view.Load()
	s.mu.Unlock()
	if reindex {
		s.watch.reindex()
	} else if effective {
		s.watch.recheck()
	}
	if s.config.Policy.closes(v.standing(now, s.config.MaxStaleness)) {
		s.watch.closed()
	}
}

// errClock ends a session whose set may lack what an earlier time forgot.
var errClock = errors.New("the wall clock was set back")

// lookAgain wakes the steward: something may be due before it would look.
func (s *Subscriber) lookAgain() {
	select {
	case s.scheduled <- struct{}{}:
	default:
	}
}

// nextLook is how long the steward may sleep: until what is held goes stale,
// until the policy closes, or until something that is scheduled takes effect,
// if that is soon.
func (s *Subscriber) nextLook(now moment) time.Duration {
	s.mu.Lock()
	due, hubNow := s.replica.due, s.replica.hubTime(now)
	s.mu.Unlock()
	if left := time.Duration(due-hubNow) * time.Millisecond; due != 0 && left < s.tuning.steward {
		return max(left, 0)
	}
	st := s.view.Load().standing(now, s.config.MaxStaleness)
	next := s.config.MaxStaleness - st.staleness
	if !st.fresh {
		next = s.config.Policy.grace - st.staleFor
	}
	if next += time.Millisecond; next <= 0 {
		return s.tuning.steward
	}
	return min(next, s.tuning.steward)
}
