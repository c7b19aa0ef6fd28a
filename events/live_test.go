package events

import (
	"bytes"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// oracle is a LiveSet as slow and as plain as it can be written: the list of
// everything that was said and has been neither taken back nor forgotten.
type oracle struct{ said []revocation }

type revocation struct {
	kind Kind
	key  Key
	term Term
}

type place struct {
	kind Kind
	key  Key
}

func (o *oracle) revoke(kind Kind, key Key, t Term) {
	o.said = append(o.said, revocation{kind, key, t})
}

func (o *oracle) restore(kind Kind, key Key, left *Term) {
	o.forget(kind, key)
	if left != nil {
		o.revoke(kind, key, *left)
	}
}

func (o *oracle) forget(kind Kind, key Key) {
	o.said = slices.DeleteFunc(o.said, func(r revocation) bool { return r.kind == kind && r.key == key })
}

// terms is what has been said about each key, taken together: the highest
// cutoff, the latest expiry.
func (o *oracle) terms() map[place]Term {
	all := make(map[place]Term)
	for _, r := range o.said {
		t := all[place{r.kind, r.key}]
		if r.term.Cutoff > t.Cutoff {
			t.Cutoff = r.term.Cutoff
		}
		if r.term.Exp > t.Exp {
			t.Exp = r.term.Exp
		}
		all[place{r.kind, r.key}] = t
	}
	return all
}

func live(t Term, now int64) bool { return t.Exp == Never || now < int64(t.Exp) }

// match is the rule: any live revocation, outright or not issued after the
// cutoff; of several, the first in the order of Kinds.
func match(terms map[place]Term, token map[Kind]Key, issuedAt, now int64) (Verdict, bool) {
	for _, kind := range Kinds() {
		key, has := token[kind]
		t, said := terms[place{kind, key}]
		if !has || !said || !live(t, now) {
			continue
		}
		if outright(kind) || issuedAt == 0 || issuedAt <= t.Cutoff {
			return Verdict{kind, key, t}, true
		}
	}
	return Verdict{}, false
}

// check compares everything that can be asked of the set with the oracle.
func (o *oracle) check(t *rapid.T, s *LiveSet) {
	terms := o.terms()
	if s.Len() != len(terms) {
		t.Fatalf("Len is %d, want %d", s.Len(), len(terms))
	}
	for _, kind := range Kinds() {
		n := 0
		for _, key := range crowdedKeys {
			want, said := terms[place{kind, key}]
			if got, ok := s.Lookup(kind, key); ok != said || got != want {
				t.Fatalf("Lookup(%s, %s) = %+v, %v; want %+v, %v", kind, key, got, ok, want, said)
			}
			if said {
				n++
			}
		}
		if s.LenKind(kind) != n {
			t.Fatalf("LenKind(%s) is %d, want %d", kind, s.LenKind(kind), n)
		}
		seen := make(map[Key]bool)
		for key, got := range s.All(kind) {
			if want, said := terms[place{kind, key}]; !said || got != want || seen[key] {
				t.Fatalf("All(%s) yields %s %+v (again: %v); want %+v, %v", kind, key, got, seen[key], want, said)
			}
			seen[key] = true
		}
		if len(seen) != n {
			t.Fatalf("All(%s) yields %d entries, want %d", kind, len(seen), n)
		}
	}
	for range 10 {
		token := make(map[Kind]Key)
		for _, kind := range Kinds() {
			if rapid.Bool().Draw(t, "has") {
				token[kind] = genKey.Draw(t, "key")
			}
		}
		issuedAt, now := genIssueAt.Draw(t, "iat"), genNow.Draw(t, "now")
		want, revoked := match(terms, token, issuedAt, now)
		if got, ok := s.Match(newKeys(token), issuedAt, now); ok != revoked || got != want {
			t.Fatalf("Match(%v, %d, %d) = %+v, %v; want %+v, %v", token, issuedAt, now, got, ok, want, revoked)
		}
	}
}

// swept takes over what a sweep has forgotten, which must be some of what was
// not live any more, and returns how much it was.
func (o *oracle) swept(t *rapid.T, s *LiveSet, now int64) int {
	n := 0
	for p, term := range o.terms() {
		if _, ok := s.Lookup(p.kind, p.key); ok {
			continue
		}
		if live(term, now) {
			t.Fatalf("a sweep at %d forgot %s %s %+v", now, p.kind, p.key, term)
		}
		o.forget(p.kind, p.key)
		n++
	}
	return n
}

// TestLiveSetAgainstOracle does to a set whatever can be done to it, in any
// order, and compares it with the oracle after every step.
func TestLiveSetAgainstOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, o := NewLiveSet(), new(oracle)
		revoke := func(t *rapid.T) {
			kind, key := genKind.Draw(t, "kind"), genKey.Draw(t, "key")
			term := drawTerm(t, kind)
			op := Op{Verb: Revoke, Kind: kind, Key: key, Term: term, ID: testID}
			for range rapid.IntRange(1, 3).Draw(t, "times") {
				s.Apply(op)
			}
			o.revoke(kind, key, term)
		}
		many := func(t *rapid.T) {
			for range 20 {
				revoke(t)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"":            func(t *rapid.T) { o.check(t, s) },
			"revoke":      revoke,
			"revoke many": many,
			"restore": func(t *rapid.T) {
				kind, key := genKind.Draw(t, "kind"), genKey.Draw(t, "key")
				op := Op{Verb: Restore, Kind: kind, Key: key, ID: testID}
				if rapid.Bool().Draw(t, "something is left") {
					term := drawTerm(t, kind)
					op.Left = &term
				}
				for range rapid.IntRange(1, 2).Draw(t, "times") {
					s.Apply(op)
				}
				o.restore(kind, key, op.Left)
			},
			"restore what is there": func(t *rapid.T) {
				if len(o.said) == 0 {
					t.Skip()
				}
				r := rapid.SampledFrom(o.said).Draw(t, "which")
				s.Apply(Op{Verb: Restore, Kind: r.kind, Key: r.key, ID: testID})
				o.restore(r.kind, r.key, nil)
			},
			"replay": func(t *rapid.T) {
				// Late and repeated revokes of what is still said change nothing.
				for _, r := range rapid.Permutation(o.said).Draw(t, "order") {
					s.Apply(Op{Verb: Revoke, Kind: r.kind, Key: r.key, Term: r.term, ID: testID})
				}
			},
			"sweep": func(t *rapid.T) {
				now, n, before := genNow.Draw(t, "now"), 0, s.Len()
				for range rapid.IntRange(1, 40).Draw(t, "calls") {
					n += s.Sweep(now)
				}
				if got := o.swept(t, s, now); got != n || before-s.Len() != n {
					t.Fatalf("Sweep says it forgot %d; %d are gone, Len fell by %d", n, got, before-s.Len())
				}
			},
			"sweep for long": func(t *rapid.T) {
				// Whoever calls it every second has everything forgotten in the end.
				now := genNow.Draw(t, "now")
				for range 600 {
					s.Sweep(now)
					now++
				}
				o.swept(t, s, now)
				for p, term := range o.terms() {
					if !live(term, now-600) {
						t.Fatalf("%s %s %+v is still there at %d", p.kind, p.key, term, now)
					}
				}
			},
			"snapshot": func(t *rapid.T) {
				now := genNow.Draw(t, "now")
				var b bytes.Buffer
				if err := WriteSnapshot(&b, testHeader, s, now); err != nil {
					t.Fatal(err)
				}
				snap, err := ReadSnapshot(&b, 1<<20)
				if err != nil {
					t.Fatal(err)
				}
				s = snap.Set
				for p, term := range o.terms() {
					if !live(term, now) {
						o.forget(p.kind, p.key)
					}
				}
			},
			"merge": func(t *rapid.T) {
				other := NewLiveSet()
				for range rapid.IntRange(0, 20).Draw(t, "n") {
					kind, key := genKind.Draw(t, "kind"), genKey.Draw(t, "key")
					term := drawTerm(t, kind)
					other.Join(kind, key, term)
					o.revoke(kind, key, term)
				}
				for _, kind := range Kinds() {
					for key, term := range other.All(kind) {
						s.Join(kind, key, term)
					}
				}
			},
			"reserve": func(t *rapid.T) {
				s.Reserve(genKind.Draw(t, "kind"), rapid.IntRange(0, 300).Draw(t, "n"))
			},
		})
	})
}

