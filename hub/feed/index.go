package feed

import (
	"iter"
	"math/bits"
	"slices"
	"sort"
	"sync"

	"github.com/revocast/revocast/events"
)

// index knows where in the log each live revocation stands: enough to list,
// to restore by id, and to say what is left when one is taken away. What a
// revocation says in full stays in the log and is read from there. It holds
// no pointers to speak of: a million revocations are a few arrays.
//
// Its arrays only grow at their end, and what is in them never changes, so
// that a copy of their headers stays as it is while the index goes on.
//
// It is not safe for concurrent use; Feed.mu guards it.
type index struct {
	contents
	byID  finder // the dead, too
	byKey finder // the newest of a key; rev.older leads on
}

// contents is what an index holds at one moment.
type contents struct {
	revs revs  // oldest first: places are strictly increasing
	dead marks // which of revs were restored, renewed, or have expired
	// issuers and actors may hold names that only the dead have, until the
	// index is packed.
	issuers, actors names
	// forgotten is the latest unix second of which it was found that what had
	// expired by then is not needed any more. It never falls.
	forgotten int64
}

// place is where in the log an operation stands.
type place struct {
	seq uint64
	op  uint32
}

func (p place) before(q place) bool { return p.seq < q.seq || p.seq == q.seq && p.op < q.op }

// rev is one revocation.
type rev struct {
	place
	id        [16]byte // events.ID.Bytes
	key       events.Key
	term      events.Term
	effective int64  // unix milliseconds; 0: at once
	at        int64  // when its record was appended, in unix seconds
	older     uint32 // 1 + the place in revs of the next older one of the same key; 0: none
	iss       uint32
	actor     uint32
	kind      events.Kind
	reason    uint8 // place in events.Reasons
}

func newIndex() *index { return indexOf(contents{}) }

// indexOf makes an index of revocations, oldest first and with different ids,
// and takes them over.
func indexOf(v contents) *index {
	x := &index{
		contents: v,
		byID:     newFinder(v.revs.len(), func(r *rev) *[16]byte { return &r.id }),
		byKey:    newFinder(v.revs.len(), func(r *rev) *[16]byte { return (*[16]byte)(&r.key) }),
	}
	var both sync.WaitGroup
	both.Go(func() {
		for i := range v.revs.from(0) {
			x.byID.put(&v.revs, i)
		}
	})
	for i, r := range v.revs.from(0) {
		r.older = x.byKey.put(&v.revs, i)
	}
	both.Wait()
	return x
}

var reasons = events.Reasons()

// add takes a revoke in. An id that is there already is a renewal: its newer
// record takes over.
func (x *index) add(op events.Op, full *auditOp, at events.Time, p place) {
	x.append(rev{
		place: p, id: op.ID.Bytes(), key: op.Key, term: op.Term, effective: op.Effective, at: int64(at) / 1000,
		iss: x.issuers.number(full.Target.Iss), actor: x.actors.number(full.Actor), kind: op.Kind,
		reason: uint8(slices.Index(reasons, full.Reason)),
	})
}

func (x *index) append(r rev) {
	i := x.revs.add(r)
	x.revs.at(i).older = x.byKey.put(&x.revs, i)
	if renewed := x.byID.put(&x.revs, i); renewed != 0 {
		x.dead.set(renewed - 1)
	}
}

// remove takes a revocation away.
func (x *index) remove(id [16]byte) {
	if n := x.byID.find(&x.revs, &id); n != 0 {
		x.dead.set(n - 1)
	}
}

// get returns a live revocation by its id.
func (x *index) get(id events.ID, now int64) (rev, bool) {
	b := id.Bytes()
	n := x.byID.find(&x.revs, &b)
	if n == 0 || x.dead.has(n-1) || !x.revs.at(n-1).term.Live(now) {
		return rev{}, false
	}
	return *x.revs.at(n - 1), true
}

// of yields the live revocations of a key, newest first.
func (x *index) of(key events.Key, now int64) iter.Seq[rev] {
	return func(yield func(rev) bool) {
		for n := x.byKey.find(&x.revs, (*[16]byte)(&key)); n != 0; n = x.revs.at(n - 1).older {
			if r := *x.revs.at(n - 1); !x.dead.has(n-1) && r.term.Live(now) && !yield(r) {
				return
			}
		}
	}
}

// left is what other revocations than id still say about a key; nil if none
// says anything yet.
func (x *index) left(key events.Key, id events.ID, now int64) *events.Term {
	var left *events.Term
	for r := range x.of(key, now) {
		if r.id == id.Bytes() || r.effective > now*1000 {
			continue
		}
		t := r.term
		if left != nil {
			t = t.Join(*left)
		}
		left = &t
	}
	return left
}

