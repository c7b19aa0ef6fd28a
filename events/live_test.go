package events

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// oracle is a LiveSet as slow and as plain as docs/semantics.md: the list of
// every revocation that has been neither taken back nor forgotten, and loops.
type oracle struct {
	said  []revocation
	clock int64 // unix milliseconds
	ids   uint64
	tally *tally
}

type revocation struct {
	kind      Kind
	key       Key
	term      Term
	id        ID
	effective int64 // 0: not scheduled, or so long ago that it does not matter any more
	on        bool  // has taken effect
}

type place struct {
	kind Kind
	key  Key
}

func (r revocation) at(kind Kind, key Key) bool { return r.kind == kind && r.key == key }

func (r revocation) op() Op {
	return Op{Verb: Revoke, Kind: r.kind, Key: r.key, Term: r.term, ID: r.id, Effective: r.effective}
}

func (o *oracle) newID() ID {
	o.ids++
	var b [16]byte
	binary.BigEndian.PutUint64(b[8:], o.ids)
	return IDFrom(b)
}

func (o *oracle) revoke(r revocation) {
	r.on = r.effective <= o.clock
	o.said = append(o.said, r)
	if o.tally != nil {
		o.tally.count(r)
	}
}

// remembered is how long, in seconds, clocks may be apart.
const remembered = 600

// advance puts into effect what is due.
func (o *oracle) advance() {
	var keep []revocation
	for _, r := range o.said {
		if r.effective != 0 && r.effective <= o.clock {
			if !live(r.term, o.clock/1000-remembered) {
				if !r.on {
					continue // died before it took effect
				}
				r.effective = 0
			}
			r.on = true
		}
		keep = append(keep, r)
	}
	o.said = keep
}

// restore takes one revocation of a target away, and says what the hub that
// did it, at a time of its own, said is left.
func (o *oracle) restore(kind Kind, key Key, id ID, hub int64) *Term {
	var keep, left []revocation
	for _, r := range o.said {
		switch {
		case r.id == id:
			continue
		case !r.at(kind, key):
		case r.effective > hub: // not yet, as the hub sees it
		case live(r.term, hub/1000):
			r.on = true
			left = append(left, r)
		case r.effective == 0:
			continue // dead, and not worth saying
		}
		keep = append(keep, r)
	}
	o.said = keep
	if len(left) == 0 {
		return nil
	}
	t := together(left)
	return &t
}

// forget drops what is in effect about a target. What is scheduled is kept
// elsewhere, and would take effect once more.
func (o *oracle) forget(kind Kind, key Key) {
	var keep []revocation
	for _, r := range o.said {
		if r.at(kind, key) {
			if r.effective == 0 {
				continue
			}
			r.on = false
		}
		keep = append(keep, r)
	}
	o.said = keep
}

// forgetDead drops what no snapshot has at a unix second.
func (o *oracle) forgetDead(now int64) {
	for p, term := range o.terms() {
		if !live(term, now) {
			o.forget(p.kind, p.key)
		}
	}
}

// together is what some revocations of one target say: what the rules need of
// them and no more.
func together(said []revocation) Term {
	var t Term
	for _, r := range said {
		t.Cutoff = max(t.Cutoff, r.term.Cutoff)
		t.MinVersion = max(t.MinVersion, r.term.MinVersion)
		t.Suspended = t.Suspended || r.term.Suspended
		t.Exp = max(t.Exp, r.term.Exp)
		for _, q := range said {
			if r.term.Spared != q.term.Spared {
				t.Cutoff = max(t.Cutoff, min(r.term.SparingCutoff, q.term.SparingCutoff))
			}
		}
	}
	for _, r := range said {
		if r.term.SparingCutoff > max(t.Cutoff, t.SparingCutoff) {
			t.SparingCutoff, t.Spared = r.term.SparingCutoff, r.term.Spared
		}
	}
	return t
}

// about lists what is in effect about one target.
func (o *oracle) about(kind Kind, key Key) (list []revocation) {
	for _, r := range o.said {
		if r.at(kind, key) && r.on {
			list = append(list, r)
		}
	}
	return list
}

