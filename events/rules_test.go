package events

import (
	"fmt"
	"testing"
)

// TestIssueTimeAgainstCutoff is the rule of the same second, from the text of
// the claim to the verdict: an iat of S whole seconds means [S, S+1), and is
// revoked by a cutoff from S·1000 on.
func TestIssueTimeAgainstCutoff(t *testing.T) {
	const second = 1_764_000_000_000
	for _, c := range []struct {
		iat     string // "" for none
		cutoff  int64
		revoked bool
	}{
		{"1764000000", second - 1, false},
		{"1764000000", second, true},
		{"1764000000", second + 1, true},
		{"1764000000", second + 999, true},
		{"1764000000", second + 1000, true},
		{"1764000001", second + 999, false}, // the next full second: what a new login gets
		{"1764000001", second + 1000, true},

		{"1764000000.5", second + 499, false},
		{"1764000000.5", second + 500, true},
		{"1764000000.5", second + 501, true},
		{"1764000000.123", second + 122, false},
		{"1764000000.123", second + 123, true},
		{"1764000000.1239", second + 123, true}, // rounded down
		{"1764000000.9999", second + 998, false},
		{"1764000000.9999", second + 999, true},
		{"1764000000.0", second, true},
		{"1.764e9", second - 1, false},
		{"1.764e9", second, true},

		{"", 1, true}, // without iat any cutoff revokes
		{"", second, true},
		{"0", 1, true},

		{"1764000000", 1, false},
		{"253402300799", second, false},
		{"253402300799", 1<<63 - 1, true},
	} {
		payload := fmt.Sprintf(`{"iss":%q,"sub":"alice","sid":"s","client_id":"c"`, testIss)
		if c.iat != "" {
			payload += `,"iat":` + c.iat
		}
		claims, err := ParseClaims([]byte(payload + "}"))
		if err != nil {
			t.Fatal(err)
		}
		keys := testSalt.Keys(claims)
		for target, value := range map[Kind]string{KindSubject: "alice", KindSession: "s", KindClient: "c", KindIssuer: ""} {
			s := NewLiveSet()
			term := Term{Cutoff: c.cutoff, Exp: Never}
			key := testSalt.Key(Target{Kind: target, Iss: testIss, Value: value})
			s.Join(target, key, term)
			v, ok := s.Match(&keys, benchNow)
			if ok != c.revoked {
				t.Errorf("iat %q, %s cutoff %d: revoked %v, want %v", c.iat, target, c.cutoff, ok, c.revoked)
			}
			if want := (Verdict{target, key, term}); ok && v != want {
				t.Errorf("verdict %+v, want %+v", v, want)
			}
		}
	}
}

func TestOutrightKindsIgnoreIssueTime(t *testing.T) {
	claims := Claims{Issuer: testIss, ID: "j", Handle: HandleOf("h.p"), KeyID: "k"}
	keys := testSalt.Keys(claims)
	for _, target := range []Target{
		targetOf(KindToken, testIss, "j"),
		targetOf(KindHandle, testIss, HandleOf("h.p")),
		targetOf(KindKey, testIss, "k"),
	} {
		if !target.Kind.Outright() {
			t.Errorf("%s is not outright", target.Kind)
		}
		s := NewLiveSet()
		s.Join(target.Kind, testSalt.Key(target), Term{Exp: Never})
		for _, iat := range []int64{0, 1, benchNow * 1000, 1<<63 - 1} {
			if v, ok := matchAt(s, &keys, iat, benchNow); !ok || v.Kind != target.Kind {
				t.Errorf("%s with iat %d: %+v, %v", target.Kind, iat, v, ok)
			}
		}
	}
	for _, k := range []Kind{KindSubject, KindSession, KindClient, KindIssuer} {
		if k.Outright() {
			t.Errorf("%s is outright", k)
		}
	}
}

func TestExpiryBoundary(t *testing.T) {
	for _, c := range []struct {
		exp  uint32
		now  int64
		live bool
	}{
		{1000, 999, true},
		{1000, 1000, false},
		{1000, 1001, false},
		{1, 0, true},
		{1, 1, false},
		{Never - 1, Never - 2, true},
		{Never - 1, Never - 1, false},
		{Never, Never - 1, true},
		{Never, Never, true},
		{Never, Never + 1, true},
		{Never, 1<<63 - 1, true},
		{0, 0, false},
		{1000, -5, true},
	} {
		if got := (Term{Exp: c.exp}).Live(c.now); got != c.live {
			t.Errorf("exp %d at %d: live %v, want %v", c.exp, c.now, got, c.live)
		}
		if c.exp == 0 {
			continue
		}
		s := NewLiveSet()
		s.Join(KindToken, testKey(1), Term{Exp: c.exp})
		s.Join(KindSubject, testKey(1), Term{Cutoff: 5, Exp: c.exp})
		for _, k := range []Kind{KindToken, KindSubject} {
			if _, ok := matchAt(s, newKeys(map[Kind]Key{k: testKey(1)}), 5, c.now); ok != c.live {
				t.Errorf("%s with exp %d at %d: revoked %v, want %v", k, c.exp, c.now, ok, c.live)
			}
		}
	}
}

// Any one revocation is enough, and none of them hides another.
func TestKindsAreIndependent(t *testing.T) {
	claims := fullClaims
	claims.IssuedAt = 1000
	keys := testSalt.Keys(claims)
	for first, target := range fullTargets {
		s := NewLiveSet()
		for _, later := range fullTargets[first:] {
			term := Term{Exp: Never}
			if !outright(later.Kind) {
				term.Cutoff = 1000
			}
			s.Join(later.Kind, testSalt.Key(later), term)
		}
		if v, ok := s.Match(&keys, 1); !ok || v.Kind != target.Kind || v.Key != testSalt.Key(target) {
			t.Errorf("verdict %+v, %v, want %+v", v, ok, target)
		}
		// Earlier ones that do not match any more change nothing.
		for _, earlier := range fullTargets[:first] {
			s.Join(earlier.Kind, testSalt.Key(earlier), Term{Cutoff: 1, Exp: 1})
		}
		if v, ok := s.Match(&keys, 1); !ok || v.Kind != target.Kind || v.Key != testSalt.Key(target) {
			t.Errorf("behind expired ones: verdict %+v, %v, want %+v", v, ok, target)
		}
	}
}
