package events

import (
	"fmt"
	"strconv"
	"strings"
)

// Position is a place in a feed's history: all records up to and including
// Seq of the history called Epoch. Seqs of different epochs can't be
// compared. The zero Position is "nothing yet".
type Position struct {
	Epoch string
	Seq   uint64
}

// String returns <epoch>:<seq>, the form of the SSE id and Last-Event-ID.
func (p Position) String() string { return p.Epoch + ":" + strconv.FormatUint(p.Seq, 10) }

// ParsePosition is the inverse of String. It accepts one spelling only.
func ParsePosition(s string) (Position, error) {
	epoch, num, ok := strings.Cut(s, ":")
	if !ok || !ValidEpoch(epoch) {
		return Position{}, fmt.Errorf("position: want <epoch>:<seq>")
	}
	seq, err := strconv.ParseUint(num, 10, 64)
	if err != nil || strconv.FormatUint(seq, 10) != num {
		return Position{}, fmt.Errorf("position: seq is not a number")
	}
	return Position{epoch, seq}, nil
}

// ValidEpoch reports whether s can be an epoch: 1 to 32 of a-z and 0-9.
func ValidEpoch(s string) bool {
	if s == "" || len(s) > 32 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}
