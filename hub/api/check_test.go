package api_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/api"
)

func (w *world) check(body string) api.CheckAnswer {
	w.Helper()
	return must[api.CheckAnswer](w.ask("POST", "/v1/check", body), 200)
}

func (w *world) checkToken(raw string) api.CheckAnswer {
	w.Helper()
	return w.check(fmt.Sprintf(`{"token":%q}`, raw))
}

func TestCheckVerified(t *testing.T) {
	w := newWorld(t, withIssuers)
	raw := sign(ours, map[string]any{"jti": "j1", "sid": "s1"})
	if v := w.checkToken(raw); v.Verdict != api.Allowed || !v.Verified || len(v.Matched) != 0 {
		t.Errorf("%+v", v)
	}
	token := w.revokeOne("token", ours, "j1")
	subject := w.revokeOne("subject", ours, "alice")
	again := w.revokeOne("subject", ours, "alice")
	w.mustRevoke(revocation("session", ours, "s1", `,"cutoff":"2020-01-01T00:00:00Z"`)) // long before the token
	w.revokeOne("session", theirs, "s1")
	v := w.checkToken(raw)
	if v.Verdict != api.Revoked || !v.Verified || len(v.Matched) != 2 {
		t.Fatalf("%+v", v)
	}
	one, two := v.Matched[0], v.Matched[1]
	if one.Kind != events.KindToken || len(one.Revocations) != 1 || one.Revocations[0].ID != token || one.Revocations[0].Reason != "logout" || one.Revocations[0].Since == 0 {
		t.Errorf("%+v", one)
	}
	if two.Kind != events.KindSubject || len(two.Revocations) != 2 || two.Revocations[0].ID != again || two.Revocations[1].ID != subject || two.Revocations[0].Cutoff == 0 {
		t.Errorf("%+v", two)
	}
	w.revokeOne("key", ours, "k1")
	w.revokeOne("issuer", ours, "")
	var kinds []events.Kind
	for _, m := range w.checkToken(raw).Matched {
		kinds = append(kinds, m.Kind)
	}
	if !slices.Equal(kinds, []events.Kind{events.KindToken, events.KindSubject, events.KindKey, events.KindIssuer}) {
		t.Errorf("%v", kinds)
	}
	// Only who may ask about who revoked them sees that.
	if b := string(w.ask("POST", "/v1/check", fmt.Sprintf(`{"token":%q}`, raw)).body); strings.Contains(b, "actor") || strings.Contains(b, "note") {
		t.Errorf("%s", b)
	}
}

func TestCheckUnverified(t *testing.T) {
	w := newWorld(t) // no issuer is configured
	raw := sign(ours, map[string]any{"jti": "j1"})
	v := w.checkToken(raw)
	if v.Verdict != api.Allowed || v.Verified || !strings.Contains(v.Detail, "Nothing else was checked") {
		t.Errorf("%+v", v)
	}
	if v := w.checkToken(sign(ours, map[string]any{"exp": time.Now().Unix() - 10})); v.Verdict != api.Invalid || v.Verified {
		t.Errorf("expired: %+v", v)
	}
	w.revokeOne("token", ours, "j1")
	if v := w.checkToken(raw); v.Verdict != api.Revoked || v.Verified || !strings.Contains(v.Detail, "Nothing else was checked") {
		t.Errorf("%+v", v)
	}

	w = newWorld(t, withIssuers) // another issuer than those
	if v := w.checkToken(sign("https://nobody.example", nil)); v.Verdict != api.Allowed || v.Verified {
		t.Errorf("%+v", v)
	}
}

