package api

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/revocast/revocast/hub/feed"
	"github.com/revocast/revocast/internal/token"
)

// Introspection is the answer to POST /oauth2/introspect (RFC 7662): what an
// active token says. Of any other token it says that it is not active, and
// nothing else.
type Introspection struct {
	Active   bool     `json:"active"`
	Iss      string   `json:"iss,omitzero"`
	Sub      string   `json:"sub,omitzero"`
	Aud      Audience `json:"aud,omitzero"` // for whom the token is, which may be others than who asks
	Exp      int64    `json:"exp,omitzero"` // this and the next: unix seconds, rounded down
	Iat      int64    `json:"iat,omitzero"`
	Nbf      int64    `json:"nbf,omitzero"`
	Jti      string   `json:"jti,omitzero"`
	ClientID string   `json:"client_id,omitzero"` // else azp
	Scope    string   `json:"scope,omitzero"`     // else scp; separated by spaces
	// TokenType is "Bearer", or "DPoP" for a token that is bound to a key and
	// is not to be accepted from a mere bearer (RFC 9449 section 6.2).
	TokenType string `json:"token_type,omitzero"`
	// Cnf says what the token is bound to, as the token has it.
	Cnf jsontext.Value `json:"cnf,omitzero"`
}

// Audience is an aud: one string, or several in an array.
type Audience []string

// MarshalJSON implements json.Marshaler.
func (a Audience) MarshalJSON() ([]byte, error) {
	if len(a) == 1 {
		return json.Marshal(a[0])
	}
	return json.Marshal([]string(a))
}

// introspect is POST /oauth2/introspect: a form with the token, to which a
// token_type_hint adds nothing.
//
// A token is active if a configured issuer signed it, now is between its
// times, and nothing that is revoked matches it. One that the caller may not
// ask about is not active, and neither is an opaque one; without a configured
// issuer, nothing can be verified and no token is. The hub does not know who
// a token is for: who asks has to find itself in aud.
//
// What the hub can't vouch for it does not say. When its view of the log may
// be old, or an issuer's keys can't be had, the answer is 503.
func (a *API) introspect(w http.ResponseWriter, r *request) error {
	f, err := readForm(w, r)
	if err != nil {
		return err
	}
	raw, err := f.token()
	if err != nil {
		return err
	}
	said, err := a.introspection(r.Context(), r.caller, raw)
	if err != nil {
		return err
	}
	a.metrics.tokensIntrospected.WithLabelValues(strconv.FormatBool(said.Active)).Inc()
	if a.signs() && wantsJWT(r.Header) {
		return a.answerJWT(w, r.caller, said)
	}
	return answer(w, http.StatusOK, said)
}

func (a *API) introspection(ctx context.Context, c *caller, raw string) (said Introspection, err error) {
	// Before anything else, so that the answer tells nothing about a token.
	if err := unready(a.feed.Ready()); err != nil {
		return said, err
	}
	if a.tokens == nil {
		return said, nil
	}
	t, err := a.tokens.Verify(ctx, raw)
	if e := (*token.Error)(nil); errors.As(err, &e) && e.Code != token.CodeKeysUnavailable {
		return said, nil
	}
	if err != nil {
		return said, err
	}
	if c.mayAsk(t.Claims.Issuer) != nil {
		return said, nil
	}
	if _, revoked := a.feed.Match(t.Claims); revoked {
		return said, nil
	}
	return introspectionOf(t)
}

// unready is why a feed is not ready, as an error to answer with.
func unready(err error) error {
	if err == nil || errors.Is(err, feed.ErrDraining) || errors.Is(err, feed.ErrNoTick) {
		return err
	}
	return &Problem{Code: Unavailable, Detail: "The hub can't go on. Go to another one.", retryAfter: 2 * time.Second}
}

func introspectionOf(t *token.Token) (Introspection, error) {
	c := t.Claims
	said := Introspection{
		Active: true, Iss: c.Issuer, Sub: c.Subject, Aud: t.Audience, Exp: c.Expires / 1000, Iat: c.IssuedAt / 1000, Nbf: t.NotBefore / 1000,
		Jti: c.ID, ClientID: c.Client, Scope: scopeOf(t.Scope), TokenType: "Bearer",
	}
	var bound struct {
		Cnf jsontext.Value `json:"cnf"`
	}
	if err := json.Unmarshal(t.Payload, &bound); err != nil {
		return Introspection{}, err // can't happen: the payload has been read
	}
	var by struct {
		Jkt jsontext.Value `json:"jkt"`
	}
	switch bound.Cnf.Kind() {
	case '{':
		if err := json.Unmarshal(bound.Cnf, &by); err != nil {
			return Introspection{}, err // likewise
		}
	case 'n':
		bound.Cnf = nil
	}
	said.Cnf = bound.Cnf
	if by.Jkt != nil {
		said.TokenType = "DPoP"
	}
	return said, nil
}

// scopeOf joins scopes. What is not one (RFC 6749 section 3.3) is left out:
// a name with a space in it would be read as two others.
func scopeOf(scopes []string) string {
	var list []string
	for _, s := range scopes {
		if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
			list = append(list, s)
		}
	}
	return strings.Join(list, " ")
}

// IntrospectionType is the media type of a signed Introspection (RFC 9701).
const IntrospectionType = "application/token-introspection+jwt"

// signedIntrospection has the claims of a signed answer. That they are not
// those of a token which it could be mistaken for is RFC 9701, section 8.1:
// neither sub nor exp, and a typ of its own.
type signedIntrospection struct {
	Iss                string        `json:"iss"`
	Aud                string        `json:"aud"` // who asked, as the audit calls it
	Iat                int64         `json:"iat"`
	TokenIntrospection Introspection `json:"token_introspection"`
}

func (a *API) answerJWT(w http.ResponseWriter, c *caller, said Introspection) error {
	claims, err := json.Marshal(signedIntrospection{a.iss, c.actor, a.now().Unix(), said})
	if err != nil {
		return err
	}
	jwt, err := a.signing.SignJWT("token-introspection+jwt", claims)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", IntrospectionType)
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write([]byte(jwt)) // an error is the reader's loss
	return nil
}

// wantsJWT reports whether a request accepts a signed answer by its name, and
// does not like plain JSON better.
func wantsJWT(h http.Header) bool {
	var signed, plain float64
	for accept := range strings.SplitSeq(strings.Join(h.Values("Accept"), ","), ",") {
		media, params, err := mime.ParseMediaType(accept)
		if err != nil {
			continue
		}
		q := 1.0
		if s, ok := params["q"]; ok {
			if q, err = strconv.ParseFloat(s, 64); err != nil {
				continue
			}
		}
		switch media {
		case IntrospectionType:
			signed = max(signed, q)
		case "application/json":
			plain = max(plain, q)
		}
	}
	return signed > 0 && signed >= plain
}
