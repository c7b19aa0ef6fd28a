package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

func TestConfigurationMistakes(t *testing.T) {
	keys := ourKeys().set("rsa")
	private, _ := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: ourKeys().rsa}}})
	shortSecret, _ := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: []byte("hunter2")}}})
	uri := func(s string) Issuer { return Issuer{Iss: ours, JWKSURI: s} }
	set := func(s string) Issuer { return Issuer{Iss: ours, Keys: []byte(s)} }
	for name, c := range map[string]struct {
		issuer Issuer
		field  string
	}{
		"no iss":                 {Issuer{Keys: keys}, "Iss"},
		"no keys":                {Issuer{Iss: ours}, "JWKSURI"},
		"keys twice":             {Issuer{Iss: ours, Keys: keys, JWKSURI: "https://issuer.example/jwks"}, "Keys"},
		"http":                   {uri("http://issuer.example/jwks"), "JWKSURI"},
		"http to a private host": {uri("http://10.0.0.1/jwks"), "JWKSURI"},
		"http to localhost.evil": {uri("http://localhost.evil.example/jwks"), "JWKSURI"},
		"file":                   {uri("file:///etc/passwd"), "JWKSURI"},
		"relative":               {uri("/jwks"), "JWKSURI"},
		"gopher":                 {uri("gopher://issuer.example/jwks"), "JWKSURI"},
		"kid a number":           {set(`{"keys":[{"kty":"OKP","kid":1}]}`), "Keys"},
		"EC key without y":       {set(`{"keys":[{"kty":"EC","crv":"P-256","x":"AQ"}]}`), "Keys"},
		"opaque":                 {uri("https:issuer.example"), "JWKSURI"},
		"password":               {uri("https://a:b@issuer.example/jwks"), "JWKSURI"},
		"fragment":               {uri("https://issuer.example/jwks#x"), "JWKSURI"},
		"not a URL":              {uri("https://issuer.example/%"), "JWKSURI"},
		"secret over the net":    {Issuer{Iss: ours, JWKSURI: "https://issuer.example/jwks", Algorithms: []string{"HS256"}}, "Algorithms"},
		"none":                   {Issuer{Iss: ours, Keys: keys, Algorithms: []string{"none"}}, "Algorithms"},
		"alg of other case":      {Issuer{Iss: ours, Keys: keys, Algorithms: []string{"rs256"}}, "Algorithms"},
		"keys for no alg":        {Issuer{Iss: ours, Keys: keys, Algorithms: []string{"ES256"}}, "Keys"},
		"HS with RSA key only":   {Issuer{Iss: ours, Keys: keys, Algorithms: []string{"HS256"}}, "Keys"},
		"not JSON":               {set("-----BEGIN PUBLIC KEY-----"), "Keys"},
		"a key, not a set":       {set(firstOf(keys)), "Keys"},
		"empty set":              {set(`{"keys":[]}`), "Keys"},
		"duplicate name":         {set(`{"keys":[],"keys":[]}`), "Keys"},
		"private key":            {set(string(private)), "Keys"},
		"short secret":           {Issuer{Iss: ours, Keys: shortSecret, Algorithms: []string{"HS256"}}, "Keys"},
		"weak RSA key":           {set(`{"keys":[{"kty":"RSA","e":"AQAB","n":"` + b64(strings.Repeat("\xff", 128)) + `"}]}`), "Keys"},
		"gigantic RSA key":       {set(`{"keys":[{"kty":"RSA","e":"AQAB","n":"` + b64(strings.Repeat("\xff", 2048)) + `"}]}`), "Keys"},
		"point off the curve":    {set(`{"keys":[{"kty":"EC","crv":"P-256","x":"` + b64(strings.Repeat("\x01", 32)) + `","y":"` + b64(strings.Repeat("\x01", 32)) + `"}]}`), "Keys"},
		"too many keys":          {set(`{"keys":[` + strings.Repeat("{},", 100) + `{}]}`), "Keys"},
		"negative lifetime":      {Issuer{Iss: ours, Keys: keys, MaxTokenLifetime: -time.Hour}, "MaxTokenLifetime"},
		"vanishing lifetime":     {Issuer{Iss: ours, Keys: keys, MaxTokenLifetime: time.Microsecond}, "MaxTokenLifetime"},
		"negative skew":          {Issuer{Iss: ours, Keys: keys, Skew: -time.Second}, "Skew"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := New([]Issuer{c.issuer}, Options{})
			if err == nil {
				v.Close()
				t.Fatal("accepted")
			}
			var e *ConfigError
			if !errors.As(err, &e) || e.Field != c.field {
				t.Errorf("%v: want a mistake in %s", err, c.field)
			}
			if strings.Contains(err.Error(), "a:b@") || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v: tells a secret", err)
			}
		})
	}
}

