package token

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/revocast/revocast/events"
)

// Another library, which shares no code with the one that verifies here, is
// asked the same questions.

// joseVerify is how a user of go-jose verifies a token: with the issuer's
// published set, and the algorithms that the issuer uses.
func joseVerify(raw string, set jose.JSONWebKeySet) ([]byte, error) {
	var allowed []jose.SignatureAlgorithm
	for _, alg := range everyAlg {
		allowed = append(allowed, jose.SignatureAlgorithm(alg))
	}
	jws, err := jose.ParseSignedCompact(raw, allowed)
	if err != nil {
		return nil, err
	}
	return jws.Verify(set)
}

func joseSet(t testing.TB, data []byte) (set jose.JSONWebKeySet) {
	t.Helper()
	if err := json.Unmarshal(data, &set); err != nil {
		t.Fatal(err)
	}
	return set
}

// What we make, go-jose takes, and what go-jose makes, we take: tokens with
// each algorithm, logout tokens and SETs (TestLogoutToken and TestSET have
// the latter two made by either), and JWTs by the key of a hub.
func TestEitherLibraryTakesWhatTheOtherMakes(t *testing.T) {
	published := joseSet(t, ourKeys().set(everyKid...))
	for _, alg := range everyAlg {
		raw := sign(alg, good)
		if payload, err := joseVerify(raw, published); err != nil || string(payload) != "{"+good+"}" {
			t.Errorf("%s: go-jose says %v of %s", alg, err, payload)
		}
		if _, err := joseVerify(raw, joseSet(t, theirKeys().set(everyKid...))); err == nil {
			t.Errorf("%s: go-jose takes it with the keys of another issuer", alg)
		}
	}
	for typ, claims := range map[string]claimSet{"logout+jwt": logoutClaims, "secevent+jwt": setClaims} {
		if _, err := joseVerify(signEvent(typ, claims), published); err != nil {
			t.Errorf("%s: go-jose says %v", typ, err)
		}
	}
}

