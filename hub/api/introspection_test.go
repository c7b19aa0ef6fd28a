package api_test

import (
	"crypto"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/revocast/revocast/hub/api"
)

const (
	inactive  = `{"active":false}`
	acceptJWT = "Accept: application/token-introspection+jwt"
)

// introspected returns what is said about a token, as it is written.
func (w *world) introspected(raw string, headers ...string) string {
	w.Helper()
	g := w.post("/oauth2/introspect", form("token", raw), headers...)
	if g.status != 200 || g.header.Get("Content-Type") != "application/json" || g.header.Get("Cache-Control") != "no-store" {
		w.Fatalf("%d %v %s", g.status, g.header, g.body)
	}
	return strings.TrimSpace(string(g.body))
}

func TestIntrospect(t *testing.T) {
	w := newWorld(t, withIssuers)
	now := time.Now().Unix()
	raw := sign(ours, map[string]any{
		"jti": "j1", "aud": []string{"orders", "stock"}, "client_id": "shop", "scope": "read  write", "iat": float64(now) - 0.5, "nbf": now - 5, "exp": now + 60,
		"email": "alice@example.com", "groups": []string{"admins"},
	})
	want := fmt.Sprintf(`{"active":true,"iss":%q,"sub":"alice","aud":["orders","stock"],"exp":%d,"iat":%d,"nbf":%d,"jti":"j1","client_id":"shop","scope":"read write","token_type":"Bearer"}`,
		ours, now+60, now-1, now-5)
	if got := w.introspected(raw); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
	w.mustRevokeToken(raw)
	if got := w.introspected(raw); got != inactive {
		t.Errorf("after it was revoked: %s", got)
	}
	if n := len(w.audit()); n != 1 {
		t.Errorf("%d operations", n)
	}
}

// Whatever of a token is revoked, it is active no more.
func TestIntrospectRevoked(t *testing.T) {
	for kind, value := range map[string]string{"token": "j1", "subject": "alice", "session": "s1", "client": "shop", "key": "k1", "issuer": ""} {
		w := newWorld(t, withIssuers)
		raw := sign(ours, map[string]any{"jti": "j1", "sid": "s1", "azp": "shop"})
		if got := must[api.Introspection](w.post("/oauth2/introspect", form("token", raw)), 200); !got.Active || got.ClientID != "shop" {
			t.Fatalf("%+v", got)
		}
		id := w.revokeOne(kind, ours, value)
		if got := w.introspected(raw); got != inactive {
			t.Errorf("%s: %s", kind, got)
		}
		w.ask("DELETE", "/v1/revocations/"+string(id), "")
		if got := w.introspected(raw); got == inactive {
			t.Errorf("%s: not after it was restored", kind)
		}
	}
}

// Of every other token nothing is said, so that there is nothing to learn.
func TestIntrospectInactive(t *testing.T) {
	key, keyPair := withKeyPair(t)
	reg := prometheus.NewRegistry()
	w := newWorld(t, withIssuers, keyPair, counted(reg))
	bad := unverifiable(t, key)
	now := time.Now()
	bad["expired"] = sign(ours, map[string]any{"exp": now.Unix() - 10})
	bad["never expires"] = sign(ours, map[string]any{"exp": nil})
	bad["lives for ever"] = sign(ours, map[string]any{"exp": now.Add(1000 * time.Hour).Unix()})
	bad["not valid yet"] = sign(ours, map[string]any{"nbf": now.Add(time.Minute).Unix()})
	bad["issued later"] = sign(ours, map[string]any{"iat": now.Add(time.Minute).Unix()})
	bad["opaque"] = "tGzv3JOkF0XG5Qx2TlKWIA"
	bad["a key"] = adminKey
	for what, raw := range bad {
		if got := w.introspected(raw); got != inactive {
			t.Errorf("%s: %s", what, got)
		}
	}
	if got := counts(t, reg, "revocast_oauth_introspections_total"); len(got) != 1 || got["false"] != len(bad) {
		t.Errorf("%v", got)
	}
	// With no issuer nothing can be verified.
	w = newWorld(t)
	if got := w.introspected(sign(ours, nil)); got != inactive {
		t.Error(got)
	}
	// What a credential is limited to, it may ask about.
	w = newWorld(t, withIssuers)
	one := w.newKey("one-issuer", fmt.Sprintf(`"roles":["introspect"],"issuers":[%q]`, ours))
	if got := w.introspected(sign(ours, nil), with(one.Secret)); got == inactive {
		t.Error(got)
	}
	if got := w.introspected(sign(theirs, nil), with(one.Secret)); got != inactive {
		t.Error(got)
	}
}

