package events

import (
	"iter"
	"sync/atomic"
)

const (
	shardBits = 8
	numShards = 1 << shardBits
)

// LiveSet is the fold of a feed's operations: for each key, the Term that
// they leave. It is complete and exact, and has no clock: who asks says what
// time it is.
//
// One goroutine at a time may call the methods that change it (Apply, Advance,
// Join, Sweep); any number may call Match, Lookup and Len meanwhile. Those take no
// lock, allocate nothing, and see each change whole: either before it or
// after it.
type LiveSet struct {
	// kinds has a bit for each kind of which there is anything. It is set
	// before that can be found, and taken away after.
	kinds     atomic.Uint32
	stores    [numKinds]store
	scheduled schedule // the writer's
}

// NewLiveSet returns an empty set.
func NewLiveSet() *LiveSet {
	s := new(LiveSet)
	for _, k := range Kinds() {
		s.stores[k].due = make(map[uint32]int)
		for i := range s.stores[k].shards {
			s.stores[k].shards[i].Store(emptyShard)
		}
	}
	return s
}

// Verdict says which revocation matched a token.
type Verdict struct {
	Kind Kind
	Key  Key
	Term Term
}

// Match reports whether any live term matches a token, given its keys, at a
// unix second. The work is one look-up for each key of a kind of which
// anything is revoked, however much that is.
func (s *LiveSet) Match(keys *Keys, now int64) (v Verdict, ok bool) {
	if s.match(&keys.first, keys, now, &v) {
		return v, true
	}
	for i := range keys.more {
		if s.match(&keys.more[i], keys, now, &v) {
			return v, true
		}
	}
	return v, false
}

// match asks about some of a token's keys. It first reads what the search for
// each of them begins with: a large set is in no cache, and so its lines arrive
// side by side and not one after the other. Nearly all searches end there. It
// fills v in only if it returns true.
func (s *LiveSet) match(some *someKeys, keys *Keys, now int64, v *Verdict) bool {
	var ctrls [len(some.keys)]uint64
	kinds := s.kinds.Load()
	for i, kind := range some.kinds[:some.n] {
		if kinds>>kind&1 != 0 {
			ctrls[i] = s.stores[kind].ctrl(split(some.keys[i]))
		}
	}
	for i, ctrl := range ctrls[:some.n] {
		if ctrl == 0 {
			continue
		}
		w := split(some.keys[i])
		if !w.mayBe(ctrl) {
			continue
		}
		kind := some.kinds[i]
		sh, val := s.stores[kind].find(w)
		if val == 0 {
			continue
		}
		if t := sh.term(kind, val); t.Live(now) && t.Matches(kind, keys) {
			*v = Verdict{kind, some.keys[i], t}
			return true
		}
	}
	return false
}

// Lookup returns the term of one key, expired or not.
func (s *LiveSet) Lookup(kind Kind, key Key) (Term, bool) { return s.stores[kind].get(kind, key) }

// Len is the number of terms, with those that have expired since the last
// Sweep.
func (s *LiveSet) Len() int {
	n := 0
	for k := range s.stores {
		n += int(s.stores[k].entries.Load())
	}
	return n
}

// LenKind is the part of Len that is of one kind.
func (s *LiveSet) LenKind(kind Kind) int { return int(s.stores[kind].entries.Load()) }

// Apply folds one operation into the set, at a unix millisecond by the hub's
// clock. A revoke joins, at once or when it takes effect; a restore leaves what
// the operation says is left.
func (s *LiveSet) Apply(op Op, now int64) {
	switch op.Verb {
	case Revoke:
		if op.Effective != 0 {
			s.scheduled.add(Scheduled{op.Kind, op.Key, op.Term, op.ID, op.Effective})
		}
		if op.Effective <= now {
			s.Join(op.Kind, op.Key, op.Term)
		}
	case Restore:
		var left Term
		if op.Left != nil {
			left = *op.Left
		}
		s.set(op.Kind, op.Key, left)
		// Something may be in effect by now that was not when the hub said what
		// is left.
		s.scheduled.remove(op.ID)
		for _, p := range s.scheduled.list {
			if p.Key == op.Key && p.Effective <= now {
				s.Join(p.Kind, p.Key, p.Term)
			}
		}
	}
}

