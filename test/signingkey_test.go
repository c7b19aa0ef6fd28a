package test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/revocast/revocast/subscriber"
)

// A signing key has leaked. A cutoff does not stop the thief, who writes into
// a token what helps; revoking the key does, and what the new key signs lives.
func TestSigningKeyCompromised(t *testing.T) {
	w := newWorld(t)
	w.startHub()
	leaked := w.signer
	public, next, err := ed25519.GenerateKey(rand.Reader)
	w.must(err)
	both := w.issuer()
	both.Keys = jwksOf(map[string]ed25519.PublicKey{"k1": leaked.Public().(ed25519.PublicKey), "k2": public})
	api := w.serve(w.subscribe(func(c *subscriber.Config) { c.Issuers = []subscriber.Issuer{both} }))
	sign := func(kid string, key ed25519.PrivateKey, jti string, iat time.Time) string {
		token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
			"iss": issuer, "sub": "root", "aud": "orders", "jti": jti, "iat": iat.Unix(), "exp": iat.Add(time.Hour).Unix()})
		if kid != "" {
			token.Header["kid"] = kid
		}
		raw, err := token.SignedString(key)
		w.must(err)
		return raw
	}
	now := time.Now()
	honest := sign("k1", leaked, "honest", now.Add(-time.Minute))
	w.served(api, honest)

	w.post("cutoff", map[string]any{"target": map[string]string{"kind": "issuer", "iss": issuer}, "reason": "compromised"})
	w.refused(api, honest)
	forged := sign("k1", leaked, "forged", time.Now().Add(time.Second))
	w.served(api, forged) // this is why a cutoff is not enough

	w.post("key", map[string]any{"target": map[string]string{"kind": "key", "iss": issuer, "value": "k1"}, "reason": "compromised"})
	w.refused(api, forged, honest,
		sign("k1", leaked, "another", time.Now().Add(time.Second)),
		sign("", leaked, "of no key", time.Now().Add(time.Second)),
		sign("k2", leaked, "of another key", time.Now().Add(time.Second)))
	w.served(api, sign("k2", next, "new", time.Now().Add(time.Second)))

	// With one key for its algorithm, an issuer may leave the kid out. That
	// is no way around it either.
	one := w.serve(w.subscribe(func(c *subscriber.Config) {
		c.Issuers[0].Keys = jwksOf(map[string]ed25519.PublicKey{"k1": leaked.Public().(ed25519.PublicKey)})
	}))
	w.refused(one, sign("", leaked, "of the only key", time.Now().Add(time.Second)))
}

func jwksOf(keys map[string]ed25519.PublicKey) []byte {
	list := ""
	for kid, key := range keys {
		list += fmt.Sprintf(`,{"kty":"OKP","crv":"Ed25519","kid":%q,"x":%q}`, kid, base64.RawURLEncoding.EncodeToString(key))
	}
	return []byte(`{"keys":[` + list[1:] + `]}`)
}
