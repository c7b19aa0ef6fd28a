package subscriber

import (
	"context"
	"sync"
	"time"

	"github.com/revocast/revocast/events"
)

// watch knows who wants to be told when a token is revoked: guards, what
// gateways have exchanged, and the verified tokens if there is an OnRevoked. It
// finds them by the keys that a
// revocation may have, so that one that concerns nobody costs a look-up.
//
// Nothing is missed in between: who is added is in the index before its token
// is looked up in the set, and a revocation is in the set before it is looked
// up in the index.
type watch struct {
	sub *Subscriber

	mu      sync.Mutex // guards the rest, and the fields of watched that say so
	all     map[*watched]struct{}
	byKey   map[events.Key]*link // the first of those with this key
	nGuards int
	over    bool
}

// watched is a token that somebody wants to be told about.
type watched struct {
	token *Token            // set once
	end   func(cause error) // called when it is revoked or has expired; nil for a verified token. Set once
	guard bool              // a Guard, which other things end too. Set once
	links []link            // one for each key. Guarded by watch.mu
	known bool              // to be revoked. Guarded by watch.mu
}

// link is a place in the list of those with the same key. Lists, and not maps:
// the keys of one token are in most cases its alone, those of an issuer are
// everybody's.
type link struct {
	of         *watched
	key        events.Key
	prev, next *link
}

func newWatch(s *Subscriber) *watch {
	return &watch{sub: s, all: make(map[*watched]struct{}), byKey: make(map[events.Key]*link)}
}

// add begins to watch. It is false if the subscriber is closed.
func (w *watch) add(x *watched) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over {
		return false
	}
	w.all[x] = struct{}{}
	if x.guard {
		w.nGuards++
	}
	w.index(x)
	return true
}

// remove stops watching. Removing again does nothing.
func (w *watch) remove(x *watched) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.all[x]; ok {
		delete(w.all, x)
		if x.guard {
			w.nGuards--
		}
		w.unindex(x)
	}
}

// index enters the token's keys in the present holdings. mu is held: whoever
// changes the holdings calls reindex after it.
func (w *watch) index(x *watched) {
	ring := x.token.keysIn(w.sub.view.Load().held)
	if ring == nil {
		return
	}
	n := 0
	for keys := range ring.all {
		n += keys.Len()
	}
	x.links = make([]link, n) // never to grow: others point into it
	n = 0
	for keys := range ring.all {
		for _, key := range keys.All {
			l := &x.links[n]
			n++
			l.of, l.key, l.next = x, key, w.byKey[key]
			if l.next != nil {
				l.next.prev = l
			}
			w.byKey[key] = l
		}
	}
}

// unindex undoes index. mu is held.
func (w *watch) unindex(x *watched) {
	for i := range x.links {
		l := &x.links[i]
		if l.next != nil {
			l.next.prev = l.prev
		}
		if l.prev != nil {
			l.prev.next = l.next
		} else if l.next != nil {
			w.byKey[l.key] = l.next
		} else {
			delete(w.byKey, l.key)
		}
	}
	x.links = nil
}

// reindex follows a change of the holdings, and looks at every token again.
func (w *watch) reindex() {
	w.mu.Lock()
	for x := range w.all {
		w.unindex(x)
		w.index(x)
	}
	w.mu.Unlock()
	w.recheck()
}

// affected looks again at the tokens that these operations may concern.
func (w *watch) affected(ops []events.Op) {
	w.mu.Lock()
	if len(w.all) == 0 {
		w.mu.Unlock()
		return
	}
	var found []*watched
	for _, op := range ops {
		for l := w.byKey[op.Key]; l != nil; l = l.next {
			found = append(found, l.of)
		}
	}
	w.look(found, true)
}

// recheck looks again at all tokens.
func (w *watch) recheck() {
	w.mu.Lock()
	found := make([]*watched, 0, len(w.all))
	for x := range w.all {
		found = append(found, x)
	}
	w.look(found, true)
}

