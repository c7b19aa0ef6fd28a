package api_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/api"
	"github.com/revocast/revocast/internal/token"
)

// mustRevokeToken revokes a token as a client does.
func (w *world) mustRevokeToken(raw string, more ...string) {
	w.Helper()
	g := w.post("/oauth2/revoke", form(append([]string{"token", raw}, more...)...))
	if g.status != 200 || len(g.body) != 0 || g.header.Get("Cache-Control") != "no-store" {
		w.Fatalf("%d %v %s", g.status, g.header, g.body)
	}
}

// claimsOf are a token's, as every subscriber has them.
func claimsOf(t testing.TB, raw string) events.Claims {
	t.Helper()
	tok, err := token.ReadUnverified(raw, events.ClaimNames{})
	if err != nil {
		t.Fatal(err)
	}
	return tok.Claims
}

func (w *world) matches(c events.Claims) bool {
	_, revoked := w.feed.Match(c)
	return revoked
}

func TestRevokeToken(t *testing.T) {
	w := newWorld(t, withIssuers)
	raw, other := sign(ours, map[string]any{"jti": "j1"}), sign(ours, map[string]any{"jti": "j2"})
	if w.matches(claimsOf(t, raw)) {
		t.Fatal("revoked before")
	}
	w.mustRevokeToken(raw, "token_type_hint", "access_token")
	if !w.matches(claimsOf(t, raw)) {
		t.Error("not revoked")
	}
	if w.matches(claimsOf(t, other)) || w.matches(claimsOf(t, sign(theirs, map[string]any{"jti": "j1"}))) {
		t.Error("another one is revoked")
	}
	list := w.audit()
	if len(list) != 1 {
		t.Fatalf("%d operations", len(list))
	}
	l := list[0]
	if l.Target != (events.Target{Kind: events.KindToken, Iss: ours, Value: "j1"}) || l.Reason != events.Logout ||
		l.Source != "oauth2/revoke" || l.Actor != "admin" || int64(l.ExpiresAt) != claimsOf(t, raw).Expires {
		t.Errorf("%+v", l)
	}

	// Again is as well, and nothing new.
	w.mustRevokeToken(raw)
	w.mustRevokeToken(raw, "token_type_hint", "refresh_token")
	w.restart()
	w.mustRevokeToken(raw)
	if n := len(w.audit()); n != 1 {
		t.Errorf("%d operations", n)
	}
}

// A revocation that will be forgotten before the token expires, or that is of
// something else, does not count as this one.
func TestRevokeTokenAgain(t *testing.T) {
	w := newWorld(t, withIssuers)
	raw := sign(ours, map[string]any{"jti": "j1"}) // lives for ten minutes
	w.mustRevoke(revocation("token", ours, "j1", fmt.Sprintf(`,"expires_at":%q`, time.Now().Add(time.Minute).UTC().Format(time.RFC3339))))
	w.mustRevoke(revocation("subject", ours, "alice", ""))
	w.mustRevoke(revocation("issuer", ours, "", ""))
	w.mustRevokeToken(raw)
	w.mustRevokeToken(raw)
	if n := len(w.audit()); n != 4 {
		t.Errorf("%d operations, want 4", n)
	}
	// What was restored is revoked anew.
	w.ask("DELETE", "/v1/revocations/"+string(w.audit()[3].ID), "")
	w.ask("DELETE", "/v1/revocations/"+string(w.audit()[0].ID), "")
	w.mustRevokeToken(raw)
	if n := len(w.audit()); n != 7 {
		t.Errorf("%d operations, want 7", n)
	}
}

// A hub whose view may be old does not rely on it: what it thinks is revoked
// may have been restored since.
func TestRevokeTokenNotReady(t *testing.T) {
	w := newWorld(t, withIssuers)
	raw := sign(ours, nil)
	w.mustRevokeToken(raw)
	w.feed.Drain(time.Millisecond)
	w.mustRevokeToken(raw)
	if n := len(w.audit()); n != 2 {
		t.Errorf("%d operations, want 2", n)
	}
}

