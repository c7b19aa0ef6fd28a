package events

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

var testHeader = SnapshotHeader{
	Feed: "default", Epoch: "k3v9x2", Seq: 1042, Chain: Chain{1, 2, 3}, At: 1_764_000_000_123, Salt: testSalt,
}

const headerText = `{"feed":"default","epoch":"k3v9x2","seq":1042,"chain":"AQIDAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",` +
	`"at":"2025-11-24T16:00:00.123Z","salt":"ABEiM0RVZneImaq7zN3u_w","sections":[`

// seal makes a snapshot of a header and entries, by the description of the
// format, with a checksum that is right.
func seal(header string, entries ...[]byte) []byte {
	b := []byte("RVCSNAP\x01")
	b = binary.BigEndian.AppendUint32(b, uint32(len(header)))
	b = append(b, header...)
	for _, e := range entries {
		b = append(b, e...)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

func sections(s ...string) string { return headerText + strings.Join(s, ",") + `]}` }

func section(kind string, count, size int) string {
	return fmt.Sprintf(`{"kind":%q,"count":%d,"size":%d}`, kind, count, size)
}

// entry writes numbers, each in so many bytes, behind a key.
func entry(key Key, parts ...[]byte) []byte {
	return slices.Concat(append([][]byte{key[:]}, parts...)...)
}

// termBytes is a term by the description of the format.
func termBytes(t Term) []byte {
	b := slices.Concat(u32(t.Exp), u64(uint64(t.Cutoff)), u64(uint64(t.SparingCutoff)), t.Spared[:], u64(uint64(t.MinVersion)), []byte{0})
	if t.Suspended {
		b[len(b)-1] = 1
	}
	return b
}

// scheduledBytes is an entry of the section "scheduled".
func scheduledBytes(p Scheduled) []byte {
	id := p.ID.Bytes()
	return slices.Concat([]byte{byte(p.Kind)}, p.Key[:], id[:], u64(uint64(p.Effective)), termBytes(p.Term))
}

var everyCondition = Term{Cutoff: 0x0102030405060708, SparingCutoff: 0x1112131415161718, Spared: Key{0: 0x21, 15: 0x2f}, MinVersion: 0x3132333435363738, Suspended: true, Exp: 0x41424344}

func u32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
func u64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func writeSnapshot(t testing.TB, s *LiveSet, now int64) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteSnapshot(&b, testHeader, s, now); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func readSnapshotBytes(b []byte) (*Snapshot, error) { return ReadSnapshot(bytes.NewReader(b), 1<<30) }

func TestSnapshotGolden(t *testing.T) {
	s := NewLiveSet()
	s.Join(KindToken, Key{1}, Term{Exp: 1000})
	s.Join(KindToken, Key{2}, Term{Exp: 500}) // expired
	s.Join(KindSession, Key{3}, Term{Cutoff: 77, Exp: Never})
	s.Join(KindClaim, Key{4}, everyCondition)
	later := Scheduled{KindSubject, Key{5}, cutoffUntil(88, 2000), testID, 9_000}
	s.Schedule(later, 500_000)
	s.Schedule(Scheduled{KindToken, Key{6}, Term{Exp: 3000}, "rev_7ZZZZZZZZZZZZZZZZZZZZZZZZZ", 1_000_000}, 500_000)
	want := seal(sections(section("token", 1, 20), section("subject", 1, 61), section("session", 1, 61), section("claim", 1, 61), section("scheduled", 2, 86)),
		entry(Key{1}, u32(1000)), entry(Key{5}, termBytes(later.Term)), entry(Key{3}, termBytes(Term{Cutoff: 77, Exp: Never})), entry(Key{4}, termBytes(everyCondition)),
		scheduledBytes(later), scheduledBytes(Scheduled{KindToken, Key{6}, Term{Exp: 3000}, "rev_7ZZZZZZZZZZZZZZZZZZZZZZZZZ", 1_000_000}))
	if got := writeSnapshot(t, s, 500); !bytes.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

func TestSnapshotRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, now := NewLiveSet(), genNow.Draw(t, "now")
		want := make(map[place]Term)
		for range rapid.IntRange(0, 200).Draw(t, "n") {
			kind := genKind.Draw(t, "kind")
			key := genKey.Draw(t, "key")
			if rapid.Bool().Draw(t, "any key") {
				key = drawKey(t)
			}
			s.Join(kind, key, drawTerm(t, kind))
		}
		for p, term := range contents(s) {
			if live(term, now) {
				want[p] = term
			}
		}
		h := testHeader
		h.Seq = rapid.Uint64().Draw(t, "seq")
		h.At = genTime.Draw(t, "at")
		h.Feed = rapid.String().Draw(t, "feed")
		h.Sections = []Section{{"left over", 5, 5}}
		var b bytes.Buffer
		if err := WriteSnapshot(&b, h, s, now); err != nil {
			t.Fatal(err)
		}
		data := slices.Clone(b.Bytes())
		// A reader that gives one byte at a time is a reader, too.
		r := io.Reader(&b)
		if rapid.Bool().Draw(t, "slow") {
			r = iotest.OneByteReader(r)
		}
		got, err := ReadSnapshot(r, int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		if all := contents(got.Set); !maps.Equal(all, want) {
			t.Fatalf("got %v\nwant %v", all, want)
		}
		if got.Set.Len() != len(want) || got.Unknown != nil {
			t.Fatalf("Len %d, unknown %q", got.Set.Len(), got.Unknown)
		}
		if got.Position() != (Position{h.Epoch, h.Seq}) || got.Feed != h.Feed || got.Chain != h.Chain || got.At != h.At || got.Salt != h.Salt {
			t.Fatalf("header %+v, want %+v", got.SnapshotHeader, h)
		}
		// What was read is a set like any other: it sweeps, and goes on.
		for range 1000 {
			now++
			got.Set.Sweep(now)
		}
		for p, term := range contents(got.Set) {
			if !live(term, now-600) {
				t.Fatalf("%v %+v is not swept", p, term)
			}
		}
		if _, err := ReadSnapshot(bytes.NewReader(data), int64(len(data)-1)); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("larger than the limit: %v", err)
		}
	})
}

