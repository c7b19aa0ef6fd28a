package api_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/api"
)

// Each line is an event, and what it revokes.
func TestSharedSignals(t *testing.T) {
	w := newEventWorld(t)
	at := time.Now().Add(-time.Hour).Truncate(time.Second)
	when := claims{"event_timestamp": at.Unix()}
	alice, session := issSub(ours, "alice"), opaque("s-1")
	complex := func(members claims) claims { return members.with(claims{"format": "complex"}) }
	aliases := claims{"format": "aliases", "identifiers": []any{alice, claims{"format": "email", "email": "a@b.example"}, issSub(ours, "alice2"), alice}}
	jwtID := claims{"format": "jwt_id", "iss": ours, "jti": "j-1"}
	for _, c := range []struct {
		event   string
		details claims
		subject claims
		want    string // the targets, each with @ if the cutoff is the event's time
		reason  events.Reason
	}{
		{caep + "session-revoked", when, session, "session s-1", events.Other},
		{caep + "session-revoked", when.with(claims{"initiating_entity": "user"}), session, "session s-1", events.Logout},
		{caep + "session-revoked", when.with(claims{"initiating_entity": "admin"}), alice, "subject alice@", events.Admin},
		{caep + "session-revoked", when.with(claims{"initiating_entity": "policy"}), jwtID, "token j-1", events.Policy},
		{caep + "session-revoked", when, complex(claims{"user": alice, "session": session, "tenant": opaque("t")}), "session s-1", events.Other},
		{caep + "session-revoked", when, complex(claims{"session": issSub(ours, "s-9")}), "session s-9", events.Other},
		{caep + "session-revoked", when, complex(claims{"user": alice, "device": opaque("d")}), "subject alice@", events.Other},
		{caep + "session-revoked", when, complex(claims{"user": aliases, "session": claims{"format": "uri", "uri": "urn:s"}}), "subject alice@, subject alice2@", events.Other},
		{caep + "session-revoked", when, complex(claims{"tenant": opaque("t")}), "", ""},
		{caep + "session-revoked", when, claims{"format": "email", "email": "a@b.example"}, "", ""},
		{caep + "session-revoked", when, claims{"format": "of-their-own"}, "", ""},
		{caep + "token-claims-change", when.with(claims{"claims": claims{"role": "ro"}}), jwtID, "token j-1", events.Policy},
		{caep + "token-claims-change", when, alice, "subject alice@", events.Policy},
		{caep + "token-claims-change", when, complex(claims{"user": alice, "session": session}), "session s-1@", events.Policy},
		{caep + "credential-change", when.with(claims{"change_type": "update", "credential_type": "password"}), alice, "subject alice@", events.PasswordChange},
		{caep + "credential-change", when.with(claims{"change_type": "revoke", "credential_type": "x509"}), alice, "subject alice@", events.Other},
		{caep + "credential-change", when.with(claims{"change_type": "delete", "credential_type": "pin"}), complex(claims{"user": alice, "session": session}), "subject alice@", events.PasswordChange},
		{caep + "credential-change", when.with(claims{"change_type": "create", "credential_type": "password"}), alice, "", ""},
		{caep + "credential-change", when.with(claims{"change_type": "update"}), opaque("alice"), "", ""},
		{caep + "assurance-level-change", when, alice, "", ""},
		{risc + "account-disabled", when, alice, "subject alice@", events.Offboarding},
		{risc + "account-disabled", when.with(claims{"reason": "hijacking"}), aliases, "subject alice@, subject alice2@", events.Compromised},
		{risc + "account-purged", when, alice, "subject alice@", events.Offboarding},
		{risc + "account-enabled", when, alice, "", ""},
		{risc + "credential-compromise", when.with(claims{"credential_type": "password"}), alice, "subject alice@", events.Compromised},
		{risc + "sessions-revoked", when, alice, "subject alice@", events.Other},
		{ssf + "verification", claims{"state": "x"}, opaque("stream-1"), "", ""},
		{ssf + "stream-updated", claims{"status": "paused"}, opaque("stream-1"), "", ""},
		{"https://events.example/unheard-of", claims{"event_timestamp": "whenever"}, alice, "", ""},
	} {
		before := len(w.audit())
		begun := events.At(time.Now())
		w.push(signES("secevent+jwt", eventClaims(c.event, c.details, c.subject))).done(202)
		var list []string
		for _, l := range w.audit()[before:] {
			what := l.Target.Kind.String() + " " + l.Target.Value
			if l.Cutoff == events.At(at) {
				what += "@"
			} else if l.Cutoff != 0 && l.Cutoff < begun {
				t.Errorf("%s: cutoff %v", c.event, l.Cutoff)
			}
			list = append(list, what)
			if l.Reason != c.reason || l.Target.Iss != ours || l.Actor != "admin" || l.Source != "ssf "+c.event[strings.LastIndexByte(c.event, '/')+1:] || !strings.HasSuffix(l.Note, ", txn t-1") {
				t.Errorf("%s: %+v", c.event, l)
			}
		}
		if got := strings.Join(list, ", "); got != c.want {
			t.Errorf("%s about %v: revoked %q, want %q", c.event, c.subject, got, c.want)
		}
	}
}

