package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/api"
)

func TestTheLifeOfARevocation(t *testing.T) {
	w := newWorld(t)
	w.serve()

	out := w.do("revoke", "subject", "alice", "--iss", iss, "--reason", "password_change", "--note", "ticket 4711")
	mustShow(t, out, "revoked        subject alice of "+iss, "effective_at   2", "retain_until   2", "reissue_after  2")
	id := field(t, out, "id")

	mustShow(t, w.do("list"), id, "subject", "alice", "password_change", "admin", "ticket 4711")
	mustShow(t, w.do("status"), "takes requests", "1 revocation of 1 subject", "head", "tick", "90d")
	mustShow(t, w.do("tail", "--no-follow"), "1 2", "revoke", id, "subject alice of "+iss, `reason=password_change by=admin via=api "ticket 4711"`)
	old := fmt.Sprintf(`{"iss":%q,"sub":"alice","iat":%d}`, iss, time.Now().Unix()-60)
	mustShow(t, w.run("", "check", "--claims", old).exits(1).out, "verdict  revoked", id)

	mustShow(t, w.do("restore", id, "--note", "a mistake"), "restored  "+id)
	w.run("", "restore", id).exits(1).says("(not_found)", "hub list shows")
	w.run("", "list").exits(0).says("no live revocation matches")
	mustShow(t, w.do("check", "--claims", old), "verdict  allowed")
	mustShow(t, w.do("tail", "--no-follow"), "restore "+id, `"a mistake"`)
}

func TestAnswersForMachines(t *testing.T) {
	w := newWorld(t)
	w.serve()
	cutoff, err := time.Parse(time.RFC3339, "2026-01-02T03:04:05.678Z")
	if err != nil {
		t.Fatal(err)
	}
	made := parse[api.RevokeAnswer](t, w.do("revoke", "client", "c-1", "--iss", iss, "--cutoff", "2026-01-02T04:04:05.678+01:00", "--json"))
	rev := made.Revocations[0]
	if rev.ReissueAfter.Std() != cutoff.Truncate(time.Second).Add(time.Second) || made.Seq != 1 {
		t.Errorf("%+v", made)
	}
	w.do("revoke", "issuer", "--iss", "https://other.example", "--reason", "compromised")

	list := parse[api.RevocationList](t, w.do("list", "--json", "--kind", "client"))
	if len(list.Revocations) != 1 || list.Revocations[0].ID != rev.ID || list.Revocations[0].Cutoff != events.At(cutoff) {
		t.Errorf("%+v", list)
	}
	status := parse[struct {
		Status      api.Status       `json:"status"`
		Subscribers []map[string]any `json:"subscribers"`
	}](t, w.do("status", "--json"))
	if status.Status.Head != 2 || status.Status.Revocations != 2 || len(status.Subscribers) != 0 {
		t.Errorf("%+v", status)
	}
	lines := strings.Split(strings.TrimSpace(w.do("tail", "--no-follow", "--after", "1", "--json")), "\n")
	if line := parse[auditLine](t, lines[0]); len(lines) != 1 || line.Seq != 2 || line.Target.Kind != events.KindIssuer {
		t.Errorf("%q", lines)
	}
	verdict := parse[api.CheckAnswer](t, w.run("", "check", "--json", "--claims", `{"iss":"https://other.example","sub":"bob"}`).exits(1).out)
	if verdict.Verdict != api.Revoked {
		t.Errorf("%+v", verdict)
	}
	// Protected, unless forced.
	id := string(verdict.Matched[0].Revocations[0].ID)
	w.run("", "restore", id).exits(1).says("(compromised)", "--force")
	if done := parse[api.RestoreAnswer](t, w.do("restore", id, "--force", "--json")); done.Seq != 3 {
		t.Errorf("%+v", done)
	}
	mustShow(t, w.do("tail", "--no-follow"), "(forced)")
}

func TestListGoesOnWhereAPageEnds(t *testing.T) {
	w := newWorld(t)
	w.serve()
	for i := range 5 {
		w.do("revoke", "token", fmt.Sprint("j-", i), "--iss", iss)
	}
	some := w.run("", "list", "--limit", "3").exits(0).says("there are more", "--all").out
	if strings.Count(some, "rev_") != 3 || strings.Count(w.do("list", "--all"), "rev_") != 5 {
		t.Error(some)
	}
	mustShow(t, w.do("list", "--value", "j-2", "--iss", iss), "j-2")
	w.run("", "list", "--value", "j-2").exits(1).says("--iss: ", "(missing_field)")
	w.run("", "list", "--kind", "nose").exits(1).says("KIND: ", "(invalid_field)", "subject")
}

