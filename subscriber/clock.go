package subscriber

import "time"

// moment is one reading of the two clocks that a process has. Differences of
// mono are true as long as the machine runs; but while it is suspended, mono
// stands still on most systems, and only wall shows that time has passed.
type moment struct {
	mono time.Duration // since the subscriber was made
	wall int64         // unix milliseconds
}

// since is how long ago t was, at least: the longer of what the clocks say. A
// wall clock that is set forward makes a proof look older than it is, which
// the next proof repairs; one that is set back changes nothing.
func (m moment) since(t moment) time.Duration {
	return max(m.mono-t.mono, time.Duration(m.wall-t.wall)*time.Millisecond)
}

// clock reads the clocks: both, or only the one that is read twice as fast.
type clock struct {
	now  func() moment
	mono func() time.Duration
}

func newClock() clock {
	base := time.Now()
	return clock{
		now: func() moment {
			now := time.Now()
			return moment{now.Sub(base), now.UnixMilli()}
		},
		mono: func() time.Duration { return time.Since(base) },
	}
}