func TestCheckClaims(t *testing.T) {
	w := newWorld(t)
	w.revokeOne("subject", ours, "alice")
	w.revokeOne("key", ours, "k1")
	for body, want := range map[string]api.VerdictWord{
		`{"claims":{"iss":"` + ours + `","sub":"alice"}}`:                                                                     api.Revoked, // no iat: it may be old
		`{"claims":{"iss":"` + ours + `","sub":"alice","iat":` + fmt.Sprint(time.Now().Unix()+5) + `}}`:                       api.Allowed,
		`{"claims":{"iss":"` + ours + `","sub":"alice","iat":1,"exp":2}}`:                                                     api.Revoked,
		`{"claims":{"iss":"` + ours + `","sub":"bob"}}`:                                                                       api.Allowed,
		`{"claims":{"iss":"` + theirs + `","sub":"alice"}}`:                                                                   api.Allowed,
		`{"claims":{"iss":"` + ours + `","sub":"bob","exp":2}}`:                                                               api.Invalid,
		`{"kid":"k1","claims":{"iss":"` + ours + `","sub":"bob"}}`:                                                            api.Revoked,
		`{"claims":{"iss":"` + ours + `","sub":"bob","x":{"y":[1,2]}}}`:                                                       api.Allowed,
		`{"claims":{"iss":"` + ours + `","sub":"bob","iat":` + fmt.Sprint(time.Now().Unix()) + `,"exp":` + future() + `}}`:    api.Allowed,
		`{"claims":{"iss":"` + ours + `","sub":"al\u0069ce","iat":` + fmt.Sprint(time.Now().Unix()-9) + `}}`:                  api.Revoked,
		`{"kid":"k2","claims":{"iss":"` + ours + `","azp":"alice","client_id":"alice","sid":"alice","jti":"alice","sub":""}}`: api.Allowed,
	} {
		if v := w.check(body); v.Verdict != want || v.Verified {
			t.Errorf("%s: %+v, want %s", body, v, want)
		}
	}
}

func future() string { return fmt.Sprint(time.Now().Unix() + 600) }

// What can be read in two ways, or proves nothing, is no token.
func TestCheckInvalid(t *testing.T) {
	seg := base64.RawURLEncoding.EncodeToString
	forge := func(head, claims string) string {
		return seg([]byte(head)) + "." + seg([]byte(claims)) + "." + seg([]byte("sig"))
	}
	head := `{"alg":"HS256","kid":"k1"}`
	bad := map[string]string{
		"garbage":          "hello",
		"alg none":         forge(`{"alg":"none"}`, `{"iss":"`+ours+`","sub":"alice"}`),
		"alg nOnE":         forge(`{"alg":"nOnE"}`, `{"iss":"`+ours+`","sub":"alice"}`),
		"no signature":     strings.TrimSuffix(forge(head, `{"iss":"`+ours+`"}`), seg([]byte("sig"))),
		"duplicate claim":  forge(head, `{"iss":"`+ours+`","sub":"alice","sub":"bob"}`),
		"duplicate header": forge(`{"alg":"HS256","alg":"none"}`, `{"iss":"`+ours+`"}`),
		"crit":             forge(`{"alg":"HS256","crit":["b64"]}`, `{"iss":"`+ours+`"}`),
		"no issuer":        forge(head, `{"sub":"alice"}`),
		"array":            forge(head, `["iss"]`),
		"two lines":        "a\nb.c.d",
		"too long":         strings.Repeat("a", 20<<10),
	}
	for name, w := range map[string]*world{"no issuer configured": newWorld(t), "issuers configured": newWorld(t, withIssuers)} {
		for what, raw := range bad {
			if v := w.checkToken(raw); v.Verdict != api.Invalid || v.Verified || v.Detail == "" || len(v.Matched) > 0 {
				t.Errorf("%s: %s: %+v", name, what, v)
			}
		}
	}
	w := newWorld(t, withIssuers)
	good := sign(ours, nil)
	for what, raw := range map[string]string{
		"signature":      good[:len(good)-4] + "AAAA",
		"signed by else": sign(theirs, map[string]any{"iss": ours}),
		"expired":        sign(ours, map[string]any{"exp": time.Now().Unix() - 10}),
		"no expiry":      sign(ours, map[string]any{"exp": nil}),
		"lives for ever": sign(ours, map[string]any{"exp": time.Now().Add(1000 * time.Hour).Unix()}),
	} {
		if v := w.checkToken(raw); v.Verdict != api.Invalid || v.Verified {
			t.Errorf("%s: %+v", what, v)
		}
		if strings.Contains(w.logged.String(), raw) {
			t.Error("a token is in the log")
		}
	}
}
