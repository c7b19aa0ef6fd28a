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
func (t Time) AppendText(b []byte) ([]byte, error) {
	// Package time has a short way for its own layout, which ends in whole
	// seconds and a Z.
	b = t.Std().AppendFormat(b, time.RFC3339)
	ms := (t%1000 + 1000) % 1000
	return append(b[:len(b)-1], '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z'), nil
}

// MarshalText implements encoding.TextMarshaler.
func (t Time) MarshalText() ([]byte, error) { return t.AppendText(nil) }

// UnmarshalText accepts any RFC 3339 time between 1970 and 9999 that is not
// finer than a millisecond; the rest would be cut off without a word.
func (t *Time) UnmarshalText(text []byte) error {
	v, err := time.Parse(time.RFC3339, string(text))
	if err != nil || !strictRFC3339(string(text)) {
		return fmt.Errorf("not an RFC 3339 time, such as %s", timeLayout)
	}
	if v.Nanosecond()%int(time.Millisecond) != 0 {
		return fmt.Errorf("finer than a millisecond")
	}
	if v.UnixMilli() <= 0 || v.Unix() > maxDate {
		return fmt.Errorf("out of range")
	}
	*t = At(v)
	return nil
}

// strictRFC3339 reports whether a time that time.Parse has taken is spelled as
// RFC 3339 says. time.Parse also takes an hour of one digit, a comma, zones
// that do not exist, and digits after the ninth, which it drops.
func strictRFC3339(s string) bool {
	const noFraction = "2006-01-02T15:04:05"
	if s[len("2006-01-02T1")] == ':' || s[len(noFraction)] == ',' {
		return false
	}
	zone := s[len(s)-1:]
	if zone != "Z" {
		zone = s[len(s)-len("+07:00"):]
		if zone[1:3] > "23" || zone[4:] > "59" {
			return false
		}
	}
	return len(s)-len(zone) <= len(noFraction)+len(".000000000")
}
