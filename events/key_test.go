package events

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
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
		{targetOf(KindToken, testIss, "j-1"),
			"\x00\x00\x00\x05token" + "\x00\x00\x00\x16https://issuer.example" + "\x00\x00\x00\x03j-1", "9064c202f4595c1a335b2fcb2fd6b0d4"},
		{targetOf(KindSubject, testIss, "alice"),
			"\x00\x00\x00\x07subject" + "\x00\x00\x00\x16https://issuer.example" + "\x00\x00\x00\x05alice", "e74efcd0113695b7e219542152a9142d"},
		{targetOf(KindSubject, testIss, "zoë"),
			"\x00\x00\x00\x07subject" + "\x00\x00\x00\x16https://issuer.example" + "\x00\x00\x00\x04zo\xc3\xab", "05ead122b35650a417debe2642b2b001"},
		{targetOf(KindIssuer, testIss, ""),
			"\x00\x00\x00\x06issuer" + "\x00\x00\x00\x16https://issuer.example" + "\x00\x00\x00\x00", "f9f679827ca81e4ccfed57fa462fd751"},
		{targetOf(KindKey, "i", strings.Repeat("k", 256)),
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
	kind := genKind.Draw(t, name+" kind")
	to := targetOf(kind, text.Draw(t, name+" iss"), text.Draw(t, name+" value"))
	switch kind {
	case KindClaim:
		to.Claim = text.Draw(t, name+" claim")
	case KindSubjectClient:
		to.Client = text.Draw(t, name+" client")
	}
	return to
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
	if testSalt.Key(targetOf(KindSubject, "ab", "c")) == testSalt.Key(targetOf(KindSubject, "a", "bc")) {
		t.Error("parts run into each other")
	}
}

// Nothing is normalised: each of these is somebody else.
func TestIdentityIsByteExact(t *testing.T) {
	seen := make(map[Key]string)
	for _, value := range []string{"alice", "Alice", "alice ", " alice", "alice\x00", "alıce", "zo\u00eb", "zoe\u0308", "ﬁ", "fi", "\xff", "\xfe", "\ufffd"} {
		for _, iss := range []string{"https://i", "https://i/", "HTTPS://i", "https://i:443", "http://i"} {
			k := testSalt.Key(targetOf(KindSubject, iss, value))
			if other, ok := seen[k]; ok {
				t.Errorf("%q has the key of %q", iss+" "+value, other)
			}
			seen[k] = iss + " " + value
		}
	}
}

// fullClaims has a value of every kind.
var fullClaims = Claims{
	Issuer: testIss, ID: "j", Subject: "alice", Session: "s", Client: "c", Device: "d", KeyID: "k", Handle: HandleOf("h.p"),
	Grants: []string{"g1", "g2"}, Actors: []Actor{{testIss, "svc-a"}, {"https://other.example", "svc-b"}},
	Extra: []ClaimValue{{"tenant", "t1"}, {"tenant", "t2"}, {"role", "admin"}}, Version: 3, HasVersion: true, IssuedAt: 1_764_000_000_000,
}

// fullTargets is everything that could be said about them.
var fullTargets = []Target{
	targetOf(KindToken, testIss, "j"), targetOf(KindHandle, testIss, HandleOf("h.p")), targetOf(KindSubject, testIss, "alice"),
	targetOf(KindSession, testIss, "s"), targetOf(KindGrant, testIss, "g1"), targetOf(KindGrant, testIss, "g2"), targetOf(KindClient, testIss, "c"),
	{Kind: KindSubjectClient, Iss: testIss, Value: "alice", Client: "c"}, targetOf(KindActor, testIss, "svc-a"), targetOf(KindActor, "https://other.example", "svc-b"),
	targetOf(KindDevice, testIss, "d"), targetOf(KindKey, testIss, "k"), targetOf(KindIssuer, testIss, ""),
	{Kind: KindClaim, Iss: testIss, Claim: "tenant", Value: "t1"}, {Kind: KindClaim, Iss: testIss, Claim: "tenant", Value: "t2"}, {Kind: KindClaim, Iss: testIss, Claim: "role", Value: "admin"},
}

