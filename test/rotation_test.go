package test

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/revocast/revocast/events"
)

// families are the refresh tokens of an authorization server. What comes of
// one sign-in is a family; in its access tokens the claim grant_id names it.
type families struct {
	now   func() time.Time
	reuse func(grant string, cutoff time.Time) // called once for a family that ends

	mu     sync.Mutex
	tokens map[[32]byte]*refreshToken // guarded by mu; by hash, so that the store is no use to a thief
}

type refreshToken struct {
	of   *family
	used bool // guarded by families.mu
}

type family struct {
	grant  string
	last   time.Time // guarded by families.mu: the latest iat of an access token
	closed bool      // guarded by families.mu
}

var errInvalidGrant = errors.New("invalid_grant")

// issued is what a client gets; the access token is made of it.
type issued struct {
	refresh, grant string
	at             time.Time // its iat
}

func (f *families) signIn() issued {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.issue(&family{grant: rand.Text()})
}

// rotate gives new tokens for a refresh token, once. To see that a token was
// not used, to mark it, and to choose the iat of what is issued for it is one
// step; in a database, one UPDATE … WHERE NOT used … RETURNING. So of two who
// present the same token at the same time one ends the family, and the cutoff
// is not before the iat of anything that the other was given.
func (f *families) rotate(presented string) (issued, error) {
	f.mu.Lock()
	old := f.tokens[sha256.Sum256([]byte(presented))]
	if old == nil || old.of.closed {
		f.mu.Unlock()
		return issued{}, errInvalidGrant
	}
	if !old.used {
		defer f.mu.Unlock()
		old.used = true
		return f.issue(old.of), nil
	}
	old.of.closed = true // first of all here, whether or not the hub can be reached
	cutoff := f.now()
	if cutoff.Before(old.of.last) {
		cutoff = old.of.last // the clock was set back
	}
	f.mu.Unlock()
	f.reuse(old.of.grant, cutoff)
	return issued{}, errInvalidGrant
}

// issue is called with mu held.
func (f *families) issue(of *family) issued {
	out := issued{refresh: rand.Text(), grant: of.grant, at: f.now()}
	of.last = out.at
	f.tokens[sha256.Sum256([]byte(out.refresh))] = &refreshToken{of: of}
	return out
}

// A refresh token that is presented twice ends its family, however many do it
// at once: of what was ever issued in it nothing works any more, neither the
// access tokens nor the refresh tokens. The issuer's clock is a second ahead
// of the hub's.
func TestRotationReuse(t *testing.T) {
	w := newWorld(t)
	w.startHub()
	api := w.serve(w.subscribe())
	type reuse struct {
		grant  string
		cutoff time.Time
	}
	outbox := make(chan reuse, 16) // what the hub is to be told
	f := &families{
		now:    func() time.Time { return time.Now().Add(time.Second) },
		reuse:  func(grant string, cutoff time.Time) { outbox <- reuse{grant, cutoff} },
		tokens: make(map[[32]byte]*refreshToken),
	}
	access := func(i issued) string {
		return w.mint(jwt.MapClaims{"jti": rand.Text(), "grant_id": i.grant, "iat": float64(i.at.UnixMilli()) / 1000})
	}

	first := f.signIn()
	second, err := f.rotate(first.refresh)
	w.must(err)
	other := f.signIn()
	family := []string{access(first), access(second)}
	w.served(api, append(family, access(other))...)

	// The client and a thief, each several times, all at once.
	var mu sync.Mutex
	var won []issued // guarded by mu
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if next, err := f.rotate(second.refresh); err == nil {
				mu.Lock()
				won = append(won, next)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if len(won) != 1 {
		t.Fatalf("%d got new tokens for one refresh token", len(won))
	}
	close(outbox)
	for r := range outbox {
		w.post("reuse-"+r.grant, map[string]any{
			"target": map[string]string{"kind": "grant", "iss": issuer, "value": r.grant},
			"cutoff": events.At(r.cutoff), "reason": "rotation_reuse",
		})
	}
	w.refused(api, append(family, access(won[0]))...)
	for _, refresh := range []string{first.refresh, second.refresh, won[0].refresh} {
		if _, err := f.rotate(refresh); !errors.Is(err, errInvalidGrant) {
			t.Errorf("a refresh token of the family still works: %v", err)
		}
	}
	w.served(api, access(other))
	if _, err := f.rotate(other.refresh); err != nil {
		t.Error("another sign-in has ended, too")
	}
	if n := w.audited()[first.grant]; n != 1 {
		t.Errorf("%d revocations of one grant", n)
	}
}