func TestIntrospectClaims(t *testing.T) {
	w := newWorld(t, withIssuers)
	for what, c := range map[string]struct {
		claims map[string]any
		want   func(api.Introspection) bool
	}{
		"aud as a text":     {map[string]any{"aud": "orders"}, func(i api.Introspection) bool { return len(i.Aud) == 1 && i.Aud[0] == "orders" }},
		"no aud":            {nil, func(i api.Introspection) bool { return i.Aud == nil }},
		"no sub, no iat":    {map[string]any{"sub": nil, "iat": nil}, func(i api.Introspection) bool { return i.Sub == "" && i.Iat == 0 }},
		"scp":               {map[string]any{"scp": []string{"a", "b"}}, func(i api.Introspection) bool { return i.Scope == "a b" }},
		"scopes with space": {map[string]any{"scp": []string{"a", "b c", "", "d\"", "é"}}, func(i api.Introspection) bool { return i.Scope == "a" }},
		"bound to a certificate": {map[string]any{"cnf": map[string]any{"x5t#S256": "bwcK"}}, func(i api.Introspection) bool {
			return string(i.Cnf) == `{"x5t#S256":"bwcK"}` && i.TokenType == "Bearer"
		}},
		"bound to a key": {map[string]any{"cnf": map[string]any{"jkt": "0ZcO"}}, func(i api.Introspection) bool {
			return string(i.Cnf) == `{"jkt":"0ZcO"}` && i.TokenType == "DPoP"
		}},
		"bound to nonsense": {map[string]any{"cnf": "x"}, func(i api.Introspection) bool { return string(i.Cnf) == `"x"` }},
		"bound to nothing":  {map[string]any{"cnf": nil}, func(i api.Introspection) bool { return i.Cnf == nil }},
	} {
		raw := sign(ours, c.claims)
		g := w.post("/oauth2/introspect", form("token", raw))
		var i struct {
			api.Introspection
			Aud any `json:"aud"`
		}
		if err := json.Unmarshal(g.body, &i); err != nil {
			t.Fatal(err)
		}
		switch aud := i.Aud.(type) {
		case string:
			i.Introspection.Aud = api.Audience{aud}
		case nil:
		default:
			t.Errorf("%s: %s", what, g.body)
		}
		if !i.Active || !c.want(i.Introspection) {
			t.Errorf("%s: %s", what, g.body)
		}
	}
}

// A hub whose view may be old says nothing, rather than that a token is good.
func TestIntrospectNotReady(t *testing.T) {
	w := newWorld(t, withIssuers)
	raw := sign(ours, nil)
	if w.introspected(raw) == inactive {
		t.Fatal("not active")
	}
	w.feed.Drain(time.Millisecond)
	for _, raw := range []string{raw, "garbage"} {
		for _, accept := range []string{"Accept: ", acceptJWT} {
			g := w.post("/oauth2/introspect", form("token", raw), accept)
			g.oauthError(503, api.TemporaryUnavailable)
			if g.header.Get("Retry-After") == "" || strings.Contains(string(g.body), "active") {
				t.Errorf("%v %s", g.header, g.body)
			}
		}
	}
}

