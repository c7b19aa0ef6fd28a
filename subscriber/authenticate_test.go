package subscriber

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/revocast/revocast/events"
)

// signWith signs header and payload as they are.
func signWith(t testing.TB, method jwt.SigningMethod, key any, header, payload string) string {
	t.Helper()
	b64 := base64.RawURLEncoding.EncodeToString
	input := b64([]byte(header)) + "." + b64([]byte(payload))
	sig, err := method.Sign(input, key)
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + b64(sig)
}

// TestRefusedTokens shows each bad token twice: the second time must be no
// better than the first.
func TestRefusedTokens(t *testing.T) {
	w := newWorld(t)
	w.revoke(events.KindToken, "revoked")
	w.revoke(events.KindSubject, "gone")
	w.mustReach()
	now := time.Now().Unix()
	der, _ := x509.MarshalPKIXPublicKey(&testRSA.PublicKey)
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	payload := fmt.Sprintf(`{"iss":%q,"sub":"alice","aud":"orders","jti":"t","iat":%d,"exp":%d}`, testIssuer, now-10, now+3600)
	good := sign(t, nil)

	for name, c := range map[string]struct {
		raw  string
		code Code
	}{
		"empty":                     {"", CodeMalformed},
		"garbage":                   {"a.b", CodeMalformed},
		"one byte more":             {good + "A", CodeSignature},
		"a line break at its end":   {good + "\n", CodeMalformed},
		"too long":                  {good + strings.Repeat("A", 20<<10), CodeMalformed},
		"alg none":                  {signWith(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, `{"alg":"none"}`, payload) + "AA", CodeAlgorithm},
		"HS256 with the public key": {signWith(t, jwt.SigningMethodHS256, public, `{"alg":"HS256","kid":"k1"}`, payload), CodeAlgorithm},
		"RS512":                     {signWith(t, jwt.SigningMethodRS512, testRSA, `{"alg":"RS512","kid":"k1"}`, payload), CodeAlgorithm},
		"another key":               {signWith(t, jwt.SigningMethodRS256, testRSA, `{"alg":"RS256","kid":"k2"}`, payload), CodeUnknownKey},
		"signature of another":      {good[:strings.LastIndex(good, ".")] + "." + strings.Split(sign(t, map[string]any{"jti": "x"}), ".")[2], CodeSignature},
		"claim twice":               {signWith(t, jwt.SigningMethodRS256, testRSA, `{"alg":"RS256","kid":"k1"}`, strings.Replace(payload, `"jti":"t"`, `"jti":"t","jti":"revoked"`, 1)), CodeMalformed},
		"crit":                      {signWith(t, jwt.SigningMethodRS256, testRSA, `{"alg":"RS256","kid":"k1","crit":["x"],"x":1}`, payload), CodeCritical},
		"logout token":              {signWith(t, jwt.SigningMethodRS256, testRSA, `{"alg":"RS256","kid":"k1","typ":"logout+jwt"}`, payload), CodeType},
		"another issuer":            {sign(t, map[string]any{"iss": testIssuer + "/"}), CodeUnknownIssuer},
		"no exp":                    {sign(t, map[string]any{"exp": nil}), CodeNoExpiry},
		"expired":                   {sign(t, map[string]any{"exp": now - 60}), CodeExpired},
		"lives too long":            {sign(t, map[string]any{"exp": now + 3*3600}), CodeLifetime},
		"not yet valid":             {sign(t, map[string]any{"nbf": now + 600}), CodeNotYetValid},
		"issued in the future":      {sign(t, map[string]any{"iat": now + 600, "exp": now + 900}), CodeNotYetValid},
		"another audience":          {sign(t, map[string]any{"aud": []string{"x", "y"}}), CodeAudience},
		"no audience":               {sign(t, map[string]any{"aud": nil}), CodeAudience},
		"revoked by jti":            {sign(t, map[string]any{"jti": "revoked"}), CodeRevoked},
		"revoked by sub":            {sign(t, map[string]any{"sub": "gone"}), CodeRevoked},
		"revoked, without iat":      {sign(t, map[string]any{"sub": "gone", "iat": nil, "exp": now + 60}), CodeRevoked},
	} {
		for range 2 {
			tok, err := w.sub.Authenticate(t.Context(), c.raw, "orders")
			var e *Error
			if !errors.As(err, &e) || e.Code != c.code || tok != nil {
				t.Errorf("%s: %v, want %s", name, err, c.code)
			} else if len(c.raw) > 20 && strings.Contains(fmt.Sprintf("%+v", err), c.raw[:20]) {
				t.Errorf("%s: the error has the token in it", name)
			}
		}
	}
	for range 2 {
		if _, err := w.sub.Authenticate(t.Context(), good, "other", "orders"); err != nil {
			t.Error(err)
		}
	}
	var revoked *RevokedError
	if _, err := w.sub.Authenticate(t.Context(), sign(t, map[string]any{"jti": "revoked"})); !errors.As(err, &revoked) || revoked.Verdict.ID == "" {
		t.Errorf("%v", err)
	}
}

