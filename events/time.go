package events

import (
	"fmt"
	"time"
)

// Time is a moment in unix milliseconds. Its text form is RFC 3339 in UTC
// with exactly three digits of fraction; zero means "not set".
type Time int64

// At rounds a time down to the millisecond.
func At(t time.Time) Time { return Time(t.UnixMilli()) }

// Std returns the time as a time.Time in UTC.
func (t Time) Std() time.Time { return time.UnixMilli(int64(t)).UTC() }

const timeLayout = "2006-01-02T15:04:05.000Z"

func (t Time) String() string { return t.Std().Format(timeLayout) }

// AppendText implements encoding.TextAppender.
func (t Time) AppendText(b []byte) ([]byte, error) { return t.Std().AppendFormat(b, timeLayout), nil }

// MarshalText implements encoding.TextMarshaler.
func (t Time) MarshalText() ([]byte, error) { return t.AppendText(nil) }

// UnmarshalText accepts any RFC 3339 time between 1970 and 9999 with at most
// three digits of fraction; more would be cut off without a word.
func (t *Time) UnmarshalText(text []byte) error {
	v, err := time.Parse(time.RFC3339, string(text))
	if err != nil {
		return fmt.Errorf("not an RFC 3339 time, such as %s", timeLayout)
	}
	if v.Nanosecond()%int(time.Millisecond) != 0 {
		return fmt.Errorf("finer than a millisecond")
	}
	if v.Unix() <= 0 || v.Unix() > maxDate {
		return fmt.Errorf("out of range")
	}
	*t = At(v)
	return nil
}
