package feed

import (
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
)

// A finder finds what a map would, also where bytes or their hashes are alike.
func TestAFinderFindsTheLast(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 40).Draw(t, "room")
		f := newFinder(n, func(r *rev) *[16]byte { return &r.id })
		last := make(map[[16]byte]uint32)
		var list revs
		for range rapid.IntRange(0, 200).Draw(t, "n") {
			id := alike(t)
			i := list.add(rev{id: id})
			if got := f.put(&list, i); got != last[id] {
				t.Fatalf("before %x was %d, want %d", id, got, last[id])
			}
			last[id] = i + 1
			if other := alike(t); f.find(&list, &other) != last[other] {
				t.Fatalf("%x is at %d, want %d", other, f.find(&list, &other), last[other])
			}
		}
		for id, want := range last {
			if got := f.find(&list, &id); got != want {
				t.Fatalf("%x is at %d, want %d", id, got, want)
			}
		}
		if f.used != len(last) {
			t.Fatalf("%d are used, want %d", f.used, len(last))
		}
	})
}

// alike draws bytes of which many are the same, and many others have one hash.
func alike(t *rapid.T) (b [16]byte) {
	b[rapid.SampledFrom([]int{0, 3, 4, 12, 15}).Draw(t, "where")] = rapid.ByteRange(0, 20).Draw(t, "what")
	if rapid.Bool().Draw(t, "collides") {
		both := rapid.Byte().Draw(t, "both")
		b[0], b[12] = both, both // which cancel each other out
	}
	return b
}

func BenchmarkIndexAdd(b *testing.B) {
	x := newIndex()
	full := auditOp{Reason: events.Logout, Actor: "shop"}
	full.Target.Iss = iss
	ops := make([]events.Op, b.N)
	for i := range ops {
		key := events.Salt{}.Key(target(events.KindToken, strconv.Itoa(i)))
		ops[i] = events.Op{Verb: events.Revoke, Kind: events.KindToken, Key: key, Term: events.Term{Exp: events.Never}, ID: events.IDFrom(key)}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range ops {
		x.add(ops[i], &full, 1000, place{uint64(i), 0})
	}
}
