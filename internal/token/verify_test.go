package token

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/revocast/revocast/events"
)

func TestEveryAlgorithmOfEitherLibraryVerifies(t *testing.T) {
	v := newVerifier(t, Issuer{Iss: ours, Algorithms: everyAlg, Keys: ourKeys().set(everyKid...)})
	for _, alg := range everyAlg {
		kid, private := ourKeys().signer(alg)
		t.Run("golang-jwt/"+alg, func(t *testing.T) {
			tok := jwt.NewWithClaims(jwt.GetSigningMethod(alg), jwt.MapClaims{
				"iss": ours, "sub": "alice", "exp": noon.Unix() + 60, "iat": noon.Unix(),
			})
			tok.Header["kid"] = kid
			raw, err := tok.SignedString(private)
			if err != nil {
				t.Fatal(err)
			}
			if got := mustVerify(t, v, raw); got.Algorithm != alg || got.Claims.KeyID != kid || got.Claims.Subject != "alice" {
				t.Errorf("got %+v", got)
			}
		})
		t.Run("go-jose/"+alg, func(t *testing.T) {
			signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(alg), Key: jose.JSONWebKey{Key: private, KeyID: kid}},
				(&jose.SignerOptions{}).WithType("at+jwt"))
			if err != nil {
				t.Fatal(err)
			}
			jws, err := signer.Sign([]byte("{" + good + "}"))
			if err != nil {
				t.Fatal(err)
			}
			raw, err := jws.CompactSerialize()
			if err != nil {
				t.Fatal(err)
			}
			if got := mustVerify(t, v, raw); got.Algorithm != alg || got.Type != "at+jwt" || got.Claims.ID != "j-1" {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestTokenSaysWhatItsClaimsSay(t *testing.T) {
	claims := `{"iss":"` + ours + `","jti":"j","sub":"s","sid":"x","client_id":"c","aud":["a","b"],` +
		`"iat":1795348740.5,"nbf":1795348000.25,"exp":1795350000,"scope":"read  write"}`
	raw := forge(`{"alg":"RS256","kid":"rsa","typ":"JWT"}`, claims, "RS256", ourKeys().rsa)
	want := &Token{
		Claims: events.Claims{
			Issuer: ours, ID: "j", Subject: "s", Session: "x", Client: "c", KeyID: "rsa",
			Handle:   events.HandleOf(raw[:strings.LastIndexByte(raw, '.')]),
			IssuedAt: 1795348740500, Expires: 1795350000000,
		},
		Audience: []string{"a", "b"}, NotBefore: 1795348000250, Scope: []string{"read", "write"},
		Payload: []byte(claims), Type: "JWT", Algorithm: "RS256",
	}
	got := mustVerify(t, newVerifier(t, bothIssuers()...), raw)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if unverified, err := ReadUnverified(raw, events.ClaimNames{}); err != nil || !reflect.DeepEqual(unverified, want) {
		t.Errorf("ReadUnverified: %+v, %v", unverified, err)
	}
}

func TestScope(t *testing.T) {
	for claims, want := range map[string][]string{
		``:                                    nil,
		`,"scope":null`:                       nil,
		`,"scope":"a"`:                        {"a"},
		`,"scope":" a  b "`:                   {"a", "b"},
		`,"scope":["a","b"]`:                  {"a", "b"},
		`,"scp":["a","b c"]`:                  {"a", "b c"},
		`,"scp":"a b"`:                        {"a", "b"},
		`,"scope":"a","scp":["revocast:all"]`: {"a"},
		`,"scope":"","scp":"revocast:all"`:    {},
	} {
		tok, err := ReadUnverified(sign("EdDSA", good+claims), events.ClaimNames{})
		if err != nil || len(tok.Scope) != len(want) || len(want) > 0 && !reflect.DeepEqual(tok.Scope, want) {
			t.Errorf("%s: %v, %v, want %q", claims, tok, err, want)
		}
	}
}

// refusal is a token that must not be accepted at noon by bothIssuers.
type refusal struct {
	name string
	code Code
	raw  string
}

func refusals() []refusal {
	rs := sign("RS256", good)
	head, rest, _ := strings.Cut(rs, ".")
	body, sig, _ := strings.Cut(rest, ".")
	der, _ := x509.MarshalPKIXPublicKey(ourKeys().rsa.Public())
	pkcs1 := x509.MarshalPKCS1PublicKey(&ourKeys().rsa.PublicKey)
	block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	hs := func(secret []byte) string {
		return forge(`{"alg":"HS256","kid":"rsa"}`, "{"+good+"}", "HS256", secret)
	}
	return []refusal{
		// Not a JWS in compact form.
		{"empty", CodeMalformed, ""},
		{"dots", CodeMalformed, ".."},
		{"no signature segment", CodeMalformed, head + "." + body},
		{"empty signature", CodeMalformed, head + "." + body + "."},
		{"extra segment", CodeMalformed, rs + "." + sig},
		{"trailing dot", CodeMalformed, rs + "."},
		{"JWE", CodeMalformed, rs + "." + sig + "." + sig},
		{"many dots", CodeMalformed, strings.Repeat(".", MaxSize)},
		{"huge", CodeMalformed, sign("RS256", good+`,"x":"`+strings.Repeat("x", MaxSize)+`"`)},
		{"trailing newline", CodeMalformed, rs + "\n"},
		{"newline inside", CodeMalformed, head + ".\r\n" + body + "." + sig},
		{"leading space", CodeMalformed, " " + rs},
		{"padded", CodeMalformed, head + "." + body + "." + sig + "=="},
		{"standard base64", CodeMalformed, head + "." + body + "." + strings.NewReplacer("-", "+", "_", "/").Replace(sig) + "+"},
		{"altered last character", CodeMalformed, rs[:len(rs)-1] + string(nextChar(rs[len(rs)-1]))},
		{"Bearer", CodeMalformed, "Bearer " + rs},

		// JSON open to interpretation.
		{"duplicate claim", CodeMalformed, sign("RS256", good+`,"jti":"j-2"`)},
		{"duplicate claim, escaped", CodeMalformed, sign("RS256", good+`,"jt\u0069":"j-2"`)},
		{"duplicate deep inside", CodeMalformed, sign("RS256", good+`,"act":{"sub":"a","sub":"b"}`)},
		{"duplicate header name", CodeMalformed, signRS(`"kid":"rsa","kid":"rsa"`, good)},
		{"duplicate alg", CodeMalformed, signRS(`"kid":"rsa","alg":"none"`, good)},
		{"invalid UTF-8", CodeMalformed, sign("RS256", good+",\"x\":\"\xff\"")},
		{"something after the claims", CodeMalformed, forge(`{"alg":"RS256","kid":"rsa"}`, "{"+good+"}{}", "RS256", ourKeys().rsa)},
		{"claims an array", CodeMalformed, forge(`{"alg":"RS256","kid":"rsa"}`, "[]", "RS256", ourKeys().rsa)},
		{"claims null", CodeMalformed, forge(`{"alg":"RS256","kid":"rsa"}`, "null", "RS256", ourKeys().rsa)},
		{"header null", CodeMalformed, forge(`null`, "{"+good+"}", "RS256", ourKeys().rsa)},
		{"deep nesting", CodeMalformed, sign("RS256", good+`,"x":`+strings.Repeat("[", 11000))},
		{"kid a number", CodeMalformed, signRS(`"kid":1`, good)},
		{"jti a number", CodeMalformed, sign("RS256", timeless+`,"jti":1,"exp":`+at(time.Hour))},
		{"aud a number", CodeMalformed, sign("RS256", timeless+`,"aud":1,"exp":`+at(time.Hour))},
		{"aud has null", CodeMalformed, sign("RS256", timeless+`,"aud":["orders",null],"exp":`+at(time.Hour))},
		{"scope a number", CodeMalformed, sign("RS256", timeless+`,"scope":1,"exp":`+at(time.Hour))},
		{"exp a string", CodeMalformed, sign("RS256", timeless+`,"exp":"9999999999"`)},
		{"exp 1e18", CodeMalformed, sign("RS256", timeless+`,"exp":1e18`)},
		{"exp negative", CodeMalformed, sign("RS256", timeless+`,"exp":-1`)},
		{"nbf a string", CodeMalformed, sign("RS256", good+`,"nbf":"0"`)},
		{"nbf 1e18", CodeMalformed, sign("RS256", good+`,"nbf":1e18`)},
		{"claims of other case only", CodeUnknownIssuer, sign("RS256", `"ISS":"`+ours+`","exp":`+at(time.Hour))},

		// Critical extensions, known to others or not.
		{"crit", CodeCritical, signRS(`"kid":"rsa","crit":["b64"],"b64":true`, good)},
		{"crit empty", CodeCritical, signRS(`"kid":"rsa","crit":[]`, good)},
		{"crit null", CodeCritical, signRS(`"kid":"rsa","crit":null`, good)},

		// Whose token it is.
		{"unknown issuer", CodeUnknownIssuer, sign("RS256", goodFor("https://issuer.example/"))},
		{"no issuer", CodeUnknownIssuer, sign("RS256", `"sub":"alice-secret","exp":`+at(time.Hour))},
		{"key of another issuer", CodeSignature, forge(`{"alg":"RS256","kid":"rsa"}`, "{"+good+"}", "RS256", theirKeys().rsa)},
		{"claims to be of another issuer", CodeSignature, sign("RS256", goodFor(theirs))},
		{"jwk in the header", CodeSignature, forge(`{"alg":"RS256","kid":"rsa","jwk":`+firstOf(theirKeys().set("rsa"))+`}`, "{"+good+"}", "RS256", theirKeys().rsa)},

		// Algorithms.
		{"alg none", CodeAlgorithm, b64(`{"alg":"none"}`) + "." + body + "."},
		{"alg None, signed", CodeAlgorithm, b64(`{"alg":"None"}`) + "." + body + "." + sig},
		{"alg empty", CodeMalformed, b64(`{"alg":""}`) + "." + body + "." + sig},
		{"alg absent", CodeMalformed, b64(`{"kid":"rsa"}`) + "." + body + "." + sig},
		{"alg of other case", CodeAlgorithm, b64(`{"alg":"rs256","kid":"rsa"}`) + "." + body + "." + sig},
		{"alg unheard of", CodeAlgorithm, b64(`{"alg":"XS256","kid":"rsa"}`) + "." + body + "." + sig},
		{"HS256 with the public key in PEM", CodeAlgorithm, hs(block)},
		{"HS256 with the public key in DER", CodeAlgorithm, hs(der)},
		{"HS256 with the public key in PKCS 1", CodeAlgorithm, hs(pkcs1)},
		{"alg not for the key", CodeAlgorithm, forge(`{"alg":"ES256","kid":"rsa"}`, "{"+good+"}", "ES256", ourKeys().p256)},
		{"curve not for the alg", CodeAlgorithm, forge(`{"alg":"ES256","kid":"p384"}`, "{"+good+"}", "ES256", ourKeys().p256)},
		{"PS256 header on RS256", CodeSignature, b64(`{"alg":"PS256","kid":"rsa"}`) + "." + body + "." + sig},

		// Keys.
		{"unknown kid", CodeUnknownKey, signRS(`"kid":"rsa2"`, good)},
		{"no kid, key of another issuer", CodeSignature, forge(`{"alg":"ES256"}`, "{"+good+"}", "ES256", theirKeys().p256)},

		// Signatures.
		{"signature of something else", CodeSignature, head + "." + b64("{"+goodFor(ours)+" }") + "." + sig},
		{"signature too short", CodeSignature, head + "." + body + "." + b64("x")},
		{"ES256 in DER", CodeSignature, inDER(`{"alg":"ES256","kid":"p256"}`, "{"+good+"}")},
		{"ES256 of zeros", CodeSignature, b64(`{"alg":"ES256","kid":"p256"}`) + "." + body + "." + b64(strings.Repeat("\x00", 64))},

		// Types.
		{"typ secevent+jwt", CodeType, signRS(`"kid":"rsa","typ":"secevent+jwt"`, good)},
		{"typ logout+jwt", CodeType, signRS(`"kid":"rsa","typ":"logout+jwt"`, good)},
		{"typ JOSE", CodeType, signRS(`"kid":"rsa","typ":"JOSE"`, good)},
		{"typ text/at+jwt", CodeType, signRS(`"kid":"rsa","typ":"text/at+jwt"`, good)},
		{"typ with a parameter", CodeType, signRS(`"kid":"rsa","typ":"at+jwt;v=2"`, good)},

		// Times.
		{"no exp", CodeNoExpiry, sign("RS256", timeless)},
		{"exp null", CodeNoExpiry, sign("RS256", timeless+`,"exp":null`)},
		{"exp 0", CodeNoExpiry, sign("RS256", timeless+`,"exp":0`)},
		{"exp of other case only", CodeNoExpiry, sign("RS256", timeless+`,"Exp":`+at(time.Hour))},
		{"exp just past the skew", CodeExpired, sign("RS256", timeless+`,"exp":`+at(-2*time.Second))},
		{"iat just past the skew", CodeNotYetValid, sign("RS256", timeless+`,"exp":`+at(time.Hour)+`,"iat":`+at(2001*time.Millisecond))},
		{"nbf just past the skew", CodeNotYetValid, sign("RS256", good+`,"nbf":`+at(2001*time.Millisecond))},
		{"a millisecond too long", CodeLifetime, sign("RS256", timeless+`,"iat":`+at(-time.Hour)+`,"exp":`+at(23*time.Hour+time.Millisecond))},
		{"a millisecond too long, no iat", CodeLifetime, sign("RS256", timeless+`,"exp":`+at(24*time.Hour+time.Millisecond))},
		{"exp in the year 9999", CodeLifetime, sign("RS256", timeless+`,"iat":1,"exp":253402300799`)},
	}
}

// inDER signs ES256 the way of X.509, which RFC 7518 section 3.4 is not.
func inDER(header, claims string) string {
	input := b64(header) + "." + b64(claims)
	sum := sha256.Sum256([]byte(input))
	sig, err := ecdsa.SignASN1(rand.Reader, ourKeys().p256, sum[:])
	if err != nil {
		panic(err)
	}
	return input + "." + b64(string(sig))
}

// nextChar returns a character of base64url whose value differs in the last
// bit only.
func nextChar(c byte) byte {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return alphabet[strings.IndexByte(alphabet, c)^1]
}

// firstOf returns the first key of a JWK Set.
func firstOf(set []byte) string {
	s := strings.TrimPrefix(string(set), `{"keys":[`)
	return strings.TrimSuffix(s, `]}`)
}

func TestRefusals(t *testing.T) {
	v := newVerifier(t, bothIssuers()...)
	mustVerify(t, v, sign("RS256", good), "orders")
	for _, r := range refusals() {
		t.Run(r.name, func(t *testing.T) { mustRefuse(t, v, r.code, r.raw) })
	}
}

func TestTimesAreExactToTheMillisecond(t *testing.T) {
	v := newVerifier(t, bothIssuers()...)
	for name, claims := range map[string]string{
		"exp, last millisecond of the skew": `"exp":` + at(-1999*time.Millisecond),
		"iat, end of the skew":              `"exp":` + at(time.Hour) + `,"iat":` + at(2*time.Second),
		"nbf, end of the skew":              `"exp":` + at(time.Hour) + `,"nbf":` + at(2*time.Second),
		"as long as allowed":                `"exp":` + at(23*time.Hour) + `,"iat":` + at(-time.Hour),
		"as long as allowed, no iat":        `"exp":` + at(24*time.Hour),
	} {
		t.Run(name, func(t *testing.T) { mustVerify(t, v, sign("RS256", timeless+","+claims)) })
	}
}

func TestIssuersOwnLimits(t *testing.T) {
	v := newVerifier(t, Issuer{Iss: ours, Keys: ourKeys().set("rsa"), MaxTokenLifetime: 10 * time.Minute, Skew: time.Minute, Types: []string{"delivery+jwt"}})
	in := func(typ, claims string) string { return signRS(`"kid":"rsa"`+typ, timeless+claims) }
	delivery := `,"typ":"application/Delivery+JWT"`
	mustVerify(t, v, in(delivery, `,"iat":`+at(0)+`,"exp":`+at(10*time.Minute)))
	mustVerify(t, v, in(delivery, `,"iat":`+at(-5*time.Minute)+`,"exp":`+at(-59*time.Second)))
	mustRefuse(t, v, CodeLifetime, in(delivery, `,"iat":`+at(0)+`,"exp":`+at(601*time.Second)))
	mustRefuse(t, v, CodeExpired, in(delivery, `,"iat":`+at(-5*time.Minute)+`,"exp":`+at(-time.Minute)))
	mustRefuse(t, v, CodeType, in("", `,"iat":`+at(0)+`,"exp":`+at(time.Minute)))
	mustRefuse(t, v, CodeType, in(`,"typ":"at+jwt"`, `,"iat":`+at(0)+`,"exp":`+at(time.Minute)))
	// The Kelvin sign folds to k in Unicode, and is no letter of a media type.
	mustRefuse(t, newVerifier(t, Issuer{Iss: ours, Keys: ourKeys().set("rsa"), Types: []string{"kb+jwt"}}), CodeType,
		in(`,"typ":"`+"\u212a"+`b+jwt"`, `,"exp":`+at(time.Minute)))
}

func TestAcceptedTypes(t *testing.T) {
	v := newVerifier(t, bothIssuers()...)
	for _, typ := range []string{"JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"} {
		mustVerify(t, v, signRS(`"kid":"rsa","typ":"`+typ+`"`, good))
	}
	mustVerify(t, v, signRS(`"kid":"rsa"`, good))
}

func TestAudience(t *testing.T) {
	v := newVerifier(t, bothIssuers()...)
	in := func(aud string) string { return sign("EdDSA", timeless+`,"exp":`+at(time.Hour)+aud) }
	one, many, none, empty := in(`,"aud":"orders"`), in(`,"aud":["x","orders"]`), in(``), in(`,"aud":[]`)
	for _, raw := range []string{one, many, none, empty} {
		mustVerify(t, v, raw)
	}
	for _, raw := range []string{one, many} {
		mustVerify(t, v, raw, "orders")
		mustVerify(t, v, raw, "billing", "orders")
		mustRefuse(t, v, CodeAudience, raw, "billing")
		mustRefuse(t, v, CodeAudience, raw, "Orders")
		mustRefuse(t, v, CodeAudience, raw, "")
	}
	for _, raw := range []string{none, empty} {
		mustRefuse(t, v, CodeAudience, raw, "orders")
		mustRefuse(t, v, CodeAudience, raw, "")
	}
}

func TestClaimsOfOtherCaseAreOtherClaims(t *testing.T) {
	tok := mustVerify(t, newVerifier(t, bothIssuers()...), sign("RS256", good+`,"JTI":"x","Sub":"x","EXP":1,"Aud":"x"`), "orders")
	if tok.Claims.ID != "j-1" || tok.Claims.Subject != "alice-secret" {
		t.Errorf("got %+v", tok.Claims)
	}
}

// An ES256 signature (r, s) can be turned into (r, n-s) by anybody and still
// verifies. It must be the same token to a revocation.
func TestRewrittenSignatureIsTheSameToken(t *testing.T) {
	v := newVerifier(t, bothIssuers()...)
	raw := sign("ES256", good)
	cut := strings.LastIndexByte(raw, '.') + 1
	sig, err := base64url.DecodeString(raw[cut:])
	if err != nil {
		t.Fatal(err)
	}
	s := new(big.Int).SetBytes(sig[32:])
	s.Sub(elliptic.P256().Params().N, s).FillBytes(sig[32:])
	other := raw[:cut] + base64url.EncodeToString(sig)
	if other == raw {
		t.Fatal("not rewritten")
	}
	a, b := mustVerify(t, v, raw), mustVerify(t, v, other)
	var salt events.Salt
	if a.Claims.Handle != b.Claims.Handle || !reflect.DeepEqual(salt.Keys(a.Claims), salt.Keys(b.Claims)) {
		t.Error("two identities for one token")
	}
}

func TestSymmetricKeysAreForThoseWhoAskForThem(t *testing.T) {
	// Beside an RSA key, HS256 stays a matter of the secret alone.
	v := newVerifier(t, Issuer{Iss: ours, Algorithms: []string{"RS256", "HS256"}, Keys: ourKeys().set("rsa", "secret")})
	mustVerify(t, v, sign("RS256", good))
	mustVerify(t, v, sign("HS256", good))
	der, _ := x509.MarshalPKIXPublicKey(ourKeys().rsa.Public())
	mustRefuse(t, v, CodeAlgorithm, forge(`{"alg":"HS256","kid":"rsa"}`, "{"+good+"}", "HS256", der))
	mustRefuse(t, v, CodeSignature, forge(`{"alg":"HS256"}`, "{"+good+"}", "HS256", der))
	mustRefuse(t, v, CodeSignature, forge(`{"alg":"HS256","kid":"secret"}`, "{"+good+"}", "HS256", der))

	// A secret in the set of an issuer that doesn't use HS* opens nothing.
	v = newVerifier(t, Issuer{Iss: ours, Keys: ourKeys().set("rsa", "secret")})
	mustRefuse(t, v, CodeAlgorithm, sign("HS256", good))
}

func TestTokenWithoutKidNeedsTheOnlyKeyForItsAlgorithm(t *testing.T) {
	noKid := forge(`{"alg":"RS256"}`, "{"+good+"}", "RS256", ourKeys().rsa)
	two := fmt.Sprintf(`{"keys":[%s,%s]}`, firstOf(ourKeys().set("rsa")),
		strings.Replace(firstOf(theirKeys().set("rsa")), `"kid":"rsa"`, `"kid":"rsa2"`, 1))
	mustVerify(t, newVerifier(t, bothIssuers()...), noKid)
	mustRefuse(t, newVerifier(t, Issuer{Iss: ours, Keys: []byte(two)}), CodeUnknownKey, noKid)
	mustVerify(t, newVerifier(t, Issuer{Iss: ours, Keys: []byte(two)}), sign("RS256", good))

	// The other way around a key that is called something isn't called
	// something else, even if there is no other.
	v := newVerifier(t, Issuer{Iss: ours, Keys: ourKeys().set("rsa")})
	mustRefuse(t, v, CodeUnknownKey, signRS(`"kid":"RSA"`, good))
}

func TestReadUnverifiedIsAsStrict(t *testing.T) {
	v := newVerifier(t, bothIssuers()...)
	for _, r := range refusals() {
		tok, err := ReadUnverified(r.raw, events.ClaimNames{})
		switch {
		case r.code == CodeMalformed || r.code == CodeCritical || strings.HasPrefix(r.name, "alg none") || strings.HasPrefix(r.name, "alg None"):
			mustBe(t, r.code, tok, err, r.raw)
		case err != nil:
			t.Errorf("%s: %v", r.name, err)
		}
	}
	raw := forge(`{"alg":"RS256","kid":"rsa"}`, "{"+good+"}", "", nil)
	mustRefuse(t, v, CodeSignature, raw)
	if tok, err := ReadUnverified(raw, events.ClaimNames{}); err != nil || tok.Claims.ID != "j-1" {
		t.Errorf("%+v, %v", tok, err)
	}
}

func TestVerifyKeepsNothingOfTheCaller(t *testing.T) {
	v := newVerifier(t, bothIssuers()...)
	conf, ok := v.Issuer(ours)
	if !ok || conf.MaxTokenLifetime != 24*time.Hour || conf.Skew != 2*time.Second || len(conf.Types) != 3 {
		t.Errorf("%v: %+v", ok, conf)
	}
	if _, ok := v.Issuer("https://nobody.example"); ok {
		t.Error("knows an issuer that isn't configured")
	}
	for n := range conf.Algorithms {
		conf.Algorithms[n] = "none"
	}
	conf.Types[0] = "x"
	if _, err := v.Verify(context.Background(), sign("RS256", good)); err != nil {
		t.Errorf("changed by its caller: %v", err)
	}
}
