package token

import (
	"context"
	"reflect"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
)

func TestLogoutToken(t *testing.T) {
	v := eventVerifier(t)
	for library, sign := range signers {
		for _, typ := range []string{"logout+jwt", "JWT", ""} {
			got, err := v.VerifyLogout(context.Background(), sign(typ, logoutClaims))
			if err != nil {
				t.Errorf("%s, typ %q: %v", library, typ, err)
				continue
			}
			want := events.Claims{Issuer: ours, ID: "l-1", Subject: "alice-secret", Session: "s-1", KeyID: "rsa",
				Handle: got.Claims.Handle, IssuedAt: noon.Add(-time.Second).UnixMilli(), Expires: noon.Add(2 * time.Minute).UnixMilli()}
			if !reflect.DeepEqual(got.Claims, want) {
				t.Errorf("%s, typ %q: %+v", library, typ, got.Claims)
			}
		}
	}
	for name, change := range map[string]claimSet{
		"session only":       {"sub": nil},
		"subject only":       {"sid": nil},
		"several audiences":  {"aud": []string{"x", us}},
		"other events":       {"events": claimSet{logoutEvent: claimSet{"more": 1}, otherEvent: 1}},
		"claims of its own":  {"trace_id": "x", "depth": 5},
		"as old as it may":   {"iat": ago(5*time.Minute + 2*time.Second)},
		"as ahead as it may": {"iat": ago(-2 * time.Second)},
		"as long as it may":  {"exp": ago(time.Second - 2*time.Hour)},
		"exp within skew":    {"exp": ago(time.Second)},
	} {
		if _, err := v.VerifyLogout(context.Background(), signLogout(logoutClaims.with(change))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Each line breaks one rule.
func TestLogoutTokenRefused(t *testing.T) {
	v := eventVerifier(t)
	for name, c := range map[string]struct {
		code   Code
		change claimSet
	}{
		"unknown issuer":       {CodeUnknownIssuer, claimSet{"iss": ours + "/"}},
		"no issuer":            {CodeUnknownIssuer, claimSet{"iss": nil}},
		"another issuer's key": {CodeSignature, claimSet{"iss": theirs}},
		"no aud":               {CodeAudience, claimSet{"aud": nil}},
		"another aud":          {CodeAudience, claimSet{"aud": "revocast"}},
		"aud of other case":    {CodeAudience, claimSet{"aud": "Revocast-Client"}},
		"no aud among many":    {CodeAudience, claimSet{"aud": []string{}}},
		"no iat":               {CodeClaims, claimSet{"iat": nil}},
		"iat a string":         {CodeMalformed, claimSet{"iat": "now"}},
		"too old":              {CodeExpired, claimSet{"iat": ago(5*time.Minute + 2001*time.Millisecond)}},
		"from the future":      {CodeNotYetValid, claimSet{"iat": ago(-2001 * time.Millisecond)}},
		"not valid before":     {CodeNotYetValid, claimSet{"nbf": ago(-2001 * time.Millisecond)}},
		"no exp":               {CodeNoExpiry, claimSet{"exp": nil}},
		"expired":              {CodeExpired, claimSet{"iat": ago(time.Minute), "exp": ago(2 * time.Second)}},
		"lives too long":       {CodeLifetime, claimSet{"exp": ago(999*time.Millisecond - 2*time.Hour)}},
		"no jti":               {CodeClaims, claimSet{"jti": nil}},
		"jti empty":            {CodeClaims, claimSet{"jti": ""}},
		"jti a number":         {CodeMalformed, claimSet{"jti": 5}},
		"neither sub nor sid":  {CodeClaims, claimSet{"sub": nil, "sid": nil}},
		"sid a number":         {CodeMalformed, claimSet{"sid": 5}},
		"nonce":                {CodeClaims, claimSet{"nonce": "n"}},
		"nonce empty":          {CodeClaims, claimSet{"nonce": ""}},
		"no events":            {CodeClaims, claimSet{"events": nil}},
		"events an array":      {CodeClaims, claimSet{"events": []string{logoutEvent}}},
		"events a string":      {CodeClaims, claimSet{"events": logoutEvent}},
		"events empty":         {CodeClaims, claimSet{"events": claimSet{}}},
		"another event":        {CodeClaims, claimSet{"events": claimSet{sessionRevoked: claimSet{}}}},
		"event of other case":  {CodeClaims, claimSet{"events": claimSet{"http://schemas.openid.net/event/Backchannel-Logout": claimSet{}}}},
		"https instead":        {CodeClaims, claimSet{"events": claimSet{"https://schemas.openid.net/event/backchannel-logout": claimSet{}}}},
		"event a string":       {CodeClaims, claimSet{"events": claimSet{logoutEvent: ""}}},
		"event true":           {CodeClaims, claimSet{"events": claimSet{logoutEvent: true}}},
	} {
		t.Run(name, func(t *testing.T) {
			mustRefuseEvent(t, v.VerifyLogout, c.code, signLogout(logoutClaims.with(c.change)))
		})
	}
	// null is there, and says nothing.
	const claims = `{"iss":"` + ours + `","sub":"s","aud":"` + us + `","jti":"j","iat":1795348799,"exp":1795348900,"events":`
	for rest, code := range map[string]Code{
		`{"` + logoutEvent + `":{}},"nonce":null}`:                     CodeClaims,
		`{"` + logoutEvent + `":null}}`:                                CodeClaims,
		`{"` + logoutEvent + `":{},"` + logoutEvent + `":{}}}`:         CodeMalformed,
		`{"` + logoutEvent + `":{}},"nonce":"n","nonce":"n"}`:          CodeMalformed,
		`{"http:\/\/schemas.openid.net/event/backchannel-logout":{}}}`: "",
	} {
		raw := forge(`{"alg":"RS256","kid":"rsa","typ":"logout+jwt"}`, claims+rest, "RS256", ourKeys().rsa)
		if code == "" {
			if _, err := v.VerifyLogout(context.Background(), raw); err != nil {
				t.Errorf("%s: %v", rest, err)
			}
			continue
		}
		mustRefuseEvent(t, v.VerifyLogout, code, raw)
	}
}

// What makes an access token unfit makes these unfit, too: they are read and
// their signatures checked by the same rules.
func TestEventsAreReadAsStrictly(t *testing.T) {
	v := eventVerifier(t)
	for _, r := range refusals() {
		switch r.code {
		case CodeMalformed, CodeCritical, CodeUnknownIssuer:
			mustRefuseEvent(t, v.VerifyLogout, r.code, r.raw)
			mustRefuseEvent(t, v.VerifySET, r.code, r.raw)
		}
	}
	set, logout := signSET(setClaims), signLogout(logoutClaims)
	mustRefuseEvent(t, v.VerifyLogout, CodeMalformed, logout+"\n")
	mustRefuseEvent(t, v.VerifySET, CodeMalformed, set+"\n")
	for alg, code := range map[string]Code{"none": CodeAlgorithm, "HS256": CodeAlgorithm, "XS256": CodeAlgorithm} {
		head := `{"alg":"` + alg + `","kid":"rsa","typ":"`
		body := "." + b64(`{"iss":"`+ours+`"}`) + "." + b64("signature")
		mustRefuseEvent(t, v.VerifyLogout, code, b64(head+`logout+jwt"}`)+body)
		mustRefuseEvent(t, v.VerifySET, code, b64(head+`secevent+jwt"}`)+body)
	}
	unknown := func(typ string) string {
		return forge(`{"alg":"RS256","kid":"new","typ":"`+typ+`"}`, `{"iss":"`+ours+`"}`, "RS256", ourKeys().rsa)
	}
	mustRefuseEvent(t, v.VerifyLogout, CodeUnknownKey, unknown("logout+jwt"))
	mustRefuseEvent(t, v.VerifySET, CodeUnknownKey, unknown("secevent+jwt"))
}
