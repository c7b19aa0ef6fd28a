package test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// accounts are what an authorization server knows about its users.
type accounts struct {
	mu       sync.Mutex
	versions map[string]int64 // guarded by mu: of each user's tokens, in the claim ver
}

// version is what goes into a token that is issued now.
func (a *accounts) version(user string) int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.versions[user]
}

// changePassword raises the version, in the transaction that stores the new
// password, and returns the revocation to send then: whatever is issued
// before the hub has it has the new version already, or the old one and dies.
func (a *accounts) changePassword(user string) map[string]any {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.versions[user]++
	return map[string]any{
		"target":      map[string]string{"kind": "subject", "iss": issuer, "value": user},
		"min_version": a.versions[user], "reason": "password_change",
	}
}

// A password change kills the tokens of older versions, whenever they were
// issued, and no others.
func TestTokenVersioning(t *testing.T) {
	w := newWorld(t)
	w.startHub()
	api := w.serve(w.subscribe())
	a := &accounts{versions: map[string]int64{"alice": 7, "bob": 1}}
	mint := func(user string, version any, iat time.Time) string {
		return w.mint(jwt.MapClaims{"sub": user, "jti": fmt.Sprint(user, version, iat), "ver": version, "iat": iat.Unix()})
	}
	past := time.Now().Add(-time.Minute)
	old, bob := mint("alice", a.version("alice"), past), mint("bob", a.version("bob"), past)
	w.served(api, old, bob)

	eight, nine := a.changePassword("alice"), a.changePassword("alice")
	w.post("alice-9", nine)
	w.post("alice-8", eight) // comes late, and lowers nothing
	w.refused(api, old, mint("alice", 8, past))
	// A replica that had not heard of the change signs with an old version
	// after it; one whose clock is slow signs with the new one "before" it.
	w.refused(api, mint("alice", 8, time.Now().Add(time.Second)), mint("alice", nil, time.Now()))
	w.served(api, mint("alice", a.version("alice"), past), mint("alice", 10, past), bob)
}