// jwks fetches the hub's keys, as anybody can.
func (w *world) jwks() jose.JSONWebKeySet {
	w.Helper()
	g := w.ask("GET", "/.well-known/jwks.json", "", "Authorization: ")
	if g.status != 200 || g.header.Get("Content-Type") != "application/jwk-set+json" {
		w.Fatalf("%d %v %s", g.status, g.header, g.body)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(g.body, &set); err != nil {
		w.Fatal(err)
	}
	return set
}

// A signed answer is what RFC 9701 makes of it, read by another library.
func TestIntrospectSigned(t *testing.T) {
	w := newWorld(t, withIssuers, func(s *setup) { s.api.Iss = "https://hub.example" })
	key := w.newKey("orders", `"roles":["introspect"]`)
	raw := sign(ours, map[string]any{"jti": "j1", "aud": "orders"})
	set := w.jwks()
	ask := func(raw string) map[string]any {
		t.Helper()
		g := w.post("/oauth2/introspect", form("token", raw), basic(key.Name, key.Secret), acceptJWT)
		if g.status != 200 || g.header.Get("Content-Type") != "application/token-introspection+jwt" {
			t.Fatalf("%d %v %s", g.status, g.header, g.body)
		}
		jws, err := jose.ParseSigned(string(g.body), []jose.SignatureAlgorithm{jose.EdDSA})
		if err != nil {
			t.Fatal(err)
		}
		head := jws.Signatures[0].Protected
		if head.ExtraHeaders[jose.HeaderType] != "token-introspection+jwt" || head.Algorithm != "EdDSA" {
			t.Errorf("%+v", head)
		}
		found := set.Key(head.KeyID)
		if len(found) != 1 {
			t.Fatalf("no key %q in %v", head.KeyID, set)
		}
		payload, err := jws.Verify(found[0])
		if err != nil {
			t.Fatal(err)
		}
		var claims map[string]any
		if err := json.Unmarshal(payload, &claims); err != nil {
			t.Fatal(err)
		}
		if iat, _ := claims["iat"].(float64); len(claims) != 4 || claims["iss"] != "https://hub.example" || claims["aud"] != "orders" || time.Since(time.Unix(int64(iat), 0)).Abs() > time.Minute {
			t.Errorf("%v", claims)
		}
		return claims["token_introspection"].(map[string]any)
	}
	if said := ask(raw); said["active"] != true || said["jti"] != "j1" || said["sub"] != "alice" || said["aud"] != "orders" {
		t.Errorf("%v", said)
	}
	w.mustRevokeToken(raw)
	if said := ask(raw); said["active"] != false || len(said) != 1 {
		t.Errorf("%v", said)
	}
	if said := ask("garbage"); said["active"] != false || len(said) != 1 {
		t.Errorf("%v", said)
	}
	// It is no token, here or anywhere: it has a type of its own.
	g := w.post("/oauth2/introspect", form("token", raw), acceptJWT)
	if got := w.introspected(string(g.body)); got != inactive {
		t.Error(got)
	}
}

func TestIntrospectAccept(t *testing.T) {
	w := newWorld(t)
	for accept, signed := range map[string]bool{
		"":                                    false,
		"*/*":                                 false,
		"application/json":                    false,
		"application/*":                       false,
		"application/token-introspection+jwt": true,
		"Application/Token-Introspection+JWT": true,
		"application/jwt":                     false,
		"application/token-introspection+jwt;q=0":                           false,
		"application/token-introspection+jwt;q=x":                           false,
		"application/json, application/token-introspection+jwt":             true,
		"application/json;q=0.9, application/token-introspection+jwt;q=0.5": false,
		"application/json;q=0.1, application/token-introspection+jwt;q=0.5": true,
		"application/token-introspection+jwt, */*;q=0.1":                    true,
		"x y z": false,
	} {
		g := w.post("/oauth2/introspect", form("token", "x"), "Accept: "+accept)
		if got := g.header.Get("Content-Type") == api.IntrospectionType; got != signed || g.status != 200 {
			t.Errorf("%q: %d %v", accept, g.status, g.header)
		}
	}
}

func TestJWKS(t *testing.T) {
	w := newWorld(t)
	set := w.jwks()
	if len(set.Keys) != 1 {
		t.Fatalf("%v", set)
	}
	k := set.Keys[0]
	status := must[api.Status](w.ask("GET", "/v1/status", ""), 200)
	if !k.Valid() || !k.IsPublic() || k.Use != "sig" || k.Algorithm != "EdDSA" || k.KeyID != status.HubKeys[0] {
		t.Errorf("%+v", k)
	}
	thumb, err := k.Thumbprint(crypto.SHA256)
	if err != nil || base64.RawURLEncoding.EncodeToString(thumb) != k.KeyID {
		t.Errorf("%v %v", thumb, err)
	}
	// A wrong credential is not looked at, and no other method is known.
	if g := w.ask("GET", "/.well-known/jwks.json", "", with("rvk_wrong")); g.status != 200 || g.header.Get("Cache-Control") != "public, max-age=300" {
		t.Errorf("%d %v", g.status, g.header)
	}
	w.ask("POST", "/.well-known/jwks.json", "{}").problem(405, api.MethodUnknown, "")
	w.ask("GET", "/.well-known/jwks.json?x=1", "").problem(400, api.UnknownField, "x")

	// By default the hub is called after its key.
	g := w.post("/oauth2/introspect", form("token", "x"), acceptJWT)
	var claims jwt.MapClaims
	if _, _, err := jwt.NewParser().ParseUnverified(string(g.body), &claims); err != nil || claims["iss"] != "urn:revocast:hub:"+k.KeyID || claims["aud"] != "admin" {
		t.Errorf("%v %v", claims, err)
	}
}
