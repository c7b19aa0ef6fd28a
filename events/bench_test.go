package events

import (
	"fmt"
	"io"
	"runtime"
	"testing"
)

const benchNow = 1_800_000_000

// testKey is a key that no salt makes, in a nanosecond or two (splitmix64).
func testKey(n uint64) Key { return words{mix(2 * n), mix(2*n + 1)}.join() }

func mix(n uint64) uint64 {
	n = (n + 1) * 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

func fullSet(n int) *LiveSet {
	s := NewLiveSet()
	for i := range n {
		s.Join(KindToken, testKey(uint64(i)), Term{Exp: benchNow + 60 + uint32(i%3600)})
	}
	return s
}

// BenchmarkMatch asks with the keys ready, as the subscriber does for a token
// it has seen before: about 4,096 tokens in turn, as a service with so many
// users would, and about tokens that never come again, all over the set, so
// that nothing of it is in any cache.
func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{1_000, 1_000_000} {
		set := fullSet(n)
		for _, c := range []struct {
			name   string
			from   uint64
			tokens uint64
			want   bool
		}{
			{"allowed", 1 << 40, 1 << 12, false},
			{"revoked", 0, 1 << 12, true},
			{"allowed/all-different", 1 << 40, 1 << 62, false},
			{"revoked/all-different", 0, 1 << 62, true},
		} {
			b.Run(fmt.Sprintf("live=%d/%s", n, c.name), func(b *testing.B) {
				k := Keys{issuedAt: benchNow * 1000, version: -1}
				for _, kind := range []Kind{KindToken, KindSubject, KindIssuer} {
					k.add(kind, testKey(1<<50))
				}
				b.ReportAllocs()
				for i := uint64(0); b.Loop(); i++ {
					k.first.keys[0] = testKey(c.from + i%c.tokens*2654435761%uint64(n))
					if _, hit := set.Match(&k, benchNow); hit != c.want {
						b.Fatal(hit)
					}
				}
			})
		}
	}
}

// BenchmarkMatchKinds asks a set of a million: of one kind, about a token with
// nothing but a value of it; and of all kinds alike, about a token that has a
// value of each, and one with three grants, three actors and two configured
// claims.
func BenchmarkMatchKinds(b *testing.B) {
	const n = 1_000_000
	all := NewLiveSet()
	for i := range n {
		kind := Kinds()[i%len(Kinds())]
		all.Join(kind, testKey(uint64(i)), benchTerm(kind, i))
	}
	kinds := Kinds()
	whole := []Kind{KindToken, KindHandle, KindSubject, KindSession, KindGrant, KindGrant, KindGrant, KindClient, KindSubjectClient,
		KindActor, KindActor, KindActor, KindDevice, KindKey, KindIssuer, KindClaim, KindClaim}
	b.Run(fmt.Sprintf("live=%d/all/allowed", n), func(b *testing.B) {
		benchMatch(b, all, benchKeys(whole, func(i, j int) uint64 { return 1<<40 + uint64(i*len(whole)+j) }), false)
	})
	b.Run(fmt.Sprintf("live=%d/all/allowed_one_of_each", n), func(b *testing.B) {
		benchMatch(b, all, benchKeys(kinds, func(i, j int) uint64 { return 1<<40 + uint64(i*len(kinds)+j) }), false)
	})
	// What an access token of an ordinary issuer has. Thousands of them share
	// an issuer, a key and a client.
	ordinary := []Kind{KindToken, KindSubject, KindSession, KindGrant, KindClient, KindSubjectClient, KindKey, KindIssuer}
	b.Run(fmt.Sprintf("live=%d/all/allowed_ordinary", n), func(b *testing.B) {
		benchMatch(b, all, benchKeys(ordinary, func(i, j int) uint64 {
			if kind := ordinary[j]; kind == KindClient || kind == KindKey || kind == KindIssuer {
				i %= 8
			}
			return 1<<40 + uint64(i*len(ordinary)+j)
		}), false)
	})
	// Of most kinds nothing is revoked, most of the time: those keys cost
	// nothing, beside a token that has none of them.
	tokens := fullSet(n)
	for name, has := range map[string][]Kind{"jti_only": {KindToken}, "ordinary": ordinary, "whole": whole} {
		b.Run(fmt.Sprintf("live=%d/tokens_only/allowed_%s", n, name), func(b *testing.B) {
			benchMatch(b, tokens, benchKeys(has, func(i, j int) uint64 { return 1<<40 + uint64(i*len(has)+j) }), false)
		})
	}
	b.Run(fmt.Sprintf("live=%d/all/allowed_all_known", n), func(b *testing.B) {
		// Every value was revoked, but the token is newer: each term is read.
		young := []Kind{KindSubject, KindSession, KindGrant, KindClient, KindSubjectClient, KindActor, KindDevice, KindIssuer, KindClaim}
		benchMatch(b, all, benchKeys(young, func(i, j int) uint64 {
			return uint64(i)*2654435761%(n/12)*12 + uint64(young[j]-1)
		}), false)
	})
	b.Run(fmt.Sprintf("live=%d/all/revoked_by_the_last", n), func(b *testing.B) {
		keys := benchKeys(whole, func(i, j int) uint64 {
			if j == len(whole)-1 {
				return uint64(i)*2654435761%(n/12)*12 + uint64(KindClaim-1)
			}
			return 1<<40 + uint64(i*len(whole)+j)
		})
		for i := range keys {
			keys[i].issuedAt = 1
		}
		benchMatch(b, all, keys, true)
	})
	for _, kind := range kinds {
		set := NewLiveSet()
		for i := range n {
			set.Join(kind, testKey(uint64(i)), benchTerm(kind, i))
		}
		b.Run(fmt.Sprintf("live=%d/%s/allowed", n, kind), func(b *testing.B) {
			benchMatch(b, set, benchKeys([]Kind{kind}, func(i, _ int) uint64 { return 1<<40 + uint64(i) }), false)
		})
		b.Run(fmt.Sprintf("live=%d/%s/revoked", n, kind), func(b *testing.B) {
			keys := benchKeys([]Kind{kind}, func(i, _ int) uint64 { return uint64(i) * 2654435761 % n })
			for i := range keys {
				keys[i].issuedAt = 1
			}
			benchMatch(b, set, keys, true)
		})
	}
}

