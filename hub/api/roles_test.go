package api_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/api"
)

// Each route with the role that it needs; admin may use all.
var routes = []struct {
	method, path string
	role         api.Role
}{
	{"POST", "/v1/revocations", api.RoleRevoke},
	{"GET", "/v1/revocations", api.RoleAudit},
	{"GET", "/v1/revocations/{id}", api.RoleAudit},
	{"DELETE", "/v1/revocations/{id}", api.RoleRestore},
	{"POST", "/v1/check", api.RoleIntrospect},
	{"GET", "/v1/feed", api.RoleSubscribe},
	{"GET", "/v1/snapshot", api.RoleSubscribe},
	{"POST", "/v1/feed/report", api.RoleSubscribe},
	{"GET", "/v1/audit", api.RoleAudit},
	{"GET", "/v1/audit/stream", api.RoleAudit},
	{"GET", "/v1/status", api.RoleAudit},
	{"GET", "/v1/subscribers", api.RoleAudit},
	{"POST", "/v1/keys", api.RoleAdmin},
	{"GET", "/v1/keys", api.RoleAdmin},
	{"DELETE", "/v1/keys/{id}", api.RoleAdmin},
}

func TestRoles(t *testing.T) {
	w := newWorld(t)
	for _, role := range api.Roles() {
		key := w.newKey("holder-of-"+string(role), fmt.Sprintf(`"roles":[%q]`, role))
		for _, rt := range routes {
			// An unknown parameter is refused to whoever may come in, so that
			// the request tells who may and does nothing.
			g := w.ask(rt.method, rt.path+"?probe=1", "", with(key.Secret))
			if role == rt.role || role == api.RoleAdmin {
				g.problem(400, api.UnknownField, "probe")
				continue
			}
			g.problem(403, api.Forbidden, "")
			want := fmt.Sprintf(`Bearer realm="revocast", error="insufficient_scope", scope="revocast:%s"`, rt.role)
			if h := g.header.Get("WWW-Authenticate"); h != want {
				t.Errorf("%s: WWW-Authenticate: %s", g.what, h)
			}
		}
	}
}

func TestNoCredential(t *testing.T) {
	w := newWorld(t, withIssuers)
	for _, rt := range routes {
		g := w.ask(rt.method, rt.path, "", "Authorization: ")
		g.problem(401, api.Unauthorized, "")
		if h := g.header.Get("WWW-Authenticate"); h != `Bearer realm="revocast"` {
			t.Errorf("%s: WWW-Authenticate: %q", g.what, h)
		}
	}
}

// What is wrong with a credential is not told: all that are wrong have the
// same answer.
func TestWrongCredential(t *testing.T) {
	good := sign(ours, map[string]any{"aud": "revocast", "scope": "revocast:audit"})
	wrong := []string{
		"Bearer", "Bearer ", "Bearer  " + adminKey, "Bearer " + adminKey[:len(adminKey)-1],
		"Bearer rvk_", "Bearer x", "Bearer " + strings.ToUpper(adminKey), "Basic " + adminKey, adminKey, "Bearer" + adminKey,
		"Bearer " + good[:len(good)-3] + "AAA",
		"Bearer " + sign("https://nobody.example", map[string]any{"aud": "revocast", "scope": "revocast:audit"}),
		"Bearer " + sign(ours, map[string]any{"scope": "revocast:audit"}), // for no audience
		"Bearer " + sign(ours, map[string]any{"aud": "orders", "scope": "revocast:audit"}),
		"Bearer " + sign(ours, map[string]any{"aud": "revocast", "scope": "revocast:audit", "exp": time.Now().Unix() - 10}),
		"Bearer " + sign(ours, map[string]any{"aud": "revocast", "scope": "revocast:audit", "sub": ""}),
		"Bearer " + sign(ours, map[string]any{"aud": "revocast", "scope": "revocast:audit", "sub": "a\nb"}),
	}
	w := newWorld(t, withIssuers)
	var first string
	for i, h := range wrong {
		g := w.ask("GET", "/v1/status", "", "Authorization: "+h)
		g.problem(401, api.Unauthorized, "")
		if i == 0 {
			first = string(g.body)
		}
		if string(g.body) != first || g.header.Get("WWW-Authenticate") != `Bearer realm="revocast", error="invalid_token"` {
			t.Errorf("%q: %v %s", h, g.header, g.body)
		}
	}
	if w.ask("GET", "/v1/status", "", with(good)).status != 200 {
		t.Error("the good one is refused")
	}
	// Two are none, even if both are good.
	req, _ := http.NewRequestWithContext(t.Context(), "GET", w.url+"/v1/status", nil)
	req.Header["Authorization"] = []string{"Bearer " + adminKey, "Bearer " + adminKey}
	w.do(req).problem(401, api.Unauthorized, "")
	// In the query it is an unknown parameter at most.
	w.ask("GET", "/v1/status?access_token="+adminKey, "", "Authorization: ").problem(401, api.Unauthorized, "")

	for _, secret := range append(wrong, good, adminKey) {
		if secret = strings.TrimSpace(strings.TrimPrefix(secret, "Bearer")); len(secret) > 10 && strings.Contains(w.logged.String(), secret) {
			t.Error("a credential is in the log")
		}
	}
}

