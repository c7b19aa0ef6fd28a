package log

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
)

// Config describes the log of one feed. Zero values other than Feed mean the
// defaults.
type Config struct {
	// Feed is the name of the feed: 1 to 32 of a-z, 0-9 and "-".
	Feed string
	// Retention is how long a record is held: 90 days by default, at least a
	// second. A change takes effect on a stream that exists.
	Retention time.Duration
	// MaxBytes bounds the stream's size; none by default. A larger bound takes
	// effect on a stream that exists, a smaller one is refused.
	MaxBytes int64
	// Replicas is the least number of copies: 1 by default. With Home it is that
	// of the mirror's copies.
	Replicas int
	// Home is the JetStream domain that has the log, if the servers connected to
	// are those of another: leaf nodes, in another region. The log is then read
	// from a mirror in their domain, which Open makes, and written to where it
	// is. Open waits for the log and its companions, rather than make them.
	Home string
	// Wait makes Open wait, as long as its ctx allows, for servers that are
	// starting or electing a leader, rather than fail. The Logger is told every
	// few seconds what is waited for.
	Wait bool
	// AppendTimeout is how long the log waits for the server's answer to one
	// record: 5 seconds by default.
	AppendTimeout time.Duration
	// MaxQueued and MaxQueuedBytes bound the proposals that wait for their
	// record: 16,384 and 64 MiB by default.
	MaxQueued      int
	MaxQueuedBytes int
	// Dir is the directory of the embedded server. If it is set, nothing is
	// appended while fewer than MinFree bytes of its disk are free: 64 MiB by
	// default.
	Dir     string
	MinFree uint64

	Logger *slog.Logger
	Now    func() time.Time
}