// A token without a jti has a handle, by which it can be revoked; so has one
// that is written with another signature.
func TestHandle(t *testing.T) {
	w := newWorld(t)
	waitReady(t, w.sub)
	raw := sign(t, map[string]any{"jti": nil})
	if _, err := w.sub.Authenticate(t.Context(), raw); err != nil {
		t.Fatal(err)
	}
	w.revoke(events.KindHandle, events.HandleOf(raw[:strings.LastIndex(raw, ".")]))
	eventually(t, "revoked", func() bool { _, err := w.sub.Authenticate(t.Context(), raw); return err != nil })
}

// Being remembered as verified is no permission: what can change is asked at
// each use.
func TestRememberedTokens(t *testing.T) {
	w := newWorld(t)
	waitReady(t, w.sub)
	raw := sign(t, nil)
	first, err := w.sub.Authenticate(t.Context(), raw, "orders")
	if err != nil {
		t.Fatal(err)
	}
	second, err := w.sub.Authenticate(t.Context(), raw, "orders")
	if err != nil || second != first || w.sub.Status().VerifiedTokens != 1 {
		t.Fatalf("not remembered: %v", err)
	}
	code := func(audience ...string) Code {
		_, err := w.sub.Authenticate(t.Context(), raw, audience...)
		var e *Error
		errors.As(err, &e)
		if e == nil {
			return ""
		}
		return e.Code
	}
	if c := code("other"); c != CodeAudience {
		t.Errorf("another audience: %q", c)
	}
	w.revoke(events.KindToken, "t1")
	eventually(t, "revoked", func() bool { return code() == CodeRevoked })
	w.restore(events.KindToken, "t1")
	eventually(t, "restored", func() bool { return code() == "" })
	w.step.Store(3603_000)
	if c := code(); c != CodeExpired {
		t.Errorf("expired: %q", c)
	}
	w.step.Store(-3603_000)
	if c := code(); c != CodeNotYetValid {
		t.Errorf("not yet valid: %q", c)
	}
	w.step.Store(0)
	eventually(t, "good again", func() bool { return code() == "" }) // who looked at the clock meanwhile has to look again
	// A signature counts for a minute only; then it is made sure of again.
	first.checkedAt.Add(-int64(2 * reverify))
	before := first.checkedAt.Load()
	if c := code(); c != "" || first.checkedAt.Load() == before {
		t.Errorf("not verified again: %q", c)
	}
}

func TestVerifiedTokensAreBounded(t *testing.T) {
	w := newWorld(t, func(_ *world, c *Config) { c.VerifiedTokens = 4 })
	waitReady(t, w.sub)
	for i := range 20 {
		if _, err := w.sub.Authenticate(t.Context(), sign(t, map[string]any{"jti": fmt.Sprint(i)})); err != nil {
			t.Fatal(err)
		}
	}
	long := sign(t, map[string]any{"x": strings.Repeat("x", maxVerifiedSize)})
	if _, err := w.sub.Authenticate(t.Context(), long); err != nil {
		t.Fatal(err)
	}
	if n := w.sub.Status().VerifiedTokens; n != 4 {
		t.Errorf("%d tokens are remembered", n)
	}
	if _, ok := w.sub.verified.get(long); ok {
		t.Error("a long one is")
	}
}

