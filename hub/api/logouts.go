package api

import (
	"crypto/sha256"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// logoutsTracked is how many logout tokens are remembered here: some minutes
// of a busy provider.
const logoutsTracked = 1 << 16

// What became of a logout token.
type logoutState int

const (
	logoutNew     logoutState = iota
	logoutUnknown             // it may be in the log
	logoutDone                // it is in the log
)

// logouts remembers the logout tokens that came last. It spares the log the
// replays, and knows which ones to answer as if for the first time. That a
// replay has no effect does not depend on it: what has fallen out of it, or
// came before the hub was started, the log still has, which remembers for far
// longer than such a token lives.
type logouts struct {
	seen *lru.Cache[[sha256.Size]byte, logoutState] // by a hash of the idempotency key
}

func newLogouts() *logouts {
	seen, err := lru.New[[sha256.Size]byte, logoutState](logoutsTracked)
	if err != nil {
		panic(err) // the size is positive
	}
	return &logouts{seen}
}

// get returns what became of a token by its idempotency key.
func (l *logouts) get(key string) logoutState {
	state, _ := l.seen.Get(sha256.Sum256([]byte(key)))
	return state
}

func (l *logouts) set(key string, state logoutState) { l.seen.Add(sha256.Sum256([]byte(key)), state) }

func tooManyLogouts(wait time.Duration) *Problem {
	return &Problem{Code: TooManyFailures, Detail: "Too many wrong credentials or logout tokens came from this address.", retryAfter: wait}
}
