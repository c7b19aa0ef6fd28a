package feed

import (
	"sync"
)

// frames is a byte log that all connections share: each record is encoded
// once and appended, a connection is an offset into the log, and what it
// sends is everything from its offset to the head, whoever else is how far
// behind. It need not lie where a record ends: who could send half of one goes
// on there. Bytes that are published never change, so a connection writes them
// without a lock; chunks that are dropped stay alive for as long as somebody
// is still writing them.
type frames struct {
	limit int // bytes to keep, about

	mu      sync.Mutex
	chunks  [][]byte      // guarded by mu: the bytes from base to head
	base    int64         // guarded by mu: the offset of the first byte kept
	head    int64         // guarded by mu: the offset after the last byte
	first   uint64        // guarded by mu: the seq of the first record kept; next if none is
	next    uint64        // guarded by mu: the seq that will be appended next
	offsets []int64       // guarded by mu: offsets[i] is where record first+i begins
	tick    []byte        // guarded by mu: the latest tick; it stands for all before it
	tickNo  uint64        // guarded by mu: grows with each tick
	changed chan struct{} // guarded by mu: closed and replaced at each change
}

// chunkSize balances the memory that a new log takes at once against the
// number of writes that a long backlog takes.
const chunkSize = 256 << 10

func newFrames(limit int) *frames {
	return &frames{limit: limit, changed: make(chan struct{})}
}

// startAt sets the seq of the first record to come, unless one came already.
func (f *frames) startAt(next uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.next == 0 {
		f.first, f.next = next, next
	}
}

// append adds the frame of the record with the next seq, and wakes the
// connections.
func (f *frames) append(frame []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.offsets = append(f.offsets, f.head)
	f.next++
	last := len(f.chunks) - 1
	if last < 0 || cap(f.chunks[last])-len(f.chunks[last]) < len(frame) {
		f.chunks = append(f.chunks, make([]byte, 0, max(chunkSize, len(frame))))
		last++
	}
	f.chunks[last] = append(f.chunks[last], frame...)
	f.head += int64(len(frame))
	for len(f.chunks) > 1 && f.head-f.base > int64(f.limit) {
		f.dropChunk()
	}
	f.wake()
}

// dropChunk forgets the oldest bytes and the records that begin in them.
func (f *frames) dropChunk() {
	f.base += int64(len(f.chunks[0]))
	f.chunks[0] = nil
	f.chunks = f.chunks[1:]
	n := 0
	for n < len(f.offsets) && f.offsets[n] < f.base {
		n++
	}
	f.offsets = f.offsets[n:]
	f.first += uint64(n)
}

// setTick replaces the tick, and wakes the connections.
func (f *frames) setTick(frame []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tick = frame
	f.tickNo++
	f.wake()
}

func (f *frames) wake() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// offsetAfter returns where the records after seq begin; false if some of
// them are no longer, or not yet, here.
func (f *frames) offsetAfter(seq uint64) (int64, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case seq+1 < f.first || seq >= f.next:
		return 0, false
	case seq+1 == f.next:
		return f.head, true
	}
	return f.offsets[seq+1-f.first], true
}

// holds reports whether every record after seq is here.
func (f *frames) holds(seq uint64) bool {
	_, ok := f.offsetAfter(seq)
	return ok
}

// headOffset is where the next record will begin.
func (f *frames) headOffset() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.head
}

// view is what a connection has to send: bytes up to the head, then perhaps a
// tick, which was made at or before that head.
type view struct {
	records [][]byte
	end     int64
	tick    []byte // nil if the connection has sent it
	tickNo  uint64
	changed <-chan struct{} // closed when there is more
}

// from returns what lies after an offset and a tick; false if the offset has
// fallen off the tail. It appends the records to buf.
func (f *frames) from(offset int64, tickNo uint64, buf [][]byte) (view, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if offset < f.base {
		return view{}, false
	}
	v := view{records: buf, end: f.head, tickNo: f.tickNo, changed: f.changed}
	// From the end, where nearly everybody is.
	i, begin := len(f.chunks), f.head
	for begin > offset {
		i--
		begin -= int64(len(f.chunks[i]))
	}
	for skip := offset - begin; i < len(f.chunks); i, skip = i+1, 0 {
		if c := f.chunks[i]; skip < int64(len(c)) {
			v.records = append(v.records, c[skip:len(c):len(c)])
		}
	}
	if tickNo != f.tickNo {
		v.tick = f.tick
	}
	return v, true
}

// watch returns what is closed when there is more than there is now.
func (f *frames) watch() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}
