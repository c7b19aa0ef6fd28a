package events

import "sync/atomic"

const (
	shardBits = 8
	numShards = 1 << shardBits
)

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

// spot is where a key is, or would be.
type spot struct {
	words
	shard *shard
	place *atomic.Uint32 // nil: the key has no slot
}

func (st *store) find(w words) spot {
	sh := st.shards[w.shard()].Load()
	return spot{w, sh, sh.table.find(w)}
}

// value is 0 if there is no such entry.
func (at spot) value() uint32 {
	if at.place == nil {
		return 0
	}
	return at.place.Load()
}

func (st *store) get(kind Kind, key Key) (Term, bool) {
	at := st.find(split(key))
	val := at.value()
	if val == 0 {
		return Term{}, false
	}
	return at.shard.term(kind, val), true
}

func (st *store) set(kind Kind, at spot, t Term) {
	sh, place, old := at.shard, at.place, at.value()
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
		sh = st.shards[at.words.shard()].rebuild(kind, sh, 1, 0)
		place = sh.table.find(at.words)
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
		sh.table.insert(at.words, val)
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
