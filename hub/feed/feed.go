package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/log"
)

// Config is what Open needs. Zero fields have the defaults named.
type Config struct {
	Log  *log.Log          // required; the feed follows it, its owner closes it
	Keys events.SigningKey // required; signs ticks, report answers and the state

	// State is where what the log adds up to is kept for the next start. Nil:
	// every start reads the whole log.
	State      StateFile
	StateEvery time.Duration // 5 min: it is written anew this often, if anything is new
	StateOps   int           // 200,000: or after so many operations, or as many as there are revocations in force
	StateTail  int           // 4,096: how many records before it a start reads all the same, for those who were away meanwhile; fewer if they are large

	// Name is what the other hubs of the feed call this one, see log.Log.Tick;
	// each has its own. Default: the id of Keys.
	Name string
	// HubKeys are the keys of the others, which subscribers are told as well.
	HubKeys []events.PublicKey

	// Issuer says how long the tokens of an issuer live and how far its clock
	// may be off; false if revocations for it are refused. Nil: every issuer,
	// with DefaultLifetime and DefaultSkew. It is called by many goroutines.
	Issuer func(iss string) (lifetime, skew time.Duration, ok bool)

	// Claims says where in a token to find what has no registered claim.
	Claims events.ClaimNames

	TickEvery      time.Duration // 1 s
	Heartbeat      time.Duration // 2 s: something is sent to each subscriber at least this often
	WriteTimeout   time.Duration // 10 s: how long one write to a subscriber may block
	KeepFrames     int           // 64 MiB of frames kept for subscribers that come back
	MaxSubscribers int           // 20,000 connections
	MaxPerActor    int           // 4/5 of MaxSubscribers: how many of them one credential may have
	Now            func() time.Time
	Logger         *slog.Logger
	Metrics        *Metrics
}

// What is assumed of an issuer about which nothing is configured.
const (
	DefaultLifetime = 24 * time.Hour
	DefaultSkew     = 2 * time.Second
)

