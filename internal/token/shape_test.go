package token

import (
	"strings"
	"testing"
)

func TestIsJWT(t *testing.T) {
	for raw, want := range map[string]bool{
		sign("RS256", good):                           true,
		b64(`{"alg":"none"}`) + "." + b64(`{}`) + ".": true, // not one to be accepted
		b64(`{"a":1,"a":2}`) + ".x.y":                 true, // nor this
		b64(" {}") + ".!.?":                           true,
		b64("{}") + ".":                               false,
		b64("{}"):                                     false,
		b64("{}") + ".b.c.d.e":                        false, // encrypted
		b64("{") + ".b.c":                             false,
		b64("[]") + ".b.c":                            false,
		b64(`"x"`) + ".b.c":                           false,
		"":                                            false,
		"..":                                          false,
		"abc.def.ghi":                                 false,
		"SlAV32hkKG":                                  false,
		b64("{}") + "=.b.c":                           false,
		b64("{}") + "." + strings.Repeat("x", MaxSize) + ".y": false,
	} {
		if got := IsJWT(raw); got != want {
			t.Errorf("%.60q: %v", raw, got)
		}
	}
}
