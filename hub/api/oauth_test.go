package api_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/hub/api"
	"github.com/revocast/revocast/internal/token"
)

const formType = "Content-Type: application/x-www-form-urlencoded"

// form writes parameters, name and value in turn.
func form(nameAndValue ...string) string {
	var b strings.Builder
	for p := range slices.Chunk(nameAndValue, 2) {
		if b.Len() > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(p[0]) + "=" + url.QueryEscape(p[1]))
	}
	return b.String()
}

// post posts a form.
func (w *world) post(path, form string, headers ...string) *got {
	w.Helper()
	return w.ask("POST", path, form, append([]string{formType}, headers...)...)
}

// basic is a header as RFC 6749 section 2.3.1 has it.
func basic(id, secret string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))
}

// oauthError checks that an answer is an error of OAuth, whole and as
// promised, and returns its description.
func (g *got) oauthError(status int, code api.OAuthCode) string {
	g.Helper()
	if t := g.header.Get("Content-Type"); t != "application/json" {
		g.Fatalf("%s: %d of type %q: %.200s", g.what, g.status, t, g.body)
	}
	e := must[api.OAuthError](g, g.status)
	if g.status != status || e.Code != code {
		g.Errorf("%s:\n got %d %s: %s\nwant %d %s", g.what, g.status, e.Code, e.Description, status, code)
	}
	if e.Description == "" || strings.ContainsAny(e.Description, "\"\\\n") {
		g.Errorf("%s: description %q", g.what, e.Description)
	}
	if g.header.Get("Cache-Control") != "no-store" || g.header.Get("X-Content-Type-Options") != "nosniff" {
		g.Errorf("%s: headers %v", g.what, g.header)
	}
	return e.Description
}

var oauthPaths = []string{"/oauth2/revoke", "/oauth2/introspect"}