func smallSnapshot(t testing.TB) []byte {
	s := NewLiveSet()
	s.Join(KindToken, Key{1}, Term{Exp: 1000})
	s.Join(KindToken, Key{9}, Term{Exp: Never})
	s.Join(KindSubject, Key{2}, Term{Cutoff: 5, Exp: 2000})
	return writeSnapshot(t, s, 0)
}

func TestSnapshotShowsEveryBit(t *testing.T) {
	data := smallSnapshot(t)
	for i := range data {
		for bit := range 8 {
			data[i] ^= 1 << bit
			if s, err := readSnapshotBytes(data); !errors.Is(err, ErrSnapshot) || s != nil {
				t.Errorf("byte %d, bit %d: %v", i, bit, err)
			}
			data[i] ^= 1 << bit
		}
	}
	for n := range data {
		if _, err := readSnapshotBytes(data[:n]); !errors.Is(err, ErrSnapshot) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	for _, more := range []string{"\x00", "\n", string(data)} {
		if _, err := readSnapshotBytes(append(slices.Clone(data), more...)); !errors.Is(err, ErrSnapshot) {
			t.Errorf("followed by %.10q: %v", more, err)
		}
	}
	if _, err := readSnapshotBytes(data); err != nil {
		t.Error(err)
	}
}

// snapshotTable holds snapshots whose checksum is right. It also seeds
// FuzzReadSnapshot.
var snapshotTable = []struct {
	name    string
	data    []byte
	want    map[place]Term // nil: refused
	unknown []string
}{
	{"empty", seal(sections()), map[place]Term{}, nil},
	{"no sections", seal(edit(sections(), `,"sections":[]`, ``)), map[place]Term{}, nil},
	{"empty section", seal(sections(section("token", 0, 20))), map[place]Term{}, nil},
	{"unknown field", seal(edit(sections(), `{`, `{"new":1,`)), map[place]Term{}, nil},
	{"outright", seal(sections(section("token", 1, 20)), entry(Key{1}, u32(7))), map[place]Term{{KindToken, Key{1}}: cutoffUntil(0, 7)}, nil},
	{"by cutoff", seal(sections(section("client", 1, 61)), entry(Key{1}, termBytes(cutoffUntil(1<<63-1, 7)))), map[place]Term{{KindClient, Key{1}}: cutoffUntil(1<<63-1, 7)}, nil},
	{"every condition", seal(sections(section("device", 1, 61)), entry(Key{1}, termBytes(everyCondition))), map[place]Term{{KindDevice, Key{1}}: everyCondition}, nil},
	{"suspended only", seal(sections(section("grant", 1, 61)), entry(Key{1}, termBytes(Term{Suspended: true, Exp: Never}))), map[place]Term{{KindGrant, Key{1}}: {Suspended: true, Exp: Never}}, nil},
	{"key given twice", seal(sections(section("client", 2, 61)), entry(Key{1}, termBytes(cutoffUntil(8, 7))), entry(Key{1}, termBytes(cutoffUntil(5, 9)))),
		map[place]Term{{KindClient, Key{1}}: cutoffUntil(8, 9)}, nil},
	{"kind given twice", seal(sections(section("key", 1, 20), section("key", 1, 20)), entry(Key{1}, u32(7)), entry(Key{2}, u32(9))),
		map[place]Term{{KindKey, Key{1}}: cutoffUntil(0, 7), {KindKey, Key{2}}: cutoffUntil(0, 9)}, nil},
	{"longer entries", seal(sections(section("token", 2, 23), section("issuer", 1, 1024)), entry(Key{1}, u32(7), []byte("new")), entry(Key{2}, u32(8), []byte("new")),
		entry(Key{3}, termBytes(cutoffUntil(5, 9)), make([]byte, 1024-61))),
		map[place]Term{{KindToken, Key{1}}: cutoffUntil(0, 7), {KindToken, Key{2}}: cutoffUntil(0, 8), {KindIssuer, Key{3}}: cutoffUntil(5, 9)}, nil},
	{"unknown kinds", seal(sections(section("tenant", 2, 16), section("token", 1, 20), section("claim:x", 1, 40), section("y", 0, 30)),
		make([]byte, 32), entry(Key{1}, u32(7)), make([]byte, 40)), map[place]Term{{KindToken, Key{1}}: cutoffUntil(0, 7)}, []string{"tenant", "claim:x", "y"}},

	{"another magic", bytes.Replace(seal(sections()), []byte("RVC"), []byte("rvc"), 1), nil, nil},
	{"another version", bytes.Replace(seal(sections()), []byte("P\x01"), []byte("P\x02"), 1), nil, nil},
	{"header too long", seal(edit(sections(), `default`, strings.Repeat("x", maxHeader))), nil, nil},
	{"no header", seal(``), nil, nil},
	{"header is null", seal(`null`), nil, nil},
	{"header is cut short", seal(headerText), nil, nil},
	{"header is followed by more", seal(sections() + "{}"), nil, nil},
	{"field twice", seal(edit(sections(), `{`, `{"seq":1,`)), nil, nil},
	{"no epoch", seal(edit(sections(), `"epoch":"k3v9x2",`, ``)), nil, nil},
	{"bad epoch", seal(edit(sections(), `k3v9x2`, `K3`)), nil, nil},
	{"no time", seal(edit(sections(), `"at":"2025-11-24T16:00:00.123Z",`, ``)), nil, nil},
	{"bad salt", seal(edit(sections(), `ABEi`, `AB`)), nil, nil},
	{"bad chain", seal(edit(sections(), `AQID`, `AQ`)), nil, nil},
	{"negative seq", seal(edit(sections(), `1042`, `-1`)), nil, nil},
	{"negative count", seal(sections(section("token", -1, 20))), nil, nil},
	{"count beyond all numbers", seal(edit(sections(section("token", 1, 20)), `:1,`, `:9223372036854775808,`)), nil, nil},
	{"entries too short", seal(sections(section("token", 1, 19)), make([]byte, 19)), nil, nil},
	{"entries too short for a cutoff", seal(sections(section("subject", 1, 60)), make([]byte, 60)), nil, nil},
	{"unknown entries of no bytes", seal(sections(section("tenant", 1, 0))), nil, nil},
	{"entries too long", seal(sections(section("tenant", 1, 1025)), make([]byte, 1025)), nil, nil},
	{"negative size", seal(sections(section("tenant", 1, -1))), nil, nil},
	{"fewer entries than said", seal(sections(section("token", 2, 20)), entry(Key{1}, u32(7))), nil, nil},
	{"more entries than said", seal(sections(section("token", 1, 20)), entry(Key{1}, u32(7)), entry(Key{2}, u32(7))), nil, nil},
	{"exp 0", seal(sections(section("token", 1, 20)), entry(Key{1}, u32(0))), nil, nil},
	{"exp 0 of a subject", seal(sections(section("subject", 1, 61)), entry(Key{1}, termBytes(cutoffUntil(5, 0)))), nil, nil},
	{"no condition", seal(sections(section("subject", 1, 61)), entry(Key{1}, termBytes(cutoffUntil(0, 7)))), nil, nil},
	{"negative cutoff", seal(sections(section("subject", 1, 61)), entry(Key{1}, termBytes(cutoffUntil(-1, 7)))), nil, nil},
	{"negative version", seal(sections(section("subject", 1, 61)), entry(Key{1}, termBytes(Term{MinVersion: -1, Exp: 7}))), nil, nil},
	{"spares nobody", seal(sections(section("subject", 1, 61)), entry(Key{1}, termBytes(Term{SparingCutoff: 5, Exp: 7}))), nil, nil},
	{"spares from nothing", seal(sections(section("subject", 1, 61)), entry(Key{1}, termBytes(Term{Cutoff: 5, Spared: Key{1}, Exp: 7}))), nil, nil},
	{"spares what a cutoff has revoked", seal(sections(section("subject", 1, 61)), entry(Key{1}, termBytes(Term{Cutoff: 5, SparingCutoff: 5, Spared: Key{1}, Exp: 7}))), nil, nil},

	{"scheduled", seal(sections(section("scheduled", 1, 86)), scheduledBytes(Scheduled{KindSubject, Key{1}, everyCondition, testID, 7})), map[place]Term{}, nil},
	{"scheduled, longer", seal(sections(section("scheduled", 1, 90)), scheduledBytes(Scheduled{KindToken, Key{1}, Term{Exp: 9}, testID, 7}), []byte("more")), map[place]Term{}, nil},
	{"scheduled, too short", seal(sections(section("scheduled", 1, 85)), make([]byte, 85)), nil, nil},
	{"scheduled, of no kind", seal(sections(section("scheduled", 1, 86)), scheduledBytes(Scheduled{0, Key{1}, everyCondition, testID, 7})), nil, nil},
	{"scheduled, at once", seal(sections(section("scheduled", 1, 86)), scheduledBytes(Scheduled{KindSubject, Key{1}, everyCondition, testID, 0})), nil, nil},
	{"scheduled, in the past of time", seal(sections(section("scheduled", 1, 86)), scheduledBytes(Scheduled{KindSubject, Key{1}, everyCondition, testID, -1})), nil, nil},
	{"scheduled token with a condition", seal(sections(section("scheduled", 1, 86)), scheduledBytes(Scheduled{KindToken, Key{1}, everyCondition, testID, 7})), nil, nil},
}

func TestReadSnapshot(t *testing.T) {
	for _, c := range snapshotTable {
		t.Run(c.name, func(t *testing.T) {
			s, err := readSnapshotBytes(c.data)
			if c.want == nil {
				if !errors.Is(err, ErrSnapshot) || s != nil {
					t.Errorf("got %+v, %v", s, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := contents(s.Set); !maps.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
			if !slices.Equal(s.Unknown, c.unknown) {
				t.Errorf("unknown %q, want %q", s.Unknown, c.unknown)
			}
		})
	}
}

// Whoever writes a snapshot that can't be read back had better know at once.
func TestWriteSnapshotRefuses(t *testing.T) {
	for name, h := range map[string]SnapshotHeader{
		"no epoch": {At: testHeader.At},
		"no time":  {Epoch: "e"},
	} {
		if err := WriteSnapshot(io.Discard, h, NewLiveSet(), 0); err == nil {
			t.Errorf("%s: written", name)
		}
	}
}

// A reader's or writer's own error is passed on and is no ErrSnapshot, wherever it
// strikes: what was read may be fine.
func TestSnapshotPassesErrorsOn(t *testing.T) {
	broken := errors.New("connection reset")
	data := smallSnapshot(t)
	for n := range len(data) + 1 {
		r := io.MultiReader(bytes.NewReader(data[:n]), iotest.ErrReader(broken))
		if s, err := ReadSnapshot(r, 1<<20); s != nil || !errors.Is(err, broken) || errors.Is(err, ErrSnapshot) {
			t.Errorf("reading fails after %d bytes: %v", n, err)
		}
	}
	set := fullSet(10_000)
	size := len(writeSnapshot(t, set, 0))
	for _, n := range []int{0, 1, 1000, 70_000, size - 33, size - 1} {
		if err := WriteSnapshot(&brokenWriter{n, broken}, testHeader, set, 0); !errors.Is(err, broken) {
			t.Errorf("writing fails after %d of %d bytes: %v", n, size, err)
		}
	}
}

type brokenWriter struct {
	left int
	err  error
}

func (w *brokenWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, w.err
	}
	return len(p), nil
}

// What a header claims costs nothing until the entries arrive.
func TestSnapshotClaimsAreNotBelieved(t *testing.T) {
	var all []string
	for _, k := range Kinds() {
		all = append(all, section(k.String(), 0, 61))
	}
	for name, data := range map[string][]byte{
		"nothing":          seal(sections(section("token", 1<<40, 20))),
		"some entries":     seal(sections(section("token", 1<<40, 20)), bytes.Repeat(entry(Key{1}, u32(7)), 1000)),
		"some of unknown":  seal(sections(section("x", 1<<62, 1024)), make([]byte, 5000)),
		"nothing, cutoffs": seal(sections(section("subject", 1<<62, 61))),
		"empty sections":   seal(sections(slices.Repeat(all, 100)...)),
		"header":           append([]byte("RVCSNAP\x01\xff\xff\xff\xff"), make([]byte, 100)...),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		readSnapshotBytes(data)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
			t.Errorf("%s: %d bytes allocated for a snapshot of %d", name, n, len(data))
		}
	}
}

// snapshotSize is what n tokens take, of which only the header's length isn't
// fixed.
func snapshotSize(data []byte, n int) int {
	header := int(binary.BigEndian.Uint32(data[8:]))
	return 8 + 4 + header + 20*n + 32
}

func TestSnapshotSize(t *testing.T) {
	for _, n := range []int{0, 1, 1000, 10_000} {
		if data := writeSnapshot(t, fullSet(n), 0); len(data) != snapshotSize(data, n) {
			t.Errorf("%d tokens take %d bytes, want %d", n, len(data), snapshotSize(data, n))
		}
	}
	// The longest header that there can be does not matter at a million.
	if size := 8 + 4 + maxHeader + 20*1_000_000 + 32; size > 24_000_000 {
		t.Errorf("a million tokens take up to %d bytes", size)
	}
}

// The promises about a million tokens.
func TestMillion(t *testing.T) {
	n := 1_000_000
	if raceEnabled || testing.Short() {
		n = 100_000 // a million take half a minute under the race detector
	}
	before := heap()
	set := fullSet(n)
	perEntry := float64(heap()-before) / float64(n)
	t.Logf("%.1f bytes of memory per token", perEntry)
	if perEntry > 48 {
		t.Errorf("%.1f bytes of memory per token, want at most 48", perEntry)
	}
	data := writeSnapshot(t, set, 0)
	if len(data) != snapshotSize(data, n) || len(data) > 24_000_000 {
		t.Errorf("snapshot of %d bytes", len(data))
	}
	set = nil
	before = heap()
	s, err := readSnapshotBytes(data)
	if err != nil {
		t.Fatal(err)
	}
	perEntry = float64(heap()-before) / float64(n)
	t.Logf("%.1f bytes of memory per token after reading", perEntry)
	if perEntry > 48 || s.Set.Len() != n {
		t.Errorf("%d tokens read, %.1f bytes of memory for each", s.Set.Len(), perEntry)
	}
	runtime.KeepAlive(data)
}