func TestTooManyFailures(t *testing.T) {
	w := newWorld(t, withIssuers)
	var g *got
	fail := func() {
		for range 100 { // more may be made while this goes on
			if g = w.ask("GET", "/v1/status", "", with("rvk_wrong")); g.status != 401 {
				break
			}
		}
		g.problem(429, api.TooManyFailures, "")
	}
	fail()
	if g.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	// A good key at the same address is not locked out by them.
	if g := w.ask("GET", "/v1/status", ""); g.status != 200 {
		t.Errorf("the admin key: %d", g.status)
	}
	for end := time.Now().Add(20 * time.Second); ; fail() { // one more is forgiven each second
		if g = w.ask("GET", "/v1/status", "", with(sign(ours, nil))); g.status == 429 || time.Now().After(end) {
			break
		}
	}
	g.problem(429, api.TooManyFailures, "")
}

func TestLimitedKey(t *testing.T) {
	w := newWorld(t)
	w.revokeOne("subject", theirs, "bob")
	foreign := w.revokeOne("token", ours, "j0")
	key := w.newKey("limited", fmt.Sprintf(`"roles":["revoke","restore","audit","introspect"],"issuers":[%q],"kinds":["subject","session","issuer"]`, ours))
	ask := func(method, path, body string) *got { return w.ask(method, path, body, with(key.Secret)) }

	mine := must[api.RevokeAnswer](ask("POST", "/v1/revocations", revocation("subject", ours, "alice", "")), 201).Revocations[0].ID
	p := ask("POST", "/v1/revocations", revocation("subject", theirs, "alice", "")).problem(403, api.Forbidden, "target.iss")
	if !strings.Contains(p.Detail, ours) {
		t.Errorf("does not say what it is limited to: %s", p.Detail)
	}
	p = ask("POST", "/v1/revocations", revocation("token", ours, "j1", "")).problem(403, api.Forbidden, "target.kind")
	if !strings.Contains(p.Detail, "session") {
		t.Errorf("does not say what it is limited to: %s", p.Detail)
	}
	ask("POST", "/v1/revocations", `{"revocations":[`+revocation("subject", ours, "alice", "")+","+revocation("subject", theirs, "alice", "")+`]}`).
		problem(403, api.Forbidden, "revocations[1].target.iss")
	ask("POST", "/v1/revocations", revocation("issuer", ours, "", "")).problem(403, api.Forbidden, "target.kind") // needs admin
	ask("DELETE", "/v1/revocations/"+string(foreign), "").problem(403, api.Forbidden, "id")
	ask("GET", "/v1/revocations/"+string(foreign), "").problem(403, api.Forbidden, "id")
	ask("POST", "/v1/check", `{"claims":{"iss":"`+theirs+`"}}`).problem(403, api.Forbidden, "iss")

	// It reads what is within its limits.
	list := must[api.RevocationList](ask("GET", "/v1/revocations", ""), 200).Revocations
	if len(list) != 1 || list[0].ID != mine {
		t.Errorf("%+v", list)
	}
	audit := w.audit(with(key.Secret))
	if len(audit) != 1 || audit[0].ID != mine || audit[0].Seq != 3 || audit[0].Actor != "limited" {
		t.Errorf("%+v", audit)
	}
	// Of the stream it gets every record, so that the chain can be followed,
	// and of each what it may see.
	st := w.open("/v1/audit/stream", with(key.Secret))
	var chain events.Chain
	for seq, ops := range []int{0, 0, 1} {
		r := recordOf(t, st.next("audit"))
		if chain = chain.Next(r.FeedHash, r.AuditHash); r.Seq != uint64(seq)+1 || len(r.Ops) != ops || r.Chain != chain {
			t.Errorf("%+v", r)
		}
	}
	// The verdict is whole all the same; what is beyond is not explained.
	v := must[api.CheckAnswer](ask("POST", "/v1/check", `{"claims":{"iss":"`+ours+`","jti":"j0"}}`), 200)
	if v.Verdict != api.Revoked || len(v.Matched) != 0 {
		t.Errorf("%+v", v)
	}
	must[api.RestoreAnswer](ask("DELETE", "/v1/revocations/"+string(mine), ""), 200)
}

