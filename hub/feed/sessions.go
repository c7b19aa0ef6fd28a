package feed

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/revocast/revocast/events"
)

// sessions are those who follow over NATS, where nobody holds a connection to
// us: who asks is there, and who has asked nothing for a while is gone.
type sessions struct {
	feed *Feed

	mu sync.Mutex
	by map[string]*session // guarded by mu: by what they call themselves, which nobody else knows
}

type session struct {
	requests *rate.Limiter
	heard    time.Time // guarded by sessions.mu
	listener *listener // guarded by sessions.mu: nil until it has attached or reported
}

const (
	// sessionLapse is when a session that did not take its leave is not
	// counted any more. A report, should one come after all, counts it again.
	sessionLapse = 30 * time.Second
	// One session may ask that often: a piece is 256 KiB, so these are some 50
	// MiB in a second, and a hundred at once. Reports come each two seconds.
	sessionRate, sessionBurst = 200, 400
)

func newSessions(f *Feed) *sessions { return &sessions{feed: f, by: make(map[string]*session)} }

// admit notes that a session asks for something, and reports whether it may.
// For a session that is not known it makes room, unless there are too many.
func (s *sessions) admit(id string) error {
	if len(id) < 16 || events.CheckText("session", id, 64) != nil {
		return &events.FieldError{Field: "session", Problem: "want 16 to 64 bytes of random text"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.by[id]
	if p == nil {
		// Twice, for those who load a snapshot and listen to nothing.
		if len(s.by) >= 2*s.feed.cfg.MaxSubscribers {
			return ErrFull
		}
		p = &session{requests: rate.NewLimiter(sessionRate, sessionBurst)}
		s.by[id] = p
	}
	p.heard = time.Now()
	if !p.requests.Allow() {
		return errTooFast
	}
	return nil
}

// join counts a session in, with what it has applied; once is enough. It has
// been admitted.
func (s *sessions) join(id, name string, applied uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.by[id]
	if p == nil || p.listener != nil {
		return nil
	}
	l := &listener{teller: teller{overNATS, name}, remote: overNATS, since: events.At(s.feed.cfg.Now()), begun: applied}
	if err := s.feed.audience.join(l); err != nil {
		return err
	}
	p.listener = l
	return nil
}

// overNATS stands for the credential and the address, which are NATS's to
// know. The name is what the subscriber says of itself.
const overNATS = "nats"

// The reasons for which a session ends, beside those of a stream.
const (
	detached = "detached"
	lapsed   = "lapsed"
)

// leave counts a session out.
func (s *sessions) leave(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(id, detached)
}

// drop is called with mu held.
func (s *sessions) drop(id, why string) {
	if p := s.by[id]; p != nil && p.listener != nil {
		s.feed.audience.leave(p.listener)
		s.feed.cfg.Metrics.closed(why)
	}
	delete(s.by, id)
}

// sweep forgets those who have said nothing for too long.
func (s *sessions) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, p := range s.by {
		if time.Since(p.heard) > sessionLapse {
			s.drop(id, lapsed)
		}
	}
}

func (s *sessions) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.by {
		s.drop(id, drainedOff)
	}
}
