package subscriber

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/revocast/revocast/events"
)

// benchSubscriber is fresh for an hour with n live revocations, without a hub.
func benchSubscriber(b testing.TB, n int) *Subscriber {
	c := Config{
		Hubs: []string{"http://127.0.0.1:1"}, Credential: testKey, MaxStaleness: time.Hour,
		Issuers: []Issuer{{Iss: testIssuer, Keys: testJWKS()}},
	}
	quiet := testTuning
	quiet.backoffFirst, quiet.backoffMost, quiet.steward = time.Hour, time.Hour, time.Hour
	c.Logger = discard
	s, err := start(c, quiet, newClock())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	set := events.NewLiveSet()
	set.Reserve(events.KindToken, n)
	exp := uint32(time.Now().Unix() + 3600)
	for i := range n {
		sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
		set.Join(events.KindToken, events.Key(sum[:events.KeySize]), events.Term{Exp: exp})
	}
	s.change(func(r *replica, now moment) {
		r.begin(&holdings{[]saltedSet{{events.Salt{1}, set}}}, events.Position{Epoch: "e", Seq: 1}, events.Chain{})
		r.tick, r.probe = &now, &now
		r.settle(now)
	})
	if s.Status().State != Fresh {
		b.Fatalf("%+v", s.Status())
	}
	return s
}

// BenchmarkCheck is what revocation adds to a request whose token has been
// seen before: a few hundred tokens that are used all the time, whose keys and
// part of the set are in the processor's caches, and some thousands, for which
// the memory is measured too.
func BenchmarkCheck(b *testing.B) {
	for _, n := range []int{1_000, 1_000_000} {
		s := benchSubscriber(b, n)
		for _, tokens := range []int{1 << 8, 1 << 12} {
			b.Run(fmt.Sprintf("prepared/live=%d/tokens=%d", n, tokens), func(b *testing.B) {
				toks := make([]*Token, tokens)
				for i := range toks {
					toks[i] = s.Prepare(claims(fmt.Sprintf("jti-%d", i), fmt.Sprintf("sub-%d", i)))
				}
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if v := s.CheckPrepared(toks[i%len(toks)]); v.Outcome != Allowed {
						b.Fatal(v)
					}
				}
			})
		}
		b.Run(fmt.Sprintf("claims/live=%d", n), func(b *testing.B) {
			c := claims("jti", "sub")
			b.ReportAllocs()
			for b.Loop() {
				if v := s.Check(c); v.Outcome != Allowed {
					b.Fatal(v)
				}
			}
		})
		b.Run(fmt.Sprintf("lineages=2/live=%d", n), func(b *testing.B) {
			tok := s.Prepare(claims("jti", "sub"), claims("parent", "other"))
			b.ReportAllocs()
			for b.Loop() {
				if v := s.CheckPrepared(tok); v.Outcome != Allowed {
					b.Fatal(v)
				}
			}
		})
	}
}

// BenchmarkAuthenticate puts the way of a token that was seen before next to
// what it saves: golang-jwt parsing and verifying the same token.
func BenchmarkAuthenticate(b *testing.B) {
	s := benchSubscriber(b, 100_000)
	raw := sign(b, nil)
	ctx := context.Background()
	var hit, peer float64
	b.Run("peer=golang-jwt/RS256", func(b *testing.B) {
		parser := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer(testIssuer), jwt.WithAudience("orders"), jwt.WithExpirationRequired())
		b.ReportAllocs()
		for b.Loop() {
			if _, err := parser.Parse(raw, func(*jwt.Token) (any, error) { return &testRSA.PublicKey, nil }); err != nil {
				b.Fatal(err)
			}
		}
		peer = float64(b.Elapsed().Nanoseconds()) / float64(b.N)
	})
	b.Run("hit", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Authenticate(ctx, raw, "orders"); err != nil {
				b.Fatal(err)
			}
		}
		hit = float64(b.Elapsed().Nanoseconds()) / float64(b.N)
		if peer > 0 {
			b.ReportMetric(peer/hit, "x-faster")
		}
	})
	b.Run("hit/parallel", func(b *testing.B) {
		raws := make([]string, 64)
		for i := range raws {
			raws[i] = sign(b, map[string]any{"jti": fmt.Sprint("t", i)})
		}
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				if _, err := s.Authenticate(ctx, raws[i%len(raws)], "orders"); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
	b.Run("miss", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.verified.remove(raw)
			if _, err := s.Authenticate(ctx, raw, "orders"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkRecord is what catching up costs: parsing, verifying and applying
// one record after the other, of one operation each and of as many as fit.
func BenchmarkRecord(b *testing.B) {
	for _, ops := range []int{1, events.MaxOps} {
		b.Run(fmt.Sprintf("ops=%d", ops), func(b *testing.B) {
			var d events.Draft
			for i := range ops {
				sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
				op := events.Op{Verb: events.Revoke, Kind: events.KindToken, Key: events.Key(sum[:events.KeySize]),
					Term: events.Term{Exp: events.Never}, ID: "rev_01ARZ3NDEKTSV4RRFFQ69G5FAV"}
				if err := d.Add(op, events.AuditOp{Verb: op.Verb, ID: op.ID, Target: events.Target{Kind: op.Kind, Iss: "i"}}); err != nil {
					b.Fatal(err)
				}
			}
			rec := d.Record(1)
			audit := events.HashPart(rec.Audit)
			r := newReplica(Config{}, moment{})
			r.begin(&holdings{[]saltedSet{{events.Salt{}, events.NewLiveSet()}}}, events.Position{Epoch: "e1"}, events.Chain{})
			chain := events.Chain{}.Next(events.HashPart(rec.Feed), audit)
			data := []byte(fmt.Sprintf(`{"seq":1,"chain":%q,"audit":%q,"feed":%s}`, chain, audit, rec.Feed))
			b.ReportAllocs()
			for b.Loop() {
				r.pos.Seq, r.chain = 0, events.Chain{}
				if _, applied, err := r.record(data, "e1:1", moment{}); !applied || err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