// contents is everything that a set says.
func contents(s *LiveSet) map[place]Term {
	all := make(map[place]Term)
	for _, kind := range Kinds() {
		for key, t := range s.All(kind) {
			all[place{kind, key}] = t
		}
	}
	return all
}

func TestOrderAndDuplicatesOfRevokes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var joins []revocation
		for range rapid.IntRange(1, 60).Draw(t, "n") {
			kind := genKind.Draw(t, "kind")
			joins = append(joins, revocation{kind, genKey.Draw(t, "key"), drawTerm(t, kind)})
		}
		fold := func(joins []revocation) map[place]Term {
			s := NewLiveSet()
			for _, r := range joins {
				s.Join(r.kind, r.key, r.term)
			}
			return contents(s)
		}
		again := rapid.SliceOfN(rapid.SampledFrom(joins), 0, 30).Draw(t, "again")
		shuffled := rapid.Permutation(append(slices.Clone(joins), again...)).Draw(t, "order")
		if a, b := fold(joins), fold(shuffled); !maps.Equal(a, b) {
			t.Fatalf("in order: %v\nshuffled: %v", a, b)
		}
	})
}

func TestTermJoin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) Term {
			return Term{Cutoff: rapid.Int64Range(0, 4).Draw(t, name), Exp: rapid.Uint32Range(0, 4).Draw(t, name)}
		}
		a, b, c := draw("a"), draw("b"), draw("c")
		if a.Join(b) != b.Join(a) {
			t.Fatal("not commutative")
		}
		if a.Join(b).Join(c) != a.Join(b.Join(c)) {
			t.Fatal("not associative")
		}
		if a.Join(a) != a {
			t.Fatal("not idempotent")
		}
		if j := a.Join(b); j.Cutoff < a.Cutoff || j.Exp < a.Exp || j.Cutoff != max(a.Cutoff, b.Cutoff) || j.Exp != max(a.Exp, b.Exp) {
			t.Fatalf("%+v and %+v make %+v", a, b, j)
		}
	})
}

