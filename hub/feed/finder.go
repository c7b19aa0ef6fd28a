package feed

import (
	"encoding/binary"
	"math/bits"
)

// finder finds revocations in a list by 16 bytes that each has, an id or a
// key: the last of those that have the same. It is a hash table of places in
// the list, with a piece of the hash before each: whoever adds a revocation
// touches one line of memory, takes no more than that for a million others,
// and there is nothing in it for the garbage collector to look at.
type finder struct {
	of    func(*rev) *[16]byte
	slots []uint64 // 32 bits of hash, then 1 + the place; 0: free
	used  int
}

// newFinder has room for n.
func newFinder(n int, of func(*rev) *[16]byte) finder {
	return finder{of: of, slots: make([]uint64, max(8, n+n/2))}
}

// hashOf mixes all of the bytes: of an id, the first are a time.
func hashOf(b *[16]byte) uint32 {
	hi, lo := binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:])
	return uint32((hi ^ bits.RotateLeft64(lo, 32)) * 0x9e3779b97f4a7c15 >> 32)
}

// find returns 1 + the place of what has these bytes; 0 if nothing has.
func (f *finder) find(list *revs, b *[16]byte) uint32 { return uint32(f.slots[f.seek(list, b)]) }

// put makes the revocation at a place the one that is found, and returns 1 +
// the place of the one before it; 0 if there was none.
func (f *finder) put(list *revs, i uint32) (before uint32) {
	if f.used >= len(f.slots)/4*3 {
		f.grow()
	}
	b := f.of(list.at(i))
	at := f.seek(list, b)
	before = uint32(f.slots[at])
	f.slots[at] = uint64(hashOf(b))<<32 | uint64(i+1)
	if before == 0 {
		f.used++
	}
	return before
}

// seek returns the slot of some bytes, or the free one where they would be.
func (f *finder) seek(list *revs, b *[16]byte) int {
	hash := hashOf(b)
	for at := f.home(hash); ; at = f.next(at) {
		slot := f.slots[at]
		if slot == 0 || uint32(slot>>32) == hash && *f.of(list.at(uint32(slot) - 1)) == *b {
			return at
		}
	}
}

// home is where the search for a hash begins. Slots are in the order of their
// hashes, nearly.
func (f *finder) home(hash uint32) int { return int(uint64(hash) * uint64(len(f.slots)) >> 32) }

func (f *finder) next(at int) int {
	if at++; at == len(f.slots) {
		return 0
	}
	return at
}

// grow doubles the table. Since both are in the same order, and the hash is at
// hand, that is a walk through memory: some milliseconds for a million.
func (f *finder) grow() {
	old := f.slots
	f.slots = make([]uint64, 2*len(old))
	for _, slot := range old {
		if slot == 0 {
			continue
		}
		at := f.home(uint32(slot >> 32))
		for f.slots[at] != 0 {
			at = f.next(at)
		}
		f.slots[at] = slot
	}
}