// A hub signs JWTs with a key that it publishes as a JWK (RFC 8037). Both
// libraries read the key, and each verifies what the other has made with it.
func TestKeyOfAHub(t *testing.T) {
	signing, err := events.NewSigningKey(strings.NewReader("the seed of a hub, of 32 bytes.."))
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]any{"keys": []events.PublicKey{signing.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	v := newVerifier(t, Issuer{Iss: ours, Algorithms: []string{"EdDSA"}, Keys: text})

	ourJWT, err := signing.SignJWT("at+jwt", []byte("{"+good+"}"))
	if err != nil {
		t.Fatal(err)
	}
	if payload, err := joseVerify(ourJWT, joseSet(t, text)); err != nil || string(payload) != "{"+good+"}" {
		t.Errorf("go-jose says %v of %s", err, payload)
	}
	if got := mustVerify(t, v, ourJWT); got.Claims.KeyID != signing.ID() {
		t.Errorf("kid %q", got.Claims.KeyID)
	}

	// The secret, as a JWK that go-jose has read.
	var private jose.JSONWebKey
	secret, err := json.Marshal(map[string]any{"kty": "OKP", "crv": "Ed25519", "kid": signing.ID(), "x": signing.Public().X, "d": b64(string(signing.Seed()))})
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(secret, &private); err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: private}, new(jose.SignerOptions).WithType("at+jwt"))
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign([]byte("{" + good + "}"))
	if err != nil {
		t.Fatal(err)
	}
	theirJWT, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	mustVerify(t, v, theirJWT)

	// A type that is for something else makes it no access token.
	for _, typ := range []string{"token-introspection+jwt", "logout+jwt", "secevent+jwt"} {
		raw, err := signing.SignJWT(typ, []byte("{"+good+"}"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Verify(context.Background(), raw); err == nil {
			t.Errorf("an access token of typ %s", typ)
		}
	}
}

// What is verified here is verified by go-jose, and has the same payload for
// it. The converse does not hold, and need not: we are stricter.
func FuzzAgainstGoJose(f *testing.F) {
	for _, alg := range everyAlg {
		f.Add(sign(alg, good))
	}
	for _, sign := range signers {
		f.Add(sign("logout+jwt", logoutClaims))
		f.Add(sign("secevent+jwt", setClaims))
	}
	for _, r := range refusals() {
		if len(r.raw) < 4096 {
			f.Add(r.raw)
		}
	}
	v := newVerifier(f, Issuer{Iss: ours, Algorithms: everyAlg, Keys: ourKeys().set(everyKid...), Audience: []string{us}})
	published := joseSet(f, ourKeys().set(everyKid...))
	f.Fuzz(func(t *testing.T, raw string) {
		// The fuzzer can't sign; so what it has made of the first two parts
		// gets signatures that are good, besides the one that it brought.
		tried := []string{raw}
		if dots := strings.Split(raw, "."); len(dots) == 3 {
			for _, alg := range []string{"RS256", "EdDSA", "HS256"} {
				_, private := ourKeys().signer(alg)
				header, _ := base64url.DecodeString(dots[0])
				payload, _ := base64url.DecodeString(dots[1])
				tried = append(tried, forge(string(header), string(payload), alg, private))
			}
		}
		ctx := context.Background()
		for _, raw := range tried {
			var payload []byte
			if tok, err := v.Verify(ctx, raw); err == nil {
				payload = tok.Payload
			} else if set, err := v.VerifySET(ctx, raw); err == nil {
				payload = set.Payload
			} else if _, err := v.VerifyLogout(ctx, raw); err != nil {
				continue
			}
			theirs, err := joseVerify(raw, published)
			if err != nil {
				t.Fatalf("go-jose says %v of %s", err, raw)
			}
			if payload != nil && !bytes.Equal(theirs, payload) {
				t.Fatalf("payload %s, go-jose has %s", payload, theirs)
			}
			if !IsJWT(raw) {
				t.Fatalf("no JWT: %s", raw)
			}
		}
	})
}

// A key set is read, or it is not; a key in it is used as it says, or not at
// all; and no private key is ever one to verify with.
func FuzzKeySet(f *testing.F) {
	f.Add(ourKeys().set(everyKid...), byte(0))
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"a","kid":"b"}]}`), byte(0))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"oct","k":"c2hvcnQ"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"},{"kty":"new"},7,null]}`), byte(1))
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","use":"enc"},{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}]}`), byte(2))
	f.Add([]byte(`{"keys":[`+strings.Repeat(`{"kty":"x"},`, maxKeys)+`{"kty":"x"}]}`), byte(3))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-521","x":"`+strings.Repeat("0", 88)+`","y":"`+strings.Repeat("0", 91)+`"}]}`), byte(0)) // jwkset panics at it
	sets := [][]string{everyAlg, {"RS256"}, {"EdDSA", "ES256"}, {"HS256", "HS512"}}
	f.Fuzz(func(t *testing.T, data []byte, n byte) {
		allowed := sets[int(n)%len(sets)]
		set, skipped, err := parseKeySet(data, allowed)
		if err != nil {
			if set != nil || skipped != nil {
				t.Fatalf("%v, with %v, %v", err, set, skipped)
			}
			return
		}
		if len(set)+len(skipped) > maxKeys {
			t.Fatalf("%d keys", len(set)+len(skipped))
		}
		var doc struct {
			Keys []json.RawMessage `json:"keys"`
		}
		if err := json.Unmarshal(data, &doc); err != nil {
			t.Fatalf("accepted, and is not JSON: %v", err)
		}
		if len(doc.Keys) != len(set)+len(skipped) {
			t.Fatalf("%d keys of %d", len(set)+len(skipped), len(doc.Keys))
		}
		for _, k := range set {
			able, err := algorithmsOf(k.public)
			for _, alg := range k.algs {
				if !slices.Contains(allowed, alg) || !slices.Contains(able, alg) || err != nil {
					t.Fatalf("%T is used with %v, allowed are %v, %v", k.public, k.algs, allowed, err)
				}
			}
			if _, private := k.public.(crypto.Signer); private {
				t.Fatalf("a private key: %T", k.public)
			}
		}
		// Reading it again as go-jose does: a key that both read is the same.
		for _, raw := range doc.Keys {
			k, err := parseKey(raw, allowed)
			var other jose.JSONWebKey
			if err != nil || len(k.algs) == 0 || json.Unmarshal(raw, &other) != nil {
				continue
			}
			if !other.IsPublic() && !symmetric(k.algs[0]) || other.KeyID != k.id {
				t.Fatalf("%s is a key %q, go-jose says private: %v, %q", raw, k.id, !other.IsPublic(), other.KeyID)
			}
			ours, _ := json.Marshal(jose.JSONWebKey{Key: k.public})
			theirs, _ := json.Marshal(jose.JSONWebKey{Key: other.Key})
			if !bytes.Equal(ours, theirs) {
				t.Fatalf("%s\nis %s\ngo-jose has %s", raw, ours, theirs)
			}
		}
	})
}
