package token

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The world of these tests: it is noon, and two issuers sign with keys of
// every type. The issuers' keys have the same kids, so that only the choice
// of the issuer keeps them apart.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const (
	ours   = "https://issuer.example"
	theirs = "https://other.example"
)

type keyring struct {
	rsa    *rsa.PrivateKey
	p256   *ecdsa.PrivateKey
	p384   *ecdsa.PrivateKey
	p521   *ecdsa.PrivateKey
	ed     ed25519.PrivateKey
	secret []byte
}

var (
	ourKeys   = sync.OnceValue(newKeyring)
	theirKeys = sync.OnceValue(newKeyring)
)

func newKeyring() *keyring {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	var k keyring
	var err error
	k.rsa, err = rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	k.p256, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	k.p384, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(err)
	k.p521, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	must(err)
	_, k.ed, err = ed25519.GenerateKey(rand.Reader)
	must(err)
	k.secret = make([]byte, 64)
	_, err = rand.Read(k.secret)
	must(err)
	return &k
}

// every signing algorithm and the kid and private key used with it.
var everyAlg = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512"}

func (k *keyring) signer(alg string) (kid string, private any) {
	switch alg {
	case "ES256":
		return "p256", k.p256
	case "ES384":
		return "p384", k.p384
	case "ES512":
		return "p521", k.p521
	case "EdDSA":
		return "ed", k.ed
	case "HS256", "HS384", "HS512":
		return "secret", k.secret
	default:
		return "rsa", k.rsa
	}
}

// set returns the public keys with these kids as a JWK Set, written by
// go-jose.
func (k *keyring) set(kids ...string) []byte {
	keys := map[string]any{
		"rsa": k.rsa.Public(), "p256": k.p256.Public(), "p384": k.p384.Public(), "p521": k.p521.Public(),
		"ed": k.ed.Public(), "secret": k.secret,
	}
	var set jose.JSONWebKeySet
	for _, kid := range kids {
		if keys[kid] == nil {
			panic("no key " + kid)
		}
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: keys[kid], KeyID: kid})
	}
	b, err := json.Marshal(set)
	if err != nil {
		panic(err)
	}
	return b
}

var everyKid = []string{"rsa", "p256", "p384", "p521", "ed", "secret"}

// forge makes a token of any header and claims. With a nil key it has the
// signature "forged".
func forge(header, claims, alg string, private any) string {
	input := b64(header) + "." + b64(claims)
	if private == nil {
		return input + "." + b64("forged")
	}
	sig, err := jwt.GetSigningMethod(alg).Sign(input, private)
	if err != nil {
		panic(err)
	}
	return input + "." + b64(string(sig))
}

func b64(s string) string { return base64url.EncodeToString([]byte(s)) }

// sign makes a token with our key for alg, with claims in JSON without the
// braces.
func sign(alg, claims string) string {
	kid, private := ourKeys().signer(alg)
	return forge(fmt.Sprintf(`{"alg":%q,"kid":%q}`, alg, kid), "{"+claims+"}", alg, private)
}

// signRS signs with RS256 and any header parameters besides.
func signRS(params, claims string) string {
	return forge(`{"alg":"RS256",`+params+`}`, "{"+claims+"}", "RS256", ourKeys().rsa)
}

// at returns noon plus d as a NumericDate.
func at(d time.Duration) string { return fmt.Sprintf("%.3f", float64(noon.Add(d).UnixMilli())/1000) }

// good are the claims of a token that is valid at noon.
var good = goodFor(ours)

func goodFor(iss string) string {
	return fmt.Sprintf(`"iss":%q,"jti":"j-1","sub":"alice-secret","aud":"orders","iat":%s,"exp":%s`, iss, at(-time.Minute), at(time.Hour))
}

// without time claims, to which a test adds its own.
const timeless = `"iss":"` + ours + `","sub":"alice-secret"`

func newVerifier(t testing.TB, issuers ...Issuer) *Verifier {
	t.Helper()
	return newVerifierWith(t, Options{}, issuers...)
}

func newVerifierWith(t testing.TB, opts Options, issuers ...Issuer) *Verifier {
	t.Helper()
	opts.Now = func() time.Time { return noon }
	opts.Logger = slog.New(slog.DiscardHandler)
	v, err := New(issuers, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

// bothIssuers accept every algorithm but HS*.
func bothIssuers() []Issuer {
	algs := everyAlg[:10]
	return []Issuer{
		{Iss: ours, Algorithms: algs, Keys: ourKeys().set("rsa", "p256", "p384", "p521", "ed")},
		{Iss: theirs, Algorithms: algs, Keys: theirKeys().set("rsa", "p256", "p384", "p521", "ed")},
	}
}

func mustVerify(t testing.TB, v *Verifier, raw string, audience ...string) *Token {
	t.Helper()
	tok, err := verifyPatiently(v, raw, audience...)
	if err != nil {
		t.Fatalf("refused: %v (%v)", err, errors.Unwrap(err))
	}
	return tok
}

func mustRefuse(t testing.TB, v *Verifier, want Code, raw string, audience ...string) *Error {
	t.Helper()
	verify := verifyPatiently
	if want == CodeKeysUnavailable {
		verify = func(v *Verifier, raw string, audience ...string) (*Token, error) {
			return v.Verify(context.Background(), raw, audience...)
		}
	}
	tok, err := verify(v, raw, audience...)
	return mustBe(t, want, tok, err, raw)
}

// verifyPatiently does what callers do when the keys are not there yet: it
// tries again. Tests may run on a machine that is too busy for maxWait.
func verifyPatiently(v *Verifier, raw string, audience ...string) (tok *Token, err error) {
	for range 50 {
		tok, err = v.Verify(context.Background(), raw, audience...)
		if e := (*Error)(nil); !errors.As(err, &e) || e.Code != CodeKeysUnavailable {
			break
		}
	}
	return tok, err
}

// mustBe checks a refusal, and that it gives nothing of the token away.
func mustBe(t testing.TB, want Code, tok *Token, err error, raw string) *Error {
	t.Helper()
	if err == nil {
		t.Fatalf("accepted, want %s", want)
	}
	if tok != nil {
		t.Error("a token besides an error")
	}
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("error is a %T", err)
	}
	if e.Code != want {
		t.Fatalf("refused as %v (%v), want %s", e, e.Err, want)
	}
	for part := range strings.SplitSeq(raw, ".") {
		if len(part) > 8 && strings.Contains(e.Error(), part) {
			t.Errorf("%q quotes the token", e)
		}
	}
	if strings.Contains(e.Error(), "alice-secret") || strings.Contains(e.Detail, ours) {
		t.Errorf("%q quotes the token", e)
	}
	return e
}
