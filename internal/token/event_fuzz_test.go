package token

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// The fuzzer makes the claims, and every token is signed, so that it gets
// past the signature. Whatever they are: no panic, the same reading each time,
// and what is accepted has all that makes it a token of its kind, as another
// reader of JSON sees it.

func FuzzLogoutToken(f *testing.F) {
	addClaims(f, logoutClaims, setClaims)
	v := eventVerifier(f)
	f.Fuzz(func(t *testing.T, typ byte, claims string) {
		raw, typ2 := signFuzzed(typ, claims)
		got, err := v.VerifyLogout(context.Background(), raw)
		if again, err2 := v.VerifyLogout(context.Background(), raw); !reflect.DeepEqual(got, again) || (err == nil) != (err2 == nil) {
			t.Fatalf("%+v, %v, then %+v, %v", got, err, again, err2)
		}
		if !acceptedEvent(t, v, raw, got != nil, err) {
			return
		}
		c := decoded(t, claims)
		reported, _ := c["events"].(map[string]any)
		_, isLogout := reported[logoutEvent].(map[string]any)
		_, hasNonce := c["nonce"]
		if !isLogout || hasNonce || got.Claims.ID == "" || got.Claims.ID != c["jti"] || got.Claims.Issuer != c["iss"] ||
			got.Claims.Session == "" && got.Claims.Subject == "" || got.Claims.Expires == 0 || typ2 == "secevent+jwt" || typ2 == "at+jwt" {
			t.Fatalf("accepted: %s", claims)
		}
		if _, err := v.VerifySET(context.Background(), raw); err == nil {
			t.Fatalf("a SET, too: %s", claims)
		}
	})
}

func FuzzSET(f *testing.F) {
	addClaims(f, logoutClaims, setClaims)
	v := eventVerifier(f)
	f.Fuzz(func(t *testing.T, typ byte, claims string) {
		raw, typ2 := signFuzzed(typ, claims)
		got, err := v.VerifySET(context.Background(), raw)
		if again, err2 := v.VerifySET(context.Background(), raw); !reflect.DeepEqual(got, again) || (err == nil) != (err2 == nil) {
			t.Fatalf("%+v, %v, then %+v, %v", got, err, again, err2)
		}
		if !acceptedEvent(t, v, raw, got != nil, err) {
			return
		}
		c := decoded(t, claims)
		reported, _ := c["events"].(map[string]any)
		_, isObject := reported[got.Event].(map[string]any)
		_, hasExp := c["exp"]
		_, hasSub := c["sub"]
		subID, _ := c["sub_id"].(map[string]any)
		if len(reported) != 1 || !isObject || hasExp || hasSub || got.ID == "" || got.ID != c["jti"] || got.IssuedAt == 0 ||
			got.Subject.Format == "" || got.Subject.Format != subID["format"] || typ2 != "secevent+jwt" {
			t.Fatalf("accepted: %s", claims)
		}
		if at, err := got.DetailTime("event_timestamp"); at < 0 || err != nil && at != 0 {
			t.Fatalf("%d, %v", at, err)
		}
	})
}

func addClaims(f *testing.F, sets ...claimSet) {
	f.Helper()
	complex := claimSet{"format": "complex", "user": issSub("a"), "session": claimSet{"format": "opaque", "id": "s"}}
	aliases := claimSet{"format": "aliases", "identifiers": []any{issSub("a"), issSub("b")}}
	sets = append(sets, setClaims.with(claimSet{"sub_id": complex}), setClaims.with(claimSet{"sub_id": aliases, "toe": 1.5e9}),
		logoutClaims.with(claimSet{"nonce": "n"}), logoutClaims.with(setClaims))
	for _, c := range sets {
		b, err := json.Marshal(c)
		if err != nil {
			f.Fatal(err)
		}
		for typ := range fuzzTypes {
			f.Add(byte(typ), string(b))
		}
	}
}

var fuzzTypes = []string{"logout+jwt", "secevent+jwt", "JWT", "at+jwt"}

func signFuzzed(n byte, claims string) (raw, typ string) {
	typ = fuzzTypes[int(n)%len(fuzzTypes)]
	return forge(`{"alg":"EdDSA","kid":"ed","typ":"`+typ+`"}`, claims, "EdDSA", ourKeys().ed), typ
}

// acceptedEvent reports whether an event token was accepted, after checks
// that hold for all of them.
func acceptedEvent(t *testing.T, v *Verifier, raw string, got bool, err error) bool {
	t.Helper()
	var e *Error
	if err != nil && (!errors.As(err, &e) || e.Detail == "" || got) {
		t.Fatalf("%v, %v", got, err)
	}
	if err != nil {
		return false
	}
	if _, err := v.Verify(context.Background(), raw); err == nil {
		t.Fatalf("an access token, too: %s", raw)
	}
	return true
}

func decoded(t *testing.T, claims string) (c map[string]any) {
	t.Helper()
	if err := json.NewDecoder(strings.NewReader(claims)).Decode(&c); err != nil {
		t.Fatalf("accepted, and is not JSON: %v", err)
	}
	return c
}
