package subscriber

import (
	"context"
	"crypto/sha256"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// exchanges remembers what opaque tokens stand for, and shares the exchanges
// that are under way. Tokens are known by their hashes: this cache is no place
// to find tokens in.
//
// What it says is no permission: the live set is asked at each use. That an
// entry is dropped when its token is revoked is what makes room for an answer
// of today; it is not what refuses the token.
type exchanges struct {
	sub       *Subscriber
	maxBytes  int64
	maxFlight int

	mu      sync.Mutex // guards the rest, and what says so in exchange. Taken before watch.mu
	known   *simplelru.LRU[opaqueHash, *exchange]
	bytes   int64
	flights map[opaqueHash]*flight
}

type opaqueHash [sha256.Size]byte

// exchange is a JWT that an opaque token stands for. Set once, but for dead.
type exchange struct {
	jwt     string
	token   *Token // it comes from the opaque token, in the sense of Prepare
	hash    opaqueHash
	watched *watched
	dead    bool // it must not be remembered (any more). Guarded by exchanges.mu
}

// entrySize is about what an entry takes beside the JWT and what is kept of
// its claims: the token and its keys, those of the opaque token, the places in
// the index of the watch.
const entrySize = 3 << 10

func (e *exchange) size() int64 { return int64(2*len(e.jwt) + entrySize) }

// flight is an exchange that is under way.
type flight struct {
	done chan struct{} // closed when the rest is set
	e    *exchange
	err  *Error
}

func newExchanges(s *Subscriber, maxTokens int, maxBytes int64, maxFlight int) *exchanges {
	x := &exchanges{sub: s, maxBytes: maxBytes, maxFlight: maxFlight, flights: make(map[opaqueHash]*flight)}
	known, err := simplelru.NewLRU(maxTokens, x.forgotten)
	if err != nil {
		panic(err) // the number is not positive, and checked has seen to it that it is
	}
	x.known = known
	return x
}

// get returns what a token stands for: as it is known, or as another request's
// exchange or this one's finds out, which takes as long as ask may.
func (x *exchanges) get(ctx context.Context, hash opaqueHash, ask func() (*exchange, *Error)) (e *exchange, known bool, err *Error) {
	x.mu.Lock()
	if e, ok := x.known.Get(hash); ok {
		x.mu.Unlock()
		return e, true, nil
	}
	if f, ok := x.flights[hash]; ok {
		x.mu.Unlock()
		x.sub.exchangeEnded("shared")
		select {
		case <-f.done:
			return f.e, false, f.err
		case <-ctx.Done():
			return nil, false, &Error{CodeExchange, "the request ended before it was found out what the token stands for", context.Cause(ctx)}
		}
	}
	if len(x.flights) >= x.maxFlight {
		x.mu.Unlock()
		x.sub.exchangeEnded("busy")
		return nil, false, &Error{CodeExchange, "too many tokens are being asked about at the moment", nil}
	}
	f := &flight{done: make(chan struct{}), err: &Error{CodeExchange, "what the token stands for could not be found out", nil}}
	x.flights[hash] = f
	x.mu.Unlock()

	defer func() { // also if ask panics, with the error from above
		x.mu.Lock()
		delete(x.flights, hash)
		x.mu.Unlock()
		close(f.done)
	}()
	f.e, f.err = ask()
	if f.err == nil {
		f.e.hash = hash
		x.remember(f.e)
	}
	return f.e, false, f.err
}

// remember makes an entry, unless it is dead already. A revocation is never
// missed in between: it comes before the entry is watched, and look finds it in
// the set; or after, and the watch tells drop.
func (x *exchanges) remember(e *exchange) {
	s := x.sub
	e.watched = &watched{token: e.token, end: func(error) { x.drop(e) }}
	if e.size() > x.maxBytes || !s.watch.add(e.watched) {
		return
	}
	s.watch.mu.Lock()
	s.watch.look([]*watched{e.watched}, false)

	x.mu.Lock()
	defer x.mu.Unlock()
	if e.dead {
		s.watch.remove(e.watched)
		return
	}
	x.known.Add(e.hash, e)
	x.bytes += e.size()
	s.exchanged.Add(1)
	for x.bytes > x.maxBytes {
		x.known.RemoveOldest()
	}
}

// drop forgets an entry because it is of no more use.
func (x *exchanges) drop(e *exchange) {
	x.mu.Lock()
	e.dead = true
	known, ok := x.known.Peek(e.hash)
	if ok = ok && known == e; ok {
		x.known.Remove(e.hash)
	}
	x.mu.Unlock()
	if ok {
		x.sub.exchangeEnded("dropped")
	}
}

// forgotten is told of each entry that leaves the cache. mu is held.
func (x *exchanges) forgotten(_ opaqueHash, e *exchange) {
	x.bytes -= e.size()
	x.sub.exchanged.Add(-1)
	x.sub.watch.remove(e.watched)
}