func TestProtect(t *testing.T) {
	w := newWorld(t)
	w.revoke(events.KindToken, "revoked")
	w.mustReach()
	good := sign(t, nil)
	h := w.sub.Protect(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		tok, ok := FromContext(r.Context())
		if !ok {
			t.Error("no token in the context")
			return
		}
		fmt.Fprint(rw, tok.Claims.Subject)
	}), Audience("orders"), Scope("read"))
	if _, ok := FromContext(context.Background()); ok {
		t.Error("a token from nowhere")
	}

	for name, c := range map[string]struct {
		headers   []string
		url       string
		status    int
		challenge string
	}{
		"good":           {[]string{"Bearer " + good}, "/", 200, ""},
		"other case":     {[]string{"bEARER  " + good}, "/", 200, ""},
		"none":           {nil, "/", 401, `Bearer`},
		"in the query":   {nil, "/?access_token=" + good, 401, `Bearer`},
		"another scheme": {[]string{"Basic YTpi"}, "/", 401, `Bearer`},
		"several":        {[]string{"Bearer " + good, "Bearer " + good}, "/", 400, `Bearer error="invalid_request", error_description="there are several Authorization headers"`},
		"two in one":     {[]string{"Bearer " + good + ", Bearer " + good}, "/", 401, `Bearer error="invalid_token", error_description="the token is not three segments of base64url"`},
		"empty":          {[]string{"Bearer "}, "/", 401, `Bearer error="invalid_token", error_description="the token is not three segments of base64url"`},
		"revoked":        {[]string{"Bearer " + sign(t, map[string]any{"jti": "revoked"})}, "/", 401, `Bearer error="invalid_token", error_description="the token has been revoked"`},
		"audience":       {[]string{"Bearer " + sign(t, map[string]any{"aud": "other"})}, "/", 401, `Bearer error="invalid_token", error_description="the token is for another audience"`},
		"scope":          {[]string{"Bearer " + sign(t, map[string]any{"scope": "write"})}, "/", 403, `Bearer error="insufficient_scope", error_description="the token lacks a scope that is needed here", scope="read"`},
	} {
		req := httptest.NewRequest("GET", c.url, nil)
		req.Header["Authorization"] = c.headers
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		if rec.Code != c.status || rec.Header().Get("WWW-Authenticate") != c.challenge {
			t.Errorf("%s: %d, %s", name, rec.Code, rec.Header())
		}
		if c.status == 200 && rec.Body.String() != "alice" {
			t.Errorf("%s: %s", name, rec.Body)
		}
		if c.status != 200 && rec.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: may be stored", name)
		}
	}
	if n := w.sub.Status().Refused[string(CodeRevoked)]; n != 1 {
		t.Errorf("%d counted as revoked", n)
	}
}

// Promise of section 5: the policy decides per route, each decision is
// counted, and a revocation that is known counts under every policy.
func TestProtectWhileStale(t *testing.T) {
	w := newWorld(t, soonClosed)
	w.revoke(events.KindToken, "revoked")
	w.mustReach()
	w.hub.with(func() { w.hub.noTicks = true })
	w.mustBecome(Expired)

	good, bad := sign(t, nil), sign(t, map[string]any{"jti": "revoked"})
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	for name, c := range map[string]struct {
		opts   []Option
		status int
		count  string
	}{
		"default": {nil, 503, "grace_then_closed/refused"},
		"long":    {[]Option{WithPolicy(GraceThenClosed(time.Hour))}, 200, "grace_then_closed/allowed"},
		"closed":  {[]Option{WithPolicy(Closed())}, 503, "closed/refused"},
		"open":    {[]Option{WithPolicy(DangerouslyOpen())}, 200, "open/allowed"},
		"ask yes": {[]Option{WithPolicy(Ask(func(_ context.Context, t *Token) (bool, error) { return t.Claims.ID == "t1", nil }))}, 200, "ask/allowed"},
		"ask no":  {[]Option{WithPolicy(Ask(func(context.Context, *Token) (bool, error) { return false, nil }))}, 503, "ask/refused"},
		"ask who": {[]Option{WithPolicy(Ask(func(context.Context, *Token) (bool, error) { return true, errors.New("down") }))}, 503, "ask/refused"},
	} {
		before := w.sub.Status().Decisions[c.count]
		for raw, status := range map[string]int{good: c.status, bad: 401} {
			req := httptest.NewRequest("GET", "/", nil)
			req.Header.Set("Authorization", "Bearer "+raw)
			rec := httptest.NewRecorder()
			w.sub.Protect(ok, c.opts...).ServeHTTP(rec, req)
			if rec.Code != status || (status == 503) != (rec.Header().Get("Retry-After") != "") {
				t.Errorf("%s: %d %v, want %d", name, rec.Code, rec.Header(), status)
			}
		}
		if n := w.sub.Status().Decisions[c.count]; n != before+1 {
			t.Errorf("%s: %d decisions counted", name, n-before)
		}
	}

	defer func() {
		if recover() == nil {
			t.Error("a policy that can't decide is accepted")
		}
	}()
	w.sub.Protect(ok, WithPolicy(Ask(nil)))
}

// The issuer's keys can't be had: that is our trouble, not the token's.
func TestKeysUnavailable(t *testing.T) {
	w := newWorld(t, func(_ *world, c *Config) {
		c.Issuers = []Issuer{{Iss: testIssuer, JWKSURI: "http://127.0.0.1:1/jwks"}}
	})
	waitReady(t, w.sub)
	req := httptest.NewRequest("GET", "/", nil)
	req.Header.Set("Authorization", "Bearer "+sign(t, nil))
	rec := httptest.NewRecorder()
	w.sub.Protect(http.NotFoundHandler()).ServeHTTP(rec, req)
	if rec.Code != 503 || rec.Header().Get("Retry-After") == "" {
		t.Errorf("%d %v", rec.Code, rec.Header())
	}
}