// What a token is revoked by.
func TestRevokeTokenTarget(t *testing.T) {
	for what, w := range map[string]*world{"verified": newWorld(t, withIssuers), "unverified": newWorld(t)} {
		for name, c := range map[string]struct {
			claims map[string]any
			kind   events.Kind
		}{
			"jti":            {map[string]any{"jti": "j1"}, events.KindToken},
			"no jti":         {map[string]any{"jti": nil}, events.KindHandle},
			"empty jti":      {map[string]any{"jti": ""}, events.KindHandle},
			"long jti":       {map[string]any{"jti": strings.Repeat("j", 300)}, events.KindHandle},
			"jti with a LF":  {map[string]any{"jti": "a\nb"}, events.KindHandle},
			"not valid yet":  {map[string]any{"jti": "j2", "nbf": time.Now().Add(time.Minute).Unix()}, events.KindToken},
			"no expiry":      {map[string]any{"jti": "j3", "exp": nil}, events.KindToken},
			"lives for days": {map[string]any{"jti": "j4", "exp": time.Now().Add(50 * time.Hour).Unix()}, events.KindToken},
		} {
			raw := sign(ours, c.claims)
			w.mustRevokeToken(raw)
			v, ok := w.feed.Match(claimsOf(t, raw))
			if !ok || v.Kind != c.kind {
				t.Errorf("%s, %s: %v %v", what, name, v.Kind, ok)
			}
			if exp := claimsOf(t, raw).Expires; int64(v.Term.Exp)*1000 < exp+2000 {
				t.Errorf("%s, %s: forgotten at %d, and expires at %d", what, name, v.Term.Exp, exp/1000)
			}
			if strings.Contains(string(w.ask("GET", "/v1/audit", "").body), raw) {
				t.Error("the token is in the audit")
			}
		}
		// One that outlives the log can't be revoked, and that is said.
		g := w.post("/oauth2/revoke", form("token", sign(ours, map[string]any{"exp": time.Now().Add(100 * 24 * time.Hour).Unix()})))
		g.oauthError(400, api.UnsupportedToken)
	}
}

// es is an issuer with a key pair.
const es = "https://es.example"

func withKeyPair(t testing.TB) (*ecdsa.PrivateKey, func(*setup)) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(map[string]any{"keys": []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1"}}})
	if err != nil {
		t.Fatal(err)
	}
	return key, func(s *setup) {
		s.issuers = append(s.issuers, token.Issuer{Iss: es, Algorithms: []string{"ES256"}, Keys: set})
	}
}

// counted makes a world's metrics visible.
func counted(reg *prometheus.Registry) func(*setup) {
	return func(s *setup) { s.api.Metrics = reg }
}

// counts returns the counters of a metric with one label, by that.
func counts(t testing.TB, reg *prometheus.Registry, name string) map[string]int {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	n := make(map[string]int)
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				n[m.GetLabel()[0].GetValue()] = int(m.GetCounter().GetValue())
			}
		}
	}
	return n
}

