package api_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
)

// Whichever door a revocation comes through: when it is acknowledged, it is
// in the audit, by the door's name, and in force.
func TestEveryDoorReachesTheLog(t *testing.T) {
	w := newEventWorld(t)
	past := time.Now().Add(-time.Minute)
	access := signES("at+jwt", claims{"iss": ours, "sub": "alice", "jti": "t-1", "iat": past.Unix(), "exp": past.Add(time.Hour).Unix()})
	for n, door := range []struct {
		name   string
		revoke func(user string) *got
		status int
		dead   func(user string) events.Claims
	}{
		{"api", func(user string) *got {
			return w.ask("POST", "/v1/revocations", fmt.Sprintf(`{"target":{"kind":"subject","iss":%q,"value":%q},"reason":"logout"}`, ours, user))
		}, 201, subjectOf},
		{"oauth2/revoke", func(string) *got { return w.post("/oauth2/revoke", form("token", access)) }, 200,
			func(string) events.Claims { return events.Claims{ID: "t-1"} }},
		{"oauth2/global-token-revocation", func(user string) *got {
			return w.ask("POST", "/oauth2/global-token-revocation", fmt.Sprintf(`{"sub_id":{"format":"iss_sub","iss":%q,"sub":%q}}`, ours, user))
		}, 204, subjectOf},
		{"oidc/backchannel-logout", func(user string) *got {
			return w.logOut(signES("logout+jwt", logoutClaims().with(claims{"sub": user})))
		}, 200, subjectOf},
		{"ssf account-disabled", func(user string) *got {
			return w.push(signES("secevent+jwt", eventClaims(risc+"account-disabled", claims{}, issSub(ours, user))))
		}, 202, subjectOf},
	} {
		user := fmt.Sprint("user-", n)
		dead := door.dead(user)
		dead.Issuer, dead.IssuedAt = ours, past.UnixMilli()
		if w.revoked(dead) {
			t.Fatalf("%s: revoked from the start", door.name)
		}
		if g := door.revoke(user); g.status != door.status {
			t.Fatalf("%s: %d %s", door.name, g.status, g.body)
		}
		if !w.revoked(dead) {
			t.Errorf("%s: acknowledged, and not in force", door.name)
		}
		lines := w.audit()
		if len(lines) != n+1 || lines[n].Source != door.name {
			t.Errorf("%s: %d lines in the audit, the last is %+v", door.name, len(lines), lines[len(lines)-1])
		}
	}
}

func subjectOf(user string) events.Claims { return events.Claims{Subject: user} }

// An incident may lie as far back as one likes. A cutoff that is older than
// tokens live matches none that is still accepted, so it needs no limit; it is
// remembered from now on, not from then.
func TestCutoffOfLongAgo(t *testing.T) {
	w := newWorld(t)
	for _, back := range []time.Duration{24 * time.Hour, 10 * 365 * 24 * time.Hour} {
		user, cutoff := "alice "+back.String(), time.Now().Add(-back)
		a := w.mustRevoke(fmt.Sprintf(`{"target":{"kind":"subject","iss":%q,"value":%q},"cutoff":%q,"reason":"compromised"}`,
			ours, user, cutoff.UTC().Format("2006-01-02T15:04:05.000Z")))
		if until := a.Revocations[0].RetainUntil; until < events.At(time.Now().Add(24*time.Hour)) {
			t.Errorf("%v back: remembered until %v", back, until)
		}
		for _, c := range []struct {
			iat     time.Time
			revoked bool
		}{{cutoff.Add(-time.Second), true}, {cutoff.Add(time.Second), false}, {time.Now(), false}} {
			if got := w.revoked(events.Claims{Issuer: ours, Subject: user, IssuedAt: c.iat.UnixMilli()}); got != c.revoked {
				t.Errorf("%v back, issued %v: revoked %v", back, c.iat, got)
			}
		}
		if l := w.audit(); l[len(l)-1].Cutoff != events.Time(cutoff.UnixMilli()) || time.Since(l[len(l)-1].At.Std()).Abs() > time.Minute {
			t.Errorf("the audit has not both times: %+v", l[len(l)-1])
		}
	}
}
