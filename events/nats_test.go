package events

import "testing"

func TestLogPiece(t *testing.T) {
	for _, p := range []LogPiece{{"r", 0, 0, 0}, {"r1", 7, 3, 10}, {"r1", 7, 0, 10}, {"r1", 1 << 60, 10, 1<<60 + 10}} {
		if got, err := ParseLogPiece(p.String(), 10); err != nil || got != p {
			t.Errorf("%v: %v, %v", p, got, err)
		}
	}
	for _, s := range []string{
		"", "r1 7 3", "r1 7 3 10 1", " 7 3 10", "R1 7 3 10", "r1 -7 3 10", "r1 7 -3 10", "r1 7 x 10",
		"r1 7 11 100", // longer than the message
		"r1 7 4 10",   // beyond the head
		"r1 9223372036854775807 10 10", "r1 7 3 99999999999999999999",
	} {
		if got, err := ParseLogPiece(s, 10); err == nil {
			t.Errorf("%q is %v", s, got)
		}
	}
}

func TestValidHub(t *testing.T) {
	for s, want := range map[string]bool{"a": true, "Hub_1-x": true, "": false, "a.b": false, "a*": false, ">": false, "a b": false, "ü": false,
		string(make([]byte, 65)): false} {
		if ValidHub(s) != want {
			t.Errorf("%q is %v", s, !want)
		}
	}
}
