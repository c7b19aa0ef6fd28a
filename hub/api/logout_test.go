package api_test

import (
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/api"
)

const opSession = `session https://issuer.example s-1 by "op https://issuer.example" at "oidc/backchannel-logout" because of logout`
const opSubject = `subject https://issuer.example alice by "op https://issuer.example" at "oidc/backchannel-logout" because of logout`

// A logout token that names a session ends that one, and otherwise all of the
// subject's; when the answer is there, so is the revocation.
func TestBackChannelLogout(t *testing.T) {
	w := newEventWorld(t)
	before := events.Claims{Session: "s-1", Subject: "alice", IssuedAt: time.Now().Add(-time.Minute).UnixMilli()}
	other := events.Claims{Session: "s-2", Subject: "alice", IssuedAt: before.IssuedAt}
	foreign := events.Claims{Issuer: theirs, Session: "s-1", Subject: "alice", IssuedAt: before.IssuedAt}
	if w.revoked(before) {
		t.Fatal("revoked from the start")
	}
	w.logOut(signES("logout+jwt", logoutClaims().with(claims{"sid": "s-1"}))).done(200)
	if !w.revoked(before) || w.revoked(other) {
		t.Error("want the one session revoked")
	}
	w.logOut(signJose("JWT", logoutClaims())).done(200)
	if !w.revoked(other) || w.revoked(foreign) {
		t.Error("want the subject revoked, of this issuer")
	}
	again := other
	again.IssuedAt = time.Now().Add(2 * time.Second).UnixMilli()
	if w.revoked(again) {
		t.Error("who logs in again is locked out")
	}
	w.mustHave(opSession, opSubject)
	if strings.Contains(w.logged.String(), "alice") {
		t.Error("a subject is in the log")
	}
}

// A token that was there is refused, and what it did is not done again: not
// by this hub, and not by one that has only the log to know it from.
func TestLogoutReplayed(t *testing.T) {
	w := newEventWorld(t)
	raw := signES("logout+jwt", logoutClaims())
	w.logOut(raw).done(200)
	w.logOut(raw).oauthError(400, api.InvalidRequest)
	w.restart()
	w.logOut(raw).oauthError(400, api.InvalidRequest)
	w.logOut(raw).oauthError(400, api.InvalidRequest)
	// Another with the same jti is a replay, whatever it says.
	c := logoutClaims().with(claims{"jti": "one"})
	w.logOut(signES("logout+jwt", c)).done(200)
	w.logOut(signES("logout+jwt", c.with(claims{"sub": "bob"}))).oauthError(400, api.InvalidRequest)
	w.restart()
	w.logOut(signES("logout+jwt", c.with(claims{"sub": "bob"}))).oauthError(400, api.InvalidRequest)
	// Another issuer has jtis of its own.
	w.logOut(signES("logout+jwt", c.with(claims{"iss": theirs}))).done(200)
	if n := len(w.audit()); n != 3 {
		t.Errorf("%d revocations, want 3", n)
	}
}

func TestLogoutTwiceAtOnce(t *testing.T) {
	w := newEventWorld(t)
	raw := signES("logout+jwt", logoutClaims())
	var answers [8]*got
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { answers[i] = w.logOut(raw) })
	}
	all.Wait()
	accepted := 0
	for _, g := range answers {
		if g.status == 200 {
			accepted++
		} else {
			g.oauthError(400, api.InvalidRequest)
		}
	}
	if accepted != 1 || len(w.audit()) != 1 {
		t.Errorf("accepted %d times, %d revocations", accepted, len(w.audit()))
	}
}

// Each line is refused as the specification has it, and revokes nothing.
func TestLogoutRefused(t *testing.T) {
	w := newEventWorld(t)
	good := logoutClaims()
	sig := func(typ string, change claims) string { return signES(typ, good.with(change)) }
	set := eventClaims(caep+"session-revoked", claims{}, opaque("s-1"))
	for name, raw := range map[string]string{
		"garbage":              "x",
		"altered":              sig("logout+jwt", nil)[:200] + "AAAA",
		"unknown kid":          signKid("k2", "logout+jwt", good),
		"unknown issuer":       sig("logout+jwt", claims{"iss": "https://nobody.example"}),
		"of a foreign key":     signJose("logout+jwt", good.with(claims{"iss": theirs})),
		"access token":         signES("at+jwt", good),
		"SET":                  signES("secevent+jwt", set),
		"SET without its type": signES("", set),
		"ID token":             sig("JWT", claims{"events": nil, "nonce": "n"}),
		"nonce":                sig("logout+jwt", claims{"nonce": "n"}),
		"another audience":     sig("logout+jwt", claims{"aud": "revocast"}),
		"old":                  sig("logout+jwt", claims{"iat": time.Now().Add(-6 * time.Minute).Unix()}),
		"expired":              sig("logout+jwt", claims{"exp": time.Now().Add(-3 * time.Second).Unix()}),
		"no jti":               sig("logout+jwt", claims{"jti": nil}),
		"nobody":               sig("logout+jwt", claims{"sub": nil}),
		"sid too long":         sig("logout+jwt", claims{"sid": strings.Repeat("s", 257)}),
		"sid with a newline":   sig("logout+jwt", claims{"sid": "a\nb"}),
	} {
		if why := w.logOut(raw).oauthError(400, api.InvalidRequest); strings.Contains(why, "alice") || strings.Contains(why, ours) {
			t.Errorf("%s: quotes the token: %s", name, why)
		}
	}
	token := url.QueryEscape(signES("logout+jwt", good))
	for body, headers := range map[string][]string{
		"":                    {formType},
		"x=y":                 {formType},
		"logout_token=":       {formType},
		"logout_token=a;b=%2": {formType},
		"logout_token=" + token + "&logout_token=" + token: {formType},
	} {
		w.ask("POST", "/oidc/backchannel-logout", body, headers...).oauthError(400, api.InvalidRequest)
	}
	w.ask("POST", "/oidc/backchannel-logout?logout_token="+token, "", formType).oauthError(400, api.InvalidRequest)
	w.ask("POST", "/oidc/backchannel-logout", "logout_token="+token, "Content-Type: text/plain").oauthError(415, api.InvalidRequest)
	w.ask("POST", "/oidc/backchannel-logout", `{"logout_token":"x"}`).oauthError(415, api.InvalidRequest)
	w.logOut(strings.Repeat("x", api.MaxBody)).oauthError(413, api.InvalidRequest)
	if g := w.ask("GET", "/oidc/backchannel-logout", "", "Authorization: "); g.status != 405 || g.header.Get("Allow") != "POST" {
		t.Errorf("GET: %d %v", g.status, g.header)
	}
	w.mustHave()
	// None of that spoils the good one, and what else is in the form is no matter.
	w.ask("POST", "/oidc/backchannel-logout", "more=1&logout_token="+token, formType, "Authorization: ").done(200)
	w.mustHave(opSubject)
}

// Verifying costs: who sends wrong tokens has to wait, and so does who sends
// right ones from the same address.
func TestLogoutFailuresAreLimited(t *testing.T) {
	w := newEventWorld(t)
	raw := signES("logout+jwt", logoutClaims().with(claims{"aud": "x"}))
	for range 100 {
		if g := w.logOut(raw); g.status != 400 {
			break
		}
	}
	g := w.logOut(signES("logout+jwt", logoutClaims()))
	g.oauthError(429, api.TemporaryUnavailable)
	if g.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}