// terms is what has been said about each target, taken together.
func (o *oracle) terms() map[place]Term {
	all := make(map[place]Term)
	for _, r := range o.said {
		if r.on {
			all[place{r.kind, r.key}] = together(o.about(r.kind, r.key))
		}
	}
	return all
}

func live(t Term, now int64) bool { return t.Exp == Never || now < int64(t.Exp) }

// revokes is the rule: whether revocations of one target revoke a token that
// it is about. They are remembered together, for as long as the one that is
// remembered longest; any of their conditions is enough.
func revokes(said []revocation, kind Kind, k *Keys, now int64) bool {
	if !slices.ContainsFunc(said, func(r revocation) bool { return live(r.term, now) }) {
		return false
	}
	spared := func(t Term) bool { return t.Spared == k.token || t.Spared == k.session }
	for _, r := range said {
		t := r.term
		switch {
		case outright(kind):
			return true
		case t.Suspended:
			return true
		case t.Cutoff != 0 && k.issuedAt <= t.Cutoff:
			return true
		case t.MinVersion != 0 && k.version < t.MinVersion:
			return true
		case t.SparingCutoff != 0 && k.issuedAt <= t.SparingCutoff && !spared(t):
			return true
		}
		for _, other := range said {
			// Two that spare different ones: nobody is spared by both.
			u := other.term
			if t.SparingCutoff != 0 && u.SparingCutoff != 0 && t.Spared != u.Spared && k.issuedAt <= min(t.SparingCutoff, u.SparingCutoff) {
				return true
			}
		}
	}
	return false
}

