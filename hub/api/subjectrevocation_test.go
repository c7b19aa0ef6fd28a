package api_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/api"
)

const global = "/oauth2/global-token-revocation"

func issSubject(iss, sub string) string {
	return fmt.Sprintf(`{"sub_id":{"format":"iss_sub","iss":%q,"sub":%q}}`, iss, sub)
}

func opaqueSubject(id string) string {
	return fmt.Sprintf(`{"sub_id":{"format":"opaque","id":%q}}`, id)
}

// mustRevokeSubject wants 204, with nothing.
func mustRevokeSubject(g *got) {
	g.Helper()
	if g.status != 204 || len(g.body) != 0 || g.header.Get("Cache-Control") != "no-store" {
		g.Fatalf("%d %v %s", g.status, g.header, g.body)
	}
}

func TestRevokeSubject(t *testing.T) {
	w := newWorld(t, withIssuers)
	raw, later := sign(ours, nil), sign(ours, map[string]any{"iat": time.Now().Unix() + 3600})
	begun := time.Now()
	mustRevokeSubject(w.ask("POST", global, issSubject(ours, "alice"), basic("admin", adminKey)))
	if !w.matches(claimsOf(t, raw)) {
		t.Error("a token of before is not revoked")
	}
	if w.matches(claimsOf(t, later)) || w.matches(claimsOf(t, sign(theirs, nil))) || w.matches(claimsOf(t, sign(ours, map[string]any{"sub": "bob"}))) {
		t.Error("another token is revoked")
	}
	l := w.audit()[0]
	if l.Target != (events.Target{Kind: events.KindSubject, Iss: ours, Value: "alice"}) || l.Reason != events.Admin ||
		l.Source != "oauth2/global-token-revocation" || l.Actor != "admin" ||
		l.Cutoff.Std().Before(begun.Truncate(time.Millisecond)) || l.Cutoff.Std().After(time.Now()) {
		t.Errorf("%+v", l)
	}
	// Again is another cutoff.
	mustRevokeSubject(w.ask("POST", global, issSubject(ours, "alice")))
	if list := w.audit(); len(list) != 2 || list[1].Cutoff < l.Cutoff {
		t.Errorf("%+v", list)
	}
}

// An opaque subject is one of the only issuer that can be meant.
func TestRevokeOpaqueSubject(t *testing.T) {
	_, keyPair := withKeyPair(t)
	w := newWorld(t, keyPair)
	mustRevokeSubject(w.ask("POST", global, opaqueSubject("U1234567890")))
	if l := w.audit(); len(l) != 1 || l[0].Target != (events.Target{Kind: events.KindSubject, Iss: es, Value: "U1234567890"}) {
		t.Errorf("%+v", l)
	}
	for _, w := range []*world{newWorld(t), newWorld(t, withIssuers)} {
		w.ask("POST", global, opaqueSubject("U1")).problem(422, api.UnsupportedSubject, "sub_id.format")
		key := w.newKey("tenant", fmt.Sprintf(`"roles":["revoke"],"issuers":[%q]`, theirs))
		mustRevokeSubject(w.ask("POST", global, opaqueSubject("U1"), with(key.Secret)))
		if l := w.audit(); len(l) != 1 || l[0].Target.Iss != theirs {
			t.Errorf("%+v", l)
		}
	}
}

