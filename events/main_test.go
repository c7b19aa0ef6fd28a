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
			for _, low := range []uint64{0, 1} { // neighbours differ by one in their control bytes
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
	genExp     = rapid.SampledFrom([]uint32{1, 255, 256, 257, 1000, 1023, 1024, 1025, 2000, 5000, 1 << 31, Never - 1, Never})
	genNow     = rapid.SampledFrom([]int64{0, 1, 254, 255, 256, 257, 999, 1000, 1001, 1024, 2000, 4999, 5000, 1 << 31, Never - 2, Never - 1, Never, Never + 1, 1 << 40})
	genCutoff  = rapid.SampledFrom([]int64{1, 999, 1000, 1001, 1_764_000_000_000, 1_764_000_000_123, 1<<62 + 1})
	genIssueAt = rapid.SampledFrom([]int64{0, 1, 998, 999, 1000, 1001, 1002, 1_764_000_000_000, 1_764_000_000_001, 1_764_000_000_124, 1<<62 + 2})
)

// drawTerm draws a term that a revoke of this kind may have.
func drawTerm(t *rapid.T, kind Kind) Term {
	term := Term{Exp: genExp.Draw(t, "exp")}
	if !outright(kind) {
		term.Cutoff = genCutoff.Draw(t, "cutoff")
	}
	return term
}

// outright is the documentation's list: these match whatever the iat is.
func outright(k Kind) bool { return k == KindToken || k == KindHandle || k == KindKey }

// newKeys makes the keys of a token as a Salt would.
func newKeys(of map[Kind]Key) *Keys {
	k := new(Keys)
	for kind, key := range of {
		k.has |= 1 << kind
		k.keys[kind] = key
	}
	return k
}
