package token

import (
	"context"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/revocast/revocast/events"
)

const (
	// maxLogoutAge is how long after iat a logout token is accepted. It is
	// made to be delivered at once.
	maxLogoutAge = 5 * time.Minute
	// maxLogoutLifetime bounds exp after iat. The specification recommends
	// two minutes; some providers use the lifetime of an ID token.
	maxLogoutLifetime = 2 * time.Hour

	logoutEvent = "http://schemas.openid.net/event/backchannel-logout"
)

// The media types of tokens that report an event.
const (
	typeLogout = "application/logout+jwt"
	typeSET    = "application/secevent+jwt"
)

// logoutTypes are the types of logout tokens. Providers from before the final
// specification set none or JWT; by its events and its exp such a token is
// neither one for access nor a security event token.
var logoutTypes = []string{"", "application/jwt", typeLogout}

// LogoutToken is what an OpenID provider says about a user who has logged out
// (OpenID Connect Back-Channel Logout 1.0 section 2.4).
type LogoutToken struct {
	// Claims has Issuer, ID, IssuedAt and Expires, KeyID if the key has one,
	// and at least one of Session and Subject. With a Session only that one has ended, without it all of
	// the subject's.
	Claims events.Claims
}

// VerifyLogout returns what a logout token says if all of it is to be believed
// now, or an *Error. It follows section 2.6 of the specification, except that
// it does not know which tokens were there before: a caller that must not act
// twice has to remember Claims.Issuer and Claims.ID until Claims.Expires.
//
// The token is at most 5 minutes old and lives at most 2 hours, its aud has
// one of the issuer's Audience, and it has a jti and no nonce. It may take
// time as Verify does.
func (v *Verifier) VerifyLogout(ctx context.Context, raw string) (*LogoutToken, error) {
	t, i, err := v.authentic(ctx, raw, func(*issuer) []string { return logoutTypes })
	if err != nil {
		return nil, err
	}
	if err := t.checkLogoutClaims(); err != nil {
		return nil, err
	}
	if err := i.checkLogoutTimes(t, v.now().UnixMilli()); err != nil {
		return nil, err
	}
	if err := i.checkEventAudience(t); err != nil {
		return nil, err
	}
	return &LogoutToken{t.Claims}, nil
}

func (t *Token) checkLogoutClaims() error {
	var rest struct {
		Nonce  jsontext.Value `json:"nonce"`
		Events jsontext.Value `json:"events"`
	}
	if err := json.Unmarshal(t.Payload, &rest, jsontext.AllowDuplicateNames(true)); err != nil {
		return &Error{CodeMalformed, "the claims can't be read", err}
	}
	var reported map[string]jsontext.Value
	if rest.Events.Kind() == '{' {
		if err := json.Unmarshal(rest.Events, &reported); err != nil {
			return &Error{CodeMalformed, "the claims can't be read", err}
		}
	}
	switch c := &t.Claims; {
	case reported[logoutEvent].Kind() != '{':
		return &Error{CodeClaims, "the token's events don't say that it is for logout", nil}
	case len(rest.Nonce) > 0: // null, too
		return &Error{CodeClaims, "the token has a nonce, as an ID token has and a logout token must not", nil}
	case c.ID == "":
		return &Error{CodeClaims, "the token has no jti", nil}
	case c.IssuedAt == 0:
		return &Error{CodeClaims, "the token has no iat", nil}
	case c.Subject == "" && c.Session == "":
		return &Error{CodeClaims, "the token names neither a subject nor a session", nil}
	}
	return nil
}

// checkLogoutTimes is checkTimes for a logout token.
func (i *issuer) checkLogoutTimes(t *Token, now int64) error {
	skew := i.Skew.Milliseconds()
	switch c := &t.Claims; {
	case c.Expires == 0:
		return &Error{CodeNoExpiry, "the token never expires", nil}
	case now >= c.Expires+skew:
		return &Error{CodeExpired, "the token has expired", nil}
	case now > c.IssuedAt+maxLogoutAge.Milliseconds()+skew:
		return &Error{CodeExpired, "the token was issued too long ago", nil}
	case c.IssuedAt > now+skew, t.NotBefore > now+skew:
		return &Error{CodeNotYetValid, "the token is not valid yet", nil}
	case c.Expires-c.IssuedAt > maxLogoutLifetime.Milliseconds():
		return &Error{CodeLifetime, "the token lives longer than a logout token may", nil}
	}
	return nil
}

// checkEventAudience reports whether a token that reports an event is meant
// for us. There is no way around it: providers send such tokens to many.
func (i *issuer) checkEventAudience(t *Token) error {
	switch {
	case len(i.Audience) == 0:
		return &Error{CodeAudience, "no audience is configured for the issuer's logout and event tokens", nil}
	case !t.isFor(i.Audience):
		return &Error{CodeAudience, "the token is for another audience", nil}
	}
	return nil
}
