package events

import (
	"fmt"
	"io"
	"time"

	"github.com/oklog/ulid/v2"
)

// ID names one revocation: "rev_" and a ULID, so that ids sort by the time
// they were made.
type ID string

const idPrefix = "rev_"

// NewID makes an id from a time and 80 bits of entropy read from random.
func NewID(at time.Time, random io.Reader) (ID, error) {
	u, err := ulid.New(ulid.Timestamp(at), random)
	if err != nil {
		return "", fmt.Errorf("new id: %w", err)
	}
	return ID(idPrefix + u.String()), nil
}

// ParseID accepts exactly what NewID makes.
func ParseID(s string) (ID, error) {
	if len(s) == len(idPrefix)+ulid.EncodedSize && s[:len(idPrefix)] == idPrefix {
		// ParseStrict also takes lower case, which would be a second name
		// for the same revocation.
		if u, err := ulid.ParseStrict(s[len(idPrefix):]); err == nil && u.String() == s[len(idPrefix):] {
			return ID(s), nil
		}
	}
	return "", fmt.Errorf("not a revocation id (want rev_ and 26 characters)")
}

// Bytes returns the 16 bytes of the ULID, for those who keep many ids. An id
// that ParseID would refuse has the zero bytes.
func (id ID) Bytes() [16]byte {
	if _, err := ParseID(string(id)); err != nil {
		return [16]byte{}
	}
	return ulid.MustParseStrict(string(id[len(idPrefix):]))
}

// IDFrom is the inverse of Bytes.
func IDFrom(b [16]byte) ID { return ID(idPrefix + ulid.ULID(b).String()) }

// UnmarshalText implements encoding.TextUnmarshaler; it accepts what ParseID does.
func (id *ID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseID(string(text))
	return err
}
