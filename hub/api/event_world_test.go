package api_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/golang-jwt/jwt/v5"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/api"
	"github.com/revocast/revocast/internal/token"
)

// us is what issuers call us in tokens that report events.
const us = "revocast-client"

var eventKeys = sync.OnceValue(func() map[string]*ecdsa.PrivateKey {
	keys := make(map[string]*ecdsa.PrivateKey)
	for _, iss := range []string{ours, theirs} {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		keys[iss] = k
	}
	return keys
})

// withEvents configures two issuers who sign with ES256 and report events.
func withEvents(s *setup) {
	for _, iss := range []string{ours, theirs} {
		set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: eventKeys()[iss].Public(), KeyID: "k1"}}})
		if err != nil {
			panic(err)
		}
		s.issuers = append(s.issuers, token.Issuer{Iss: iss, Algorithms: []string{"ES256"}, Keys: set, Audience: []string{us}})
	}
}

// claims are those of a token; with returns them with some changed, and those
// that are nil taken away.
type claims map[string]any

func (c claims) with(change claims) claims {
	out := maps.Clone(c)
	for name, v := range change {
		if v == nil {
			delete(out, name)
		} else {
			out[name] = v
		}
	}
	return out
}

// signES makes a token by its issuer's key, with golang-jwt.
func signES(typ string, c claims) string { return signKid("k1", typ, c) }

func signKid(kid, typ string, c claims) string {
	t := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims(c))
	t.Header["kid"] = kid
	if delete(t.Header, "typ"); typ != "" {
		t.Header["typ"] = typ
	}
	key := eventKeys()[fmt.Sprint(c["iss"])]
	if key == nil {
		key = eventKeys()[ours]
	}
	raw, err := t.SignedString(key)
	if err != nil {
		panic(err)
	}
	return raw
}

// signJose makes a token with our key, with go-jose.
func signJose(typ string, c claims) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: eventKeys()[ours], KeyID: "k1"}},
		new(jose.SignerOptions).WithType(jose.ContentType(typ)))
	if err != nil {
		panic(err)
	}
	payload, err := json.Marshal(map[string]any(c))
	if err != nil {
		panic(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		panic(err)
	}
	raw, err := jws.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return raw
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// logoutClaims are those of a logout token of now.
func logoutClaims() claims {
	return claims{"iss": ours, "aud": us, "jti": rand.Text(), "iat": time.Now().Unix(), "exp": time.Now().Add(2 * time.Minute).Unix(),
		"sub": "alice", "events": claims{"http://schemas.openid.net/event/backchannel-logout": claims{}}}
}

const (
	caep = "https://schemas.openid.net/secevent/caep/event-type/"
	risc = "https://schemas.openid.net/secevent/risc/event-type/"
	ssf  = "https://schemas.openid.net/secevent/ssf/event-type/"
)

// eventClaims are those of a security event token of now.
func eventClaims(event string, details, subject claims) claims {
	return claims{"iss": ours, "aud": us, "jti": rand.Text(), "iat": seconds(time.Now()), "txn": "t-1",
		"events": claims{event: details}, "sub_id": subject}
}

func issSub(iss, sub string) claims { return claims{"format": "iss_sub", "iss": iss, "sub": sub} }

func opaque(id string) claims { return claims{"format": "opaque", "id": id} }

// logOut presents a logout token, without a credential.
func (w *world) logOut(raw string, headers ...string) *got {
	w.Helper()
	return w.ask("POST", "/oidc/backchannel-logout", "logout_token="+url.QueryEscape(raw),
		append([]string{formType, "Authorization: "}, headers...)...)
}

// push transmits a security event token.
func (w *world) push(raw string, headers ...string) *got {
	w.Helper()
	return w.ask("POST", "/ssf/events", raw, append([]string{"Content-Type: application/secevent+jwt", "Accept: application/json"}, headers...)...)
}

// done checks an answer that has no body.
func (g *got) done(status int) {
	g.Helper()
	if g.status != status || len(g.body) != 0 || g.header.Get("Cache-Control") != "no-store" {
		g.Fatalf("%s: %d %v %s, want an empty %d", g.what, g.status, g.header, g.body, status)
	}
}

// setError checks an answer that is an error of RFC 8935.
func (g *got) setError(code api.SETCode) api.SETError {
	g.Helper()
	e := must[api.SETError](g, 400)
	if e.Err != code || e.Description == "" || g.header.Get("Content-Type") != "application/json" || g.header.Get("Content-Language") != "en" {
		g.Errorf("%s: %v %s, want %s", g.what, g.header, g.body, code)
	}
	return e
}

// revoked reports whether a token with these claims is revoked.
func (w *world) revoked(c events.Claims) bool {
	if c.Issuer == "" {
		c.Issuer = ours
	}
	_, revoked := w.feed.Match(c)
	return revoked
}

// ops returns the operations of the audit, oldest first, in short.
func (w *world) ops() (list []string) {
	w.Helper()
	for _, l := range w.audit() {
		list = append(list, fmt.Sprintf("%s %s %s by %q at %q because of %s", l.Target.Kind, l.Target.Iss, l.Target.Value, l.Actor, l.Source, l.Reason))
	}
	return list
}

func (w *world) mustHave(want ...string) {
	w.Helper()
	if got := w.ops(); !slices.Equal(got, want) {
		w.Errorf("the audit has\n%q\nwant\n%q", got, want)
	}
}

func newEventWorld(t testing.TB, change ...func(*setup)) *world {
	t.Helper()
	return newWorld(t, append([]func(*setup){withEvents}, change...)...)
}
