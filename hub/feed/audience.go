package feed

import (
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/revocast/revocast/events"
)

// audience knows who is connected and what they have reported.
type audience struct {
	limit    int
	perActor int
	metrics  *Metrics

	mu      sync.Mutex
	conns   map[*listener]struct{} // guarded by mu
	actors  map[string]int         // guarded by mu: how many of conns each credential has
	said    map[teller]*said       // guarded by mu: of those who have a stream
	changed chan struct{}          // guarded by mu: closed when a report comes or a listener goes; nil if nobody waits for that
}

// listener is one open stream. Its fields but the last group are set once.
type listener struct {
	teller
	remote string
	since  events.Time
	begun  uint64 // what had been applied when the stream was opened

	said   *said  // set by audience.join
	before uint64 // set by audience.join: how many reports the stream does not count
}

// teller is a subscriber as far as reports tell them apart.
type teller struct {
	actor string // the credential
	name  string // what the subscriber calls itself; empty for one that does not say
}

// said is what a subscriber has reported. All of its streams share it, so that
// a report costs the same however many there are. Its fields are guarded by
// audience.mu.
type said struct {
	streams int
	reports uint64 // so far
	report
}

// report is the latest of them.
type report struct {
	applied uint64
	state   string
	at      events.Time // zero before the first
}

// latest is the last report since the stream was opened. Called with the
// audience's mu held.
func (l *listener) latest() report {
	if l.said.reports == l.before {
		return report{applied: l.begun}
	}
	return l.said.report
}

// What a subscriber gets that is one too many.
var (
	ErrFull      = errors.New("too many subscribers are connected")                      // Config.MaxSubscribers
	ErrActorFull = errors.New("too many subscribers are connected with this credential") // Config.MaxPerActor
)

func newAudience(limit, perActor int, m *Metrics) *audience {
	return &audience{
		limit: limit, perActor: perActor, metrics: m,
		conns: make(map[*listener]struct{}), actors: make(map[string]int), said: make(map[teller]*said),
	}
}

// join counts a stream in, unless there are too many; leave counts it out.
func (a *audience) join(l *listener) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case len(a.conns) >= a.limit:
		return ErrFull
	case a.actors[l.actor] >= a.perActor:
		return ErrActorFull
	}
	a.conns[l] = struct{}{}
	a.actors[l.actor]++
	s := a.said[l.teller]
	if s == nil {
		s = new(said)
		a.said[l.teller] = s
	}
	s.streams++
	l.said, l.before = s, s.reports
	a.metrics.subscribers.Set(float64(len(a.conns)))
	return nil
}

func (a *audience) leave(l *listener) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.conns, l)
	if a.actors[l.actor]--; a.actors[l.actor] == 0 {
		delete(a.actors, l.actor)
	}
	if l.said.streams--; l.said.streams == 0 {
		delete(a.said, l.teller)
	}
	a.metrics.subscribers.Set(float64(len(a.conns)))
	a.wake()
}

func (a *audience) size() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.conns)
}

// report notes what a subscriber says of itself, on each of its streams. What
// it says of another epoch than the feed's counts as nothing applied.
func (a *audience) report(actor string, r events.Report, epoch string, at events.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.said[teller{actor, r.Subscriber}]
	if s == nil {
		return // it has no stream here
	}
	s.reports++
	s.report = report{state: r.State, at: at}
	if r.Epoch == epoch {
		s.applied = r.Applied
	}
	a.wake()
}

// wake is called with mu held.
func (a *audience) wake() {
	if a.changed != nil {
		close(a.changed)
		a.changed = nil
	}
}

// reach is that of this hub alone.
func (a *audience) reach(seq uint64) (r Reach, changed <-chan struct{}) {
	r.Hubs = 1
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.changed == nil {
		a.changed = make(chan struct{})
	}
	for l := range a.conns {
		if l.name == "" {
			continue
		}
		r.Connected++
		if l.latest().applied >= seq {
			r.Applied++
		}
	}
	return r, a.changed
}

// Subscriber describes one open stream.
type Subscriber struct {
	Hub        string      `json:"hub"` // to which it is connected
	Name       string      `json:"name,omitzero"`
	Actor      string      `json:"actor"`
	Remote     string      `json:"remote"`
	Since      events.Time `json:"since"`
	State      string      `json:"state,omitzero"`
	Applied    uint64      `json:"applied"`
	Behind     uint64      `json:"behind"` // records that it has not reported as applied
	ReportedAt events.Time `json:"reported_at,omitzero"`
}

// ownSubscribers lists the open streams of this hub by name.
func (f *Feed) ownSubscribers() []Subscriber {
	head := f.Position().Seq
	f.audience.mu.Lock()
	list := make([]Subscriber, 0, len(f.audience.conns))
	for l := range f.audience.conns {
		r := l.latest()
		list = append(list, Subscriber{
			Hub: f.cfg.Name, Name: l.name, Actor: l.actor, Remote: l.remote, Since: l.since,
			State: r.state, Applied: r.applied, Behind: head - min(head, r.applied), ReportedAt: r.at,
		})
	}
	f.audience.mu.Unlock()
	sortSubscribers(list)
	return list
}

func sortSubscribers(list []Subscriber) {
	slices.SortFunc(list, func(a, b Subscriber) int {
		return strings.Compare(a.Name+"\x00"+a.Remote, b.Name+"\x00"+b.Remote)
	})
}