// A key is as good in a Basic credential as it is in a Bearer one.
func TestClientAuthentication(t *testing.T) {
	w := newWorld(t, withIssuers)
	key := w.newKey("gate:way+50%", `"roles":["revoke","introspect"]`)
	bearer := sign(ours, map[string]any{"aud": "revocast", "scope": "revocast:revoke revocast:introspect"})
	for _, path := range oauthPaths {
		for _, h := range []string{with(key.Secret), basic(key.Name, key.Secret), basic("admin", adminKey), with(bearer)} {
			h = strings.Replace(h, "Basic", "bAsIc", 1)
			if g := w.post(path, form("token", sign(ours, nil)), h); g.status != 200 {
				t.Errorf("%s with %.20s…: %d %s", path, h, g.status, g.body)
			}
		}
		encoded := func(s string) string { return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
		for what, h := range map[string]string{
			"no credential":         "Authorization: ",
			"wrong secret":          basic(key.Name, key.Secret+"x"),
			"somebody else's":       basic("admin", key.Secret),
			"no name":               basic("", key.Secret),
			"no secret":             basic(key.Name, ""),
			"name not encoded":      encoded(key.Name + ":" + key.Secret),
			"bad encoding":          encoded("%zz:" + key.Secret),
			"bad encoding, secret":  encoded(url.QueryEscape(key.Name) + ":%zz"),
			"no colon":              encoded(key.Secret),
			"no base64":             "Authorization: Basic " + key.Secret,
			"nothing":               "Authorization: Basic",
			"a token for a secret":  basic(ours+" alice", bearer),
			"a secret for a bearer": with(key.Secret + "x"),
			"another scheme":        "Authorization: Digest " + key.Secret,
		} {
			g := w.post(path, form("token", "x"), h)
			d := g.oauthError(401, api.InvalidClient)
			if c := g.header.Values("WWW-Authenticate"); len(c) != 2 || c[0] != `Basic realm="revocast", charset="UTF-8"` || !strings.HasPrefix(c[1], `Bearer realm="revocast"`) {
				t.Errorf("%s: WWW-Authenticate %q", what, c)
			}
			if strings.Contains(d, key.Name) || strings.Contains(d, key.Secret) {
				t.Errorf("%s: tells %q", what, d)
			}
		}
		w.restart() // forgives failures
	}
	// Elsewhere Basic is nothing.
	w.ask("GET", "/v1/status", "", basic("admin", adminKey)).problem(401, api.Unauthorized, "")
}

// A request with two credentials is not decided by either of them.
func TestTwoCredentials(t *testing.T) {
	w := newWorld(t)
	for _, path := range append(oauthPaths, "/oauth2/global-token-revocation") {
		req, _ := http.NewRequestWithContext(t.Context(), "POST", w.url+path, strings.NewReader(form("token", "x")))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		_, b, _ := strings.Cut(basic("admin", adminKey), ": ")
		req.Header["Authorization"] = []string{"Bearer " + adminKey, b}
		if g := w.do(req); path == "/oauth2/global-token-revocation" {
			g.problem(400, api.DuplicateField, "Authorization")
		} else if d := g.oauthError(400, api.InvalidRequest); !strings.Contains(d, "Authorization") {
			t.Errorf("%s: %q", path, d)
		}
	}
	for _, path := range oauthPaths {
		for _, name := range []string{"client_secret", "client_assertion", "access_token"} {
			d := w.post(path, form("token", "x", name, adminKey)).oauthError(400, api.InvalidRequest)
			if !strings.HasPrefix(d, name) {
				t.Errorf("%s", d)
			}
			w.post(path, form("token", "x", name, adminKey), "Authorization: ").oauthError(401, api.InvalidClient)
		}
	}
}

func TestClientRoles(t *testing.T) {
	w := newWorld(t)
	for path, role := range map[string]api.Role{
		"/oauth2/revoke": api.RoleRevoke, "/oauth2/introspect": api.RoleIntrospect, "/oauth2/global-token-revocation": api.RoleRevoke,
	} {
		for _, r := range api.Roles() {
			key := w.newKey("of"+strings.ReplaceAll(path, "/", "-")+string(r), fmt.Sprintf(`"roles":[%q]`, r))
			g := w.ask("POST", path+"?probe=1", "", basic(key.Name, key.Secret))
			want := 403
			if r == role || r == api.RoleAdmin {
				want = 400 // an unknown parameter, and nothing done
			}
			if g.status != want {
				t.Errorf("%s as %s: %d %s", path, r, g.status, g.body)
			}
			if h := g.header.Get("WWW-Authenticate"); want == 403 && !strings.Contains(h, `error="insufficient_scope", scope="revocast:`+string(role)) {
				t.Errorf("%s as %s: %s", path, r, h)
			}
		}
	}
	key := w.newKey("auditor", `"roles":["audit"]`)
	for _, path := range oauthPaths {
		w.post(path, form("token", "x"), with(key.Secret)).oauthError(403, api.InsufficientScope)
	}
}

// Who guesses keys has to wait, with Basic as with Bearer.
func TestTooManyWrongClients(t *testing.T) {
	w := newWorld(t)
	var g *got
	for range 40 {
		if g = w.post("/oauth2/revoke", form("token", "x"), basic("admin", "rvk_guess")); g.status != 401 {
			break
		}
	}
	g.oauthError(429, api.TemporaryUnavailable)
	if g.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	if g := w.post("/oauth2/revoke", form("token", sign(ours, nil)), basic("admin", adminKey)); g.status != 200 {
		t.Errorf("the right one: %d", g.status)
	}
}

// Each line is a request that both refuse, whatever the token.
func TestFormsRefused(t *testing.T) {
	w := newWorld(t, withIssuers)
	raw := sign(ours, nil)
	for what, c := range map[string]struct {
		path, body, header string
		status             int
		names              string
	}{
		"empty":            {"", "", formType, 400, "token: "},
		"no token":         {"", form("token_type_hint", "access_token"), "", 400, "token: "},
		"empty token":      {"", form("token", ""), "", 400, "token: "},
		"token in capital": {"", form("Token", raw), "", 400, "token: "},
		"two tokens":       {"", form("token", raw, "token", raw), "", 400, "token: "},
		"two hints":        {"", form("token", raw, "token_type_hint", "a", "token_type_hint", "b"), "", 400, "token_type_hint: "},
		"two unknown":      {"", form("token", raw, "x", "1", "x", "2"), "", 400, "x: "},
		"two unfit":        {"", form("token", raw, "x\n", "1", "x\n", "2"), "", 400, "A parameter"},
		"bad escape":       {"", "token=%zz", "", 400, "The body"},
		"semicolon":        {"", "token=a;b", "", 400, "The body"},
		"JSON":             {"", `{"token":"x"}`, "Content-Type: application/json", 415, "Content-Type: "},
		"no type":          {"", form("token", raw), "Content-Type: ", 415, "Content-Type: "},
		"compressed":       {"", form("token", raw), "Content-Encoding: gzip", 415, "Content-Type: "},
		"in the address":   {"?" + form("token", raw), form("token", raw), "", 400, "token: "},
		"too large":        {"", form("token", strings.Repeat("x", api.MaxBody)), "", 413, "At most"},
	} {
		for _, path := range oauthPaths {
			t.Run(what+path, func(t *testing.T) {
				headers := []string{formType}
				if c.header != "" {
					headers = append(headers, c.header)
				}
				g := w.ask("POST", path+c.path, c.body, headers...)
				g.TB = t
				if d := g.oauthError(c.status, api.InvalidRequest); !strings.HasPrefix(d, c.names) || strings.Contains(d, raw) {
					t.Errorf("%q", d)
				}
			})
		}
	}
	for _, path := range oauthPaths {
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			g := w.ask(method, path, "")
			g.oauthError(405, api.InvalidRequest)
			if g.header.Get("Allow") != "POST" {
				t.Errorf("Allow %q", g.header.Get("Allow"))
			}
		}
		// What OAuth has no use for here it wants ignored.
		if g := w.post(path, form("token", raw, "client_id", "me", "token_type_hint", "urn:new", "resource", "")); g.status != 200 {
			t.Errorf("%d %s", g.status, g.body)
		}
	}
	if strings.Contains(w.logged.String(), raw[:40]) || strings.Contains(w.logged.String(), adminKey) {
		t.Error("a token or a key is in the log")
	}
}

