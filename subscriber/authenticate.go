package subscriber

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/revocast/revocast/internal/token"
)

// reverify is how long a signature counts as verified. After that it is
// verified once more, which notices keys that their issuer has withdrawn.
const reverify = time.Minute

// Authenticate says whom a bearer token is about, or why it is refused, as an
// *Error: it verifies the signature with the issuer's keys, what the token
// says about itself, and that it is not revoked; and while the set is not
// fresh, it asks the policy.
//
// The token must be for one of the audiences. If none is given, its audience
// is NOT checked: tokens that were made for other services are accepted then.
//
// A token that was seen before costs a look-up, well below a microsecond. For
// another one, keys may have to be fetched, which takes at most 200 ms, less if
// ctx ends.
func (s *Subscriber) Authenticate(ctx context.Context, raw string, audience ...string) (*Token, error) {
	t, err := s.authenticate(ctx, raw, audience, s.config.Policy)
	if err != nil { // and not: return t, err, which would be an error of nil
		return nil, err
	}
	return t, nil
}

func (s *Subscriber) authenticate(ctx context.Context, raw string, audience []string, policy Policy) (*Token, *Error) {
	now := s.clock.now()
	t, ok := s.verified.get(raw)
	if !ok || t.verifyAgain(now) {
		var err *Error
		if t, err = s.verify(ctx, raw); err != nil {
			return nil, s.refuse(err)
		}
	}
	if err := s.judge(ctx, t, now, audience, policy); err != nil {
		return nil, s.refuse(err)
	}
	return t, nil
}

// judge says why a token whose signature is good is refused, if it is.
func (s *Subscriber) judge(ctx context.Context, t *Token, now moment, audience []string, policy Policy) *Error {
	switch {
	case t.expired(now):
		return &Error{CodeExpired, "the token has expired", ErrExpired}
	case now.wall < t.validFrom:
		return &Error{CodeNotYetValid, "the token is not valid yet", nil}
	case len(audience) > 0 && !intersect(t.Audience, audience):
		return &Error{CodeAudience, "the token is for another audience", nil}
	}

	v := s.view.Load()
	var h hit
	revoked := v.match(t, now, &h)
	st := v.standing(now, s.config.MaxStaleness)
	verdict := s.verdict(&h, revoked, st)
	switch verdict.Outcome {
	case Allowed:
		return nil
	case Revoked:
		return &Error{CodeRevoked, "the token has been revoked", &RevokedError{verdict}}
	}
	allowed, err := policy.allows(ctx, t, st)
	s.decided(policy, allowed && err == nil)
	if err != nil {
		return &Error{CodeStale, "whether the token has been revoked can't be found out at the moment", err}
	}
	if !allowed {
		return &Error{CodeStale, "whether the token has been revoked is not known at the moment", ErrStale}
	}
	return nil
}

// read verifies the signature, and says what the token is.
func (s *Subscriber) read(ctx context.Context, raw string) (*Token, *Error) {
	v, err := s.verifier.Verify(ctx, raw)
	if err != nil {
		var terr *token.Error
		if !errors.As(err, &terr) {
			return nil, &Error{CodeMalformed, "the token can't be verified", nil}
		}
		return nil, &Error{terr.Code, terr.Detail, terr}
	}
	issuer, _ := s.verifier.Issuer(v.Claims.Issuer)
	skew := issuer.Skew.Milliseconds()
	t := &Token{
		Claims:     v.Claims,
		Audience:   v.Audience,
		Scope:      v.Scope,
		Payload:    v.Payload,
		validFrom:  max(v.Claims.IssuedAt, v.NotBefore) - skew,
		validUntil: v.Claims.Expires + skew,
	}
	t.checkedAt.Store(int64(s.clock.now().mono))
	return t, nil
}

// verifyAgain reports whether the signature counts as verified no longer.
func (t *Token) verifyAgain(now moment) bool {
	return now.mono-time.Duration(t.checkedAt.Load()) > reverify
}

// verify is read, and remembers the token.
func (s *Subscriber) verify(ctx context.Context, raw string) (*Token, *Error) {
	t, err := s.read(ctx, raw)
	if err != nil {
		s.verified.remove(raw)
		return nil, err
	}
	if known, ok := s.verified.get(raw); ok {
		known.checkedAt.Store(t.checkedAt.Load())
		return known, nil
	}
	if s.calls == nil {
		return s.verified.add(raw, t), nil
	}
	// Watched before it is remembered, so that what the cache forgets is never
	// watched afterwards.
	t.watched = &watched{token: t}
	if s.verified.shard(raw) == nil || !s.watch.add(t.watched) {
		return t, nil
	}
	first := s.verified.add(raw, t)
	if first != t {
		s.watch.remove(t.watched)
	}
	return first, nil
}

func (s *Subscriber) decided(p Policy, allowed bool) {
	name := p.name + "/refused"
	if allowed {
		name = p.name + "/allowed"
	}
	s.tally.decisions.add(name)
	s.config.Metrics.Decision(p.name, allowed)
}

func (s *Subscriber) refuse(err *Error) *Error {
	s.tally.refused.add(string(err.Code))
	s.config.Metrics.Refused(err.Code)
	return err
}

func intersect(a, b []string) bool {
	for _, x := range a {
		if slices.Contains(b, x) {
			return true
		}
	}
	return false
}
