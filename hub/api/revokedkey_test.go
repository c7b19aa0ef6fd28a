package api_test

import (
	"strings"
	"testing"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/api"
)

// What is signed with a key that is revoked proves nothing at any door, also
// if it does not name the key; and a key of the same name of another issuer
// is another key.
func TestRevokedKeyProvesNothing(t *testing.T) {
	w := newEventWorld(t)
	event := func(kid, iss, sub string) string {
		return signKid(kid, "secevent+jwt", eventClaims(risc+"account-disabled", claims{}, issSub(iss, sub)).with(claims{"iss": iss, "jti": sub + kid}))
	}
	logout := func(kid string) string { return signKid(kid, "logout+jwt", logoutClaims()) }
	w.push(event("k1", ours, "before")).done(202)
	w.logOut(logout("")).done(200)

	w.mustRevoke(`{"target":{"kind":"issuer","iss":"` + ours + `"},"reason":"compromised"}`)
	w.push(event("k1", ours, "all-tokens-of-the-issuer-died")).done(202)
	w.mustRevoke(`{"target":{"kind":"key","iss":"` + ours + `","value":"k1"},"reason":"compromised"}`)
	before := len(w.audit())
	for _, kid := range []string{"k1", ""} {
		w.logOut(logout(kid)).oauthError(400, api.InvalidRequest)
		if e := w.push(event(kid, ours, "bob")).setError(api.SETInvalidKey); !strings.Contains(e.Description, "revoked") {
			t.Errorf("%q", e.Description)
		}
	}
	if n := len(w.audit()); n != before {
		t.Errorf("%d revocations came of a key that is revoked", n-before)
	}
	w.push(event("k1", theirs, "carol")).done(202)
	if l := w.audit(); l[len(l)-1].Target != (events.Target{Kind: events.KindSubject, Iss: theirs, Value: "carol"}) {
		t.Errorf("%+v", l[len(l)-1])
	}
}
