package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/feed"
	"github.com/revocast/revocast/internal/token"
)

// sourceRevoke is what the audit calls POST /oauth2/revoke.
const sourceRevoke = "oauth2/revoke"

// What becomes of a token that a client wants revoked. All of it is answered
// alike: the client can do no more about it (RFC 7009 section 2.2).
const (
	outcomeRevoked = "revoked"
	outcomeAlready = "already_revoked" // and will be remembered for long enough
	outcomeExpired = "expired"         // nothing is left to revoke
	outcomeInvalid = "invalid"         // nobody's token, or a forged one
)

// revokeToken is POST /oauth2/revoke (RFC 7009): a form with the token, to
// which a token_type_hint adds nothing. What the token is, decides:
//
//   - A JWT of a configured issuer, whose signature is good, is revoked by its
//     jti, or by its handle if it has none. That it has expired, or is not
//     valid yet, is no matter. A JWT that nobody vouches for is ignored.
//   - If no issuer is configured, there is nothing to verify a JWT with, and
//     it is taken by its word. Nobody gains by that: the caller has the role
//     to revoke whatever it likes at POST /v1/revocations, within the limits
//     of its credential, which hold here, too.
//   - Any other token is opaque, such as most refresh tokens are. Its handle
//     is revoked, of the issuer that the parameter iss names (an extension of
//     the standard; other tokens name their own) or, without it, of the only
//     one there is. It is remembered for as long as the issuer's tokens live.
//
// Whose client the token was issued to is not looked at: those who may call
// this are trusted with all tokens within their limits. An answer of 200 says
// that the token, if it was one, is in the log as revoked.
func (a *API) revokeToken(w http.ResponseWriter, r *request) error {
	f, err := readForm(w, r)
	if err != nil {
		return err
	}
	raw, err := f.token()
	if err != nil {
		return err
	}
	order, ok, err := a.tokenOrder(r, f, raw)
	if err != nil {
		return err
	}
	outcome := outcomeInvalid
	if ok {
		if outcome, err = a.revokeOne(r, order); err != nil {
			return err
		}
	}
	a.metrics.tokensRevoked.WithLabelValues(outcome).Inc()
	w.WriteHeader(http.StatusOK)
	return nil
}

// tokenOrder returns what to do to revoke a token; false if it is none.
func (a *API) tokenOrder(r *request, f form, raw string) (feed.Order, bool, error) {
	order := feed.Order{Reason: events.Logout}
	switch {
	case !sendable(raw):
		return order, false, nil
	case !token.IsJWT(raw):
		iss, err := f.issuer(a, r.caller)
		order.Target = events.Target{Kind: events.KindHandle, Iss: iss, Value: events.HandleOf(raw)}
		return order, true, err
	}
	t, err := a.issued(r.Context(), raw)
	if e := (*token.Error)(nil); errors.As(err, &e) && e.Code != token.CodeKeysUnavailable {
		return order, false, nil
	}
	if err != nil {
		return order, false, err
	}
	c := t.Claims
	order.ExpiresAt = events.Time(c.Expires)
	order.Target = events.Target{Kind: events.KindToken, Iss: c.Issuer, Value: c.ID}
	if order.Target.Validate() != nil { // no jti, or one that can't be told to anybody
		order.Target = events.Target{Kind: events.KindHandle, Iss: c.Issuer, Value: c.Handle}
	}
	// Without an issuer, or with one that can't be told, it is nobody's.
	return order, order.Target.Validate() == nil, nil
}

// issued returns what a JWT says, if it may be believed that it was issued.
func (a *API) issued(ctx context.Context, raw string) (*token.Token, error) {
	if a.tokens == nil {
		return token.ReadUnverified(raw, a.feed.ClaimNames())
	}
	return a.tokens.VerifyIssued(ctx, raw)
}

// revokeOne does what is left to do of an order, and says what that was.
func (a *API) revokeOne(r *request, o feed.Order) (string, error) {
	if p := r.caller.mayChange(o.Target); p != nil {
		p.Field = "token"
		return "", p
	}
	if a.holds(o) {
		return outcomeAlready, nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeTime)
	defer cancel()
	by := feed.Caller{Actor: r.caller.actor, Source: sourceRevoke}
	_, err := a.feed.Revoke(ctx, by, []feed.Order{o}, false)
	if e := (*feed.RefusedError)(nil); errors.As(err, &e) {
		switch e.Code {
		case feed.AlreadyExpired:
			return outcomeExpired, nil
		case feed.RetentionExceeded:
			return "", &Problem{Code: UnsupportedTokenType, Field: "token", Detail: "It lives longer than a revocation is remembered."}
		case feed.UnknownIssuer:
			return "", &Problem{Code: InvalidField, Field: "iss", Detail: "No issuer of this name is configured."}
		}
	}
	return outcomeRevoked, err
}

// holds reports whether what is ordered is in force, and will be for as long
// as the token lives. If the set of revocations may be old, it says no: to
// write a revocation twice does no harm.
func (a *API) holds(o feed.Order) bool {
	if a.feed.Ready() != nil {
		return false
	}
	c := events.Claims{Issuer: o.Target.Iss}
	if o.Target.Kind == events.KindToken {
		c.ID = o.Target.Value
	} else {
		c.Handle = o.Target.Value
	}
	// Of what could match, only the target itself and the issuer are known,
	// and a match of the former is told first.
	v, ok := a.feed.Match(c)
	if !ok || v.Kind != o.Target.Kind {
		return false
	}
	if v.Term.Exp == events.Never || o.ExpiresAt == 0 {
		return true
	}
	return !time.Unix(int64(v.Term.Exp), 0).Before(o.ExpiresAt.Std().Add(a.skewOf(o.Target.Iss)))
}

// skewOf is how far an issuer's clock may be off.
func (a *API) skewOf(iss string) time.Duration {
	if a.tokens != nil {
		if i, ok := a.tokens.Issuer(iss); ok {
			return i.Skew
		}
	}
	return feed.DefaultSkew
}