// The tokens that die are those issued until the event, and when the answer
// is there they are dead.
func TestEventRevokesUntilItsTime(t *testing.T) {
	w := newEventWorld(t)
	at := time.Now().Add(-time.Hour).Truncate(time.Second)
	issued := func(sub string, at time.Time) events.Claims {
		return events.Claims{Subject: sub, IssuedAt: at.UnixMilli()}
	}
	e := eventClaims(risc+"account-disabled", claims{}, issSub(ours, "toe"))
	for sub, c := range map[string]claims{
		"details": eventClaims(caep+"credential-change", claims{"change_type": "update", "event_timestamp": at.Unix()}, issSub(ours, "details")).with(claims{"toe": at.Unix() - 500}),
		"toe":     e.with(claims{"toe": at.Unix()}),
		"iat":     e.with(claims{"iat": at.Unix(), "sub_id": issSub(ours, "iat"), "jti": "e-2"}),
	} {
		w.push(signJose("secevent+jwt", c)).done(202)
		if !w.revoked(issued(sub, at)) || w.revoked(issued(sub, at.Add(time.Second))) {
			t.Errorf("by %s: not until %v", sub, at)
		}
	}
	// A clock that is a little ahead does not reach into the future.
	ahead := time.Now().Add(1500 * time.Millisecond)
	w.push(signES("secevent+jwt", e.with(claims{"iat": seconds(ahead), "jti": "e-3", "sub_id": issSub(ours, "ahead")}))).done(202)
	if l := w.audit(); l[len(l)-1].Cutoff >= events.At(ahead) || !w.revoked(issued("ahead", time.Now().Add(-time.Second))) {
		t.Errorf("%+v", l[len(l)-1])
	}
}

// A token that was there is acknowledged again, and takes effect once, also
// after a restart.
func TestEventTwice(t *testing.T) {
	w := newEventWorld(t)
	c := eventClaims(caep+"session-revoked", claims{}, opaque("s-1"))
	raw := signES("secevent+jwt", c)
	w.push(raw).done(202)
	w.push(raw).done(202)
	w.push(signES("secevent+jwt", c)).done(202) // the same, signed anew
	w.restart()
	w.push(raw).done(202)
	w.mustHave(`session https://issuer.example s-1 by "admin" at "ssf session-revoked" because of other`)
	// Something else under the same jti is a mistake, and is not swallowed.
	w.push(signES("secevent+jwt", c.with(claims{"sub_id": opaque("s-2")}))).setError(api.SETInvalidRequest)
	// What another issuer calls the same is another.
	w.push(signES("secevent+jwt", c.with(claims{"iss": theirs}))).done(202)
	if n := len(w.audit()); n != 2 {
		t.Errorf("%d revocations, want 2", n)
	}
}

