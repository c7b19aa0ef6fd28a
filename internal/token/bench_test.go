package token

import (
	"context"
	"strings"
	"testing"
)

func BenchmarkVerify(b *testing.B) {
	v := newVerifier(b, bothIssuers()...)
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		raw := sign(alg, good)
		b.Run(alg, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(context.Background(), raw, "orders"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What somebody without a key can make us spend.
func BenchmarkRefuse(b *testing.B) {
	v := newVerifier(b, bothIssuers()...)
	for _, c := range []struct{ name, raw string }{
		{"dots", strings.Repeat(".", MaxSize)},
		{"no-dots", strings.Repeat("A", MaxSize)},
		{"nested", forge(`{"alg":"EdDSA"}`, `{"x":`+strings.Repeat("[", 11000), "", nil)},
		{"many-claims", forge(`{"alg":"EdDSA"}`, `{"iss":"x"`+manyClaims()+`}`, "", nil)},
		{"unknown-kid", forge(`{"alg":"EdDSA","kid":"x"}`, "{"+good+"}", "", nil)},
		{"bad-signature", forge(`{"alg":"ES256","kid":"p256"}`, "{"+good+"}", "ES256", theirKeys().p256)},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(context.Background(), c.raw); err == nil {
					b.Fatal("accepted")
				}
			}
		})
	}
}

func manyClaims() string {
	var s strings.Builder
	for i := 0; s.Len() < 11000; i++ {
		s.WriteString(`,"`)
		s.WriteString(strings.Repeat("a", i%7))
		s.WriteString(b64(string(rune(i))))
		s.WriteString(`":0`)
	}
	return s.String()
}
