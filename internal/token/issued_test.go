package token

import (
	"errors"
	"slices"
	"testing"
	"time"
)

// A token is its issuer's whatever its times and audience are.
func TestVerifyIssued(t *testing.T) {
	v := newVerifier(t, bothIssuers()...)
	for what, claims := range map[string]string{
		"good":           good,
		"expired":        timeless + `,"exp":` + at(-100*time.Hour),
		"never expires":  timeless,
		"lives for ever": timeless + `,"exp":` + at(100_000*time.Hour),
		"not valid yet":  timeless + `,"nbf":` + at(time.Hour) + `,"exp":` + at(2*time.Hour),
		"issued later":   timeless + `,"iat":` + at(time.Hour) + `,"exp":` + at(2*time.Hour),
		"for nobody":     timeless + `,"aud":[]`,
	} {
		raw := sign("ES256", claims)
		tok, err := v.VerifyIssued(t.Context(), raw)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if tok.Claims.Subject != "alice-secret" || tok.Claims.Handle == "" || tok.Claims.KeyID != "p256" {
			t.Errorf("%s: %+v", what, tok.Claims)
		}
	}
	raw := sign("ES256", good)
	_, others := theirKeys().signer("ES256")
	for what, c := range map[string]struct {
		want Code
		raw  string
	}{
		"garbage":         {CodeMalformed, "garbage"},
		"alg none":        {CodeAlgorithm, forge(`{"alg":"none"}`, "{"+good+"}", "", nil)},
		"changed":         {CodeSignature, raw[:len(raw)-8] + "AAAAAAAA"},
		"another's key":   {CodeSignature, forge(`{"alg":"ES256","kid":"p256"}`, "{"+good+"}", "ES256", others)},
		"another type":    {CodeType, signRS(`"kid":"rsa","typ":"logout+jwt"`, good)},
		"unknown key":     {CodeUnknownKey, forge(`{"alg":"ES256","kid":"p999"}`, "{"+good+"}", "ES256", others)},
		"critical":        {CodeCritical, signRS(`"kid":"rsa","crit":["b64"]`, good)},
		"nobody's issuer": {CodeUnknownIssuer, sign("ES256", goodFor("https://nobody.example"))},
	} {
		t.Run(what, func(t *testing.T) {
			tok, err := v.VerifyIssued(t.Context(), c.raw)
			mustBe(t, c.want, tok, err, c.raw)
		})
	}
	// Verify is all of it, and the times.
	_, err := v.Verify(t.Context(), sign("ES256", timeless))
	if e := (*Error)(nil); !errors.As(err, &e) || e.Code != CodeNoExpiry {
		t.Error(err)
	}
	if got := v.Issuers(); !slices.Equal(got, []string{ours, theirs}) {
		t.Error(got)
	}
}
