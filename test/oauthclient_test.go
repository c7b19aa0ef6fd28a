package test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/client"
	"github.com/zitadel/oidc/v3/pkg/client/rp"
	"github.com/zitadel/oidc/v3/pkg/client/rs"
	httphelper "github.com/zitadel/oidc/v3/pkg/http"
	"github.com/zitadel/oidc/v3/pkg/oidc"

	"github.com/revocast/revocast/hub"
	"github.com/revocast/revocast/subscriber"
)

// A client library that knows nothing of us finds the hub's endpoints in its
// metadata, asks about a token, revokes it, and is told that it is not active.
// It authenticates with Basic, by a name and a secret that have to be encoded
// for it (RFC 6749 section 2.3.1).
func TestOAuthClientLibrary(t *testing.T) {
	w := newWorld(t)
	iss, https := w.serveHTTPS()
	id, secret := "orders:api/1+1=2%", w.newKey(https, iss, "orders:api/1+1=2%")

	found, err := client.Discover(t.Context(), iss, https, iss+"/.well-known/oauth-authorization-server")
	w.must(err)
	resource, err := rs.NewResourceServerClientCredentials(t.Context(), iss, id, secret, rs.WithClient(https),
		rs.WithStaticEndpoints("there is no token endpoint", found.IntrospectionEndpoint))
	w.must(err)
	ask := func(raw string) *oidc.IntrospectionResponse {
		t.Helper()
		said, err := rs.Introspect[*oidc.IntrospectionResponse](t.Context(), resource, raw)
		w.must(err)
		return said
	}
	raw, other := w.token("t1"), w.token("t2")
	if said := ask(raw); !said.Active || said.JWTID != "t1" || said.Subject != "alice" || said.Issuer != issuer || len(said.Audience) != 1 ||
		said.Audience[0] != "orders" || said.TokenType != "Bearer" || said.Expiration.AsTime().Before(time.Now()) {
		t.Fatalf("%+v", said)
	}
	if said := signedAnswer(w, https, iss, found.JwksURI, id, secret, raw); said["active"] != true || said["jti"] != "t1" {
		t.Errorf("signed: %v", said)
	}

	revoke := func(raw, secret string) error {
		return client.CallRevokeEndpoint(t.Context(), client.RevokeRequest{Token: raw, TokenTypeHint: "access_token"},
			httphelper.AuthorizeBasic(id, secret), revoker{found.RevocationEndpoint, https})
	}
	if err := revoke(raw, secret+"x"); err == nil || !strings.Contains(err.Error(), "invalid_client") {
		t.Errorf("a wrong secret: %v", err)
	}
	if said := ask(raw); !said.Active {
		t.Error("a wrong secret revoked a token")
	}
	w.must(revoke(raw, secret))
	if said, err := json.Marshal(ask(raw)); err != nil || string(said) != `{"active":false}` {
		t.Errorf("%s, %v", said, err)
	}
	if said := signedAnswer(w, https, iss, found.JwksURI, id, secret, raw); len(said) != 1 || said["active"] != false {
		t.Errorf("signed: %v", said)
	}
	if said := ask(other); !said.Active {
		t.Error("another token is dead, too")
	}
	w.must(revoke(raw, secret))
	w.must(revoke("nobody's token", secret))

	wrong, err := rs.NewResourceServerClientCredentials(t.Context(), iss, id, "wrong", rs.WithClient(https),
		rs.WithStaticEndpoints("there is no token endpoint", found.IntrospectionEndpoint))
	w.must(err)
	if _, err := rs.Introspect[*oidc.IntrospectionResponse](t.Context(), wrong, other); err == nil || !strings.Contains(err.Error(), "invalid_client") {
		t.Errorf("a wrong secret: %v", err)
	}
}

type revoker struct {
	address string
	https   *http.Client
}

func (r revoker) GetRevokeEndpoint() string { return r.address }

func (r revoker) HttpClient() *http.Client { return r.https }

// signedAnswer asks for the JWT answer of RFC 9701 and returns what it says
// about the token, if the library's key set verifies it.
func signedAnswer(w *world, https *http.Client, iss, jwks, id, secret, raw string) map[string]any {
	w.Helper()
	req, err := httphelper.FormRequest(w.Context(), iss+"/oauth2/introspect", &oidc.IntrospectionRequest{Token: raw},
		client.Encoder, httphelper.AuthorizeBasic(id, secret))
	w.must(err)
	req.Header.Set("Accept", "application/token-introspection+jwt")
	resp, err := https.Do(req)
	w.must(err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	w.must(err)
	verify := func(answer string) ([]byte, error) {
		jws, err := jose.ParseSigned(answer, []jose.SignatureAlgorithm{jose.EdDSA})
		if err != nil {
			return nil, err
		}
		return rp.NewRemoteKeySet(https, jwks).VerifySignature(w.Context(), jws)
	}
	payload, err := verify(string(answer))
	w.must(err)
	var claims struct {
		Iss  string
		Aud  oidc.Audience
		Said map[string]any `json:"token_introspection"`
	}
	w.must(json.Unmarshal(payload, &claims))
	if claims.Iss != iss || len(claims.Aud) != 1 || claims.Aud[0] != id {
		w.Errorf("%s", payload)
	}
	// The same, with another signature.
	cut := bytes.LastIndexByte(answer, '.')
	if _, err := verify(string(answer[:cut+1]) + strings.Repeat("A", len(answer)-cut-1)); err == nil {
		w.Error("a forged answer is believed")
	}
	return claims.Said
}

// serveHTTPS serves a hub in this process, with TLS, until the test ends. It
// knows the world's issuer.
func (w *world) serveHTTPS() (iss string, https *http.Client) {
	w.Helper()
	// For its certificate, and a client that trusts it.
	other := httptest.NewTLSServer(http.NotFoundHandler())
	w.Cleanup(other.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	iss = "https://" + l.Addr().String()
	h, err := hub.Open(w.Context(), hub.Config{
		DataDir: w.dir, AdminKey: adminKey, Iss: iss, Issuers: []subscriber.Issuer{w.issuer()}, DrainWindow: time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(w.Output(), nil)),
	})
	w.must(err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.Serve(ctx, l, nil, &tls.Config{Certificates: other.TLS.Certificates}) }()
	https = other.Client()
	w.Cleanup(func() {
		https.CloseIdleConnections()
		stop()
		w.must(<-ended)
	})
	w.eventually("the hub is ready", func() bool {
		req, err := http.NewRequestWithContext(w.Context(), "POST", iss+"/oauth2/introspect", strings.NewReader(url.Values{"token": {"x"}}.Encode()))
		w.must(err)
		req.Header.Set("Authorization", "Bearer "+adminKey)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := https.Do(req)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return iss, https
}

// newKey makes an API key that may revoke and introspect.
func (w *world) newKey(https *http.Client, iss, name string) (secret string) {
	w.Helper()
	body, err := json.Marshal(map[string]any{"name": name, "roles": []string{"revoke", "introspect"}})
	w.must(err)
	req, err := http.NewRequestWithContext(w.Context(), "POST", iss+"/v1/keys", bytes.NewReader(body))
	w.must(err)
	req.Header.Set("Authorization", "Bearer "+adminKey)
	req.Header.Set("Content-Type", "application/json")
	resp, err := https.Do(req)
	w.must(err)
	defer resp.Body.Close()
	var made struct{ Key string }
	w.must(json.NewDecoder(resp.Body).Decode(&made))
	if resp.StatusCode != http.StatusCreated {
		w.Fatalf("make a key: %s", resp.Status)
	}
	return made.Key
}