func TestAllMistakesAreReportedTogether(t *testing.T) {
	_, err := New([]Issuer{
		{Iss: ours, JWKSURI: "http://issuer.example", Skew: -1, Algorithms: []string{"none", "RS256"}},
		{Iss: theirs, Keys: theirKeys().set("rsa")},
		{Iss: theirs, Keys: theirKeys().set("rsa")},
		{},
	}, Options{})
	for _, want := range []string{
		`issuer "https://issuer.example": JWKSURI: is http`,
		`issuer "https://issuer.example": Skew: `,
		`issuer "https://issuer.example": Algorithms: "none"`,
		`issuer "https://other.example": Iss: is configured twice`,
		`issuer "#4": Iss: is empty`,
		`issuer "#4": JWKSURI: is empty`,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nwant: %s", err, want)
		}
	}
}

func TestLoopbackMayBeHTTP(t *testing.T) {
	for _, uri := range []string{"http://127.0.0.1:1/jwks", "http://[::1]:1/jwks", "http://localhost:1/jwks", "https://issuer.invalid/jwks"} {
		v, err := New([]Issuer{{Iss: ours, JWKSURI: uri}}, Options{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Errorf("%s: %v", uri, err)
			continue
		}
		v.Close()
	}
}

// What a key says about itself, and what follows for a token signed with it.
func TestKeyIsUsedAsItSays(t *testing.T) {
	n := firstOf(ourKeys().set("rsa"))
	with := func(members string) string { return strings.TrimSuffix(n, "}") + members + "}" }
	token := sign("RS256", good)
	for _, c := range []struct {
		name string
		keys string
		want Code // "" if the token is good
	}{
		{"says nothing", with(``), ""},
		{"alg agrees", with(`,"alg":"RS256"`), ""},
		{"alg is another", with(`,"alg":"RS512"`), CodeAlgorithm},
		{"use sig", with(`,"use":"sig"`), ""},
		{"use enc", with(`,"use":"enc"`), CodeAlgorithm},
		{"key_ops verify", with(`,"key_ops":["verify"]`), ""},
		{"key_ops encrypt", with(`,"key_ops":["encrypt"]`), CodeAlgorithm},
		{"beside a type of key to come", `{"kty":"AKP","kid":"pq","alg":"ML-DSA-44"},` + with(``), ""},
		{"beside a key for encryption", `{"kty":"OKP","crv":"X25519","kid":"e","x":"` + b64(strings.Repeat("\x09", 32)) + `"},` + with(``), ""},
		{"same kid, other type", strings.Replace(firstOf(ourKeys().set("ed")), `"kid":"ed"`, `"kid":"rsa"`, 1) + "," + with(``), ""},
		{"same kid twice", firstOf(theirKeys().set("rsa")) + "," + with(``), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			// The second key is there so that the set is never without use.
			v := newVerifier(t, Issuer{Iss: ours, Algorithms: []string{"RS256", "RS512", "ES256"},
				Keys: fmt.Appendf(nil, `{"keys":[%s,%s]}`, c.keys, firstOf(ourKeys().set("p256")))})
			if c.want == "" {
				mustVerify(t, v, token)
			} else {
				mustRefuse(t, v, c.want, token)
			}
		})
	}
}

func TestSecretIsAsLongAsTheHash(t *testing.T) {
	for alg, least := range map[string]int{"HS256": 32, "HS384": 48, "HS512": 64} {
		for _, short := range []int{0, 1} {
			set, _ := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: ourKeys().secret[:least-short]}}})
			v, err := New([]Issuer{{Iss: ours, Keys: set, Algorithms: []string{alg}}}, Options{})
			if (err == nil) != (short == 0) {
				t.Errorf("%s with %d bytes: %v", alg, least-short, err)
			}
			if err == nil {
				v.Close()
			}
		}
	}
}