// Each line is refused as RFC 8935 has it, and revokes nothing.
func TestEventRefused(t *testing.T) {
	w := newEventWorld(t)
	good := eventClaims(caep+"session-revoked", claims{"event_timestamp": time.Now().Unix() - 60}, issSub(ours, "alice"))
	sig := func(change claims) string { return signES("secevent+jwt", good.with(change)) }
	event := func(name string, details claims) claims { return claims{"events": claims{name: details}} }
	for name, c := range map[string]struct {
		raw  string
		code api.SETCode
	}{
		"garbage":                {"x", api.SETInvalidRequest},
		"newline at the end":     {sig(nil) + "\n", api.SETInvalidRequest},
		"JSON":                   {`{"iss":"x"}`, api.SETInvalidRequest},
		"longer than a token":    {sig(claims{"x": strings.Repeat("x", 17<<10)}), api.SETInvalidRequest},
		"altered":                {sig(nil)[:300] + "AAAA", api.SETInvalidRequest},
		"of a foreign key":       {signJose("secevent+jwt", good.with(claims{"iss": theirs})), api.SETInvalidKey},
		"unknown kid":            {signKid("k2", "secevent+jwt", good), api.SETInvalidKey},
		"unknown issuer":         {sig(claims{"iss": "https://nobody.example"}), api.SETInvalidIssuer},
		"another audience":       {sig(claims{"aud": "revocast"}), api.SETInvalidAudience},
		"no audience":            {sig(claims{"aud": nil}), api.SETInvalidAudience},
		"no type":                {signES("", good), api.SETInvalidRequest},
		"typ JWT":                {signES("JWT", good), api.SETInvalidRequest},
		"access token":           {signES("at+jwt", good.with(claims{"events": nil, "exp": time.Now().Unix() + 60})), api.SETInvalidRequest},
		"logout token":           {signES("logout+jwt", logoutClaims()), api.SETInvalidRequest},
		"logout token, as a SET": {signES("secevent+jwt", logoutClaims()), api.SETInvalidRequest},
		"exp":                    {sig(claims{"exp": time.Now().Unix() + 60}), api.SETInvalidRequest},
		"sub":                    {sig(claims{"sub": "alice"}), api.SETInvalidRequest},
		"no jti":                 {sig(claims{"jti": nil}), api.SETInvalidRequest},
		"no iat":                 {sig(claims{"iat": nil}), api.SETInvalidRequest},
		"from the future":        {sig(claims{"iat": time.Now().Unix() + 60}), api.SETInvalidRequest},
		"no subject":             {sig(claims{"sub_id": nil}), api.SETInvalidRequest},
		"subject without sub":    {sig(claims{"sub_id": claims{"format": "iss_sub", "iss": ours}}), api.SETInvalidRequest},
		"sub too long":           {sig(claims{"sub_id": issSub(ours, strings.Repeat("s", 257))}), api.SETInvalidRequest},
		"sub with a newline":     {sig(claims{"sub_id": issSub(ours, "a\nb")}), api.SETInvalidRequest},
		"two events":             {sig(claims{"events": claims{caep + "session-revoked": claims{}, ssf + "verification": claims{}}}), api.SETInvalidRequest},
		"in milliseconds":        {sig(event(caep+"session-revoked", claims{"event_timestamp": time.Now().UnixMilli()})), api.SETInvalidRequest},
		"a time in a string":     {sig(event(caep+"session-revoked", claims{"event_timestamp": "2026-01-01"})), api.SETInvalidRequest},
		"in the future":          {sig(event(caep+"session-revoked", claims{"event_timestamp": time.Now().Unix() + 60})), api.SETInvalidRequest},
		"toe in the future":      {sig(event(caep+"session-revoked", claims{}).with(claims{"toe": time.Now().Unix() + 60})), api.SETInvalidRequest},
		"no change_type":         {sig(event(caep+"credential-change", claims{})), api.SETInvalidRequest},
		"unknown change_type":    {sig(event(caep+"credential-change", claims{"change_type": "rotate"})), api.SETInvalidRequest},
		"details of wrong types": {sig(event(caep+"credential-change", claims{"change_type": 1})), api.SETInvalidRequest},
	} {
		e := w.push(c.raw).setError(c.code)
		if strings.Contains(e.Description, "alice") || strings.Contains(e.Description, ours) {
			t.Errorf("%s: quotes the token: %s", name, e.Description)
		}
	}
	for _, typ := range []string{"", "application/json", "application/jwt", "application/x-www-form-urlencoded"} {
		w.push(sig(nil), "Content-Type: "+typ).setError(api.SETInvalidRequest)
	}
	w.ask("POST", "/ssf/events?x=1", sig(nil), "Content-Type: application/secevent+jwt").setError(api.SETInvalidRequest)
	w.push(strings.Repeat("x", 64<<10+1)).setError(api.SETInvalidRequest)
	w.ask("GET", "/ssf/events", "").problem(405, api.MethodUnknown, "")
	w.mustHave()
	w.push(sig(nil)).done(202)
	w.push(sig(claims{"jti": "other"}), "Accept: ").done(202)
}