// newestBefore yields live revocations from just before a place on, newest
// first; the zero place means from the newest.
func (x *index) newestBefore(p place, now int64) iter.Seq[rev] {
	end := x.revs.len()
	if p != (place{}) {
		end = sort.Search(end, func(i int) bool { return !x.revs.at(uint32(i)).before(p) })
	}
	return func(yield func(rev) bool) {
		for i := end - 1; i >= 0; i-- {
			if r := *x.revs.at(uint32(i)); !x.dead.has(uint32(i)) && r.term.Live(now) && !yield(r) {
				return
			}
		}
	}
}

// sweep forgets what has expired among n revocations from a place in revs on,
// and returns where to go on.
func (x *index) sweep(now int64, from, n int) (next int) {
	x.forgotten = max(x.forgotten, now)
	next = min(from+n, x.revs.len())
	for i := from; i < next; i++ {
		if !x.revs.at(uint32(i)).term.Live(now) {
			x.dead.set(uint32(i))
		}
	}
	return next
}

// sparse reports whether more than half of the arrays is dead.
func (x *index) sparse() bool { return x.dead.n > x.revs.len()/2 }

// frozen returns the contents as they are now, and as they stay: what they
// share with the index never changes. It costs a copy of a bit for each
// revocation.
func (x *index) frozen() contents {
	v := x.contents
	v.dead.words = slices.Clone(v.dead.words)
	v.issuers.numbers, v.actors.numbers = nil, nil // theirs change
	return v
}

// live is how many revocations are neither restored nor swept.
func (v *contents) live() int { return v.revs.len() - v.dead.n }

// packed makes an index of what is alive. It takes as long as it takes to make
// one anew, and needs nothing but the contents.
func (v *contents) packed() *index {
	p := contents{forgotten: v.forgotten}
	issuers, actors := renumber(v.issuers, &p.issuers), renumber(v.actors, &p.actors)
	for i, old := range v.revs.from(0) {
		if r := *old; !v.dead.has(i) {
			r.iss, r.actor = issuers(r.iss), actors(r.actor)
			p.revs.add(r)
		}
	}
	return indexOf(p)
}

// follow brings an index that was packed of v up to what has become of the one
// that v is of.
func (x *index) follow(old *index, v contents) {
	x.forgotten = old.forgotten
	issuers, actors := renumber(old.issuers, &x.issuers), renumber(old.actors, &x.actors)
	for i, newer := range old.revs.from(v.revs.len()) {
		if r := *newer; !old.dead.has(i) {
			r.iss, r.actor = issuers(r.iss), actors(r.actor)
			x.append(r)
		}
	}
	old.dead.since(v.dead, func(i uint32) {
		r := old.revs.at(i)
		if n := x.byID.find(&x.revs, &r.id); n != 0 && x.revs.at(n-1).place == r.place {
			x.dead.set(n - 1)
		}
	})
}

// renumber returns what turns a number of one list of names into that of
// another, to which it adds the name if need be.
func renumber(from names, to *names) func(uint32) uint32 {
	known := make([]uint32, len(from.list)) // 1 + the number in to; 0: not asked yet
	return func(n uint32) uint32 {
		if known[n] == 0 {
			known[n] = to.number(from.list[n]) + 1
		}
		return known[n] - 1
	}
}

// names numbers strings that repeat: there are few issuers and actors.
type names struct {
	list    []string
	numbers map[string]uint32
}

func (n *names) number(s string) uint32 {
	i, ok := n.numbers[s]
	if !ok {
		if n.numbers == nil {
			n.numbers = make(map[string]uint32)
		}
		i = uint32(len(n.list))
		n.list = append(n.list, s)
		n.numbers[s] = i
	}
	return i
}

// find returns the number of a string that has one.
func (n *names) find(s string) (uint32, bool) {
	i, ok := n.numbers[s]
	return i, ok
}

// marks is a set of small numbers.
type marks struct {
	words []uint64
	n     int // how many are in it
}

func (m *marks) has(i uint32) bool {
	w := int(i / 64)
	return w < len(m.words) && m.words[w]>>(i%64)&1 != 0
}

// set reports whether i is new.
func (m *marks) set(i uint32) bool {
	if m.has(i) {
		return false
	}
	if w := int(i / 64); w >= len(m.words) {
		m.words = append(m.words, make([]uint64, w+1-len(m.words))...)
	}
	m.words[i/64] |= 1 << (i % 64)
	m.n++
	return true
}

// since calls f for each number that was not in an earlier state of the set.
func (m *marks) since(earlier marks, f func(uint32)) {
	for w, word := range m.words {
		if w < len(earlier.words) {
			word &^= earlier.words[w]
		}
		for ; word != 0; word &= word - 1 {
			f(uint32(w*64 + bits.TrailingZeros64(word)))
		}
	}
}
