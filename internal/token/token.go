package token

import (
	"encoding/base64"
	"errors"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/revocast/revocast/events"
)

// MaxSize is the size in bytes above which a token is refused unread. Servers
// commonly limit all headers together to this, so nothing honest is longer.
const MaxSize = 16 << 10

// Token is what a token says. It is read-only: several goroutines may hold the
// same one.
type Token struct {
	// Claims are all that a revocation can match, with KeyID from the header,
	// or that of the key that made the signature, and Handle from the signing
	// input.
	Claims    events.Claims
	Audience  []string // aud, one or several
	NotBefore int64    // nbf in unix milliseconds, rounded down; 0 if absent
	Scope     []string // scope (RFC 8693 section 4.2), else scp; split at spaces, or the array's elements
	Payload   []byte   // the claims, decoded: one JSON object
	Type      string   // typ as written, "" if absent
	Algorithm string   // alg

	reportsEvent bool // events is an object, as in a logout token or a security event token
}

// ReadUnverified reads a token as strictly as Verify does, and verifies
// NOTHING: whoever sent it may have made all of it up. It serves to show what
// a token says and to look up whether what it says is revoked; never let
// anybody in because of it. All errors are an *Error with CodeMalformed,
// CodeCritical, or CodeAlgorithm for an unsigned token.
func ReadUnverified(raw string, names events.ClaimNames) (*Token, error) {
	r, err := read(raw, names)
	if err != nil {
		return nil, err
	}
	return r.token, nil
}

// reading is a token whose signature has not been looked at.
type reading struct {
	token        *Token
	signingInput string // header.payload as sent (RFC 7515 section 5.2)
	signature    []byte
}

func read(raw string, names events.ClaimNames) (*reading, error) {
	head, body, sig, err := split(raw)
	if err != nil {
		return nil, err
	}
	signingInput := raw[:len(head)+1+len(body)]

	h, err := readHeader(head)
	if err != nil {
		return nil, err
	}
	t := &Token{Type: h.Typ, Algorithm: h.Alg}
	if t.Payload, err = decode(body); err != nil {
		return nil, err
	}
	if t.Claims, err = names.Parse(t.Payload); err != nil {
		return nil, &Error{CodeMalformed, "the claims can't be read", err}
	}
	t.Claims.KeyID = h.Kid
	t.Claims.Handle = events.HandleOf(signingInput)
	if err := t.readRest(); err != nil {
		return nil, &Error{CodeMalformed, "the claims can't be read", err}
	}

	signature, err := decode(sig)
	if err != nil {
		return nil, err
	}
	if len(signature) == 0 {
		return nil, &Error{CodeMalformed, "the token has no signature", nil}
	}
	return &reading{t, signingInput, signature}, nil
}

// split cuts a token into its three segments, each with characters of the
// base64url alphabet only. The decoder alone would not do: even when strict,
// it skips line breaks.
func split(raw string) (head, body, sig string, err error) {
	if len(raw) > MaxSize {
		return "", "", "", &Error{CodeMalformed, "the token is too long", nil}
	}
	var dots [2]int
	n := 0
	for i := range len(raw) {
		switch c := raw[i]; {
		case c == '.' && n < len(dots):
			dots[n] = i
			n++
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return "", "", "", &Error{CodeMalformed, "the token is not three segments of base64url", nil}
		}
	}
	if n < len(dots) {
		return "", "", "", &Error{CodeMalformed, "the token is not three segments of base64url", nil}
	}
	return raw[:dots[0]], raw[dots[0]+1 : dots[1]], raw[dots[1]+1:], nil
}

// base64url is strict: unused bits of the last character have to be zero, so
// that bytes have one spelling.
var base64url = base64.RawURLEncoding.Strict()

func decode(segment string) ([]byte, error) {
	b, err := base64url.DecodeString(segment)
	if err != nil {
		return nil, &Error{CodeMalformed, "a segment is not base64url", err}
	}
	return b, nil
}

// header has the parameters of RFC 7515 section 4.1 that are understood.
type header struct {
	Alg  string         `json:"alg"`
	Typ  string         `json:"typ"`
	Kid  string         `json:"kid"`
	Crit jsontext.Value `json:"crit"`
}

func readHeader(segment string) (header, error) {
	var h header
	b, err := decode(segment)
	if err != nil {
		return h, err
	}
	if err := json.Unmarshal(b, &h); err != nil {
		return h, &Error{CodeMalformed, "the header can't be read", err}
	}
	switch {
	case len(h.Crit) > 0:
		return h, &Error{CodeCritical, "the header has critical extensions, and none is supported", nil}
	case h.Alg == "":
		return h, &Error{CodeMalformed, "the header names no algorithm", nil}
	case strings.EqualFold(h.Alg, "none"):
		return h, &Error{CodeAlgorithm, "the token is not signed", nil}
	}
	return h, nil
}

// readRest reads the claims that matter to access and not to revocation, as
// strictly as events.ParseClaims reads the others.
func (t *Token) readRest() error {
	var rest struct {
		Aud   jsontext.Value `json:"aud"`
		Nbf   jsontext.Value `json:"nbf"`
		Scope jsontext.Value `json:"scope"`
		Scp   jsontext.Value `json:"scp"`

		Events jsontext.Value `json:"events"`
	}
	// events.ParseClaims has made sure that no name is there twice, which is
	// the larger part of the work.
	if err := json.Unmarshal(t.Payload, &rest, jsontext.AllowDuplicateNames(true)); err != nil {
		return err
	}
	var err error
	if t.Audience, err = oneOrMany(rest.Aud); err != nil {
		return err
	}
	if t.NotBefore, err = events.NumericDate(rest.Nbf); err != nil {
		return err
	}
	t.reportsEvent = rest.Events.Kind() == '{'
	if absent(rest.Scope) {
		rest.Scope = rest.Scp
	}
	if t.Scope, err = oneOrMany(rest.Scope); err != nil {
		return err
	}
	if rest.Scope.Kind() == '"' {
		t.Scope = strings.FieldsFunc(t.Scope[0], func(r rune) bool { return r == ' ' })
	}
	return nil
}

// absent reports whether a claim is missing. One that is null says nothing
// either; events.ParseClaims sees it the same way.
func absent(v jsontext.Value) bool { return len(v) == 0 || v.Kind() == 'n' }

// oneOrMany reads a claim that is a string or an array of strings, as aud is
// (RFC 7519 section 4.1.3).
func oneOrMany(v jsontext.Value) ([]string, error) {
	if absent(v) {
		return nil, nil
	}
	var list []jsontext.Value
	switch v.Kind() {
	case '"':
		list = []jsontext.Value{v}
	case '[':
		if err := json.Unmarshal(v, &list); err != nil {
			return nil, err
		}
	default:
		return nil, errors.New("neither a string nor an array")
	}
	out := make([]string, len(list))
	for i, e := range list {
		if e.Kind() != '"' { // null would be read as ""
			return nil, errors.New("not a string")
		}
		if err := json.Unmarshal(e, &out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}
