package feed

import (
	"iter"
	"slices"
	"sort"

	"github.com/revocast/revocast/events"
)

// index knows where in the log each live revocation stands: enough to list,
// to restore by id, and to say what is left when one is taken away. What a
// revocation says in full stays in the log and is read from there. It holds
// no pointers to speak of: a million revocations are a few arrays.
//
// It is not safe for concurrent use; Feed.mu guards it.
type index struct {
	revs  []rev // oldest first: places are strictly increasing
	byID  map[[16]byte]uint32
	byKey map[events.Key]uint32 // the newest of a key; rev.older leads on
	dead  int

	issuers, actors names
}

// place is where in the log an operation stands.
type place struct {
	seq uint64
	op  uint32
}

func (p place) before(q place) bool { return p.seq < q.seq || p.seq == q.seq && p.op < q.op }

// rev is one revocation that no restore has taken away.
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
	dead      bool  // restored, renewed, or expired
}

func newIndex() *index {
	return &index{byID: make(map[[16]byte]uint32), byKey: make(map[events.Key]uint32)}
}

// add takes a revoke in. An id that is there already is a renewal: its newer
// record takes over.
func (x *index) add(key events.Key, term events.Term, op events.AuditOp, at events.Time, p place) {
	x.remove(op.ID)
	r := rev{
		place: p, id: op.ID.Bytes(), key: key, term: term, effective: int64(op.EffectiveAt), at: int64(at) / 1000, older: x.byKey[key],
		iss: x.issuers.number(op.Target.Iss), actor: x.actors.number(op.Actor), kind: op.Target.Kind,
		reason: uint8(slices.Index(events.Reasons(), op.Reason)),
	}
	x.revs = append(x.revs, r)
	n := uint32(len(x.revs))
	x.byID[r.id] = n - 1
	x.byKey[key] = n
}

// remove takes a revocation away.
func (x *index) remove(id events.ID) {
	if i, ok := x.byID[id.Bytes()]; ok {
		x.kill(i)
	}
}

func (x *index) kill(i uint32) {
	if r := &x.revs[i]; !r.dead {
		r.dead = true
		x.dead++
		delete(x.byID, r.id)
	}
}

// get returns a live revocation by its id.
func (x *index) get(id events.ID, now int64) (rev, bool) {
	i, ok := x.byID[id.Bytes()]
	if !ok || !x.revs[i].term.Live(now) {
		return rev{}, false
	}
	return x.revs[i], true
}

// of yields the live revocations of a key, newest first.
func (x *index) of(key events.Key, now int64) iter.Seq[rev] {
	return func(yield func(rev) bool) {
		for n := x.byKey[key]; n != 0; n = x.revs[n-1].older {
			if r := x.revs[n-1]; !r.dead && r.term.Live(now) && !yield(r) {
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
	end := len(x.revs)
	if p != (place{}) {
		end = sort.Search(end, func(i int) bool { return !x.revs[i].before(p) })
	}
	return func(yield func(rev) bool) {
		for i := end - 1; i >= 0; i-- {
			if r := x.revs[i]; !r.dead && r.term.Live(now) && !yield(r) {
				return
			}
		}
	}
}

// sweep forgets what has expired. It marks, and packs the arrays once half of
// them is dead.
func (x *index) sweep(now int64) {
	for i := range x.revs {
		if r := &x.revs[i]; !r.dead && !r.term.Live(now) {
			x.kill(uint32(i))
		}
	}
	if x.dead <= len(x.revs)/2 {
		return
	}
	live := slices.DeleteFunc(x.revs, func(r rev) bool { return r.dead })
	x.revs = slices.Clone(live) // gives the memory back
	x.byID = make(map[[16]byte]uint32, len(live))
	x.byKey = make(map[events.Key]uint32, len(live))
	x.dead = 0
	for i := range x.revs {
		r := &x.revs[i]
		r.older = x.byKey[r.key]
		x.byID[r.id] = uint32(i)
		x.byKey[r.key] = uint32(i + 1)
	}
}

// live is how many revocations are neither restored nor swept.
func (x *index) live() int { return len(x.revs) - x.dead }

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
