package events

import (
	"iter"
	"sync/atomic"
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
		at := s.stores[kind].find(w)
		val := at.value()
		if val == 0 {
			continue
		}
		if t := at.shard.term(kind, val); t.Live(now) && t.Matches(kind, keys) {
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
		s.set(op.Kind, s.stores[op.Kind].find(split(op.Key)), left)
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
	at := s.stores[kind].find(split(key))
	if val := at.value(); val != 0 {
		old := at.shard.term(kind, val)
		if t = t.Join(old); t == old {
			return
		}
	}
	s.set(kind, at, t)
}

// set replaces what is known about a key; the zero term removes it.
func (s *LiveSet) set(kind Kind, at spot, t Term) {
	if has := uint32(1) << kind; t.Exp != 0 && s.kinds.Load()&has == 0 {
		s.kinds.Or(has)
	}
	s.stores[kind].set(kind, at, t)
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