// keysOf lists the keys of one kind.
func keysOf(k *Keys, kind Kind) (list []Key) {
	for of, key := range k.All {
		if of == kind {
			list = append(list, key)
		}
	}
	return list
}

// A token has the key of each target that it could be revoked by, in the order
// in which a check asks, and no other.
func TestKeysOfClaims(t *testing.T) {
	keys := testSalt.Keys(fullClaims)
	n := 0
	for kind, key := range keys.All {
		if n == len(fullTargets) || kind != fullTargets[n].Kind || key != testSalt.Key(fullTargets[n]) {
			t.Fatalf("key %d is %s %s", n, kind, key)
		}
		n++
	}
	if n != len(fullTargets) {
		t.Errorf("%d keys, want %d", n, len(fullTargets))
	}
	for range keys.All {
		break // whoever has found what they looked for may stop
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[a-c]{0,2}`)
		list := rapid.SliceOfN(text, 0, 3)
		c := Claims{Issuer: text.Draw(t, "iss"), ID: text.Draw(t, "jti"), Subject: text.Draw(t, "sub"), Session: text.Draw(t, "sid"), Device: text.Draw(t, "device"),
			Client: text.Draw(t, "client"), KeyID: text.Draw(t, "kid"), Handle: text.Draw(t, "handle"), Grants: list.Draw(t, "grants"), IssuedAt: 5}
		for _, name := range list.Draw(t, "names") {
			c.Extra = append(c.Extra, ClaimValue{name, text.Draw(t, "extra")})
		}
		for _, sub := range list.Draw(t, "actors") {
			c.Actors = append(c.Actors, Actor{text.Draw(t, "actor iss"), sub})
		}
		keys := testSalt.Keys(c)

		// Any target of the same few letters, and whether the claims have it.
		target := drawTarget(t, "target")
		target.Iss = rapid.SampledFrom([]string{c.Issuer, "a"}).Draw(t, "target iss")
		target.Value = text.Draw(t, "target value")
		if target.Kind == KindIssuer {
			target.Value = ""
		}
		same := map[Kind]string{KindToken: c.ID, KindHandle: c.Handle, KindSubject: c.Subject, KindSession: c.Session, KindClient: c.Client,
			KindDevice: c.Device, KindKey: c.KeyID, KindSubjectClient: c.Subject}
		has := target.Iss == c.Issuer && target.Value == same[target.Kind]
		switch target.Kind {
		case KindGrant:
			has = target.Iss == c.Issuer && slices.Contains(c.Grants, target.Value)
		case KindActor:
			has = slices.ContainsFunc(c.Actors, func(a Actor) bool {
				return a.Subject == target.Value && (a.Issuer == target.Iss || a.Issuer == "" && c.Issuer == target.Iss)
			})
		case KindClaim:
			has = target.Iss == c.Issuer && slices.Contains(c.Extra, ClaimValue{target.Claim, target.Value})
		case KindSubjectClient:
			has = has && target.Client == c.Client && c.Client != ""
		}
		has = has && (target.Value != "" || target.Kind == KindIssuer)
		if got := slices.Contains(keysOf(&keys, target.Kind), testSalt.Key(target)); got != has {
			t.Fatalf("%+v has the key of %+v: %v", c, target, got)
		}
		s := NewLiveSet()
		s.Join(target.Kind, testSalt.Key(target), Term{Cutoff: 5, Exp: Never})
		if _, ok := s.Match(&keys, 0); ok != has {
			t.Fatalf("%+v: revoked by %+v: %v", c, target, ok)
		}
	})
}

func TestLongTargets(t *testing.T) {
	a := targetOf(KindSubject, strings.Repeat("i", MaxIssuerLen), strings.Repeat("v", MaxValueLen))
	b := a
	b.Value = b.Value[1:] + "w"
	if testSalt.Key(a) == testSalt.Key(b) {
		t.Error("the end of a long value is not hashed")
	}
}
