package events

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"testing"
)

const benchNow = 1_800_000_000

// testKey is a key that no salt makes, fast to compute.
func testKey(n uint64) Key {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, n))
	return Key(sum[:KeySize])
}

func fullSet(n int) *LiveSet {
	s := NewLiveSet()
	for i := range n {
		s.Join(KindToken, testKey(uint64(i)), Term{Exp: benchNow + 60 + uint32(i%3600)})
	}
	return s
}

// BenchmarkMatch asks with the keys ready, as the subscriber does for a token
// it has seen before. The tokens differ from call to call, so that the set's
// memory, not its cache lines, is what is measured.
func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{1_000, 1_000_000} {
		set := fullSet(n)
		for _, c := range []struct {
			name string
			from uint64
			want bool
		}{{"allowed", 1 << 40, false}, {"revoked", 0, true}} {
			b.Run(fmt.Sprintf("live=%d/%s", n, c.name), func(b *testing.B) {
				keys := make([]Keys, 1<<12)
				for i := range keys {
					k := &keys[i]
					at := uint64(i) * 2654435761 % uint64(n)
					k.keys[KindToken], k.keys[KindSubject] = testKey(c.from+at), testKey(1<<50+at)
					k.keys[KindIssuer] = testKey(1 << 51)
					k.has = 1<<KindToken | 1<<KindSubject | 1<<KindIssuer
				}
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if _, hit := set.Match(&keys[i%len(keys)], benchNow*1000, benchNow); hit != c.want {
						b.Fatal(hit)
					}
				}
			})
		}
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
			s.Apply(Op{Verb: Revoke, Kind: KindToken, Key: k, Term: Term{Exp: benchNow + 60}})
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
