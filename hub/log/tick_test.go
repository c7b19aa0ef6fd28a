package log

import (
	"testing"
	"time"
)

// A record that is gone although it had to be held is missed, unless a
// retention that is, or was, shorter has taken it.
func TestOldestIsMissed(t *testing.T) {
	stored := time.UnixMilli(1_764_000_000_000)
	o := &oldest{seq: 5, at: stored, retention: time.Hour}
	for _, c := range []struct {
		name      string
		first     uint64
		retention time.Duration
		after     time.Duration
		want      bool
	}{
		{"it is there", 5, time.Hour, time.Minute, false},
		{"it is gone", 6, time.Hour, time.Minute, true},
		{"it has aged out", 6, time.Hour, time.Hour, false},
		{"the retention was raised after it had gone", 6, 100 * time.Hour, 2 * time.Hour, false},
		{"the retention was lowered", 6, time.Minute, 2 * time.Minute, false},
	} {
		if got := o.missed(c.first, c.retention, stored.Add(c.after)); got != c.want {
			t.Errorf("%s: missed is %v", c.name, got)
		}
	}
	if got, ok := parseOldest(o.String()); !ok || *got != *o {
		t.Errorf("%v came back as %v", o, got)
	}
	if _, ok := parseOldest("5 x"); ok {
		t.Error("nonsense was read")
	}
}
