package token

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/revocast/revocast/events"
)

// Whatever the input: no panic, the same reading each time, one reading for
// Verify and ReadUnverified, and a token that is accepted is the only
// spelling of what was read.
func FuzzReadUnverified(f *testing.F) {
	f.Add(sign("RS256", good))
	f.Add(sign("EdDSA", good+`,"scope":"a b","aud":["x","y"],"nbf":1.5e9`))
	for _, r := range refusals() {
		if len(r.raw) < 4096 {
			f.Add(r.raw)
		}
	}
	v := newVerifier(f, bothIssuers()...)
	f.Fuzz(func(t *testing.T, raw string) {
		tok, err := ReadUnverified(raw, events.ClaimNames{})
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || tok != nil || e.Detail == "" {
				t.Fatalf("%+v, %v", tok, err)
			}
			if _, err := v.Verify(context.Background(), raw); err == nil || err.Error() != e.Error() {
				t.Fatalf("read: %v, verified: %v", e, err)
			}
			return
		}
		again, err := ReadUnverified(raw, events.ClaimNames{})
		if err != nil || !reflect.DeepEqual(tok, again) {
			t.Fatalf("%+v, then %+v, %v", tok, again, err)
		}
		parts := strings.Split(raw, ".")
		if len(parts) != 3 || len(raw) > MaxSize || parts[1] != b64(string(tok.Payload)) {
			t.Fatalf("not the only spelling: %q", raw)
		}
		want, err := events.ParseClaims(tok.Payload)
		want.KeyID, want.Handle = tok.Claims.KeyID, events.HandleOf(parts[0]+"."+parts[1])
		if err != nil || !reflect.DeepEqual(tok.Claims, want) {
			t.Fatalf("claims %+v, %v, want %+v", tok.Claims, err, want)
		}
		if verified, err := v.Verify(context.Background(), raw); err == nil && !reflect.DeepEqual(tok, verified) {
			t.Fatalf("read %+v, verified %+v", tok, verified)
		}
	})
}
