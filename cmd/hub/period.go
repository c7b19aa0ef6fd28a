package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// period is a duration that may also be written in days, because 2160h is not
// what anybody means by three months.
type period time.Duration

const day = 24 * time.Hour

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *period) UnmarshalText(text []byte) error {
	s := string(text)
	if n, err := strconv.ParseUint(strings.TrimSuffix(s, "d"), 10, 16); err == nil && strings.HasSuffix(s, "d") {
		*p = period(time.Duration(n) * day)
		return nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return fmt.Errorf("%q is not a time span, such as 90d, 12h or 30s", s)
	}
	*p = period(d)
	return nil
}

// String is the inverse, in days where they are whole.
func (p period) String() string {
	d := time.Duration(p)
	if d >= day && d%day == 0 {
		return strconv.Itoa(int(d/day)) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