// A whole issuer, and a signing key, are revoked and restored by an admin.
func TestIssuerWide(t *testing.T) {
	w := newWorld(t)
	both := w.newKey("both", `"roles":["revoke","restore"]`)
	for _, body := range []string{revocation("issuer", ours, "", ""), revocation("key", ours, "k1", "")} {
		w.ask("POST", "/v1/revocations", body, with(both.Secret)).problem(403, api.Forbidden, "target.kind")
		id := w.mustRevoke(body).Revocations[0].ID
		w.ask("DELETE", "/v1/revocations/"+string(id), "", with(both.Secret)).problem(403, api.Forbidden, "id")
		must[api.RestoreAnswer](w.ask("DELETE", "/v1/revocations/"+string(id), ""), 200)
	}
	// An admin of one issuer may, for that issuer; keys are beyond it.
	scoped := w.newKey("scoped", fmt.Sprintf(`"roles":["admin"],"issuers":[%q]`, ours))
	w.mustRevoke(revocation("issuer", ours, "", ""), with(scoped.Secret))
	w.ask("POST", "/v1/revocations", revocation("issuer", theirs, "", ""), with(scoped.Secret)).problem(403, api.Forbidden, "target.iss")
	w.ask("POST", "/v1/keys", `{"name":"wider","roles":["admin"]}`, with(scoped.Secret)).problem(403, api.Forbidden, "")
	w.ask("GET", "/v1/keys", "", with(scoped.Secret)).problem(403, api.Forbidden, "")
	w.ask("DELETE", "/v1/keys/"+both.ID, "", with(scoped.Secret)).problem(403, api.Forbidden, "")
}

func TestTokenAsCredential(t *testing.T) {
	w := newWorld(t, withIssuers)
	raw := sign(ours, map[string]any{"aud": []string{"x", "revocast"}, "scope": "openid revocast:revoke revocast:audit", "sub": "ci-robot", "jti": "c1"})
	id := w.mustRevoke(revocation("subject", ours, "mallory", ""), with(raw)).Revocations[0].ID
	if l := w.audit(with(raw)); len(l) != 1 || l[0].ID != id || l[0].Actor != ours+" ci-robot" {
		t.Errorf("%+v", l)
	}
	w.ask("DELETE", "/v1/revocations/"+string(id), "", with(raw)).problem(403, api.Forbidden, "")
	w.ask("POST", "/v1/check", "{}", with(sign(ours, map[string]any{"aud": "revocast"}))).problem(403, api.Forbidden, "")
	// It speaks for its own issuer, even as an admin.
	admin := sign(ours, map[string]any{"aud": "revocast", "scope": "revocast:admin"})
	w.ask("POST", "/v1/revocations", revocation("subject", theirs, "alice", ""), with(admin)).problem(403, api.Forbidden, "target.iss")
	w.ask("POST", "/v1/keys", `{"name":"x","roles":["admin"]}`, with(admin)).problem(403, api.Forbidden, "")
	w.mustRevoke(revocation("issuer", ours, "", `,"cutoff":"2020-01-01T00:00:00Z"`), with(admin))

	// A token that is revoked opens nothing, and what it had opened ends.
	s := w.open("/v1/audit/stream", with(raw))
	s.next("audit")
	w.mustRevoke(revocation("token", ours, "c1", ""))
	w.ask("GET", "/v1/audit", "", with(raw)).problem(401, api.Unauthorized, "")
	s.mustEnd()
	w.ask("POST", "/v1/revocations", revocation("subject", "https://nobody.example", "x", "")).problem(422, "unknown_issuer", "target.iss")
}