func (c Config) withDefaults() (Config, error) {
	if !feedName.MatchString(c.Feed) {
		return c, fmt.Errorf("log: feed %q: want 1 to 32 of a-z, 0-9 and -", c.Feed)
	}
	orElse(&c.Retention, 90*24*time.Hour)
	orElse(&c.MaxBytes, -1)
	orElse(&c.Replicas, 1)
	orElse(&c.AppendTimeout, 5*time.Second)
	orElse(&c.MaxQueued, 16384)
	orElse(&c.MaxQueuedBytes, 64<<20)
	orElse(&c.MinFree, 64<<20)
	if err := CheckDomain(c.Home); err != nil {
		return c, fmt.Errorf("log: %w", err)
	}
	if c.Retention < time.Second {
		return c, fmt.Errorf("log: retention is %v, want at least a second", c.Retention)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.Logger = c.Logger.With("feed", c.Feed)
	if c.Now == nil {
		c.Now = time.Now
	}
	return c, nil
}

func orElse[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Log is the log of one feed. Its methods may be called from any goroutine.
type Log struct {
	// Set once by Open.
	cfg    Config
	nc     *nats.Conn
	js     jetstream.JetStream // where the log is
	stream jetstream.Stream
	ticks  jetstream.Stream
	mirror *mirror // nil if the log is read where it is
	copies int     // of the log
	id     identity
	run    string // names this Log among all that ever were open on the stream
	space  space
	// publish stores one message and waits for the answer. Tests replace it,
	// before the first append, to lose messages and answers.
	publish func(context.Context, *nats.Msg) (*jetstream.PubAck, error)

	// ctx ends with the log; its cause is ErrClosed or a *HistoryError.
	ctx  context.Context
	stop context.CancelCauseFunc

	domain atomic.Pointer[string] // of JetStream, in which the log was when it was last looked at
	oldest atomic.Pointer[oldest] // when the stream was last looked at; nil if it held nothing

	lease lease // of the stream's leader
	queue queue
	place place         // of the follower
	last  atomic.Uint64 // the highest record that the committer knows to be stored

	mu       sync.Mutex
	closed   bool // guarded by mu; no goroutine is added to wg once it is set
	followed bool // guarded by mu; Follow has been called
	wg       sync.WaitGroup
}

// Open opens the log of a feed, or makes it: its stream and the companion that
// holds the ticks. A stream whose settings would break a promise is refused,
// with every one of them named. The connection stays the caller's, who closes
// it after the log. ctx bounds the opening only.
func Open(ctx context.Context, nc *nats.Conn, cfg Config) (*Log, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	var m *mirror
	waiting := "waiting for JetStream"
	if err == nil && cfg.Home != "" {
		m = &mirror{js: js}
		waiting = "waiting for the log in the JetStream domain " + cfg.Home
		js, err = jetstream.NewWithDomain(nc, cfg.Home)
	}
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	l := &Log{
		cfg:    cfg,
		nc:     nc,
		js:     js,
		mirror: m,
		run:    rand.Text(),
		space:  space{dir: cfg.Dir, min: cfg.MinFree, stat: statDisk},
		queue:  newQueue(cfg.MaxQueued, cfg.MaxQueuedBytes),
	}
	l.publish = l.publishOnce
	l.ctx, l.stop = context.WithCancelCause(context.Background())
	var head head
	if cfg.Wait {
		err = patiently(ctx, cfg.Logger, waiting, func() (passing bool, err error) {
			try, cancel := context.WithTimeout(ctx, tryTimeout)
			defer cancel()
			head, err = l.open(try)
			return l.passing(err)
		})
	} else {
		head, err = l.open(ctx)
	}
	if err != nil {
		l.stop(ErrClosed)
		return nil, fmt.Errorf("log: %w", err)
	}
	l.last.Store(head.seq)
	l.wg.Add(1)
	go func() {
		defer l.wg.Done()
		(&committer{Log: l, head: head}).run()
	}()
	return l, nil
}

// tryTimeout is what one try to open the log may take: a cluster needs some
// seconds to elect the leader of a new stream.
const tryTimeout = 10 * time.Second

// open finds or makes the streams, and returns where the log ends.
func (l *Log) open(ctx context.Context) (h head, err error) {
	if l.mirror != nil {
		err = l.mirror.apart(ctx, l.cfg.Home)
	} else {
		err = l.alone(ctx)
	}
	if err != nil {
		return h, err
	}
	home := l.cfg.atHome()
	want := logStream(home)
	want.Metadata = newMetadata()
	if l.stream, err = openStream(ctx, l.js, want, l.mirror == nil); err != nil {
		return h, err
	}
	l.copies = l.stream.CachedInfo().Config.Replicas
	if l.id, err = readIdentity(l.stream.CachedInfo()); err != nil {
		return h, fmt.Errorf("stream %s: %w", want.Name, err)
	}
	if l.ticks, err = openStream(ctx, l.js, tickStream(home), l.mirror == nil); err != nil {
		return h, err
	}
	if l.mirror != nil {
		if l.mirror.stream, err = l.openMirror(ctx); err != nil {
			return h, err
		}
	}
	return l.recall(ctx)
}

// Feed is the feed's name.
func (l *Log) Feed() string { return l.cfg.Feed }

// Epoch names this history. It never changes while the log is open.
func (l *Log) Epoch() string { return l.id.epoch }

// Salt is the salt of the feed's keys.
func (l *Log) Salt() events.Salt { return l.id.salt }

// Retention is how long a record is held.
func (l *Log) Retention() time.Duration { return l.cfg.Retention }

// Close ends the log and waits for its goroutines and for Follow; so apply
// must not call it. A record in flight is waited for, at most AppendTimeout;
// proposals that wait for theirs get ErrClosed.
func (l *Log) Close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.stop(ErrClosed)
	l.wg.Wait()
}

// fail ends the log: its history is not what it was.
func (l *Log) fail(err *HistoryError) error {
	if l.ctx.Err() == nil {
		l.cfg.Logger.Error("the log's history is broken", "err", err)
	}
	l.stop(err)
	return err
}

func (l *Log) fault(f Fault, seq uint64, format string, args ...any) *HistoryError {
	return &HistoryError{Stream: streamName(l.cfg.Feed), Fault: f, Seq: seq, Detail: fmt.Sprintf(format, args...) + l.remedy()}
}

// A replica may not have a record yet that the leader has stored.
const (
	readTries = 100
	readPause = 50 * time.Millisecond
)

// Read returns one record, or ErrNotFound if it has aged out or was not
// appended yet.
func (l *Log) Read(ctx context.Context, seq uint64) (Entry, error) {
	if l.mirror != nil {
		if e, ok := l.mirror.read(ctx, seq); ok {
			return e, nil
		}
	}
	e, _, err := l.read(ctx, seq)
	return e, err
}

// read reads from the log itself, and returns the chain before the record, too.
func (l *Log) read(ctx context.Context, seq uint64) (Entry, events.Chain, error) {
	if seq == 0 {
		return Entry{}, events.Chain{}, ErrNotFound
	}
	for n := 1; ; n++ {
		msg, err := l.stream.GetMsg(ctx, seq)
		if err == nil {
			e, before, err := decode(msg.Sequence, msg.Time, msg.Header, msg.Data)
			if err != nil {
				return Entry{}, before, l.fault(Altered, seq, "%v", err)
			}
			return e, before, nil
		}
		if !errors.Is(err, jetstream.ErrMsgNotFound) {
			return Entry{}, events.Chain{}, fmt.Errorf("read record %d: %w", seq, err)
		}
		state, _, err := l.look(ctx)
		if err != nil {
			return Entry{}, events.Chain{}, err
		}
		if seq < firstSeq(state) || seq > state.LastSeq {
			return Entry{}, events.Chain{}, ErrNotFound
		}
		if n == readTries {
			return Entry{}, events.Chain{}, l.fault(Gap, seq, "the stream does not have it")
		}
		if err := sleep(ctx, readPause); err != nil {
			return Entry{}, events.Chain{}, err
		}
	}
}

// ChainAt returns the chain after a record: by the record itself or, if that
// has aged out, by the one after it, or by the last tick if all have. It is
// ErrNotFound if the log ends before the record, or begins so long after it
// that nothing tells.
func (l *Log) ChainAt(ctx context.Context, seq uint64) (events.Chain, error) {
	e, _, err := l.read(ctx, seq)
	if !errors.Is(err, ErrNotFound) {
		return e.Chain, err
	}
	_, before, err := l.read(ctx, seq+1)
	if !errors.Is(err, ErrNotFound) {
		return before, err
	}
	state, _, err := l.look(ctx)
	switch {
	case err != nil:
		return events.Chain{}, err
	case state.Msgs == 0 && state.LastSeq == seq && seq > 0:
		return l.remember(ctx, seq)
	}
	return events.Chain{}, ErrNotFound
}

// sleep waits, or returns the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
