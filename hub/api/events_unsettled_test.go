package api_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/revocast/revocast/hub/api"
	"github.com/revocast/revocast/internal/token"
)

// A provider that was told that nobody knows sends the token again, and is
// told 200 when the log has it: once for either.
func TestLogoutOfUnknownOutcome(t *testing.T) {
	w := newEventWorld(t)
	var raw string
	tries := 0
	for raw == "" {
		if tries++; tries > 5000 {
			t.Fatal("no outcome is unknown")
		}
		c := logoutClaims()
		signed := signES("logout+jwt", c)
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(tries%500)*2*time.Microsecond<<(tries/500))
		req := httptest.NewRequestWithContext(ctx, "POST", "/oidc/backchannel-logout", strings.NewReader("logout_token="+url.QueryEscape(signed)))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		rec := httptest.NewRecorder()
		w.server.Config.Handler.ServeHTTP(rec, req)
		cancel()
		switch {
		case rec.Code == http.StatusOK:
		case rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "":
			t.Fatalf("%d %v %s", rec.Code, rec.Header(), rec.Body)
		case strings.Contains(rec.Body.String(), "same request again"):
			raw = signed
		}
	}
	before := len(w.audit())
	w.logOut(raw).done(200)
	w.logOut(raw).oauthError(400, api.InvalidRequest)
	if n := len(w.audit()) - before; n < 0 || n > 1 {
		t.Errorf("%d revocations more", n)
	}
}

// While an issuer's keys can't be had, nobody knows what its tokens are worth.
func TestEventsWithoutKeys(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	w := newWorld(t, func(s *setup) {
		s.issuers = []token.Issuer{{Iss: ours, Algorithms: []string{"ES256"}, JWKSURI: gone.URL, Audience: []string{us}}}
	})
	g := w.logOut(signES("logout+jwt", logoutClaims()))
	g.oauthError(503, api.TemporaryUnavailable)
	if g.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	g = w.push(signES("secevent+jwt", eventClaims(caep+"session-revoked", claims{}, opaque("s-1"))))
	g.problem(503, api.Unavailable, "")
	if g.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

// What is acknowledged alike is counted apart, and under no name that somebody
// else makes up.
func TestEventsAreCounted(t *testing.T) {
	reg := prometheus.NewRegistry()
	w := newEventWorld(t, func(s *setup) { s.api.Metrics = reg })
	ended := signES("secevent+jwt", eventClaims(caep+"session-revoked", claims{}, opaque("s-1")))
	for _, raw := range []string{
		ended, ended,
		signES("secevent+jwt", eventClaims(caep+"session-revoked", claims{}, claims{"format": "email", "email": "a@b.example"})),
		signES("secevent+jwt", eventClaims(ssf+"verification", claims{}, opaque("stream-1"))),
		signES("secevent+jwt", eventClaims("https://events.example/1", claims{}, opaque("x"))),
		signES("secevent+jwt", eventClaims("https://events.example/2", claims{}, opaque("x"))),
	} {
		w.push(raw).done(202)
	}
	w.logOut(signES("logout+jwt", logoutClaims())).done(200)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		if f.GetName() != "revocast_events_taken_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			got[m.GetLabel()[0].GetValue()+" "+m.GetLabel()[1].GetValue()] = m.GetCounter().GetValue()
		}
	}
	want := map[string]float64{"session-revoked revoked": 1, "session-revoked duplicate": 1, "session-revoked unmatched": 1,
		"verification ignored": 1, "other ignored": 2, "backchannel-logout revoked": 1}
	if len(got) != len(want) {
		t.Errorf("%v", got)
	}
	for name, n := range want {
		if got[name] != n {
			t.Errorf("%s: %v, want %v", name, got[name], n)
		}
	}
	if log := w.logged.String(); !strings.Contains(log, "its subject is not one that tokens have") || strings.Contains(log, "a@b.example") {
		t.Error("the log does not say what was not done, or says to whom")
	}
}