// Real keys, enough of them for every shard to grow many times.
func TestManyEntries(t *testing.T) {
	const n = 15_000
	s := NewLiveSet()
	cutoff := func(i int) Term { return Term{Cutoff: int64(i + 1), Exp: benchNow + uint32(i)} }
	for i := range n {
		s.Join(KindToken, testKey(uint64(i)), Term{Exp: benchNow + uint32(i)})
		s.Join(KindSubject, testKey(uint64(i)), cutoff(i/2))
		s.Join(KindSubject, testKey(uint64(i)), cutoff(i))
	}
	if s.LenKind(KindToken) != n || s.LenKind(KindSubject) != n || s.Len() != 2*n {
		t.Fatalf("Len %d, %d, %d", s.LenKind(KindToken), s.LenKind(KindSubject), s.Len())
	}
	for i := range n {
		if got, ok := s.Lookup(KindToken, testKey(uint64(i))); !ok || got != (Term{Exp: benchNow + uint32(i)}) {
			t.Fatalf("token %d: %+v, %v", i, got, ok)
		}
		if got, ok := s.Lookup(KindSubject, testKey(uint64(i))); !ok || got != cutoff(i) {
			t.Fatalf("subject %d: %+v, %v", i, got, ok)
		}
		if _, ok := s.Lookup(KindToken, testKey(uint64(n+i))); ok {
			t.Fatalf("token %d was never revoked", n+i)
		}
	}
	// Half of them expire; the sweep gives their memory back in steps.
	for now := int64(benchNow); now < benchNow+n/2+600; now += 5 {
		s.Sweep(now)
	}
	if got := s.LenKind(KindToken); got < n/2-600 || got > n/2 {
		t.Fatalf("%d tokens are left, want about %d", got, n/2-600)
	}
	for i := n/2 + 600; i < n; i++ {
		if _, ok := s.Lookup(KindToken, testKey(uint64(i))); !ok {
			t.Fatalf("a sweep forgot token %d", i)
		}
	}
}

// What comes and goes must not leave its memory behind.
func TestMemoryOfChurn(t *testing.T) {
	s := NewLiveSet()
	before := heap()
	for i := range 100_000 {
		key, subject := testKey(uint64(i)), testKey(7)
		s.Join(KindToken, key, Term{Exp: Never})
		s.Apply(Op{Verb: Restore, Kind: KindToken, Key: key})
		s.Join(KindSubject, subject, Term{Cutoff: int64(i + 1), Exp: Never})
	}
	for i := range 20_000 {
		now := int64(benchNow + i)
		s.Join(KindSession, testKey(uint64(i)), Term{Cutoff: 1, Exp: uint32(now + 10)})
		s.Sweep(now)
	}
	grown := int64(heap()) - int64(before)
	if s.Len() > 1000 || grown > 2<<20 {
		t.Errorf("%d entries are left, in %d bytes", s.Len(), grown)
	}
	runtime.KeepAlive(s)
}

func TestChecksDoNotAllocate(t *testing.T) {
	s := fullSet(1000)
	c := Claims{Issuer: testIss, ID: "j", Subject: "alice", Session: "s", Client: "c", KeyID: "k", Handle: HandleOf("h.p")}
	keys := testSalt.Keys(c)
	subject := testSalt.Key(Target{KindSubject, testIss, "alice"})
	s.Join(KindSubject, subject, Term{Cutoff: 5000, Exp: Never})
	for _, k := range Kinds() {
		s.Join(k, testKey(1<<32), Term{Cutoff: 1, Exp: Never})
	}
	check := func(name string, f func()) {
		t.Helper()
		if n := testing.AllocsPerRun(200, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	check("Match, revoked", func() {
		if _, ok := s.Match(&keys, 5000, benchNow); !ok {
			panic("not revoked")
		}
	})
	check("Match, allowed", func() {
		if _, ok := s.Match(&keys, 5001, benchNow); ok {
			panic("revoked")
		}
	})
	check("Lookup", func() {
		s.Lookup(KindSubject, subject)
		s.Lookup(KindSubject, Key{})
		s.Lookup(KindToken, Key{})
	})
	check("Len", func() { s.Len() })
	check("Salt.Keys", func() { testSalt.Keys(c) })
}

func TestAllStops(t *testing.T) {
	s := fullSet(100)
	for want := range 100 {
		n := 0
		for range s.All(KindToken) {
			if n++; n > want {
				break
			}
		}
		if n != want+1 {
			t.Fatal(fmt.Sprint(n, want))
		}
	}
}