// unverifiable are tokens that look like those of es, and are not.
func unverifiable(t testing.TB, key *ecdsa.PrivateKey) map[string]string {
	claims := jwt.MapClaims{"iss": es, "sub": "alice", "jti": "j1", "exp": time.Now().Add(time.Minute).Unix()}
	signed := func(m jwt.SigningMethod, key any, typ string) string {
		tok := jwt.NewWithClaims(m, claims)
		tok.Header["kid"], tok.Header["typ"] = "k1", typ
		raw, err := tok.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	public, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	stranger, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	good := signed(jwt.SigningMethodES256, key, "JWT")
	body := `{"iss":"` + es + `","jti":"j1"}`
	return map[string]string{
		"another's signature":   signed(jwt.SigningMethodES256, stranger, "JWT"),
		"altered signature":     good[:len(good)-8] + "AAAAAAAA",
		"alg none":              signed(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "JWT"),
		"alg nOnE":              forged(`{"alg":"nOnE"}`, body),
		"HMAC with public key":  signed(jwt.SigningMethodHS256, public, "JWT"),
		"HMAC with its x":       signed(jwt.SigningMethodHS256, public[1:33], "JWT"),
		"logout token":          signed(jwt.SigningMethodES256, key, "logout+jwt"),
		"event token":           signed(jwt.SigningMethodES256, key, "secevent+jwt"),
		"introspection":         signed(jwt.SigningMethodES256, key, "token-introspection+jwt"),
		"unknown issuer":        sign("https://nobody.example", map[string]any{"jti": "j1"}),
		"no issuer":             forged(`{"alg":"ES256"}`, `{"jti":"j1"}`),
		"claims are an array":   forged(`{"alg":"ES256"}`, `[]`),
		"claims twice":          forged(`{"alg":"ES256"}`, `{"iss":"`+es+`","jti":"j1","jti":"j2"}`),
		"header twice":          forged(`{"alg":"ES256","alg":"none"}`, body),
		"critical":              forged(`{"alg":"ES256","crit":["b64"]}`, body),
		"no signature":          strings.TrimSuffix(forged(`{"alg":"ES256"}`, body), base64.RawURLEncoding.EncodeToString([]byte("forged"))),
		"line break":            good + "\n",
		"not ASCII":             "töken",
		"NUL":                   "a\x00b",
		"longer than any token": strings.Repeat("x", token.MaxSize+1),
	}
}

// Tokens that nobody vouches for are no error, and nothing is revoked
// (RFC 7009 section 2.2). It is counted.
func TestRevokeTokenInvalid(t *testing.T) {
	key, keyPair := withKeyPair(t)
	reg := prometheus.NewRegistry()
	w := newWorld(t, withIssuers, keyPair, counted(reg))
	bad := unverifiable(t, key)
	for _, raw := range bad {
		w.mustRevokeToken(raw)
	}
	if list := w.audit(); len(list) != 0 {
		t.Errorf("%+v", list)
	}
	w.mustRevokeToken(sign(ours, map[string]any{"exp": time.Now().Unix() - 10})) // expired
	w.mustRevokeToken(sign(ours, map[string]any{"jti": "j1"}))
	w.mustRevokeToken(sign(ours, map[string]any{"jti": "j1"}))
	want := map[string]int{"already_revoked": 1, "expired": 1, "invalid": len(bad), "revoked": 1}
	if got := counts(t, reg, "revocast_oauth_revocations_total"); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if n := len(w.audit()); n != 1 {
		t.Errorf("%d operations", n)
	}
}

// An opaque token is known by the hash of all of it, and has to be somebody's.
func TestRevokeOpaqueToken(t *testing.T) {
	const opaque = "tGzv3JOkF0XG5Qx2TlKWIA"
	handle := func(iss string) events.Claims { return events.Claims{Issuer: iss, Handle: events.HandleOf(opaque)} }

	_, keyPair := withKeyPair(t) // one issuer
	w := newWorld(t, keyPair)
	w.mustRevokeToken(opaque, "token_type_hint", "refresh_token")
	w.mustRevokeToken(opaque)
	w.mustRevokeToken(opaque, "iss", es)
	if !w.matches(handle(es)) || w.matches(handle(ours)) || len(w.audit()) != 1 {
		t.Errorf("%+v", w.audit())
	}
	for _, raw := range []string{"a.b", "a.b.c", "a.b.c.d.e", "a b", `"\`, strings.Repeat("x", token.MaxSize)} {
		w.mustRevokeToken(raw)
		if !w.matches(events.Claims{Issuer: es, Handle: events.HandleOf(raw)}) {
			t.Errorf("%.10q is not revoked", raw)
		}
	}

	for what, w := range map[string]*world{"several issuers": newWorld(t, withIssuers), "no issuer": newWorld(t)} {
		d := w.post("/oauth2/revoke", form("token", opaque)).oauthError(400, api.InvalidRequest)
		if !strings.HasPrefix(d, "iss: ") {
			t.Errorf("%s: %q", what, d)
		}
		w.post("/oauth2/revoke", form("token", opaque, "iss", ours, "iss", theirs)).oauthError(400, api.InvalidRequest)
		w.post("/oauth2/revoke", form("token", opaque, "iss", "a\nb")).oauthError(400, api.InvalidRequest)
		w.post("/oauth2/revoke", form("token", opaque, "iss", strings.Repeat("x", 600))).oauthError(400, api.InvalidRequest)
		w.mustRevokeToken(opaque, "iss", ours)
		if !w.matches(handle(ours)) || w.matches(handle(theirs)) || len(w.audit()) != 1 {
			t.Errorf("%s: %+v", what, w.audit())
		}
		// A credential for one issuer needs to name none.
		key := w.newKey("theirs", fmt.Sprintf(`"roles":["revoke"],"issuers":[%q]`, theirs))
		if g := w.post("/oauth2/revoke", form("token", opaque), with(key.Secret)); g.status != 200 || !w.matches(handle(theirs)) {
			t.Errorf("%s: %d %s", what, g.status, g.body)
		}
	}
	w = newWorld(t, withIssuers)
	if d := w.post("/oauth2/revoke", form("token", opaque, "iss", "https://nobody.example")).oauthError(400, api.InvalidRequest); !strings.HasPrefix(d, "iss: ") {
		t.Errorf("%q", d)
	}
}

// Without a configured issuer a JWT is taken by its word, by those who could
// revoke it by its parts.
func TestRevokeTokenUnverified(t *testing.T) {
	w := newWorld(t)
	raw := forged(`{"alg":"RS256"}`, `{"iss":"https://nobody.example","jti":"j1","exp":`+future()+`}`)
	w.mustRevokeToken(raw)
	if !w.matches(claimsOf(t, raw)) {
		t.Error("not revoked")
	}
	w.mustRevokeToken(raw)
	for _, bad := range []string{
		forged(`{"alg":"none"}`, `{"iss":"x","jti":"j2"}`),
		forged(`{"alg":"RS256"}`, `{"iss":"","jti":"j2"}`),
		forged(`{"alg":"RS256"}`, `{"jti":"j2"}`),
		forged(`{"alg":"RS256"}`, `{"iss":"a\nb","jti":"j2"}`),
		forged(`{"alg":"RS256"}`, `{"iss":"`+strings.Repeat("x", 600)+`","jti":"j2"}`),
		forged(`{"alg":"RS256"}`, `{"iss":"x","jti":"j2","jti":"j3"}`),
		forged(`{"alg":"RS256"}`, `{"iss":"x","jti":"j2","exp":1}`),
	} {
		w.mustRevokeToken(bad)
	}
	if n := len(w.audit()); n != 1 {
		t.Errorf("%d operations", n)
	}
	key := w.newKey("limited", fmt.Sprintf(`"roles":["revoke"],"issuers":[%q]`, ours))
	w.post("/oauth2/revoke", form("token", raw), with(key.Secret)).oauthError(403, api.InsufficientScope)
}

func TestRevokeTokenLimits(t *testing.T) {
	w := newWorld(t, withIssuers)
	one := w.newKey("one-issuer", fmt.Sprintf(`"roles":["revoke"],"issuers":[%q]`, ours))
	subjects := w.newKey("subjects", `"roles":["revoke"],"kinds":["subject"]`)
	tokens := w.newKey("tokens", `"roles":["revoke"],"kinds":["token"]`)
	for _, c := range []struct {
		key    api.NewKey
		raw    string
		status int
	}{
		{one, sign(ours, nil), 200},
		{one, sign(theirs, nil), 403},
		{one, sign("https://nobody.example", nil), 200}, // is nobody's, and nothing is done
		{subjects, sign(ours, nil), 403},
		{tokens, sign(ours, nil), 200},
		{tokens, sign(ours, map[string]any{"jti": nil}), 403}, // would be a handle
	} {
		g := w.post("/oauth2/revoke", form("token", c.raw), basic(c.key.Name, c.key.Secret))
		if g.status != c.status {
			t.Errorf("%s: %d %s", c.key.Name, g.status, g.body)
		}
		if c.status == 403 {
			g.oauthError(403, api.InsufficientScope)
		}
		if w.matches(claimsOf(t, c.raw)) != (c.status == 200 && !strings.Contains(claimsOf(t, c.raw).Issuer, "nobody")) {
			t.Errorf("%s: revoked or not", c.key.Name)
		}
	}
	if l := w.audit(); len(l) != 2 || l[0].Actor != "one-issuer" || l[1].Actor != "tokens" {
		t.Errorf("%+v", l)
	}
}
