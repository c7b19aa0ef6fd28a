package subscriber

import (
	"sync"
	"time"

	"github.com/revocast/revocast/events"
)

// Status is what an operator wants to know, at one moment. It holds no
// identifiers, tokens or credentials, and encodes as JSON.
type Status struct {
	Name  string    `json:"name"`
	State State     `json:"state"`
	Since time.Time `json:"since"` // State was noticed then
	Ready bool      `json:"ready"`

	Hub      string `json:"hub,omitzero"` // that of the last hello
	Feed     string `json:"feed,omitzero"`
	Position string `json:"position,omitzero"` // <epoch>:<seq>: all that is applied
	Head     uint64 `json:"head"`              // the highest head known in this epoch

	Staleness time.Duration `json:"staleness_ns"` // age of the proof that the set is complete
	Trouble   []string      `json:"trouble,omitempty"`
	// Unenforceable lists operations that this release does not know, by verb
	// and kind. Until it is upgraded, it is not fresh.
	Unenforceable []string `json:"unenforceable,omitempty"`
	// HubBehind says that the hub knows less than this subscriber: its head is
	// lower, or its history is another one and lacked Kept revocations when
	// its snapshot was taken, which are enforced here all the same. A hub was
	// restored from an old backup.
	HubBehind bool `json:"hub_behind,omitzero"`
	Kept      int  `json:"kept,omitzero"`

	Live           map[string]int `json:"live"` // revocations held, by kind
	LiveBytes      int64          `json:"live_bytes"`
	VerifiedTokens int            `json:"verified_tokens"`
	Exchanged      int            `json:"exchanged"` // opaque tokens whose JWT a Gateway remembers
	Guards         int            `json:"guards"`

	LastError   string    `json:"last_error,omitzero"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`

	// Counts since the start. Decisions are by policy and "allowed" or
	// "refused". Exchanges are "done", "inactive" (the issuer gave no JWT),
	// "failed" (it could not be asked), or none because another request's was
	// "shared" or too many were under way ("busy"); what they brought may have
	// been "dropped" by a revocation.
	Resyncs   map[string]uint64 `json:"resyncs,omitempty"`
	Invalid   map[string]uint64 `json:"invalid,omitempty"`
	Decisions map[string]uint64 `json:"decisions,omitempty"`
	Refused   map[string]uint64 `json:"refused,omitempty"`
	Exchanges map[string]uint64 `json:"exchanges,omitempty"`
	Sessions  map[string]uint64 `json:"sessions,omitempty"` // by how they ended
	Callbacks map[string]uint64 `json:"callbacks,omitempty"`
}

// info is what Status tells beyond the view.
type info struct {
	mu   sync.Mutex
	seen seen // guarded by mu
}

type seen struct {
	state State // as last noticed
	since time.Time
	hub   string
	err   string
	errAt time.Time
}

func (i *info) set(f func(*seen)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f(&i.seen)
}

func (i *info) get() seen {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.seen
}

// Status says how the subscriber is. It waits for nothing.
func (s *Subscriber) Status() Status {
	v, now := s.view.Load(), s.clock.now()
	seen := s.info.get()
	st := Status{
		Name:           s.config.Name,
		State:          s.stateOf(v, now),
		Since:          seen.since,
		Ready:          s.Ready(),
		Hub:            seen.hub,
		Feed:           v.feed,
		Head:           v.head,
		Staleness:      v.standing(now, s.config.MaxStaleness).staleness,
		Trouble:        v.trouble.names(),
		Unenforceable:  v.unenforceable(),
		HubBehind:      v.hubBehind || v.kept > 0,
		Kept:           v.kept,
		Live:           make(map[string]int),
		VerifiedTokens: s.verified.len(),
		Exchanged:      int(s.exchanged.Load()),
		Guards:         s.watch.guards(),
		LastError:      seen.err,
		LastErrorAt:    seen.errAt,
		Resyncs:        s.tally.resyncs.all(),
		Invalid:        s.tally.invalid.all(),
		Decisions:      s.tally.decisions.all(),
		Refused:        s.tally.refused.all(),
		Exchanges:      s.tally.exchanges.all(),
		Sessions:       s.tally.sessions.all(),
		Callbacks:      s.tally.calls.all(),
	}
	if v.held != nil {
		st.Position = v.position.String()
		st.LiveBytes = v.held.size()
		for _, held := range v.held.sets {
			for _, kind := range events.Kinds() {
				st.Live[kind.String()] += held.set.LenKind(kind)
			}
		}
	}
	return st
}

func (s *Subscriber) connected(hub string) {
	s.info.set(func(i *seen) { i.hub = hub })
	s.log.Info("connected", "hub", hub)
}

func (s *Subscriber) disconnected(hub string, end ending, wait time.Duration) {
	switch {
	case end.bye:
		s.tally.sessions.add("bye")
		s.log.Info("the hub is about to stop", "hub", hub, "wait", wait)
	default:
		s.tally.sessions.add("failed")
		s.closeIdle()
		s.log.Warn("disconnected", "hub", hub, "error", end.err, "wait", wait)
		s.failed(end.err)
	}
	s.config.Metrics.Disconnected()
}

func (s *Subscriber) failed(err error) {
	now := time.UnixMilli(s.clock.now().wall)
	s.info.set(func(i *seen) { i.err, i.errAt = err.Error(), now })
}

// reported notes how a report went.
func (s *Subscriber) reported(err error) {
	s.config.Metrics.Reported(err == nil)
	if err != nil {
		s.log.Debug("report not answered", "error", err)
		s.failed(err)
	}
}
