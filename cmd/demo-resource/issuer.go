package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/revocast/revocast/subscriber"
)

// issuer is a stand-in for an authorization server: it believes every user
// name, so that the walk-through needs no passwords. It does what a real one
// does for revocation: its tokens carry a grant, a session and a version, its
// refresh tokens rotate, and it has a second key at hand. Its opaque tokens are
// in phantom.go, its token exchange in exchange.go.
type issuer struct {
	iss  string
	keys keyPair

	mu       sync.Mutex
	kid      string              // guarded by mu: of the key that signs now
	versions map[string]int      // guarded by mu: of the users' tokens
	refresh  map[string]*refresh // guarded by mu: by refresh token
	ended    map[string]bool     // guarded by mu: grants of which nothing is issued any more
	reused   func(grant string)  // guarded by mu: told when a refresh token is presented twice
	opaque   map[string]opaque   // guarded by mu: by opaque token

	secret string       // what the gateway shows to introspect. Set once
	asked  atomic.Int64 // how often it did
}

// refresh is a refresh token; all that come of one log-in share a grant.
type refresh struct {
	user, grant string
	used        bool
}

// tokenLifetime is what a demo user may wait for before a token dies by itself.
const tokenLifetime = 15 * time.Minute

func newIssuer(iss string, keys keyPair) *issuer {
	return &issuer{
		iss: iss, kid: firstKey, keys: keys,
		versions: make(map[string]int), refresh: make(map[string]*refresh), ended: make(map[string]bool), reused: func(string) {},
		opaque: make(map[string]opaque), secret: rand.Text(),
	}
}

// trusted is what the resource server has to know about the issuer.
func (i *issuer) trusted() subscriber.Issuer {
	return subscriber.Issuer{Iss: i.iss, Keys: i.jwks(), Algorithms: []string{"RS256"}, MaxTokenLifetime: time.Hour}
}

func (i *issuer) jwks() []byte {
	b64 := base64.RawURLEncoding.EncodeToString
	var keys []any
	for kid, key := range i.keys {
		keys = append(keys, map[string]string{
			"kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid,
			"n": b64(key.N.Bytes()), "e": b64(big.NewInt(int64(key.E)).Bytes()),
		})
	}
	set, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		panic(err) // strings always encode
	}
	return set
}

func (i *issuer) keySet(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/jwk-set+json")
	_, _ = w.Write(i.jwks())
}

// useKey makes another key sign from now on.
func (i *issuer) useKey(kid string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.kid = kid
}

// changePassword raises the version of a user's tokens and returns it.
func (i *issuer) changePassword(user string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.versions[user]++
	return i.versions[user]
}

// onReuse sets what is told of a refresh token that is presented twice.
func (i *issuer) onReuse(f func(grant string)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.reused = f
}

// login answers POST /login, a form with a user.
func (i *issuer) login(w http.ResponseWriter, r *http.Request) {
	user := r.FormValue("user")
	if user == "" || len(user) > 64 {
		http.Error(w, "want a form field: user", http.StatusBadRequest)
		return
	}
	i.issue(w, user, rand.Text())
}

// rotate answers POST /token, a form with a refresh_token: it gives new tokens
// for it, once. Whoever presents it again has stolen it, or was robbed of it
// (RFC 9700 section 4.14.2); nobody can tell which, so the whole grant ends.
func (i *issuer) rotate(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	old, reused := i.refresh[r.FormValue("refresh_token")], i.reused
	again := old != nil && old.used
	if old != nil {
		old.used = true
		i.ended[old.grant] = i.ended[old.grant] || again
	}
	i.mu.Unlock()
	if again {
		reused(old.grant)
	}
	if old == nil || again {
		http.Error(w, `{"error":"invalid_grant"}`, http.StatusBadRequest)
		return
	}
	i.issue(w, old.user, old.grant)
}

func (i *issuer) issue(w http.ResponseWriter, user, grant string) {
	claims, ended := i.claims(user, grant, rand.Text())
	if ended {
		http.Error(w, `{"error":"invalid_grant"}`, http.StatusBadRequest)
		return
	}
	signed, err := i.sign(claims)
	if err != nil {
		http.Error(w, "no token", http.StatusInternalServerError)
		return
	}
	next := rand.Text()
	i.mu.Lock()
	i.refresh[next] = &refresh{user: user, grant: grant}
	i.mu.Unlock()
	writeJSON(w, map[string]any{
		"access_token": signed, "token_type": "Bearer", "expires_in": int(tokenLifetime.Seconds()), "refresh_token": next,
	})
}

// claims are those of an access token that is issued now. Of a grant that has
// ended none must be.
func (i *issuer) claims(user, grant, session string) (claims jwt.MapClaims, ended bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := time.Now() // not after a cutoff that ends the grant
	return jwt.MapClaims{
		"iss": i.iss, "sub": user, "aud": "orders", "client_id": "demo-app",
		"jti": rand.Text(), "sid": session, "grant_id": grant, "ver": i.versions[user],
		"iat": seconds(now), "exp": now.Add(tokenLifetime).Unix(),
	}, i.ended[grant]
}

// seconds is a NumericDate with milliseconds (RFC 7519 section 2 allows
// fractions), so that a log-in right after "log out everywhere" is not caught
// by its cutoff.
func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func (i *issuer) sign(claims jwt.MapClaims) (string, error) {
	i.mu.Lock()
	kid := i.kid
	i.mu.Unlock()
	t := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	t.Header["kid"] = kid
	t.Header["typ"] = "at+jwt"
	return t.SignedString(i.keys[kid])
}
