package test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/subscriber"
)

// Promises 2, 5 and 7: while the hub is away requests are answered from
// memory, the subscriber says that it is stale, then the policy closes; the
// hub back, all is well without help.
func TestHubStoppedUnderAResourceServer(t *testing.T) {
	w := newWorld(t)
	w.startHub()
	sub := w.subscribe(func(c *subscriber.Config) {
		c.MaxStaleness = time.Second
		c.Policy = subscriber.GraceThenClosed(8 * time.Second)
	})
	server := httptest.NewServer(sub.Protect(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		io.WriteString(rw, "fine")
	}), subscriber.Audience("orders")))
	defer server.Close()
	get := func(token string) (int, string) {
		t.Helper()
		req, _ := http.NewRequest("GET", server.URL, nil)
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(req)
		w.must(err)
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	good, bad := w.token("good"), w.token("bad")
	if code, body := get(bad); code != 200 {
		t.Fatalf("before anything: %d %s", code, body)
	}
	w.revoke(events.KindToken, "bad")
	w.eventually("the revocation is enforced", func() bool { code, _ := get(bad); return code == 401 })
	if code, body := get(good); code != 200 {
		t.Fatalf("the other token: %d %s", code, body)
	}

	w.killHub()
	if code, _ := get(good); code != 200 {
		t.Fatal("refused the moment the hub was gone")
	}
	var saw []subscriber.State
	stale := false
	w.eventually("the policy closes", func() bool {
		state := sub.Status().State
		if len(saw) == 0 || saw[len(saw)-1] != state {
			saw = append(saw, state)
		}
		if state == subscriber.Stale {
			code, _ := get(good)
			stale = stale || code == 200
		}
		code, _ := get(good)
		return code == 503
	})
	if !stale {
		t.Errorf("never served while stale; states seen: %v", saw)
	}
	if code, body := get(bad); code != 401 || !strings.Contains(body, "revoked") {
		t.Errorf("a revoked token while closed: %d %s, want what is known about it", code, body)
	}
	status, err := json.Marshal(sub.Status())
	w.must(err)
	if !strings.Contains(string(status), `"state":"expired"`) {
		t.Errorf("status: %s", status)
	}

	w.startHub()
	w.eventually("it is fresh again by itself", func() bool { return sub.Status().State == subscriber.Fresh })
	if code, _ := get(good); code != 200 {
		t.Error("fresh again, and still closed")
	}
	if code, _ := get(bad); code != 401 {
		t.Error("a revocation was forgotten over the outage")
	}
}

// The audit says who revoked what, when and why, and each operation once.
func TestRestoreIsEnforcedAndAudited(t *testing.T) {
	w := newWorld(t)
	w.startHub()
	sub := w.subscribe()
	id := w.revoke(events.KindSubject, "alice")
	alice := events.Claims{Issuer: issuer, Subject: "alice", IssuedAt: time.Now().Add(-time.Hour).UnixMilli()}
	w.eventually("alice is revoked", func() bool { return sub.Check(alice).Outcome == subscriber.Revoked })
	a, err := w.call("DELETE", "/v1/revocations/"+string(id), `{"reason":"admin","note":"a mistake"}`)
	w.must(err)
	if a.status != 200 {
		t.Fatalf("restore: %d %s", a.status, a.body)
	}
	w.eventually("alice is restored", func() bool { return sub.Check(alice).Outcome == subscriber.Allowed })
	if n := w.audited()["alice"]; n != 2 {
		t.Errorf("alice stands in the audit %d times, want a revoke and a restore", n)
	}
}