// Join adds to what is known about a key; see Term.Join.
func (s *LiveSet) Join(kind Kind, key Key, t Term) {
	if old, ok := s.stores[kind].get(kind, key); ok {
		if t = t.Join(old); t == old {
			return
		}
	}
	s.set(kind, key, t)
}

// set replaces what is known about a key; the zero term removes it.
func (s *LiveSet) set(kind Kind, key Key, t Term) {
	if has := uint32(1) << kind; t.Exp != 0 && s.kinds.Load()&has == 0 {
		s.kinds.Or(has)
	}
	s.stores[kind].set(kind, split(key), t)
	s.emptied(kind)
}

// emptied notes it if nothing is left of a kind.
func (s *LiveSet) emptied(kind Kind) {
	if has := uint32(1) << kind; s.stores[kind].entries.Load() == 0 && s.kinds.Load()&has != 0 {
		s.kinds.And(^has)
	}
}

// Reserve makes room for n more entries of a kind, to save growing there step
// by step.
func (s *LiveSet) Reserve(kind Kind, n int) {
	for i := range s.stores[kind].shards {
		s.stores[kind].shards[i].reserve(n/numShards + n/numShards/12 + 8)
	}
}

// All yields the entries of one kind, expired ones too, in no order. The set
// must not change meanwhile.
func (s *LiveSet) All(kind Kind) iter.Seq2[Key, Term] {
	return func(yield func(Key, Term) bool) {
		st := &s.stores[kind]
		for i := range st.shards {
			sh := st.shards[i].Load()
			more := true
			sh.table.all(func(w words, val uint32) bool {
				more = yield(w.join(), sh.term(kind, val))
				return more
			})
			if !more {
				return
			}
		}
	}
}

// Sweep forgets terms that have not been live since a unix second; how long a
// margin to leave for clocks that step back is the caller's to decide. It
// does a part of the work at each call, and none while nothing is due, so
// that it can be called every second from the loop that applies. It returns
// how many it forgot.
func (s *LiveSet) Sweep(now int64) int {
	n := 0
	for _, k := range Kinds() {
		n += s.stores[k].sweep(k, now)
		s.emptied(k)
	}
	return n
}

// store holds the terms of one kind.
type store struct {
	entries atomic.Int64 // whose value is not 0
	shards  [numShards]shardPtr

	// The rest is the writer's.
	due    map[uint32]int // entries by the bucket in which they expire
	looked int64          // the bucket at which due was last searched
	swept  int            // the shard at which the next sweep goes on
	left   int            // shards still to visit for what was found due
}

// shard is what readers load in one step. For outright kinds a value is the
// expiry; for the others it is the index of a term, which never changes once
// the index is in the table.
type shard struct {
	table table
	terms []Term // terms[0] stays unused: the value 0 means "no entry"
	next  int    // the next unused index; the writer's
}

type shardPtr struct{ atomic.Pointer[shard] }

// emptyShard stands where nothing was put yet; it has no room.
var emptyShard = &shard{table: table{groups: make([]group, 1)}, terms: make([]Term, 1), next: 1}

// shard is the number of the shard that a key belongs to.
func (w words) shard() uint64 { return w.hi >> (64 - shardBits) }

func (sh *shard) term(kind Kind, val uint32) Term {
	if kind.Outright() {
		return Term{Exp: val}
	}
	return sh.terms[val]
}

// ctrl returns the word that the search for a key begins with.
func (st *store) ctrl(w words) uint64 {
	t := &st.shards[w.shard()].Load().table
	return t.groups[t.home(w)].ctrl.Load()
}

// find returns a key's value and the shard that it belongs to; the value is 0
// if there is no such entry.
func (st *store) find(w words) (*shard, uint32) {
	sh := st.shards[w.shard()].Load()
	if place := sh.table.find(w); place != nil {
		return sh, place.Load()
	}
	return sh, 0
}

