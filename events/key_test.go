package events

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The values were computed outside Go: every subscriber in any language has
// to arrive at them.
func TestKeyGolden(t *testing.T) {
	for _, c := range []struct {
		target Target
		bytes  string // what is hashed, after the salt
		key    string // hex
	}{
		{Target{KindToken, testIss, "j-1"},
			"\x00\x00\x00\x05token" + "\x00\x00\x00\x16https://issuer.example" + "\x00\x00\x00\x03j-1", "9064c202f4595c1a335b2fcb2fd6b0d4"},
		{Target{KindSubject, testIss, "alice"},
			"\x00\x00\x00\x07subject" + "\x00\x00\x00\x16https://issuer.example" + "\x00\x00\x00\x05alice", "e74efcd0113695b7e219542152a9142d"},
		{Target{KindSubject, testIss, "zoë"},
			"\x00\x00\x00\x07subject" + "\x00\x00\x00\x16https://issuer.example" + "\x00\x00\x00\x04zo\xc3\xab", "05ead122b35650a417debe2642b2b001"},
		{Target{KindIssuer, testIss, ""},
			"\x00\x00\x00\x06issuer" + "\x00\x00\x00\x16https://issuer.example" + "\x00\x00\x00\x00", "f9f679827ca81e4ccfed57fa462fd751"},
		{Target{KindKey, "i", strings.Repeat("k", 256)},
			"\x00\x00\x00\x03key" + "\x00\x00\x00\x01i" + "\x00\x00\x01\x00" + strings.Repeat("k", 256), "6deae83cc0a9d353a9b51456e16c51d7"},
	} {
		salt := "\x00\x00\x00\x10" + "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff"
		sum := sha256.Sum256([]byte(salt + c.bytes))
		got := testSalt.Key(c.target)
		if got != Key(sum[:16]) {
			t.Errorf("%+v: key %x, want %x by the bytes", c.target, got[:], sum[:16])
		}
		if hex.EncodeToString(got[:]) != c.key {
			t.Errorf("%+v: key %x, want %s", c.target, got[:], c.key)
		}
	}
}

// drawTarget draws targets whose parts are pieces of few letters, so that
// those of different targets often make the same text when put together.
func drawTarget(t *rapid.T, name string) Target {
	text := rapid.StringMatching(`[a:\x00]{0,4}`)
	return Target{genKind.Draw(t, name+" kind"), text.Draw(t, name+" iss"), text.Draw(t, name+" value")}
}

func TestDifferentTargetsHaveDifferentKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawTarget(t, "a"), drawTarget(t, "b")
		if same := testSalt.Key(a) == testSalt.Key(b); same != (a == b) {
			t.Fatalf("%+v and %+v: same key %v", a, b, same)
		}
		other := testSalt
		other[rapid.IntRange(0, SaltSize-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if testSalt.Key(a) == other.Key(a) {
			t.Fatalf("%+v has the same key with another salt", a)
		}
	})
	// The same text, cut elsewhere.
	if testSalt.Key(Target{KindSubject, "ab", "c"}) == testSalt.Key(Target{KindSubject, "a", "bc"}) {
		t.Error("parts run into each other")
	}
}

// Nothing is normalised: each of these is somebody else.
func TestIdentityIsByteExact(t *testing.T) {
	seen := make(map[Key]string)
	for _, value := range []string{"alice", "Alice", "alice ", " alice", "alice\x00", "alıce", "zo\u00eb", "zoe\u0308", "ﬁ", "fi", "\xff", "\xfe", "\ufffd"} {
		for _, iss := range []string{"https://i", "https://i/", "HTTPS://i", "https://i:443", "http://i"} {
			k := testSalt.Key(Target{KindSubject, iss, value})
			if other, ok := seen[k]; ok {
				t.Errorf("%q has the key of %q", iss+" "+value, other)
			}
			seen[k] = iss + " " + value
		}
	}
}

// A token has the key of each target that it could be revoked by, and no
// other.
func TestKeysOfClaims(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[a-c]{0,2}`)
		c := Claims{Issuer: text.Draw(t, "iss"), ID: text.Draw(t, "jti"), Subject: text.Draw(t, "sub"), Session: text.Draw(t, "sid"),
			Client: text.Draw(t, "client"), KeyID: text.Draw(t, "kid"), Handle: text.Draw(t, "handle")}
		values := map[Kind]string{KindToken: c.ID, KindHandle: c.Handle, KindSubject: c.Subject, KindSession: c.Session, KindClient: c.Client, KindKey: c.KeyID}
		keys := testSalt.Keys(c)
		for _, kind := range Kinds() {
			got, ok := keys.Key(kind)
			has := values[kind] != "" || kind == KindIssuer
			if ok != has {
				t.Fatalf("%+v: has a key of kind %s: %v", c, kind, ok)
			}
			if want := testSalt.Key(Target{kind, c.Issuer, values[kind]}); ok && got != want {
				t.Fatalf("%+v: key of kind %s is %s, want %s", c, kind, got, want)
			}
			s := NewLiveSet()
			s.Join(kind, testSalt.Key(Target{kind, c.Issuer, values[kind]}), Term{Cutoff: 5, Exp: Never})
			if _, ok := s.Match(&keys, 5, 0); ok != has {
				t.Fatalf("%+v: revoked by kind %s: %v", c, kind, ok)
			}
		}
	})
}

func TestLongTargets(t *testing.T) {
	a := Target{KindSubject, strings.Repeat("i", MaxIssuerLen), strings.Repeat("v", MaxValueLen)}
	b := a
	b.Value = b.Value[1:] + "w"
	if testSalt.Key(a) == testSalt.Key(b) {
		t.Error("the end of a long value is not hashed")
	}
}
