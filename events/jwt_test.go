package events

import (
	"crypto/ed25519"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func TestSignJWT(t *testing.T) {
	k := exampleKey()
	raw := must(k.SignJWT("token-introspection+jwt", []byte(`{"iss":"hub"}`)))
	head, rest, _ := strings.Cut(raw, ".")
	want := `{"alg":"EdDSA","kid":"` + rfc8037Thumbprint + `","typ":"token-introspection+jwt"}`
	if got := string(must(base64.RawURLEncoding.DecodeString(head))); got != want {
		t.Errorf("header %s, want %s", got, want)
	}
	if body, _, _ := strings.Cut(rest, "."); string(must(base64.RawURLEncoding.DecodeString(body))) != `{"iss":"hub"}` {
		t.Errorf("claims %s", body)
	}
	// As others read it.
	jws := must(jose.ParseSigned(raw, []jose.SignatureAlgorithm{jose.EdDSA}))
	x := k.Public().X
	if payload, err := jws.Verify(ed25519.PublicKey(x[:])); err != nil || string(payload) != `{"iss":"hub"}` {
		t.Errorf("%s %v", payload, err)
	}
	y := otherKey().Public().X
	if _, err := jws.Verify(ed25519.PublicKey(y[:])); err == nil {
		t.Error("verified with another key")
	}

	for what, c := range map[string]struct{ typ, claims string }{
		"no type":       {"", `{}`},
		"type no text":  {"\xff", `{}`},
		"no claims":     {"JWT", ``},
		"not an object": {"JWT", `[]`},
	} {
		if raw, err := k.SignJWT(c.typ, []byte(c.claims)); err == nil || raw != "" {
			t.Errorf("%s: %q", what, raw)
		}
	}
}

// The key signs ticks, report answers and JWTs. No signature of one is one of
// another, whatever they say: the bytes of the former begin with a zero, and
// those of a JWT with a letter.
func TestSignedBytesAreApart(t *testing.T) {
	k := exampleKey()
	raw := must(k.SignJWT("JWT", []byte(`{}`)))
	if raw[0] == 0 {
		t.Error("a JWT may be taken for something else")
	}
	tick, answer := Tick{}, ReportAnswer{}
	for what, signed := range map[string][]byte{"tick": tick.signed("", ""), "report": answer.signed("")} {
		if signed[0] != 0 {
			t.Errorf("what is signed of a %s may be taken for a JWT: %q", what, signed)
		}
	}
	// The signature of a JWT makes no tick.
	sig := must(base64.RawURLEncoding.DecodeString(raw[strings.LastIndex(raw, ".")+1:]))
	tick.KeyID, tick.Sig = k.ID(), Signature(sig)
	if tick.Verify("default", "e", []PublicKey{k.Public()}) == nil {
		t.Error("it does")
	}
}
