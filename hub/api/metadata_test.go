package api_test

import (
	"slices"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/revocast/revocast/hub/api"
)

// A hub that has an address of its own tells anybody where its endpoints are,
// and each of them is there.
func TestMetadata(t *testing.T) {
	const iss = "https://hub.example"
	w := newWorld(t, withIssuers, func(s *setup) { s.api.Iss = iss })
	g := w.ask("GET", "/.well-known/oauth-authorization-server", "", "Authorization: ")
	var m api.Metadata
	if err := json.Unmarshal(g.body, &m, json.RejectUnknownMembers(true)); err != nil || g.status != 200 || g.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %v %s: %v", g.status, g.header, g.body, err)
	}
	basic := []string{"client_secret_basic"}
	if m.Issuer != iss || !slices.Equal(m.IntrospectionAuth, basic) || !slices.Equal(m.RevocationAuth, basic) ||
		!slices.Equal(m.IntrospectionSigning, []string{"EdDSA"}) || m.ResponseTypes == nil || len(m.ResponseTypes)+len(m.GrantTypes) > 0 {
		t.Errorf("%s", g.body)
	}
	for address, post := range map[string]bool{m.JWKSURI: false, m.IntrospectionURL: true, m.RevocationURL: true} {
		path, ok := address, len(address) > len(iss) && address[:len(iss)] == iss
		if !ok {
			t.Fatalf("%s is elsewhere", address)
		}
		path = address[len(iss):]
		g := w.ask("GET", path, "")
		if post {
			g = w.post(path, form("token", sign(ours, nil)))
		}
		if g.status != 200 {
			t.Errorf("%s: %d %s", address, g.status, g.body)
		}
	}
}

// An iss that is not an address of the hub's own has no metadata: the
// endpoints named there would not be the hub's.
func TestMetadataNeedsAnAddress(t *testing.T) {
	for _, iss := range []string{"", "http://hub.example", "urn:hub", "https://hub.example/", "https://hub.example/a", "https://hub.example?q",
		"https://hub.example#f", "https://user@hub.example", "https://", "HTTPS://hub.example", "https://hub.exa mple"} {
		w := newWorld(t, func(s *setup) { s.api.Iss = iss })
		w.ask("GET", "/.well-known/oauth-authorization-server", "", "Authorization: ").problem(404, api.NotFound, "")
	}
}