func TestWaitingForSubscribers(t *testing.T) {
	w := newWorld(t)
	w.serve()
	for i := range 3 {
		w.subscribe(fmt.Sprint("orders-", i))
	}
	out := w.do("revoke", "subject", "alice", "--iss", iss, "--wait", "--wait-timeout", "20s")
	mustShow(t, out, "reach", "applied by 3 of 3 connected subscribers")
	mustShow(t, w.do("status"), "SUBSCRIBER", "orders-0", "orders-2", "fresh")
}

func TestATokenComesThroughStdin(t *testing.T) {
	w := newWorld(t)
	w.serve()
	exp := time.Now().Add(time.Hour).Unix()
	withID := jwtOf(fmt.Sprintf(`{"iss":%q,"jti":"j-1","sub":"alice","exp":%d}`, iss, exp))
	without := jwtOf(fmt.Sprintf(`{"iss":%q,"sub":"bob","exp":%d}`, iss, exp))

	r := w.run("Bearer "+withID+"\n", "revoke", "jwt", "-", "--reason", "compromised").exits(0).keeps(withID)
	mustShow(t, r.out, "token j-1 of "+iss, "retain_until")
	r = w.run(without, "revoke", "jwt", "-", "--json").exits(0)
	list := parse[api.RevocationList](t, w.do("list", "--json"))
	if len(list.Revocations) != 2 || list.Revocations[0].Target.Kind != events.KindHandle || list.Revocations[1].ExpiresAt.Std().Unix() != exp {
		t.Errorf("%+v", list)
	}
	for _, token := range []string{withID, without} {
		mustShow(t, w.run(token, "check").exits(1).out, "revoked")
	}
	mustShow(t, w.run(jwtOf(`{"iss":"https://issuer.example","jti":"j-3","exp":9999999999}`), "check").exits(0).out, "allowed")

	// It is never an argument, and never shown.
	w.run("", "revoke", "jwt", withID).exits(2).says("can be seen by others").keeps(withID)
	w.run("", "check", withID).exits(2).says("a secret, not shown").keeps(withID)
	w.run("", "revoke", "jwt", "-").exits(2).says("stdin is empty")
	w.run("rubbish", "revoke", "jwt", "-").exits(2).says("(malformed)").keeps("rubbish")
	w.run(withID, "revoke", "jwt", "-", "--iss", "https://other.example").exits(2).says("of another issuer")
	w.run(jwtOf(`{"iss":"https://issuer.example","jti":"j","exp":1700000000}`), "revoke", "jwt", "-").exits(1).says("--expires-at", "(already_expired)")
}

func TestARevocationIsAskedForAgainUntilItIsKnownToBeDone(t *testing.T) {
	w := newWorld(t)
	w.key = "rvk_any"
	var tries atomic.Int32
	var first string
	hub := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked := r.Header.Get("Idempotency-Key") + string(body)
		switch n := tries.Add(1); n {
		case 1:
			first = asked
			panic(http.ErrAbortHandler) // the answer is lost
		case 2:
			rw.Header().Set("Content-Type", "application/problem+json")
			rw.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(rw, `{"title":"It is not known whether this was done","status":503,"code":"outcome_unknown","outcome":"unknown"}`)
		case 3:
			http.Error(rw, "<html>", http.StatusBadGateway) // of a proxy
		default:
			if asked != first || r.Header.Get("Idempotency-Key") == "" {
				t.Errorf("asked for %q, and then for %q", first, asked)
			}
			fmt.Fprint(rw, `{"revocations":[{"id":"rev_01M823XF6METSQCRFBZQ2RFHTH","effective_at":"2026-11-22T17:12:30.164Z"}],"epoch":"e","seq":1}`)
		}
	}))
	defer hub.Close()
	w.url = hub.URL
	r := w.run("", "revoke", "key", "k-1", "--iss", iss).exits(0).says("(outcome_unknown)", "no answer from", "502 Bad Gateway", "asking again", "takes effect once")
	mustShow(t, r.out, "retain_until  (until it is restored)")
	if tries.Load() != 4 {
		t.Errorf("%d tries", tries.Load())
	}
}
