package events

import (
	"bytes"
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
	return IDFrom(u), nil
}

// ParseID accepts exactly what NewID makes.
func ParseID(s string) (ID, error) {
	var id ID
	err := id.UnmarshalText([]byte(s))
	return id, err
}

// parseID decodes the text of an id.
func parseID(text []byte) (u ulid.ULID, ok bool) {
	digits, ok := bytes.CutPrefix(text, []byte(idPrefix))
	// The library takes lower case, too, which would be a second name for the
	// same revocation, and what is no digit for some digit. Written again, the
	// id has to be the same.
	var again [ulid.EncodedSize]byte
	if !ok || u.UnmarshalText(digits) != nil || u.MarshalTextTo(again[:]) != nil || !bytes.Equal(again[:], digits) {
		return ulid.ULID{}, false
	}
	return u, true
}

// Bytes returns the 16 bytes of the ULID, for those who keep many ids. An id
// that ParseID would refuse has the zero bytes.
func (id ID) Bytes() [16]byte {
	u, _ := parseID([]byte(id))
	return u
}

// IDFrom is the inverse of Bytes.
func IDFrom(b [16]byte) ID {
	text := [len(idPrefix) + ulid.EncodedSize]byte{}
	copy(text[:], idPrefix)
	_ = ulid.ULID(b).MarshalTextTo(text[len(idPrefix):]) // its size is right
	return ID(text[:])
}

// UnmarshalText implements encoding.TextUnmarshaler; it accepts what ParseID does.
func (id *ID) UnmarshalText(text []byte) error {
	if _, ok := parseID(text); !ok {
		*id = ""
		return fmt.Errorf("not a revocation id (want rev_ and 26 characters)")
	}
	*id = ID(text)
	return nil
}
