package log

import (
	"sync/atomic"
	"time"
)

// disk is what the file system of a directory has, in bytes.
type disk struct{ size, free uint64 }

// space keeps appends away from the last bytes of the disk. A stream that has
// met a full disk stays broken until the server is restarted; one that was
// spared goes on as soon as there is room again.
type space struct {
	dir  string // "" means that nothing is guarded
	min  uint64
	stat func(dir string) (disk, error) // statDisk, but in tests

	next atomic.Int64 // unix nanoseconds before which no new look is due
	low  atomic.Bool  // what the last look saw
}

// full reports whether the disk is too full to append. It looks at most once a
// second; what can't be known is no reason to refuse.
func (s *space) full() bool {
	if s.dir == "" {
		return false
	}
	now, next := time.Now().UnixNano(), s.next.Load()
	if now >= next && s.next.CompareAndSwap(next, now+int64(time.Second)) {
		d, err := s.stat(s.dir)
		s.low.Store(err == nil && d.free < s.min)
	}
	return s.low.Load()
}