func (c Config) withDefaults() Config {
	if c.Issuer == nil {
		c.Issuer = func(string) (time.Duration, time.Duration, bool) { return DefaultLifetime, DefaultSkew, true }
	}
	c.Claims = c.Claims.WithDefaults()
	c.Name = orDefault(c.Name, c.Keys.ID())
	own := c.Keys.Public()
	others := slices.DeleteFunc(slices.Clone(c.HubKeys), func(k events.PublicKey) bool { return k.KeyID == own.KeyID })
	c.HubKeys = slices.Insert(others, 0, own)
	c.StateEvery = orDefault(c.StateEvery, 5*time.Minute)
	c.StateOps = orDefault(c.StateOps, 200_000)
	c.StateTail = orDefault(c.StateTail, 4096)
	c.TickEvery = orDefault(c.TickEvery, time.Second)
	c.Heartbeat = orDefault(c.Heartbeat, 2*time.Second)
	c.WriteTimeout = orDefault(c.WriteTimeout, 10*time.Second)
	c.KeepFrames = orDefault(c.KeepFrames, 64<<20)
	c.MaxSubscribers = orDefault(c.MaxSubscribers, 20_000)
	c.MaxPerActor = orDefault(c.MaxPerActor, max(1, c.MaxSubscribers/5*4))
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	return c
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Feed is one tenant's world: the fold of its log, the frames made of it, and
// the subscribers who read them. All methods may be called by any goroutine.
type Feed struct {
	cfg       Config
	log       *log.Log
	salt      events.Salt
	live      *events.LiveSet // set before anybody has the feed; changed under mu, read without
	frames    *frames
	audience  *audience
	lines     *lines
	snapshots snapshots
	heads     heads
	hubs      *log.Hubs // the others on the same log

	mu       sync.Mutex
	seq      uint64       // guarded by mu: the last record folded
	chain    events.Chain // guarded by mu: at seq
	ops      uint64       // guarded by mu: operations folded since the start
	index    *index       // guarded by mu
	requests requests     // guarded by mu
	dueAt    atomic.Int64 // when, in unix milliseconds, something scheduled takes effect; 0: nothing is. Stored under mu
	tickAt   events.Time  // guarded by mu: the time in the latest tick
	lastTick time.Time    // guarded by mu: when the latest tick was begun; zero before the first

	drain    chan struct{} // closed by Drain, once
	drained  sync.Once
	window   time.Duration // set before drain is closed
	stop     context.CancelFunc
	running  sync.WaitGroup // the follower, the ticker, the keeper, and who writes on lines
	keeper   keeper         // the keeper's; Close's after that
	failed   chan struct{}  // closed after err is set
	err      error
	openedAt time.Time
}

// Open folds the log up to its head, from the state file's position on if that
// is there and right, then goes on following it and starts to tick, until
// Close. It returns when the fold has reached the head, or with ctx's error.
func Open(ctx context.Context, cfg Config) (*Feed, error) {
	cfg = cfg.withDefaults()
	f := &Feed{
		cfg:      cfg,
		log:      cfg.Log,
		salt:     cfg.Log.Salt(),
		live:     events.NewLiveSet(),
		frames:   newFrames(cfg.KeepFrames),
		audience: newAudience(cfg.MaxSubscribers, cfg.MaxPerActor, cfg.Metrics),
		index:    newIndex(),
		requests: requestsOf(nil),
		drain:    make(chan struct{}),
		failed:   make(chan struct{}),
		openedAt: cfg.Now(),
	}
	f.lines = newLines(f)
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	f.stop = stop
	if err := f.resume(ctx); err != nil {
		stop()
		return nil, fmt.Errorf("open feed %s: %w", cfg.Log.Feed(), err)
	}
	f.keeper.seq = f.seq
	seq, chain, err := f.beforeState(ctx)
	if err != nil {
		stop()
		return nil, fmt.Errorf("open feed %s: %w", cfg.Log.Feed(), err)
	}
	resumed := f.seq
	f.running.Go(func() { f.follow(run, seq, chain, resumed) })
	if cfg.State != nil {
		f.running.Go(func() { f.keep(run) })
	}
	f.running.Go(func() { f.lines.run(run) })
	if err := f.reachHead(ctx); err != nil {
		f.Close()
		return nil, fmt.Errorf("open feed %s: %w", cfg.Log.Feed(), err)
	}
	// Before the first tick, by which the others learn that there is somebody
	// to ask.
	if f.hubs, err = f.log.Join(ctx, f.answer); err != nil {
		f.Close()
		return nil, fmt.Errorf("open feed %s: %w", cfg.Log.Feed(), err)
	}
	f.running.Go(func() { f.tick(run) })
	return f, nil
}

// follow follows the log from a record on. What the state file has told, up to
// resumed, goes to the frames only.
func (f *Feed) follow(ctx context.Context, seq uint64, chain events.Chain, resumed uint64) {
	apply := func(e log.Entry) error {
		if e.Seq > resumed {
			return f.fold(e)
		}
		f.frames.startAt(e.Seq)
		f.frames.append(appendRecordFrame(nil, f.log.Epoch(), e))
		return nil
	}
	err := error(nil)
	if seq == 0 {
		err = f.log.Follow(ctx, apply)
	} else {
		err = f.log.FollowAfter(ctx, seq, chain, apply)
	}
	if err != nil {
		f.err = err
		close(f.failed)
	}
}

// reachHead waits until the fold has all that the log held when it was called.
func (f *Feed) reachHead(ctx context.Context) error {
	head, err := f.log.Head(ctx)
	if err != nil {
		return err
	}
	if err := f.catchUp(ctx, head); err != nil {
		return err // why the follower stopped, if it did
	}
	f.frames.startAt(head + 1)
	return nil
}

// Failed is closed when the feed can't go on: the log is not the history that
// was followed so far, or holds a record that this release can't read. Err
// says which; the owner should stop the hub.
func (f *Feed) Failed() <-chan struct{} { return f.failed }

// Err is why Failed was closed.
func (f *Feed) Err() error {
	select {
	case <-f.failed:
		return f.err
	default:
		return nil
	}
}

// Close stops following and ticking, cuts the streams that were taken from the
// HTTP server, writes the state file, takes leave of the other hubs, and waits.
// Other streams end with their requests, which are the server's, and which
// should have ended before.
func (f *Feed) Close() {
	f.stop()
	f.running.Wait()
	if f.cfg.State != nil && f.Err() == nil && f.Position().Seq != f.keeper.seq {
		f.save()
	}
	if f.hubs == nil {
		return
	}
	// If it is not heard, the others think for a minute that this hub says
	// nothing, and say so.
	ctx, cancel := context.WithTimeout(context.Background(), leaveTime)
	defer cancel()
	if err := f.log.Leave(ctx, f.cfg.Name); err != nil {
		f.cfg.Logger.Debug("no leave was taken", "err", err)
	}
	f.hubs.Close()
}

const leaveTime = 2 * time.Second

// Drain tells every connected subscriber to go elsewhere, spread evenly over
// a window, so that they don't all arrive there at once. It does not wait.
func (f *Feed) Drain(window time.Duration) {
	f.drained.Do(func() {
		f.window = window
		close(f.drain)
	})
}

// Draining is closed when Drain is called.
func (f *Feed) Draining() <-chan struct{} { return f.drain }

// Name is the feed's name.
func (f *Feed) Name() string { return f.log.Feed() }

// HubKeys are the keys that may sign for the hubs of the feed, this one's
// first, as every hello names them.
func (f *Feed) HubKeys() []events.PublicKey { return slices.Clone(f.cfg.HubKeys) }

// Position is where the fold is.
func (f *Feed) Position() events.Position {
	f.mu.Lock()
	defer f.mu.Unlock()
	return events.Position{Epoch: f.log.Epoch(), Seq: f.seq}
}

// Salt is what the feed's keys are made with.
func (f *Feed) Salt() events.Salt { return f.salt }

// ClaimNames says where in a token to find what has no registered claim.
func (f *Feed) ClaimNames() events.ClaimNames { return f.cfg.Claims }

// Match asks the live set about a token; see events.LiveSet.Match.
func (f *Feed) Match(c events.Claims) (events.Verdict, bool) {
	now := f.cfg.Now()
	if due := f.dueAt.Load(); due != 0 && due <= now.UnixMilli() {
		f.advance()
	}
	keys := f.salt.Keys(c)
	return f.live.Match(&keys, now.Unix())
}

// advance puts into effect what was scheduled for now or before.
func (f *Feed) advance() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dueAt.Store(f.live.Advance(f.cfg.Now().UnixMilli()))
}

