package subscriber

import (
	"fmt"
	"slices"
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

	// Lineage is whose revocation it is: 0 for that of the token itself, n for
	// the nth of the further claims that Check or Prepare were given.
	Lineage int

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
// A token that comes from others, such as one that is embedded in a claim, or
// the one that a stored job was made with, is revoked if any of them is: give
// the claims of those, verified too, as from. Their exp plays no part. A
// revocation is remembered only as long as the tokens that it is about can
// live, so a token that may outlive those that it comes from needs a claim in
// common with them as well: a grant.
//
// Unknown is for the caller to decide about; Policy does not enter here.
func (s *Subscriber) Check(c events.Claims, from ...events.Claims) Verdict {
	v, now := s.view.Load(), s.clock.now()
	var h hit
	ok := v.matchClaims(&c, 0, now, &h)
	for i := 0; !ok && i < len(from); i++ {
		ok = v.matchClaims(&from[i], i+1, now, &h)
	}
	return s.verdict(&h, ok, v.standing(now, s.config.MaxStaleness))
}

// Prepare derives a token's keys from verified claims, for CheckPrepared and
// Guard; from is as for Check. The Token may be kept as long as wanted, and
// used by any goroutine.
func (s *Subscriber) Prepare(c events.Claims, from ...events.Claims) *Token {
	t := &Token{Claims: c, from: slices.Clone(from)}
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
	var h hit
	ok := v.match(t, now, &h)
	return s.verdict(&h, ok, v.standing(now, s.config.MaxStaleness))
}

// hit is a revocation that matches, and the lineage that it matches.
type hit struct {
	events.Verdict
	lineage int
}

// match looks the token up in everything that is held. It fills h, which is
// zero before, in only if it returns true.
func (v *view) match(t *Token, now moment, h *hit) bool {
	if v.held == nil {
		return false
	}
	ring := t.keysIn(v.held)
	if got, ok := v.held.sets[0].set.Match(&ring.first, horizon(now)); ok {
		h.Verdict = got
		return true
	}
	return len(ring.rest) > 0 && v.matchRest(ring, now, h)
}

// matchRest is apart so that match stays small: most tokens have no rest.
func (v *view) matchRest(ring *keyring, now moment, h *hit) bool {
	for i := range ring.rest {
		r := &ring.rest[i]
		if got, ok := v.held.sets[r.set].set.Match(&r.keys, horizon(now)); ok {
			*h = hit{got, r.lineage}
			return true
		}
	}
	return false
}

// matchClaims is match for the claims of one lineage.
func (v *view) matchClaims(c *events.Claims, lineage int, now moment, h *hit) bool {
	if v.held == nil {
		return false
	}
	for i := range v.held.sets {
		keys := v.held.sets[i].salt.Keys(*c)
		if got, ok := v.held.sets[i].set.Match(&keys, horizon(now)); ok {
			*h = hit{got, lineage}
			return true
		}
	}
	return false
}

func (s *Subscriber) verdict(h *hit, revoked bool, st standing) Verdict {
	verdict := Verdict{Staleness: st.staleness}
	switch {
	case revoked:
		verdict.Outcome, verdict.Kind, verdict.Lineage = Revoked, h.Kind, h.lineage
		verdict.ID, verdict.Since = s.details.explain(h.Verdict)
	case st.fresh:
		verdict.Outcome = Allowed
	}
	s.config.Metrics.Verdict(verdict.Outcome)
	return verdict
}

// keyring is a token's keys in each of the sets of some holdings.
type keyring struct {
	held  *holdings
	first events.Keys // the token's own in the set of the feed,
	rest  []otherKeys // and all others, which are rare
}

// otherKeys are those in the set of an earlier history, or of what a token
// comes from.
type otherKeys struct {
	keys         events.Keys
	set, lineage int
}

// all yields the keys of all sets and lineages.
func (r *keyring) all(yield func(*events.Keys) bool) {
	if !yield(&r.first) {
		return
	}
	for i := range r.rest {
		if !yield(&r.rest[i].keys) {
			return
		}
	}
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
	for i, s := range held.sets {
		if i > 0 {
			ring.rest = append(ring.rest, otherKeys{s.salt.Keys(t.Claims), i, 0})
		}
		for j, c := range t.from {
			ring.rest = append(ring.rest, otherKeys{s.salt.Keys(c), i, j + 1})
		}
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

	from []events.Claims         // what it comes from: revoked, it is revoked. Set once
	ring atomic.Pointer[keyring] // for the holdings of the last check

	// Set once, by the verification. Unix milliseconds, with the issuer's skew.
	validFrom, validUntil int64

	checkedAt atomic.Int64 // monotonic: when the signature was last verified
	watched   *watched     // set once, before the token is cached; nil if nobody wants to know
}