// match asks about every value of the token; of several that are revoked, the
// first in the order of its keys is named.
func (o *oracle) match(k *Keys, now int64) (Verdict, bool) {
	for kind, key := range k.All {
		if said := o.about(kind, key); revokes(said, kind, k, now) {
			return Verdict{kind, key, together(said)}, true
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
		k := drawToken(t)
		now := genNow.Draw(t, "now")
		want, revoked := o.match(k, now)
		if got, ok := s.Match(k, now); ok != revoked || got != want {
			t.Fatalf("Match(%+v, %d) = %+v, %v; want %+v, %v", k, now, got, ok, want, revoked)
		}
		if o.tally.verdicts++; revoked {
			o.tally.revoked++
		}
	}
	// What is to take effect is there, in its order, whatever else is.
	var waiting []ID
	last := int64(0)
	for _, p := range s.Scheduled() {
		if p.Effective < last {
			t.Fatalf("scheduled: %d after %d", p.Effective, last)
		}
		if last = p.Effective; last > o.clock {
			waiting = append(waiting, p.ID)
		}
	}
	var want []ID
	for _, r := range o.said {
		if r.effective > o.clock {
			want = append(want, r.id)
		}
	}
	slices.Sort(waiting)
	slices.Sort(want)
	if !slices.Equal(waiting, want) {
		t.Fatalf("scheduled: %v, want %v", waiting, want)
	}
}

// drawToken draws a token that may have several values of some kinds.
func drawToken(t *rapid.T) *Keys {
	k := &Keys{issuedAt: genIssueAt.Draw(t, "iat"), version: rapid.Int64Range(-1, 4).Draw(t, "version")}
	for _, kind := range Kinds() {
		most := 1
		if kind == KindGrant || kind == KindActor || kind == KindClaim {
			most = 3
		}
		for _, key := range rapid.SliceOfN(genKey, 0, most).Draw(t, kind.String()) {
			k.add(kind, key)
			if kind == KindToken {
				k.token = key
			}
			if kind == KindSession {
				k.session = key
			}
		}
	}
	return k
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

// drawEffective draws when something takes effect: mostly at once, else around
// now, in a while, or long ago (a reader that was away for a day reads it today).
func (o *oracle) drawEffective(t *rapid.T) int64 {
	by := rapid.SampledFrom([]int64{0, 0, 0, -86_400_000, -1, 1, 1000, 1000, 300_000, 3_600_000}).Draw(t, "effective in")
	if by == 0 {
		return 0
	}
	return max(1, o.clock+by)
}

var oracleChecks = flag.Int("oracle.checks", 0, "TestLiveSetAgainstOracle: go on, with other seeds, until so many verdicts have been compared")

// tally counts what the generated histories consisted of.
type tally struct {
	histories, steps  int
	verdicts, revoked int // compared; and how many of them were "revoked"
	actions           map[string]int
	said              map[string]int // revocations, by what they say
}

func (n *tally) String() string {
	return fmt.Sprintf("%d verdicts compared (%d revoked), in %d steps of %d histories; actions %v; revocations %v",
		n.verdicts, n.revoked, n.steps, n.histories, n.actions, n.said)
}

func (n *tally) count(r revocation) {
	for what, is := range map[string]bool{
		"outright": outright(r.kind), "cutoff": r.term.Cutoff != 0, "except": r.term.SparingCutoff != 0,
		"min_version": r.term.MinVersion != 0, "suspend": r.term.Suspended, "effective": r.effective != 0,
	} {
		if is {
			n.said[what]++
		}
	}
}

// TestLiveSetAgainstOracle does to a set whatever can be done to it, in any
// order, and compares it with the oracle after every step. It compares some
// thirty thousand verdicts; with -oracle.checks as many as one likes, and with
// -rapid.seed the same ones again. With -v it says how many they were.
func TestLiveSetAgainstOracle(t *testing.T) {
	n := &tally{actions: make(map[string]int), said: make(map[string]int)}
	seed := flag.Lookup("rapid.seed")
	first := must(strconv.ParseUint(seed.Value.String(), 10, 64))
	defer seed.Value.Set(seed.Value.String())
	for round := uint64(0); ; round++ {
		histories(t, n)
		if n.verdicts >= *oracleChecks {
			break
		}
		t.Log(n)
		if first != 0 { // else each round has a seed of its own
			must(0, seed.Value.Set(strconv.FormatUint(first+round<<32, 10)))
		}
	}
	t.Log(n)
	if testing.Short() {
		return // too few for the rest
	}
	if n.verdicts < 10_000 || n.revoked < n.verdicts/20 || n.revoked > n.verdicts*19/20 {
		t.Error("too few verdicts of one sort")
	}
	if len(n.said) != 6 {
		t.Error("there is something that no revocation said")
	}
}

// histories checks as many as rapid is told to.
func histories(t *testing.T, n *tally) {
	var names []string
	rapid.Check(t, func(t *rapid.T) {
		s, o := NewLiveSet(), &oracle{clock: 1_000_000, tally: n}
		n.histories++
		draw := func(t *rapid.T) revocation {
			kind := genKind.Draw(t, "kind")
			return revocation{kind: kind, key: genKey.Draw(t, "key"), term: drawTerm(t, kind), id: o.newID(), effective: o.drawEffective(t)}
		}
		revoke := func(t *rapid.T) {
			r := draw(t)
			for range rapid.IntRange(1, 3).Draw(t, "times") {
				s.Apply(r.op(), o.clock)
			}
			o.revoke(r)
		}
		restore := func(t *rapid.T, kind Kind, key Key, id ID) {
			// The hub's clock is not the reader's; and what it wrote a day ago may
			// be read only now.
			hub := max(0, o.clock-rapid.SampledFrom([]int64{0, 0, 0, 1, -1, -999, 2000, 3_600_000, 86_400_000}).Draw(t, "written before"))
			op := Op{Verb: Restore, Kind: kind, Key: key, ID: id, Left: o.restore(kind, key, id, hub)}
			for range rapid.IntRange(1, 2).Draw(t, "times") {
				s.Apply(op, o.clock)
			}
		}
		advance := func(t *rapid.T) {
			next := s.Advance(o.clock)
			o.advance()
			want := int64(0)
			for _, r := range o.said {
				if r.effective > o.clock && (want == 0 || r.effective < want) {
					want = r.effective
				}
			}
			if next != want {
				t.Fatalf("Advance(%d) says that the next is at %d, want %d", o.clock, next, want)
			}
		}
		actions := map[string]func(*rapid.T){
			"":       func(t *rapid.T) { o.check(t, s) },
			"revoke": revoke,
			"revoke many": func(t *rapid.T) {
				for range 20 {
					revoke(t)
				}
			},
			"revoke a crowd": func(t *rapid.T) {
				// All that want the same places of a table.
				r := draw(t)
				from := rapid.IntRange(0, len(crowdedKeys)/12-1).Draw(t, "crowd") * 12
				for _, r.key = range crowdedKeys[from : from+12] {
					r.id = o.newID()
					s.Apply(r.op(), o.clock)
					o.revoke(r)
				}
			},
			"time passes": func(t *rapid.T) {
				if rapid.IntRange(0, 9).Draw(t, "jump") == 0 {
					o.clock = max(o.clock, min(genNow.Draw(t, "to"), 1<<33)*1000)
				}
				for range rapid.IntRange(0, 3).Draw(t, "steps") {
					o.clock += rapid.SampledFrom([]int64{0, 1, 998, 999, 1000, 299_999, 599_999, 600_000, 3_600_001}).Draw(t, "by")
				}
				advance(t)
			},
			"restore": func(t *rapid.T) {
				// By an id that has been restored, or was never given.
				restore(t, genKind.Draw(t, "kind"), genKey.Draw(t, "key"), o.newID())
			},
			"restore what is there": func(t *rapid.T) {
				if len(o.said) == 0 {
					t.Skip()
				}
				for range rapid.IntRange(1, 5).Draw(t, "how many") {
					if len(o.said) > 0 {
						r := rapid.SampledFrom(o.said).Draw(t, "which")
						restore(t, r.kind, r.key, r.id)
					}
				}
			},
			"replay": func(t *rapid.T) {
				// Late and repeated revokes of what is still said change nothing.
				for _, r := range rapid.Permutation(o.said).Draw(t, "order") {
					if r.on || r.effective > o.clock {
						s.Apply(r.op(), o.clock)
					}
				}
			},
			"sweep": func(t *rapid.T) {
				advance(t)
				now, n, before := o.clock/1000-remembered, 0, s.Len()
				for range rapid.IntRange(1, 40).Draw(t, "calls") {
					n += s.Sweep(now)
				}
				if got := o.swept(t, s, now); got != n || before-s.Len() != n {
					t.Fatalf("Sweep says it forgot %d; %d are gone, Len fell by %d", n, got, before-s.Len())
				}
			},
			"sweep for long": func(t *rapid.T) {
				// Whoever calls it every second has everything forgotten in the end.
				for range 600 {
					o.clock += 1000
					s.Advance(o.clock)
					o.advance()
					if s.Sweep(o.clock/1000-remembered) > 0 {
						o.swept(t, s, o.clock/1000-remembered)
					}
				}
				for p, term := range o.terms() {
					if !live(term, o.clock/1000-remembered-600) {
						t.Fatalf("%s %s %+v is still there at %d", p.kind, p.key, term, o.clock)
					}
				}
			},
			"snapshot and reload": func(t *rapid.T) {
				s = throughSnapshot(t, s, o.clock/1000)
				o.forgetDead(o.clock / 1000)
				// It may lie on a disk for a while.
				o.clock += rapid.SampledFrom([]int64{0, 0, 1, 1000, 600_000, 86_400_000}).Draw(t, "read later by")
				advance(t)
			},
			"another history": func(t *rapid.T) {
				// The hub has been set up anew and has a snapshot of its own. Who
				// comes from the old history keeps what is live in it, beside that.
				there := &oracle{clock: o.clock, tally: n}
				for range rapid.IntRange(0, 20).Draw(t, "n") {
					there.revoke(draw(t))
				}
				if rapid.Bool().Draw(t, "from a copy") { // a backup, perhaps
					for _, r := range o.said {
						if (r.on && live(r.term, o.clock/1000) || r.effective > o.clock) && rapid.Bool().Draw(t, "known") {
							there.revoke(r)
						}
					}
				}
				fresh := NewLiveSet()
				for _, r := range there.said {
					fresh.Apply(r.op(), o.clock)
				}
				fresh = throughSnapshot(t, fresh, o.clock/1000)
				union(fresh, s, o.clock/1000)
				s = fresh
				there.forgetDead(o.clock / 1000)
				o.forgetDead(o.clock / 1000)
				for _, r := range there.said {
					if !slices.ContainsFunc(o.said, func(q revocation) bool { return q.id == r.id }) {
						o.said = append(o.said, r)
					}
				}
				advance(t)
			},
			"merge": func(t *rapid.T) {
				// What another set knows, and some of what both know.
				other := NewLiveSet()
				for range rapid.IntRange(0, 20).Draw(t, "n") {
					r := draw(t)
					other.Apply(r.op(), o.clock)
					o.revoke(r)
				}
				for _, r := range o.said {
					if (r.on || r.effective > o.clock) && rapid.IntRange(0, 3).Draw(t, "both") == 0 {
						other.Apply(r.op(), o.clock)
					}
				}
				for _, kind := range Kinds() {
					for key, term := range other.All(kind) {
						s.Join(kind, key, term)
					}
				}
				for _, p := range other.Scheduled() {
					s.Schedule(p, o.clock)
				}
			},
			"reserve": func(t *rapid.T) {
				s.Reserve(genKind.Draw(t, "kind"), rapid.IntRange(0, 300).Draw(t, "n"))
			},
		}
		names = slices.Sorted(maps.Keys(actions))
		for name, act := range actions {
			actions[name] = func(t *rapid.T) {
				act(t)
				if name == "" {
					n.steps++
				} else {
					n.actions[name]++
				}
			}
		}
		t.Repeat(actions)
	})
	for _, name := range names {
		if name != "" && n.actions[name] == 0 && !testing.Short() {
			t.Errorf("%s: never done", name)
		}
	}
}

// throughSnapshot writes a set, and reads it.
func throughSnapshot(t *rapid.T, s *LiveSet, now int64) *LiveSet {
	var b bytes.Buffer
	if err := WriteSnapshot(&b, testHeader, s, now); err != nil {
		t.Fatal(err)
	}
	snap, err := ReadSnapshot(&b, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return snap.Set
}

// union adds what is live in a set of another history, as a subscriber does.
func union(into, from *LiveSet, now int64) {
	for _, kind := range Kinds() {
		for key, term := range from.All(kind) {
			if term.Live(now) {
				into.Join(kind, key, term)
			}
		}
	}
	for _, p := range from.Scheduled() {
		into.Schedule(p, 0)
	}
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
			joins = append(joins, revocation{kind: kind, key: genKey.Draw(t, "key"), term: drawTerm(t, kind)})
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

// smallTerm draws from so few numbers that all that matters happens often.
func smallTerm(t *rapid.T, name string) Term {
	few := rapid.Int64Range(0, 3)
	term := Term{Cutoff: few.Draw(t, name+" cutoff"), MinVersion: few.Draw(t, name+" version"),
		Suspended: rapid.IntRange(0, 7).Draw(t, name+" suspended") == 0, Exp: rapid.Uint32Range(1, 4).Draw(t, name+" exp")}
	if later := rapid.Int64Range(0, 6).Draw(t, name+" sparing"); later > term.Cutoff {
		term.SparingCutoff, term.Spared = later, Key{rapid.SampledFrom([]byte{1, 2, 3}).Draw(t, name+" spared")}
	}
	return term
}

func TestTermJoin(t *testing.T) {
	spares := func(t Term, k *Keys) bool {
		return t.SparingCutoff != 0 && (t.Spared == k.token || t.Spared == k.session)
	}
	both := 0
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := smallTerm(t, "a"), smallTerm(t, "b"), smallTerm(t, "c")
		if a.Join(b) != b.Join(a) {
			t.Fatalf("not commutative: %+v, %+v", a, b)
		}
		if a.Join(b).Join(c) != a.Join(b.Join(c)) {
			t.Fatalf("not associative: %+v, %+v, %+v", a, b, c)
		}
		if a.Join(a) != a || a.Join(b).Join(b) != a.Join(b) {
			t.Fatalf("not idempotent: %+v, %+v", a, b)
		}
		if a.Join(Term{}) != a {
			t.Fatalf("%+v and nothing make %+v", a, a.Join(Term{}))
		}
		j := a.Join(b)
		if j.Exp != max(a.Exp, b.Exp) {
			t.Fatalf("%+v and %+v make %+v", a, b, j)
		}
		if outright := (Term{Exp: a.Exp}).Join(Term{Exp: b.Exp}); outright != (Term{Exp: j.Exp}) {
			t.Fatalf("outright: %+v", outright)
		}
		if hasAny := j.Cutoff != 0 || j.SparingCutoff != 0 || j.MinVersion != 0 || j.Suspended; hasAny && !j.valid(KindSubject) {
			t.Fatalf("%+v and %+v make %+v, which no record may carry", a, b, j)
		}
		// All tokens that can differ: iat, version, jti and sid.
		for iat := range int64(8) {
			for version := int64(-1); version < 4; version++ {
				for jti := range byte(4) {
					for sid := range byte(4) {
						k := &Keys{issuedAt: iat, version: version, token: Key{jti}, session: Key{sid}}
						one, two, joined := a.Matches(KindSubject, k), b.Matches(KindSubject, k), j.Matches(KindSubject, k)
						if (one || two) && !joined {
							t.Fatalf("%+v is revoked by %+v or %+v, and not by %+v", k, a, b, j)
						}
						if !joined || one || two {
							continue
						}
						// The one thing that a join adds: a token that both
						// cutoffs spare, for different reasons, is revoked by the
						// earlier.
						if !spares(a, k) || !spares(b, k) || a.Spared == b.Spared || iat > min(a.SparingCutoff, b.SparingCutoff) {
							t.Fatalf("%+v is revoked by neither %+v nor %+v, but by %+v", k, a, b, j)
						}
						both++
					}
				}
			}
		}
	})
	if both == 0 {
		t.Error("no token was ever spared by both")
	}
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

// A million revoked tokens take at most 32 bytes each.
func TestMemoryOfTokens(t *testing.T) {
	n, most := 1_000_000, 32.0
	if raceEnabled {
		n, most = 100_000, 34 // what does not depend on n weighs more
	}
	before := heap()
	s := fullSet(n)
	if each := float64(heap()-before) / float64(n); each > most || each < KeySize+4 {
		t.Errorf("%.1f bytes an entry", each)
	}
	runtime.KeepAlive(s)
}

// What comes and goes must not leave its memory behind.
func TestMemoryOfChurn(t *testing.T) {
	s := NewLiveSet()
	before := heap()
	for i := range 100_000 {
		key, subject := testKey(uint64(i)), testKey(7)
		s.Join(KindToken, key, Term{Exp: Never})
		s.Apply(Op{Verb: Restore, Kind: KindToken, Key: key}, 0)
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
	keys := testSalt.Keys(fullClaims)
	subject := testSalt.Key(targetOf(KindSubject, testIss, "alice"))
	for _, k := range Kinds() {
		s.Join(k, testKey(1<<32), Term{Cutoff: 1, Exp: Never})
	}
	s.Join(KindSubject, subject, Term{Cutoff: 5000, SparingCutoff: 6000, Spared: keys.session, MinVersion: 3, Exp: Never})
	for _, target := range fullTargets {
		if !target.Kind.Outright() {
			s.Join(target.Kind, testSalt.Key(target), Term{Cutoff: 1, Exp: Never})
		}
	}
	check := func(name string, most float64, f func()) {
		t.Helper()
		if n := testing.AllocsPerRun(200, f); n > most {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	keys.issuedAt = 5000
	check("Match, revoked", 0, func() {
		if _, ok := s.Match(&keys, benchNow); !ok {
			panic("not revoked")
		}
	})
	keys.issuedAt = 5001
	check("Match, allowed", 0, func() {
		if _, ok := s.Match(&keys, benchNow); ok {
			panic("revoked")
		}
	})
	many := newKeys(nil)
	for i := range uint64(40) {
		many.add(KindGrant, testKey(i))
	}
	check("Match, of a token with many keys", 0, func() {
		if _, ok := s.Match(many, benchNow); ok {
			panic("revoked")
		}
	})
	check("Lookup", 0, func() {
		s.Lookup(KindSubject, subject)
		s.Lookup(KindSubject, Key{})
		s.Lookup(KindToken, Key{})
	})
	check("Len", 0, func() { s.Len() })
	ordinary := Claims{Issuer: testIss, ID: "j", Subject: "alice", Session: "s", Client: "c", KeyID: "k", Handle: HandleOf("h.p")}
	check("Salt.Keys", 1, func() { testSalt.Keys(ordinary) }) // the list itself
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