func TestFormTooSlow(t *testing.T) {
	w := newWorld(t, func(s *setup) { s.api.BodyTimeout = 100 * time.Millisecond })
	status, body := w.raw(func(c io.Writer) {
		fmt.Fprint(c, "POST /oauth2/revoke HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer "+adminKey+"\r\n"+formType+"\r\nContent-Length: 100\r\n\r\ntoken=")
	})
	if status != 408 || !strings.Contains(body, `"invalid_request"`) {
		t.Errorf("%d %s", status, body)
	}
}

// An issuer whose keys can't be had says nothing about a token, so neither
// does the hub.
func TestNoKeysToVerifyWith(t *testing.T) {
	const away = "https://away.example"
	w := newWorld(t, func(s *setup) {
		s.issuers = []token.Issuer{{Iss: away, JWKSURI: "http://127.0.0.1:1/jwks"}}
	})
	raw := forged(`{"alg":"RS256","kid":"k1"}`, `{"iss":"`+away+`","jti":"j1","exp":`+future()+`}`)
	for _, path := range oauthPaths {
		g := w.post(path, form("token", raw))
		g.oauthError(503, api.TemporaryUnavailable)
		if g.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	if n := len(w.audit()); n != 0 {
		t.Errorf("%d operations were written", n)
	}
}

// forged is a token with a signature that is none.
func forged(head, claims string) string {
	seg := base64.RawURLEncoding.EncodeToString
	return seg([]byte(head)) + "." + seg([]byte(claims)) + "." + seg([]byte("forged"))
}
