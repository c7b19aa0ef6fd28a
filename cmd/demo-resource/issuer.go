package main

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/revocast/revocast/subscriber"
)

// issuer is a stand-in for an authorization server: it believes every user
// name, so that the walk-through needs no passwords.
type issuer struct {
	iss string
	key *rsa.PrivateKey
}

const keyID = "demo-1"

// tokenLifetime is what a demo user may wait for before a token dies by itself.
const tokenLifetime = 15 * time.Minute

func newIssuer(iss string) (*issuer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	return &issuer{iss, key}, err
}

// trusted is what the resource server has to know about the issuer.
func (i *issuer) trusted() subscriber.Issuer {
	return subscriber.Issuer{Iss: i.iss, Keys: i.jwks(), Algorithms: []string{"RS256"}, MaxTokenLifetime: time.Hour}
}

func (i *issuer) jwks() []byte {
	b64 := base64.RawURLEncoding.EncodeToString
	set, err := json.Marshal(map[string]any{"keys": []any{map[string]string{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": keyID,
		"n": b64(i.key.N.Bytes()), "e": b64(big.NewInt(int64(i.key.E)).Bytes()),
	}}})
	if err != nil {
		panic(err) // strings always encode
	}
	return set
}

func (i *issuer) keySet(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/jwk-set+json")
	_, _ = w.Write(i.jwks())
}

func (i *issuer) login(w http.ResponseWriter, r *http.Request) {
	user := r.FormValue("user")
	if user == "" || len(user) > 64 {
		http.Error(w, "want a form field: user", http.StatusBadRequest)
		return
	}
	now := time.Now()
	// iat carries milliseconds (RFC 7519 section 2 allows fractions), so that
	// a log-in right after "log out everywhere" is not caught by its cutoff.
	t := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"iss": i.iss, "sub": user, "aud": "orders", "client_id": "demo-app",
		"jti": rand.Text(), "sid": rand.Text(),
		"iat": float64(now.UnixMilli()) / 1000, "exp": now.Add(tokenLifetime).Unix(),
	})
	t.Header["kid"] = keyID
	t.Header["typ"] = "at+jwt"
	signed, err := t.SignedString(i.key)
	if err != nil {
		http.Error(w, "no token", http.StatusInternalServerError)
		return
	}
	writeJSON(w, map[string]any{"access_token": signed, "token_type": "Bearer", "expires_in": int(tokenLifetime.Seconds())})
}
