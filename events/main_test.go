package events

import (
	"bytes"
	"encoding/binary"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

// The package promises to start no goroutine.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testSalt is the salt of the tests' feed.
var testSalt = Salt{0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}

const (
	testIss = "https://issuer.example"
	testID  = ID("rev_01JDQ4Y7M00000000000000000")
)

// must is for what can't fail in a test.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// crowdedKeys are keys that no hash would ever make: few shards, the first
// and the last place in each, few control bytes, so that whatever the table's
// shape they get into each other's way.
var crowdedKeys = func() (keys []Key) {
	for _, shard := range []byte{0x00, 0xff} {
		for _, rest := range []byte{0x00, 0xff} {
			// Twelve want the same eight places, and neighbours differ by one in
			// their control bytes.
			for _, low := range []uint64{0, 1, 2} {
				for n := range uint64(4) {
					var k Key
					copy(k[:8], bytes.Repeat([]byte{rest}, 8))
					k[0] = shard
					binary.BigEndian.PutUint64(k[8:], n<<7|low)
					keys = append(keys, k)
				}
			}
		}
	}
	return keys
}()

var (
	genKind = rapid.SampledFrom(Kinds())
	genKey  = rapid.SampledFrom(crowdedKeys)

	// Few times, so that they meet, on both sides of what could be a limit.
	genExp    = rapid.SampledFrom([]uint32{1, 255, 256, 257, 1000, 1023, 1024, 1025, 2000, 5000, 1 << 31, Never - 1, Never})
	genNow    = rapid.SampledFrom([]int64{0, 1, 254, 255, 256, 257, 999, 1000, 1001, 1024, 2000, 4999, 5000, 1 << 31, Never - 2, Never - 1, Never, Never + 1, 1 << 40})
	genCutoff = rapid.SampledFrom([]int64{1, 999, 1000, 1001, 1_764_000_000_000, 1_764_000_000_123, 1<<62 + 1})
	// Keys that a cutoff may spare: some of them are tokens and sessions of genKey.
	genSpared = rapid.SampledFrom([]Key{crowdedKeys[1], crowdedKeys[2], crowdedKeys[5], {1}})

	genIssueAt = rapid.SampledFrom([]int64{0, 1, 998, 999, 1000, 1001, 1002, 1_764_000_000_000, 1_764_000_000_001, 1_764_000_000_124, 1<<62 + 2})
)

// drawTerm draws a term that a revoke of this kind may have: one condition, as
// the hub writes it, or several, as they are left by a restore.
func drawTerm(t *rapid.T, kind Kind) Term {
	term := Term{Exp: genExp.Draw(t, "exp")}
	if outright(kind) {
		return term
	}
	for !(term.Cutoff != 0 || term.SparingCutoff != 0 || term.MinVersion != 0 || term.Suspended) {
		conditions := rapid.SampledFrom([]string{"cutoff", "cutoff", "except", "except", "min_version", "suspend", "all"}).Draw(t, "condition")
		if conditions == "cutoff" || conditions == "all" {
			term.Cutoff = genCutoff.Draw(t, "cutoff")
		}
		if conditions == "except" || conditions == "all" {
			if later := genCutoff.Draw(t, "sparing cutoff"); later > term.Cutoff {
				term.SparingCutoff, term.Spared = later, genSpared.Draw(t, "spared")
			}
		}
		if conditions == "min_version" || conditions == "all" {
			term.MinVersion = rapid.Int64Range(1, 4).Draw(t, "min version")
		}
		term.Suspended = conditions == "suspend" || conditions == "all" && rapid.Bool().Draw(t, "suspended")
	}
	return term
}

// outright is the documentation's list: these match whatever the iat is.
func outright(k Kind) bool { return k == KindToken || k == KindHandle || k == KindKey }

// newKeys makes the keys of a token as a Salt would: no version, no iat.
func newKeys(of map[Kind]Key) *Keys {
	k := &Keys{version: -1, token: of[KindToken], session: of[KindSession]}
	for _, kind := range Kinds() {
		if key, ok := of[kind]; ok {
			k.add(kind, key)
		}
	}
	return k
}

// matchAt asks about the token as if it had been issued at another time.
func matchAt(s *LiveSet, keys *Keys, issuedAt, now int64) (Verdict, bool) {
	k := *keys
	k.issuedAt = issuedAt
	return s.Match(&k, now)
}

// targetOf is a target of a kind that has no parts of its own.
func targetOf(kind Kind, iss, value string) Target { return Target{Kind: kind, Iss: iss, Value: value} }

// cutoffUntil is a term with nothing but a cutoff, or nothing but an expiry.
func cutoffUntil(cutoff int64, exp uint32) Term { return Term{Cutoff: cutoff, Exp: exp} }
