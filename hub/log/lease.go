package log

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// leaseTime is how long nobody else is elected after a majority has heard
	// of a leader: in nats-server's Raft 4 s, less what clocks may differ by.
	leaseTime = 3500 * time.Millisecond
	// leaseSettles is how long the first answer of a leader has to lie back
	// before what it said of its replicas is relied on. One that was stopped,
	// and goes on, takes what lay in its sockets for new; within that time it
	// has read there, too, that it was deposed.
	leaseSettles = 100 * time.Millisecond
	// leasePatience is how long a leader is waited for whose word can be taken.
	leasePatience = 10 * time.Second
)

var errNoLease = errors.New("the leader of the stream has not heard from a majority of its replicas lately")

// lease tells whether the leader of a replicated stream, which says what it
// knows without asking anybody, can have had a successor when it said that. An
// answer vouches for later ones only, and not for itself: it tells when a
// majority was heard of last, and so until when there is no other leader. Its
// methods may be called from any goroutine.
type lease struct {
	mu     sync.Mutex
	leader string    // guarded by mu: who gave the last answer; "" if it did not lead
	since  time.Time // guarded by mu: since when each of its answers came within the lease of those before
	until  time.Time // guarded by mu: it has no successor before that
}

// vouches takes note of an answer to a question that was asked at one time and
// answered by the other, and reports whether the stream was then as it says. The
// word of one who has not heard from a majority is not to be taken at all: that
// is errNoLease.
func (l *lease) vouches(c *jetstream.ClusterInfo, asked, answered time.Time) (bool, error) {
	if c == nil || len(c.Replicas) == 0 {
		return true, nil // one copy: nobody else could be the leader
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	age, ok := heard(c)
	if !ok {
		l.leader = ""
		return false, errNoLease
	}
	if c.Leader != l.leader || !answered.Before(l.until) {
		l.leader, l.since, l.until = c.Leader, answered, time.Time{}
	}
	if until := asked.Add(leaseTime - age); until.After(l.until) {
		l.until = until
	}
	return asked.Sub(l.since) >= leaseSettles, nil
}

// heard is how long ago the leader heard last from those who are a majority
// together with it, if that is not too long.
func heard(c *jetstream.ClusterInfo) (age time.Duration, ok bool) {
	var ages []time.Duration
	for _, r := range c.Replicas {
		if r.Active > 0 { // zero: not yet
			ages = append(ages, r.Active)
		}
	}
	others := (len(c.Replicas) + 1) / 2
	if len(ages) < others {
		return 0, false
	}
	slices.Sort(ages)
	age = ages[others-1]
	return age, age <= leaseTime
}

// lookSurely looks until the lease vouches for what is seen, for at most
// leasePatience.
func (l *Log) lookSurely(ctx context.Context) (jetstream.StreamState, error) {
	ctx, cancel := context.WithTimeout(ctx, leasePatience)
	defer cancel()
	for {
		state, vouched, err := l.look(ctx)
		if vouched || err != nil && !errors.Is(err, errNoLease) {
			return state, err
		}
		if stopped := sleep(ctx, leaseSettles); stopped != nil {
			return state, fmt.Errorf("wait for a leader whose word can be taken: %w", errors.Join(stopped, err))
		}
	}
}