// Who transmits has to be known, and speaks for its own issuer unless its
// credential says otherwise.
func TestEventTransmitters(t *testing.T) {
	w := newEventWorld(t)
	disabled := func(iss, subIss string) string {
		return signES("secevent+jwt", eventClaims(risc+"account-disabled", claims{}, issSub(subIss, "alice")).with(claims{"iss": iss}))
	}
	w.push(disabled(ours, ours), "Authorization: ").setError(api.SETAuthenticationFailed)
	w.push(disabled(ours, ours), with(adminKey+"x")).setError(api.SETAuthenticationFailed)
	w.push(disabled(ours, ours), with(w.newKey("auditor", `"roles":["audit"]`).Secret)).setError(api.SETAccessDenied)

	free := w.newKey("free", `"roles":["revoke"]`).Secret
	w.push(disabled(ours, ours), with(free)).done(202)
	w.push(disabled(theirs, theirs), with(free)).done(202)
	w.push(disabled(theirs, ours), with(free)).setError(api.SETAccessDenied)
	w.push(disabled(ours, theirs), with(adminKey)).setError(api.SETAccessDenied)
	w.push(disabled(ours, "https://nobody.example"), with(free)).setError(api.SETAccessDenied)

	mine := w.newKey("mine", fmt.Sprintf(`"roles":["revoke"],"issuers":[%q]`, ours)).Secret
	w.push(disabled(ours, ours), with(mine)).done(202)
	w.push(disabled(theirs, ours), with(mine)).done(202) // it may say so of ours, by name
	w.push(disabled(theirs, theirs), with(mine)).setError(api.SETAccessDenied)
	both := w.newKey("both", fmt.Sprintf(`"roles":["revoke"],"issuers":[%q,%q,"https://nobody.example"]`, ours, theirs)).Secret
	w.push(disabled(theirs, ours), with(both)).done(202)
	w.push(disabled(ours, "https://nobody.example"), with(both)).setError(api.SETInvalidRequest) // is not configured
	narrow := w.newKey("narrow", `"roles":["revoke"],"kinds":["session"]`).Secret
	w.push(disabled(ours, ours), with(narrow)).setError(api.SETAccessDenied)
	w.push(signES("secevent+jwt", eventClaims(caep+"session-revoked", claims{}, opaque("s-1"))), with(narrow)).done(202)

	// One alias too many, and nothing is done.
	aliases := claims{"format": "aliases", "identifiers": []any{issSub(ours, "bob"), issSub(theirs, "bob")}}
	w.push(signES("secevent+jwt", eventClaims(risc+"account-disabled", claims{}, aliases)), with(mine)).setError(api.SETAccessDenied)
	// A session is the user's issuer's.
	foreign := claims{"format": "complex", "user": issSub(theirs, "bob"), "session": opaque("s-1")}
	w.push(signES("secevent+jwt", eventClaims(caep+"session-revoked", claims{}, foreign)), with(mine)).setError(api.SETAccessDenied)

	// A token as the credential speaks for its issuer.
	credential := signES("at+jwt", claims{"iss": theirs, "sub": "feed", "aud": "revocast", "scope": "revocast:revoke",
		"jti": "c", "iat": time.Now().Unix() - 1, "exp": time.Now().Unix() + 60})
	w.push(disabled(theirs, theirs), with(credential)).done(202)
	w.push(disabled(ours, ours), with(credential)).setError(api.SETAccessDenied)
	if n := len(w.audit()); n != 7 {
		t.Errorf("%d revocations, want 7: %q", n, w.ops())
	}
	for range 100 {
		if w.push("x", with("rvk_wrong")).status != 400 {
			break
		}
	}
	w.push("x", with("rvk_wrong")).problem(429, api.TooManyFailures, "")
}

// Without issuers nobody's word can be taken, and neither door is there.
func TestNoDoorsWithoutIssuers(t *testing.T) {
	w := newWorld(t)
	w.logOut(signES("logout+jwt", logoutClaims())).problem(404, api.NotFound, "")
	w.push(signES("secevent+jwt", eventClaims(caep+"session-revoked", claims{}, opaque("s-1")))).problem(404, api.NotFound, "")
	w.ask("GET", "/ssf/events", "").problem(404, api.NotFound, "")
}
