package events

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// TestReadersBesideTheWriter reads from several goroutines while one changes
// the set as hard as it can. At every moment:
//
//   - what is revoked for good is found;
//   - what was never revoked is not;
//   - a term is one that was really written, whole, and never older than one
//     that the same reader has seen.
func TestReadersBesideTheWriter(t *testing.T) {
	rounds := 10_000
	if testing.Short() {
		rounds = 2_000
	}
	s := NewLiveSet()

	// For good: one entry alone in its kind, whose cutoff the writer keeps
	// raising; crowded ones; and real keys all over the shards.
	alone := crowdedKeys[0]
	rising := func(i int) Term { return Term{Cutoff: 1000 + int64(i), Exp: 5_000_000 + uint32(i)} }
	s.Join(KindClient, alone, rising(0))
	var forGood []Key
	for i, key := range crowdedKeys {
		if i%4 == 0 {
			forGood = append(forGood, key)
		}
	}
	for i := range uint64(200) {
		forGood = append(forGood, testKey(i))
	}
	for _, key := range forGood {
		s.Join(KindToken, key, Term{Exp: Never})
		s.Join(KindSubject, key, rising(0))
	}

	// Come and go: revoked with one of two terms, restored, swept.
	isVolatile := func(t Term) bool {
		return t.Cutoff == 77 && (t.Exp == 1077 || t.Exp == 2077) || t.Cutoff == 88 && t.Exp == 2077
	}

	errs := make(chan error, 5)
	fail := func(format string, args ...any) {
		select {
		case errs <- fmt.Errorf(format, args...):
		default:
		}
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	for reader := range 4 {
		wg.Go(func() {
			last := int64(0)
			for n := 0; !stop.Load(); n++ {
				v, ok := matchAt(s, newKeys(map[Kind]Key{KindClient: alone, KindToken: testKey(1 << 50)}), 1000, 1)
				if !ok {
					fail("missed the only revocation of its kind")
				} else if v.Term.Exp != 5_000_000+uint32(v.Term.Cutoff-1000) {
					fail("a term that was never written: %+v", v.Term)
				} else if v.Term.Cutoff < last {
					fail("cutoff %d after %d", v.Term.Cutoff, last)
				} else {
					last = v.Term.Cutoff
				}
				key := forGood[(n+reader)%len(forGood)]
				if _, ok := matchAt(s, newKeys(map[Kind]Key{KindToken: key}), 1<<60, 1<<60); !ok {
					fail("missed token %s", key)
				}
				if v, ok := matchAt(s, newKeys(map[Kind]Key{KindSubject: key}), 1000, 1); !ok || v.Key != key || v.Kind != KindSubject {
					fail("missed subject %s: %+v", key, v)
				}
				// Revoked as a subject only; nothing was ever said of sessions.
				if v, ok := matchAt(s, newKeys(map[Kind]Key{KindSession: key, KindIssuer: key}), 0, 1); ok {
					fail("never revoked: %+v", v)
				}
				key = crowdedKeys[n%len(crowdedKeys)]
				if n%len(crowdedKeys)%4 == 1 {
					if term, ok := s.Lookup(KindSubject, key); ok && !isVolatile(term) {
						fail("a term that was never written: %+v", term)
					}
				} else if n%len(crowdedKeys)%4 != 0 {
					if term, ok := s.Lookup(KindSubject, key); ok {
						fail("never revoked: %s %+v", key, term)
					}
				}
				if n := s.Len(); n < 2*len(forGood)+1 {
					fail("Len is %d", n)
				}
			}
		})
	}

	for i := range rounds {
		s.Join(KindClient, alone, rising(i))
		s.Join(KindSubject, forGood[i%len(forGood)], rising(i))
		volatile := crowdedKeys[i*4%len(crowdedKeys)+1]
		switch i % 3 {
		case 0:
			s.Join(KindSubject, volatile, cutoffUntil(77, 1077))
		case 1:
			s.Join(KindSubject, volatile, cutoffUntil(88, 2077))
		case 2:
			s.Apply(Op{Verb: Restore, Kind: KindSubject, Key: volatile, Left: &Term{Cutoff: 77, Exp: 2077}}, 0)
		}
		if i%5 == 0 {
			s.Apply(Op{Verb: Restore, Kind: KindSubject, Key: volatile}, 0)
		}
		// Growth, and shrinking: a crowd comes and is swept away.
		s.Join(KindToken, testKey(uint64(1<<20+i)), Term{Exp: uint32(2000 + i/10)})
		s.Join(KindSubject, testKey(uint64(1<<20+i)), Term{Cutoff: 1, Exp: uint32(2000 + i/10)})
		s.Sweep(int64(2000 + i/10 - 300))
	}
	stop.Store(true)
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
}