// look ends what hangs on tokens that have been revoked or have expired, and
// if tell is set, calls OnRevoked once for each token that has been revoked
// since it was last looked at. mu is held when look is called and free when it
// returns: cancelling a context runs what its owner has hung on it.
func (w *watch) look(found []*watched, tell bool) {
	s := w.sub
	v, now := s.view.Load(), s.clock.now()
	type ended struct {
		x     *watched
		cause error
	}
	var ends []ended
	told := make(map[*Token]bool)
	for _, x := range found {
		var h hit
		revoked := v.match(x.token, now, &h)
		switch {
		case revoked && !x.known:
			verdict := s.verdict(&h, true, v.standing(now, s.config.MaxStaleness))
			ends = append(ends, ended{x, &RevokedError{verdict}})
			if tell && s.calls != nil && !told[x.token] {
				told[x.token] = true
				s.calls.tell(Revocation{Verdict: verdict, Token: x.token})
			}
		case x.token.expired(now):
			ends = append(ends, ended{x, ErrExpired})
		}
		x.known = revoked
	}
	w.mu.Unlock()
	for _, e := range ends {
		if e.x.end != nil {
			e.x.end(e.cause)
		}
	}
}

// closed ends all guards because the policy allows no more tokens.
func (w *watch) closed() { w.endGuards(ErrStale) }

// close ends all guards and refuses others.
func (w *watch) close() {
	w.mu.Lock()
	w.over = true
	w.mu.Unlock()
	w.endGuards(ErrClosed)
}

func (w *watch) endGuards(cause error) {
	var guards []*watched
	w.mu.Lock()
	if w.nGuards > 0 {
		for x := range w.all {
			if x.guard {
				guards = append(guards, x)
			}
		}
	}
	w.mu.Unlock()
	for _, g := range guards {
		g.end(cause)
	}
}

func (w *watch) guards() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.nGuards
}

// Guard returns a context that is cancelled the moment the token is revoked or
// expires, or the policy of the Config allows no more tokens: for streams,
// sockets and long work, which a check at their beginning does not cover.
// context.Cause then is a *RevokedError, ErrExpired, ErrStale or ErrClosed. If
// any of that is so already, the context is cancelled when Guard returns.
//
// The token is one from Authenticate, FromContext or Prepare. Work that hangs
// on several tokens is guarded by one that was prepared from the claims of all
// of them; or, to end when any of them expires, by a guard within a guard. stop
// releases
// the guard, as does the end of ctx; call it when the work is done. It does
// not wait and may be called more than once.
func (s *Subscriber) Guard(ctx context.Context, token *Token) (guarded context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	g := &watched{token: token, end: cancel, guard: true}
	if !s.watch.add(g) {
		cancel(ErrClosed)
		return ctx, func() {}
	}
	// All ways to end go through ctx, and the end of ctx releases the rest.
	context.AfterFunc(ctx, func() { s.watch.remove(g) })
	if token.Claims.Expires > 0 {
		until := time.Duration(token.endsAt()-s.clock.now().wall) * time.Millisecond
		timer := time.AfterFunc(max(until, 0), func() { cancel(ErrExpired) })
		context.AfterFunc(ctx, func() { timer.Stop() })
	}

	s.watch.mu.Lock()
	s.watch.look([]*watched{g}, false)
	v, now := s.view.Load(), s.clock.now()
	if s.config.Policy.closes(v.standing(now, s.config.MaxStaleness)) {
		cancel(ErrStale)
	}
	return ctx, func() { cancel(context.Canceled) }
}

// endsAt is the unix millisecond at which the token ceases to be valid, 0 if
// never.
func (t *Token) endsAt() int64 {
	if t.validUntil != 0 {
		return t.validUntil
	}
	return t.Claims.Expires
}

func (t *Token) expired(now moment) bool { return t.endsAt() != 0 && now.wall >= t.endsAt() }

// Revocation is what OnRevoked is told.
type Revocation struct {
	Verdict Verdict
	Token   *Token
}

// calls brings revocations to OnRevoked, on a goroutine of its own so that
// nothing else waits for it.
type calls struct {
	f     func(Revocation)
	queue chan Revocation
	tally tally
}

// maxCalls bounds what waits while a call blocks.
const maxCalls = 1024

func newCalls(f func(Revocation), t tally) *calls {
	return &calls{f, make(chan Revocation, maxCalls), t}
}

func (c *calls) tell(r Revocation) {
	select {
	case c.queue <- r:
	default:
		c.tally.calls.add("lost")
	}
}

func (c *calls) run(ctx context.Context) {
	for {
		select {
		case r := <-c.queue:
			c.f(r)
			c.tally.calls.add("done")
		case <-ctx.Done():
			return
		}
	}
}
