package log

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
)

// present is how long a hub that is not heard of any more counts as one that
// may have subscribers. It is longer than the default policy lets them go on
// without a proof, which they would have from its ticks.
const present = time.Minute

// The headers of a tick that tell who sent it. A run is one Log that was
// opened: a hub that is started again is another run of the same name.
const (
	headerRun  = "Revocast-Run"
	headerLeft = "Revocast-Left" // it is the last one of this run
)

func hubSubject(feed, run string) string { return "revocast." + feed + ".hub." + run + ".ask" }

// Peer is another hub on the same log, by one of its runs.
type Peer struct {
	Name string
	Run  string
	// Replaced says that a later run of the same name was heard of. If the
	// earlier one does not answer, it has ended.
	Replaced bool
}

// Hubs knows the hubs of a log by their ticks, and lets them ask each other.
// Its methods may be called from any goroutine.
type Hubs struct {
	log    *Log
	answer func(ctx context.Context, question []byte) []byte
	subs   []*nats.Subscription
	ctx    context.Context // ends with Close
	stop   context.CancelFunc
	busy   chan struct{} // holds one for each question that is being answered

	mu    sync.Mutex
	heard map[string]*heardOf // guarded by mu: by run
	wg    sync.WaitGroup      // of answers; nothing is added once closed
	over  bool                // guarded by mu
}

type heardOf struct {
	Peer
	at time.Time // when last
}

// maxQuestions bounds the questions that are answered at once. One beyond is
// not answered, and whoever asked says so.
const maxQuestions = 256

// Join makes the log's run known to the other hubs from its next Tick on, and
// answers their questions with answer, which may take as long as its ctx lasts
// and is called by many goroutines. Close it before the log.
func (l *Log) Join(ctx context.Context, answer func(ctx context.Context, question []byte) []byte) (*Hubs, error) {
	h := &Hubs{log: l, answer: answer, busy: make(chan struct{}, maxQuestions), heard: make(map[string]*heardOf)}
	h.ctx, h.stop = context.WithCancel(context.Background())
	for subject, handle := range map[string]nats.MsgHandler{
		tickSubjects(l.cfg.Feed):      func(m *nats.Msg) { h.hear(m.Subject, m.Header, time.Now()) },
		hubSubject(l.cfg.Feed, l.run): h.asked,
	} {
		sub, err := l.nc.Subscribe(subject, handle)
		if err != nil {
			h.Close()
			return nil, fmt.Errorf("log: join the hubs: %w", err)
		}
		h.subs = append(h.subs, sub)
	}
	// That something of that is forbidden is known before the answer to what
	// was asked after it.
	err := h.recall(ctx)
	if forbidden := l.forbidden(); forbidden != nil {
		err = errors.Join(forbidden, err)
	}
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("log: join the hubs: %w", err)
	}
	return h, nil
}

// Close stops answering, and waits.
func (h *Hubs) Close() {
	for _, s := range h.subs {
		_ = s.Unsubscribe()
	}
	h.stop()
	h.mu.Lock()
	h.over = true
	h.mu.Unlock()
	h.wg.Wait()
}

// recall hears the last ticks, so that a hub that has stopped lately is known
// to one that has just started. How long ago is told by the stream's own clock.
func (h *Hubs) recall(ctx context.Context) error {
	ticks := h.log.ticks
	info, err := ticks.Info(ctx, jetstream.WithSubjectFilter(tickSubjects(h.log.cfg.Feed)))
	if err != nil {
		return fmt.Errorf("read ticks: %w", err)
	}
	for subject := range info.State.Subjects {
		msg, err := ticks.GetLastMsgForSubject(ctx, subject)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read ticks: %w", err)
		}
		if ago := info.State.LastTime.Sub(msg.Time); ago < present {
			h.hear(subject, msg.Header, time.Now().Add(-max(ago, 0)))
		}
	}
	return nil
}

// hear takes note of a tick.
func (h *Hubs) hear(subject string, header nats.Header, at time.Time) {
	name := strings.TrimPrefix(subject, strings.TrimSuffix(tickSubjects(h.log.cfg.Feed), "*"))
	run := header.Get(headerRun)
	if run == "" || !events.ValidHub(run) || run == h.log.run {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if header.Get(headerLeft) != "" {
		delete(h.heard, run)
		return
	}
	if known := h.heard[run]; known != nil {
		if at.After(known.at) {
			known.at = at
		}
		if known.Replaced {
			h.log.cfg.Logger.Error("two hubs have the same name: give each its own", "name", name)
			known.Replaced = false
		}
		return
	}
	for _, other := range h.heard {
		if other.Name == name {
			other.Replaced = true
		}
	}
	h.heard[run] = &heardOf{Peer{Name: name, Run: run}, at}
}

// Present lists the other hubs that may have subscribers, by name: those that
// were heard of within a minute and have not taken their leave.
func (h *Hubs) Present() []Peer {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []Peer
	for run, p := range h.heard {
		if time.Since(p.at) > present {
			delete(h.heard, run)
		} else {
			list = append(list, p.Peer)
		}
	}
	slices.SortFunc(list, func(a, b Peer) int { return strings.Compare(a.Name+" "+a.Run, b.Name+" "+b.Run) })
	return list
}

// Ask puts a question, of at most 64 KiB, to another hub and waits for the
// answer as long as ctx lasts.
func (h *Hubs) Ask(ctx context.Context, p Peer, question []byte) ([]byte, error) {
	msg, err := h.log.nc.RequestWithContext(ctx, hubSubject(h.log.cfg.Feed, p.Run), question)
	if err != nil {
		return nil, fmt.Errorf("ask hub %s: %w", p.Name, err)
	}
	return msg.Data, nil
}

// asked answers a question on a goroutine of its own.
func (h *Hubs) asked(m *nats.Msg) {
	select {
	case h.busy <- struct{}{}:
	default:
		return
	}
	h.mu.Lock()
	if h.over {
		h.mu.Unlock()
		return
	}
	h.wg.Add(1)
	h.mu.Unlock()
	go func() {
		defer h.wg.Done()
		defer func() { <-h.busy }()
		if a := h.answer(h.ctx, m.Data); a != nil {
			_ = m.Respond(a)
		}
	}()
}