func (st *store) get(kind Kind, key Key) (Term, bool) {
	sh, val := st.find(split(key))
	if val == 0 {
		return Term{}, false
	}
	return sh.term(kind, val), true
}

func (st *store) set(kind Kind, w words, t Term) {
	p := &st.shards[w.shard()]
	sh := p.Load()
	place := sh.table.find(w)
	var old uint32
	if place != nil {
		old = place.Load()
	}
	if t.Exp != 0 {
		// Before what it replaces is counted out, so that a kind that has
		// something never looks as if it had nothing.
		st.count(t.Exp, +1)
	}
	if old != 0 {
		st.count(sh.term(kind, old).Exp, -1)
	}
	if t.Exp == 0 {
		if old != 0 {
			place.Store(0)
		}
		return
	}
	if place == nil && sh.table.used >= sh.table.limit || !kind.Outright() && sh.next == len(sh.terms) {
		sh = p.rebuild(kind, sh, 1, 0)
		place = sh.table.find(w)
	}
	val := t.Exp
	if !kind.Outright() {
		val = uint32(sh.next)
		sh.terms[sh.next] = t // before its index is shown to readers
		sh.next++
	}
	if place != nil {
		place.Store(val)
	} else {
		sh.table.insert(w, val)
	}
}

// rebuild shows readers a copy of a shard without removed entries and without
// those that expired by the given second, with room for more.
func (p *shardPtr) rebuild(kind Kind, old *shard, more int, expired int64) *shard {
	live := 0
	keep := func(val uint32) bool { return old.term(kind, val).Live(expired) }
	old.table.all(func(_ words, val uint32) bool {
		if keep(val) {
			live++
		}
		return true
	})
	n := live + more
	n += n/7 + 4 // grow by a seventh: each entry is copied some eight times in all, and memory stays close to what is used
	sh := &shard{table: newTable(n)}
	if !kind.Outright() {
		// A changed term takes a new index, so leave room for changes too.
		sh.terms = make([]Term, n+n/4+2)
		sh.next = 1
	}
	old.table.all(func(w words, val uint32) bool {
		if !keep(val) {
			return true
		}
		if !kind.Outright() {
			sh.terms[sh.next] = old.terms[val]
			val = uint32(sh.next)
			sh.next++
		}
		sh.table.insert(w, val)
		return true
	})
	p.Store(sh)
	return sh
}

func (p *shardPtr) reserve(n int) {
	// Only worth it, and only right, for a shard that has nothing yet; the
	// kinds that match by cutoff are few enough to grow.
	if p.Load() == emptyShard {
		p.Store(&shard{table: newTable(n), terms: make([]Term, 1), next: 1})
	}
}

// bucketSeconds is how finely expiries are counted.
const bucketSeconds = 256

func (st *store) count(exp uint32, by int) {
	st.entries.Add(int64(by))
	if exp == Never {
		return
	}
	b := exp / bucketSeconds
	if st.due[b] += by; st.due[b] == 0 {
		delete(st.due, b)
	}
}

// sweepShards is how many shards one call to sweep visits: 1/16 of the set, a
// fraction of a millisecond at a million entries.
const sweepShards = numShards / 16

func (st *store) sweep(kind Kind, now int64) int {
	if bucket := now / bucketSeconds; st.left == 0 && bucket != st.looked {
		st.looked = bucket
		for b := range st.due {
			if int64(b) < bucket {
				st.left = numShards
				break
			}
		}
	}
	n := 0
	for range min(sweepShards, st.left) {
		n += st.sweepShard(kind, &st.shards[st.swept], now)
		st.swept = (st.swept + 1) % numShards
		st.left--
	}
	return n
}

func (st *store) sweepShard(kind Kind, p *shardPtr, now int64) int {
	sh := p.Load()
	n := 0
	sh.table.all(func(_ words, val uint32) bool {
		if t := sh.term(kind, val); !t.Live(now) {
			st.count(t.Exp, -1)
			n++
		}
		return true
	})
	if n > 0 {
		p.rebuild(kind, sh, 0, now)
	}
	return n
}