// benchTerm revokes what was issued long ago, with each of the conditions.
func benchTerm(kind Kind, i int) Term {
	t := Term{Exp: benchNow + 60 + uint32(i%3600)}
	if !kind.Outright() {
		t.Cutoff = 1000
		t.SparingCutoff, t.Spared = 2000, testKey(1<<60)
		t.MinVersion = 1
	}
	return t
}

// benchKeys makes tokens that have values of some kinds; seed says which.
func benchKeys(kinds []Kind, seed func(token, value int) uint64) []Keys {
	keys := make([]Keys, 1<<12)
	for i := range keys {
		keys[i] = Keys{issuedAt: benchNow * 1000, version: 7}
		for j, kind := range kinds {
			keys[i].add(kind, testKey(seed(i, j)))
		}
	}
	return keys
}

func benchMatch(b *testing.B, set *LiveSet, keys []Keys, want bool) {
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, hit := set.Match(&keys[i%len(keys)], benchNow); hit != want {
			b.Fatal(hit)
		}
	}
}

// BenchmarkKeys is what a token costs that has not been seen before.
func BenchmarkKeys(b *testing.B) {
	for name, c := range map[string]Claims{"few": {Issuer: testIss, ID: "j", Subject: "alice", Client: "c", KeyID: "k"}, "all": fullClaims} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				testSalt.Keys(c)
			}
		})
	}
}

func BenchmarkApply(b *testing.B) {
	b.ReportAllocs()
	keys := make([]Key, 1_000_000)
	for i := range keys {
		keys[i] = testKey(uint64(i))
	}
	for b.Loop() {
		s := NewLiveSet()
		for _, k := range keys {
			s.Apply(Op{Verb: Revoke, Kind: KindToken, Key: k, Term: Term{Exp: benchNow + 60}}, benchNow*1000)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(keys)), "ns/entry")
}

// BenchmarkMemory reports what an entry costs at a million of them.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		before := heap()
		s := fullSet(1_000_000)
		b.ReportMetric(float64(heap()-before)/1_000_000, "B/entry")
		runtime.KeepAlive(s)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkSnapshot(b *testing.B) {
	set := fullSet(1_000_000)
	var size counter
	b.Run("write/1000000", func(b *testing.B) {
		for b.Loop() {
			size = 0
			if err := WriteSnapshot(&size, SnapshotHeader{Epoch: "e", At: benchNow * 1000}, set, benchNow); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(size), "bytes")
	})
	b.Run("read/1000000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r, w := io.Pipe()
			go func() {
				w.CloseWithError(WriteSnapshot(w, SnapshotHeader{Epoch: "e", At: benchNow * 1000}, set, benchNow))
			}()
			s, err := ReadSnapshot(r, 1<<30)
			if err != nil || s.Set.Len() != 1_000_000 {
				b.Fatal(err)
			}
		}
	})
}

type counter int

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }
