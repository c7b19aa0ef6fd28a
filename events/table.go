package events

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
)

// table maps keys to 32-bit values: open addressing in groups of eight slots,
// each group led by a word with one byte of hash a slot, so that a look-up
// that finds nothing (nearly all do) reads little but those words. It holds
// no pointers and is never scanned by the garbage collector.
//
// One goroutine writes; any number read without locks. That works because a
// slot, once its control byte is set, keeps its key for the table's life and
// only its value changes, atomically. A removed entry keeps its slot, with
// the value 0; growing copies what is not 0 into a new table, which the shard
// then shows to readers in one atomic step.
type table struct {
	groups []group
	used   int // slots with a control byte; the writer's
	limit  int // grow when used gets here; the writer's
}

const groupSlots = 8

type group struct {
	ctrl atomic.Uint64 // byte i: 0 if slot i is empty, else 0x80 | 7 bits of the key
	hi   [groupSlots]uint64
	lo   [groupSlots]uint64
	val  [groupSlots]atomic.Uint32
}

// newTable has room for n entries before it must grow.
func newTable(n int) table {
	// Three quarters full: fuller, a miss has to look at more groups; an entry
	// takes 21 / (3/4) = 28 bytes then.
	groups := n*4/(3*groupSlots) + 1
	return table{groups: make([]group, groups), limit: groups * groupSlots * 3 / 4}
}

// split cuts a key into the words that are stored. A key is a piece of a
// SHA-256, so any of its bits serve as a hash.
func split(k Key) (hi, lo uint64) {
	return binary.BigEndian.Uint64(k[:8]), binary.BigEndian.Uint64(k[8:])
}

func join(hi, lo uint64) (k Key) {
	binary.BigEndian.PutUint64(k[:8], hi)
	binary.BigEndian.PutUint64(k[8:], lo)
	return k
}

const (
	lowBits  = 0x0101010101010101
	highBits = 0x8080808080808080
)

func ctrlByte(lo uint64) uint64 { return 0x80 | lo&0x7f }

// home is the group at which the search for a key begins. The top byte of hi
// has chosen the shard already.
func (t *table) home(hi uint64) int {
	g, _ := bits.Mul64(hi<<shardBits, uint64(len(t.groups)))
	return int(g)
}

// mayHave reports whether the search for a key goes on after the group with
// this word, which it begins with.
func mayHave(ctrl uint64, key Key) bool {
	_, lo := split(key)
	x := ctrl ^ ctrlByte(lo)*lowBits
	return (x-lowBits)&^x&highBits != 0 || ctrl&highBits == highBits
}

// find returns the value's place, or nil. It may run beside the writer.
func (t *table) find(hi, lo uint64) *atomic.Uint32 {
	want := ctrlByte(lo) * lowBits
	for i := t.home(hi); ; {
		g := &t.groups[i]
		ctrl := g.ctrl.Load()
		// Bytes equal to want become 0, and the classic trick finds zero
		// bytes. It may also name a byte of 1, which the key settles; an empty
		// slot, whose words the writer may be filling in, has neither, for
		// want has its high bit set.
		x := ctrl ^ want
		for m := (x - lowBits) &^ x & highBits; m != 0; m &= m - 1 {
			s := bits.TrailingZeros64(m) / 8
			if g.hi[s] == hi && g.lo[s] == lo {
				return &g.val[s]
			}
		}
		if ctrl&highBits != highBits {
			return nil
		}
		if i++; i == len(t.groups) {
			i = 0
		}
	}
}

// insert adds a key that the table does not have. The writer's; there must be
// room (used < limit).
func (t *table) insert(hi, lo uint64, val uint32) {
	for i := t.home(hi); ; {
		g := &t.groups[i]
		ctrl := g.ctrl.Load()
		if free := ^ctrl & highBits; free != 0 {
			s := bits.TrailingZeros64(free) / 8
			g.hi[s], g.lo[s] = hi, lo
			g.val[s].Store(val)
			g.ctrl.Store(ctrl | ctrlByte(lo)<<(8*s)) // publishes the slot
			t.used++
			return
		}
		if i++; i == len(t.groups) {
			i = 0
		}
	}
}

// all calls yield for each slot whose value is not 0, until it returns false.
func (t *table) all(yield func(hi, lo uint64, val uint32) bool) {
	for i := range t.groups {
		g := &t.groups[i]
		ctrl := g.ctrl.Load()
		for s := range groupSlots {
			if ctrl>>(8*s)&0x80 == 0 {
				continue
			}
			if v := g.val[s].Load(); v != 0 && !yield(g.hi[s], g.lo[s], v) {
				return
			}
		}
	}
}
