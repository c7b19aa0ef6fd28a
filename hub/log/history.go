package log

import "fmt"

// A Fault is a way in which history is not what it was.
type Fault string

// The faults.
const (
	// Gap: records are missing that were not given to the follower.
	Gap Fault = "gap"
	// Altered: a record does not fit the hash chain, or is not a record.
	Altered Fault = "altered"
	// Rewound: the stream ends before a record that it held already.
	Rewound Fault = "rewound"
	// Recreated: the stream is gone, or another one has its name.
	Recreated Fault = "recreated"
)

// A HistoryError says that the stream no longer continues the history that
// this Log has seen. Only opening the log anew, after a look at what happened,
// gets past it; whoever holds a position in the old history must resync.
type HistoryError struct {
	Stream string
	Fault  Fault
	Seq    uint64 // the record at which it shows
	Detail string
}

func (e *HistoryError) Error() string {
	return fmt.Sprintf("stream %s: history %s at record %d: %s", e.Stream, e.Fault, e.Seq, e.Detail)
}