func TestSubjectsRefused(t *testing.T) {
	w := newWorld(t, withIssuers)
	long := strings.Repeat("x", 600)
	for what, c := range map[string]struct {
		body   string
		status int
		code   api.Code
		field  string
	}{
		"empty":                 {" ", 400, api.InvalidJSON, ""},
		"nothing":               {`{}`, 400, api.MissingField, "sub_id"},
		"null":                  {`{"sub_id":null}`, 400, api.InvalidField, "sub_id"},
		"a text":                {`{"sub_id":"alice"}`, 400, api.InvalidField, "sub_id"},
		"an array":              {`{"sub_id":[]}`, 400, api.InvalidField, "sub_id"},
		"two":                   {`{"sub_id":{},"sub_id":{}}`, 400, api.DuplicateField, "sub_id"},
		"unknown member":        {`{"sub_id":{"format":"iss_sub","iss":"x","sub":"y"},"reason":"admin"}`, 400, api.UnknownField, "reason"},
		"of the first drafts":   {`{"subject":{"format":"iss_sub","iss":"x","sub":"y"}}`, 400, api.UnknownField, "subject"},
		"no format":             {`{"sub_id":{"iss":"x","sub":"y"}}`, 400, api.MissingField, "sub_id.format"},
		"format is a number":    {`{"sub_id":{"format":1}}`, 400, api.InvalidField, "sub_id.format"},
		"unknown format":        {`{"sub_id":{"format":"phone_number","phone_number":"+12065550100"}}`, 400, api.InvalidField, "sub_id.format"},
		"aliases":               {`{"sub_id":{"format":"aliases","identifiers":[]}}`, 400, api.InvalidField, "sub_id.format"},
		"email":                 {`{"sub_id":{"format":"email","email":"alice@example.com"}}`, 422, api.UnsupportedSubject, "sub_id.format"},
		"format twice":          {`{"sub_id":{"format":"opaque","format":"email","id":"x"}}`, 400, api.DuplicateField, "sub_id.format"},
		"no iss":                {`{"sub_id":{"format":"iss_sub","sub":"y"}}`, 400, api.MissingField, "sub_id.iss"},
		"no sub":                {`{"sub_id":{"format":"iss_sub","iss":"x"}}`, 400, api.MissingField, "sub_id.sub"},
		"empty sub":             {issSubject(ours, ""), 400, api.MissingField, "sub_id.sub"},
		"id for a sub":          {`{"sub_id":{"format":"iss_sub","iss":"x","sub":"y","id":"z"}}`, 400, api.UnknownField, "sub_id.id"},
		"name unfit to show":    {`{"sub_id":{"format":"opaque","id":"x","` + long + `":1}}`, 400, api.UnknownField, "sub_id"},
		"sub is a number":       {`{"sub_id":{"format":"iss_sub","iss":"x","sub":7}}`, 400, api.InvalidField, "sub_id.sub"},
		"long sub":              {issSubject(ours, long), 400, api.InvalidField, "sub_id.sub"},
		"long iss":              {issSubject(long, "alice"), 400, api.InvalidField, "sub_id.iss"},
		"control character":     {issSubject(ours, "a\nb"), 400, api.InvalidField, "sub_id.sub"},
		"unknown issuer":        {issSubject("https://nobody.example", "alice"), 404, api.NotFound, "sub_id"},
		"opaque, of whom":       {opaqueSubject("U1"), 422, api.UnsupportedSubject, "sub_id.format"},
		"opaque with an issuer": {`{"sub_id":{"format":"opaque","id":"U1","iss":"x"}}`, 400, api.UnknownField, "sub_id.iss"},
	} {
		t.Run(what, func(t *testing.T) {
			g := w.ask("POST", global, c.body)
			g.TB = t
			g.problem(c.status, c.code, c.field)
			if strings.Contains(string(g.body), "alice") || strings.Contains(string(g.body), long) {
				t.Errorf("repeats what was sent: %s", g.body)
			}
		})
	}
	w.post(global, form("sub_id", "x")).problem(415, api.MediaType, "Content-Type")
	w.ask("GET", global, "").problem(405, api.MethodUnknown, "")
	g := w.ask("POST", global, issSubject(ours, "alice"), basic("nobody", adminKey))
	g.problem(401, api.Unauthorized, "")
	if c := g.header.Values("WWW-Authenticate"); len(c) != 2 || !strings.HasPrefix(c[0], "Basic ") {
		t.Errorf("%q", c)
	}
	w.ask("POST", global, issSubject(ours, "alice"), "Authorization: ").problem(401, api.Unauthorized, "")
	one := w.newKey("one-issuer", fmt.Sprintf(`"roles":["revoke"],"issuers":[%q]`, ours))
	w.ask("POST", global, issSubject(theirs, "alice"), with(one.Secret)).problem(403, api.Forbidden, "sub_id")
	tokens := w.newKey("tokens", `"roles":["revoke"],"kinds":["token"]`)
	w.ask("POST", global, issSubject(ours, "alice"), with(tokens.Secret)).problem(403, api.Forbidden, "sub_id")
	auditor := w.newKey("auditor", `"roles":["audit"]`)
	w.ask("POST", global, issSubject(ours, "alice"), with(auditor.Secret)).problem(403, api.Forbidden, "")
	if n := len(w.audit()); n != 0 {
		t.Errorf("%d operations were written", n)
	}
}
