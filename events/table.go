package events

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
)

// table maps keys to 32-bit values: open addressing in groups of six slots,
// each group led by a word that says most of what there is to know of it, so
// that a look-up that finds nothing (nearly all do) reads little but such
// words. It holds no pointers and is never scanned by the garbage collector.
//
// One goroutine writes; any number read without locks. That works because a
// slot, once its tag is set, keeps its key for the table's life and only its
// value changes, atomically. A removed entry keeps its slot, with the value 0;
// growing copies what is not 0 into a new table, which the shard then shows to
// readers in one atomic step.
type table struct {
	groups []group
	used   int // slots with a tag; the writer's
	limit  int // grow when used gets here; the writer's
}

const groupSlots = 6

// group is two cache lines, in one of which all is but four of the keys: a
// look-up that hits costs hardly more than one that doesn't.
//
// Byte i of ctrl is the tag of slot i, or 0 if that is empty. Its two upper
// bytes say which keys did not find room here and went on to the next group,
// by one of sixteen bits each: without one of those a search ends, though the
// group may be full.
type group struct {
	ctrl atomic.Uint64
	val  [groupSlots]atomic.Uint32
	key  [groupSlots]words
}

// words are a key, cut in two. A key is a piece of a SHA-256, so any of its
// bits serve as a hash.
type words struct{ hi, lo uint64 }

func split(k Key) words {
	return words{binary.BigEndian.Uint64(k[:8]), binary.BigEndian.Uint64(k[8:])}
}

func (w words) join() (k Key) {
	binary.BigEndian.PutUint64(k[:8], w.hi)
	binary.BigEndian.PutUint64(k[8:], w.lo)
	return k
}

// The parts of a key's lower word: what its tag is, from 1 to 255, and which
// of the upper bits of ctrl is its own.
func (w words) tag() uint64 { return w.lo&0xff | (w.lo&0xff-1)>>63 }
func (w words) went() uint64 {
	return 1 << (8*groupSlots + w.lo>>8&15)
}

// newTable has room for n entries before it must grow.
func newTable(n int) table {
	// Four fifths full: fuller, more keys are in other groups than their own.
	// An entry takes 128/6 / (4/5) = 26.7 bytes then.
	groups := n*5/(4*groupSlots) + 1
	return table{groups: make([]group, groups), limit: groups * groupSlots * 4 / 5}
}

// home is the group at which the search for a key begins. The top byte of hi
// has chosen the shard already.
func (t *table) home(w words) int {
	g, _ := bits.Mul64(w.hi<<shardBits, uint64(len(t.groups)))
	return int(g)
}

const (
	eachTag = 0x0000_0101_0101_0101 // the lowest bit of each tag
	tagTops = eachTag << 7
)

// tagged has the highest bit of each byte set whose tag is the key's.
func (w words) tagged(ctrl uint64) uint64 {
	x := ctrl ^ w.tag()*eachTag // 0 where they are the same
	return ^((x&^tagTops + tagTops - eachTag) | x) & tagTops
}

// mayBe reports whether a key may be in the table in which the search for it
// begins with this word.
func (w words) mayBe(ctrl uint64) bool { return w.tagged(ctrl)|ctrl&w.went() != 0 }

// find returns the value's place, or nil. It may run beside the writer.
func (t *table) find(w words) *atomic.Uint32 {
	for i := t.home(w); ; {
		g := &t.groups[i]
		ctrl := g.ctrl.Load()
		for m := w.tagged(ctrl); m != 0; m &= m - 1 {
			if s := bits.TrailingZeros64(m) / 8; g.key[s] == w {
				return &g.val[s]
			}
		}
		if ctrl&w.went() == 0 {
			return nil
		}
		if i++; i == len(t.groups) {
			i = 0
		}
	}
}

// filled is how many slots of a group are. They are filled in their order.
func filled(ctrl uint64) int { return (bits.Len64(ctrl<<16>>16) + 7) / 8 }

// insert adds a key that the table does not have. The writer's; there must be
// room (used < limit).
func (t *table) insert(w words, val uint32) {
	for i := t.home(w); ; {
		g := &t.groups[i]
		ctrl := g.ctrl.Load()
		if s := filled(ctrl); s < groupSlots {
			g.key[s] = w
			g.val[s].Store(val)
			g.ctrl.Store(ctrl | w.tag()<<(8*s)) // publishes the slot
			t.used++
			return
		}
		if ctrl&w.went() == 0 {
			g.ctrl.Store(ctrl | w.went()) // before it is there to be found
		}
		if i++; i == len(t.groups) {
			i = 0
		}
	}
}

// all calls yield for each slot whose value is not 0, until it returns false.
func (t *table) all(yield func(w words, val uint32) bool) {
	for i := range t.groups {
		g := &t.groups[i]
		for s := range filled(g.ctrl.Load()) {
			if v := g.val[s].Load(); v != 0 && !yield(g.key[s], v) {
				return
			}
		}
	}
}
