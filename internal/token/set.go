package token

import (
	"context"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/revocast/revocast/events"
)

// SET is a Security Event Token (RFC 8417) as the OpenID Shared Signals
// Framework 1.0 profiles it: it reports one event about one subject.
type SET struct {
	Issuer   string // iss: who transmits it
	ID       string // jti: what tells it from the issuer's others
	KeyID    string // kid of the key that signed it; "" if that has none
	IssuedAt int64  // iat in unix milliseconds
	// ToldAt is toe in unix milliseconds: when the event occurred, as far as
	// is known; zero if absent.
	ToldAt  int64
	Txn     string // txn: what SETs with one cause have in common; "" if absent
	Subject Subject

	Event   string         // the URI of the event's type
	Details jsontext.Value // of the event: one JSON object
	Payload []byte         // all claims, decoded: one JSON object
}

// VerifySET returns what a security event token says if its issuer says so
// now, or an *Error. The token's typ is secevent+jwt, its aud has one of the
// issuer's Audience, it has iat, jti, sub_id and exactly one event, and
// neither exp nor sub. It may be old: transmitters keep events for receivers
// that are away. Whether the issuer may say such things about the subject is
// the caller's to judge, as is what to do about events that it knows already.
//
// It may take time as Verify does.
func (v *Verifier) VerifySET(ctx context.Context, raw string) (*SET, error) {
	t, i, err := v.authentic(ctx, raw, func(*issuer) []string { return []string{typeSET} })
	if err != nil {
		return nil, err
	}
	s, err := t.readSET()
	if err != nil {
		return nil, err
	}
	if ahead := v.now().Add(i.Skew).UnixMilli(); s.IssuedAt > ahead || t.NotBefore > ahead {
		return nil, &Error{CodeNotYetValid, "the token is not valid yet", nil}
	}
	if err := i.checkEventAudience(t); err != nil {
		return nil, err
	}
	return s, nil
}

func (t *Token) readSET() (*SET, error) {
	var rest struct {
		Exp    jsontext.Value            `json:"exp"`
		Sub    jsontext.Value            `json:"sub"`
		SubID  jsontext.Value            `json:"sub_id"`
		Events map[string]jsontext.Value `json:"events"`
		Txn    string                    `json:"txn"`
		Toe    jsontext.Value            `json:"toe"`
	}
	if err := json.Unmarshal(t.Payload, &rest, jsontext.AllowDuplicateNames(true)); err != nil {
		return nil, &Error{CodeMalformed, "the claims can't be read", err}
	}
	switch {
	case len(rest.Exp) > 0: // null, too
		return nil, &Error{CodeClaims, "the token has an exp, which a security event token must not", nil}
	case len(rest.Sub) > 0:
		return nil, &Error{CodeClaims, "the token has a sub, which a security event token must not: the subject is sub_id", nil}
	case t.Claims.ID == "":
		return nil, &Error{CodeClaims, "the token has no jti", nil}
	case t.Claims.IssuedAt == 0:
		return nil, &Error{CodeClaims, "the token has no iat", nil}
	case len(rest.Events) != 1:
		return nil, &Error{CodeClaims, "the token doesn't report exactly one event", nil}
	case absent(rest.SubID):
		return nil, &Error{CodeClaims, "the token has no sub_id", nil}
	}
	s := &SET{Issuer: t.Claims.Issuer, ID: t.Claims.ID, KeyID: t.Claims.KeyID, IssuedAt: t.Claims.IssuedAt, Txn: rest.Txn, Payload: t.Payload}
	for s.Event, s.Details = range rest.Events { // the one
	}
	if s.Event == "" || s.Details.Kind() != '{' {
		return nil, &Error{CodeClaims, "the token's event is not an object under the name of its type", nil}
	}
	var err error
	if s.Subject, err = readSubject(rest.SubID); err != nil {
		return nil, &Error{CodeClaims, "the token's sub_id is not a subject identifier", err}
	}
	if s.ToldAt, err = events.NumericDate(rest.Toe); err != nil {
		return nil, &Error{CodeMalformed, "the claims can't be read", err}
	}
	return s, nil
}

// DetailTime returns a time among the event's details, such as
// event_timestamp, in unix milliseconds; zero if it is absent. It is a
// NumericDate like exp: a number of seconds. Drafts of CAEP had milliseconds
// there, which are thousands of years ahead and an error.
func (s *SET) DetailTime(name string) (int64, error) {
	var details map[string]jsontext.Value
	if err := json.Unmarshal(s.Details, &details); err != nil {
		return 0, err
	}
	return events.NumericDate(details[name])
}