// Where the hub can't know what is revoked, a token opens nothing.
func TestTokenNeedsTheLog(t *testing.T) {
	w := newWorld(t, withIssuers, func(s *setup) { s.feed.TickEvery, s.feed.Heartbeat = 20*time.Millisecond, 20*time.Millisecond })
	raw := sign(ours, map[string]any{"aud": "revocast", "scope": "revocast:audit"})
	// A moment without a tick is one in which the hub can't know.
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		g := w.ask("GET", "/v1/status", "", with(raw))
		if g.status == 200 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d %s", g.status, g.body)
		}
	}
	w.log.Close()
	for w.feed.Ready() == nil {
		time.Sleep(time.Millisecond)
	}
	w.ask("GET", "/v1/status", "", with(raw)).problem(503, api.Unavailable, "")
	if g := w.ask("GET", "/v1/status", ""); g.status != 200 {
		t.Errorf("a key: %d", g.status)
	}
}

func TestStreamEndsWithToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, withIssuers)
	raw := sign(ours, map[string]any{"aud": "revocast", "scope": "revocast:audit", "exp": time.Now().Unix() + 5})
	w.open("/v1/audit/stream", with(raw)).mustEnd()
}

// Streams end with the key that opened them.
func TestStreamEndsWithKey(t *testing.T) {
	w := newWorld(t)
	key := w.newKey("leaver", `"roles":["subscribe","audit"]`)
	f := w.open("/v1/feed", with(key.Secret), feedName("s"))
	a := w.open("/v1/audit/stream", with(key.Secret))
	f.next(events.EventHello)
	if g := w.ask("DELETE", "/v1/keys/"+key.ID, ""); g.status != 204 {
		t.Fatal(g.status)
	}
	w.ask("GET", "/v1/snapshot", "", with(key.Secret)).problem(401, api.Unauthorized, "")
	f.mustEnd()
	a.mustEnd()
}

func TestKeys(t *testing.T) {
	w := newWorld(t)
	made := w.newKey("ci", fmt.Sprintf(`"roles":["revoke","audit"],"issuers":[%q],"kinds":["subject"]`, ours))
	if !strings.HasPrefix(made.Secret, "rvk_") || len(made.Secret) != 4+43 || made.Name != "ci" || !slices.Equal(made.Roles, []api.Role{"revoke", "audit"}) {
		t.Errorf("%+v", made)
	}
	list := must[api.KeyList](w.ask("GET", "/v1/keys", ""), 200).Keys
	if len(list) != 2 || list[0].Name != "admin" || list[1].ID != made.ID || list[1].Kinds[0] != events.KindSubject {
		t.Errorf("%+v", list)
	}
	if strings.Contains(string(w.ring), made.Secret) || strings.Contains(string(w.ring), adminKey) {
		t.Error("a secret is stored")
	}
	w.ask("POST", "/v1/keys", `{"name":"ci","roles":["audit"]}`).problem(409, api.Conflict, "name")
	w.restart()
	if g := w.ask("GET", "/v1/audit", "", with(made.Secret)); g.status != 200 {
		t.Errorf("after a restart: %d", g.status)
	}
	// The last admin stays, also if somebody else asks.
	admin := list[0].ID
	w.ask("DELETE", "/v1/keys/"+admin, "").problem(409, api.Conflict, "")
	w.newKey("scoped-admin", fmt.Sprintf(`"roles":["admin"],"issuers":[%q]`, ours))
	w.ask("DELETE", "/v1/keys/"+admin, "").problem(409, api.Conflict, "")
	second := w.newKey("admin-2", `"roles":["admin"]`)
	if g := w.ask("DELETE", "/v1/keys/"+admin, ""); g.status != 204 {
		t.Fatalf("%d %s", g.status, g.body)
	}
	w.ask("GET", "/v1/keys", "").problem(401, api.Unauthorized, "")
	w.ask("DELETE", "/v1/keys/"+second.ID, "", with(second.Secret)).problem(409, api.Conflict, "")
	for _, secret := range []string{made.Secret, second.Secret} {
		if strings.Contains(w.logged.String(), secret) {
			t.Error("a secret is in the log")
		}
	}
}