// Status is the feed's own account of its health.
type Status struct {
	Hub           string         `json:"hub"`
	Feed          string         `json:"feed"`
	Epoch         string         `json:"epoch"`
	Head          uint64         `json:"head"`
	Chain         events.Chain   `json:"chain"`
	TickAgeMS     int64          `json:"tick_age_ms"` // -1 before the first
	Live          map[string]int `json:"live"`        // targets by kind
	Revocations   int            `json:"revocations"` // live ones; a target may have several
	Subscribers   int            `json:"subscribers"`
	RetentionSecs int64          `json:"retention_seconds"`
	Draining      bool           `json:"draining"`
	StartedAt     events.Time    `json:"started_at"`
}

// Status describes the feed now.
func (f *Feed) Status() Status {
	f.mu.Lock()
	s := Status{
		Hub: f.cfg.Name, Feed: f.Name(), Epoch: f.log.Epoch(), Head: f.seq, Chain: f.chain, TickAgeMS: -1,
		Live: make(map[string]int), Revocations: f.index.live(), StartedAt: events.At(f.openedAt),
		RetentionSecs: int64(f.log.Retention() / time.Second),
	}
	if !f.lastTick.IsZero() {
		s.TickAgeMS = time.Since(f.lastTick).Milliseconds()
	}
	f.mu.Unlock()
	for _, k := range events.Kinds() {
		if n := f.live.LenKind(k); n > 0 {
			s.Live[k.String()] = n
		}
	}
	s.Subscribers = f.audience.size()
	s.Draining = f.draining()
	return s
}

func (f *Feed) draining() bool {
	select {
	case <-f.drain:
		return true
	default:
		return false
	}
}

// The reasons for which Ready says no.
var (
	ErrDraining = errors.New("draining")
	ErrNoTick   = errors.New("the log has not confirmed a write lately")
)

// Ready reports why the feed should not be given work now, or nil.
func (f *Feed) Ready() error {
	if err := f.Err(); err != nil {
		return err
	}
	if f.draining() {
		return ErrDraining
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lastTick.IsZero() || time.Since(f.lastTick) > 3*f.cfg.TickEvery+f.cfg.Heartbeat {
		return ErrNoTick
	}
	return nil
}
