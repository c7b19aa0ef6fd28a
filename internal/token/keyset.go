package token

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/MicahParks/jwkset"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxKeys bounds a key set. Issuers have a handful; a search is linear.
const maxKeys = 100

// key is one verification key of an issuer.
type key struct {
	id     string   // kid, "" if it has none
	algs   []string // what it may be used with; may be empty
	public any      // as golang-jwt wants it
}

// keySet is the keys of one issuer, and of no other: a kid means nothing
// outside its set. It is never modified.
type keySet []key

// find returns the keys that may have signed a token with this alg and kid.
// They are several only if the issuer gave several keys the same kid. The
// error is CodeUnknownKey if a newer set might have the key, with again true,
// or if the token doesn't say which of several keys it was signed with.
func (s keySet) find(alg, kid string) (found []key, again bool, err *Error) {
	named := false
	for _, k := range s {
		if kid != "" && k.id != kid {
			continue
		}
		named = true
		if slices.Contains(k.algs, alg) {
			found = append(found, k)
		}
	}
	switch {
	case kid == "" && len(found) > 1:
		return nil, false, &Error{CodeUnknownKey, "the token names no key and its issuer has several", nil}
	case len(found) > 0:
		return found, false, nil
	case kid != "" && named:
		return nil, false, &Error{CodeAlgorithm, "the key that the token names is not for its algorithm", nil}
	default:
		return nil, true, &Error{CodeUnknownKey, "the issuer has no such key", nil}
	}
}

// parseKeySet reads a JWK Set (RFC 7517 section 5) for an issuer that uses
// these algorithms. Keys that are broken, weak or private don't spoil the set,
// as the RFC asks; skipped says what is wrong with each.
func parseKeySet(data []byte, allowed []string) (set keySet, skipped []error, err error) {
	var doc struct {
		Keys []jsontext.Value `json:"keys"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, nil, fmt.Errorf("not a JWK Set: %w", err)
	}
	if doc.Keys == nil {
		return nil, nil, errors.New("not a JWK Set: no keys member")
	}
	if len(doc.Keys) > maxKeys {
		return nil, nil, fmt.Errorf("JWK Set of %d keys, want at most %d", len(doc.Keys), maxKeys)
	}
	for i, raw := range doc.Keys {
		k, err := parseKey(raw, allowed)
		if err != nil {
			skipped = append(skipped, fmt.Errorf("key %d: %w", i+1, err))
			continue
		}
		set = append(set, k)
	}
	return set, skipped, nil
}

// jwk has the members that matter for verifying. The certificates that a JWK
// may carry are left out: nothing here would trust a key because of them.
type jwk struct {
	Kty    jwkset.KTY      `json:"kty"`
	Use    jwkset.USE      `json:"use"`
	KeyOps []jwkset.KEYOPS `json:"key_ops"`
	Alg    jwkset.ALG      `json:"alg"`
	Kid    string          `json:"kid"`
	Crv    jwkset.CRV      `json:"crv"`
	X      string          `json:"x"`
	Y      string          `json:"y"`
	N      string          `json:"n"`
	E      string          `json:"e"`
	K      string          `json:"k"`
	D      string          `json:"d"`
}

// coordinateLen is how many characters of base64url a coordinate has.
var coordinateLen = map[jwkset.CRV]int{jwkset.CrvP256: 43, jwkset.CrvP384: 64, jwkset.CrvP521: 88}

func parseKey(raw []byte, allowed []string) (key, error) {
	var j jwk
	if err := json.Unmarshal(raw, &j); err != nil {
		return key{}, err
	}
	if j.D != "" {
		// Whoever can read this file or address can sign.
		return key{}, errors.New("a private key, which nobody may have but the issuer")
	}
	// RFC 7518 section 6.2.1.2. jwkset panics at a longer one.
	if n := coordinateLen[j.Crv]; j.Kty == jwkset.KtyEC && n != 0 &&
		(len(strings.TrimRight(j.X, "=")) != n || len(strings.TrimRight(j.Y, "=")) != n) {
		return key{}, fmt.Errorf("EC key whose coordinates are not as long as those of %s", j.Crv)
	}
	parsed, err := jwkset.NewJWKFromMarshal(jwkset.JWKMarshal{
		KTY: j.Kty, USE: j.Use, KEYOPS: j.KeyOps, ALG: j.Alg, KID: j.Kid,
		CRV: j.Crv, X: j.X, Y: j.Y, N: j.N, E: j.E, K: j.K,
	}, jwkset.JWKMarshalOptions{Private: j.Kty == jwkset.KtyOct}, jwkset.JWKValidateOptions{})
	if err != nil && !errors.Is(err, jwkset.ErrUnsupportedKey) {
		return key{}, err
	}
	// Sets often have keys for encryption too, and may have keys of types to
	// come. Nothing is wrong with those, they just verify nothing here.
	if err != nil ||
		j.Use != "" && j.Use != jwkset.UseSig ||
		len(j.KeyOps) > 0 && !slices.Contains(j.KeyOps, jwkset.KeyOpsVerify) {
		return key{id: j.Kid}, nil
	}
	able, err := algorithmsOf(parsed.Key())
	if err != nil {
		return key{}, err
	}
	algs := slices.DeleteFunc(able, func(alg string) bool {
		return !slices.Contains(allowed, alg) || j.Alg != "" && string(j.Alg) != alg
	})
	return key{j.Kid, algs, parsed.Key()}, nil
}

// A keySet that was configured is its own source.
func (s keySet) keySet() keySet { return s }

func (s keySet) newer(context.Context) (keySet, error) { return s, nil }
