package subscriber

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/revocast/revocast/events"
)

// Outcome is what a check came to.
type Outcome uint8

// The outcomes. The zero Outcome is Unknown: what nobody has decided is not
// allowed.
const (
	Unknown Outcome = iota // no known revocation matches, but the set is not fresh
	Allowed                // no revocation matches, and the set is fresh
	Revoked                // a revocation matches, whether the set is fresh or not
)

func (o Outcome) String() string {
	switch o {
	case Allowed:
		return "allowed"
	case Revoked:
		return "revoked"
	case Unknown:
		return "unknown"
	}
	return fmt.Sprintf("outcome(%d)", uint8(o))
}

// Verdict says what is known about a token.
type Verdict struct {
	Outcome Outcome

	// Which revocation matched, if Outcome is Revoked. ID and Since are zero
	// if the details are not remembered; for kinds that match by cutoff, Since
	// is the cutoff then.
	Kind  events.Kind
	ID    events.ID
	Since time.Time

	// Staleness is the age of the proof that the set is complete.
	Staleness time.Duration
}

// horizon is the unix second for which expired revocations are looked up and
// kept: ten minutes ago. That is for wall clocks that are ahead or step back.
// Enforcing a revocation beyond its expiry refuses nothing that is valid.
func horizon(now moment) int64 { return now.wall/1000 - 600 }

// Check says what is known about a token with these claims, which the caller
// must have VERIFIED: a check of claims that anybody can make up says nothing.
//
// It does no I/O, holds no lock and allocates nothing, whatever the size of
// the set and the state of the hubs, and it may be called from any goroutine.
// (A verdict of Revoked looks up its details under a lock held for an
// instant.) It costs a hash for each claim; for tokens that are checked again
// and again there is Prepare.
//
// Unknown is for the caller to decide about; Policy does not enter here.
func (s *Subscriber) Check(c events.Claims) Verdict {
	v, now := s.view.Load(), s.clock.now()
	var hit events.Verdict
	var ok bool
	if v.held != nil {
		for i := range v.held.sets {
			keys := v.held.sets[i].salt.Keys(c)
			if hit, ok = v.held.sets[i].set.Match(&keys, horizon(now)); ok {
				break
			}
		}
	}
	return s.verdict(&hit, ok, v.standing(now, s.config.MaxStaleness))
}

// Prepare derives a token's keys from verified claims, for CheckPrepared and
// Guard. The Token may be kept as long as wanted, and used by any goroutine.
func (s *Subscriber) Prepare(c events.Claims) *Token {
	t := &Token{Claims: c}
	t.keysIn(s.view.Load().held)
	return t
}

// CheckPrepared is Check with the keys at hand. After a resync it makes the
// keys of a token anew, once, which allocates.
//
// It reads the monotonic clock only, which is half of what it costs; the wall
// clock is that of up to a second ago. So where the monotonic clock stands
// still while the machine is suspended, it may take a second after that until
// CheckPrepared notices; Check, Authenticate and Protect notice at once.
func (s *Subscriber) CheckPrepared(t *Token) Verdict {
	v, now := s.view.Load(), moment{s.clock.mono(), s.wall.Load()}
	var hit events.Verdict
	ok := v.match(t, now, &hit)
	return s.verdict(&hit, ok, v.standing(now, s.config.MaxStaleness))
}

// match looks the token up in everything that is held. It fills hit in only if
// it returns true.
func (v *view) match(t *Token, now moment, hit *events.Verdict) bool {
	if v.held == nil {
		return false
	}
	ring := t.keysIn(v.held)
	for i := range v.held.sets {
		if got, ok := v.held.sets[i].set.Match(ring.in(i), horizon(now)); ok {
			*hit = got
			return true
		}
	}
	return false
}

func (s *Subscriber) verdict(hit *events.Verdict, revoked bool, st standing) Verdict {
	verdict := Verdict{Staleness: st.staleness}
	switch {
	case revoked:
		verdict.Outcome, verdict.Kind = Revoked, hit.Kind
		verdict.ID, verdict.Since = s.details.explain(*hit)
	case st.fresh:
		verdict.Outcome = Allowed
	}
	s.config.Metrics.Verdict(verdict.Outcome)
	return verdict
}

// keyring is a token's keys in each of the sets of some holdings.
type keyring struct {
	held  *holdings
	first events.Keys   // in the set of the feed,
	older []events.Keys // and in those of earlier histories, which are rare
}

// in returns the keys in one of the sets.
func (r *keyring) in(set int) *events.Keys {
	if set == 0 {
		return &r.first
	}
	return &r.older[set-1]
}

// keysIn returns the token's keys for these holdings, and remembers them.
func (t *Token) keysIn(held *holdings) *keyring {
	if ring := t.ring.Load(); ring != nil && ring.held == held {
		return ring
	}
	if held == nil {
		return nil
	}
	ring := &keyring{held: held, first: held.sets[0].salt.Keys(t.Claims)}
	for _, s := range held.sets[1:] {
		ring.older = append(ring.older, s.salt.Keys(t.Claims))
	}
	t.ring.Store(ring)
	return ring
}

// Token is a verified token with the keys of everything that a revocation can
// match about it. Its fields must not be modified: requests with the same
// token share one.
type Token struct {
	Claims events.Claims

	// The rest is set by Authenticate and Protect, not by Prepare.
	Audience []string // aud
	Scope    []string // scope, else scp
	Payload  []byte   // all claims, one JSON object, as the issuer wrote them

	ring atomic.Pointer[keyring] // for the holdings of the last check

	// Set once, by the verification. Unix milliseconds, with the issuer's skew.
	validFrom, validUntil int64

	checkedAt atomic.Int64 // monotonic: when the signature was last verified
	watched   *watched     // set once, before the token is cached; nil if nobody wants to know
}
