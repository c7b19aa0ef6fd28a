package events

import (
	"bytes"
	"encoding"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"
)

// Fixed-size values have one spelling each.
func TestFixedSizeText(t *testing.T) {
	type value interface {
		encoding.TextMarshaler
		encoding.TextUnmarshaler
	}
	for _, c := range []struct {
		name string
		size int
		make func() (value, []byte) // and its bytes, to look at
	}{
		{"Key", 16, func() (value, []byte) { v := new(Key); return v, v[:] }},
		{"Salt", 16, func() (value, []byte) { v := new(Salt); return v, v[:] }},
		{"Chain", 32, func() (value, []byte) { v := new(Chain); return v, v[:] }},
		{"Hash", 32, func() (value, []byte) { v := new(Hash); return v, v[:] }},
		{"Signature", 64, func() (value, []byte) { v := new(Signature); return v, v[:] }},
	} {
		t.Run(c.name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				v, b := c.make()
				if len(b) != c.size {
					t.Fatalf("%d bytes, want %d", len(b), c.size)
				}
				copy(b, rapid.SliceOfN(rapid.Byte(), c.size, c.size).Draw(t, "bytes"))
				text := must(v.MarshalText())
				if want := base64.RawURLEncoding.EncodeToString(b); string(text) != want {
					t.Fatalf("%x is written %s, want %s", b, text, want)
				}
				w, got := c.make()
				if err := w.UnmarshalText(text); err != nil || !bytes.Equal(got, b) {
					t.Fatalf("%s is read as %x, %v", text, got, err)
				}

				// Other spellings of the same bytes, and anything else, are refused
				// and leave the value alone.
				s, n := string(text), len(text)
				last := strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", s[n-1])
				stray := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last|1]
				for _, bad := range []string{
					"", s[:n-1], s[1:], s + "A", s + "=", s + "==", s + "\n", "\n" + s, " " + s, s[:n-1] + "\n", s[:n-1] + "=", s[:n-1] + " ",
					"+" + s[1:], "/" + s[1:], s[:n-2] + "\r\n", s[:n-1] + string(stray), s[:n-1] + "\xff", "é" + s[2:],
				} {
					if err := w.UnmarshalText([]byte(bad)); err == nil || !bytes.Equal(got, b) {
						t.Fatalf("%q is read as %x, %v", bad, got, err)
					}
				}
			})
		})
	}
}

func TestAppendText(t *testing.T) {
	for _, v := range []encoding.TextAppender{Key{1}, Chain{2}, Hash{3}, Time(1_764_000_000_123)} {
		got := string(must(v.AppendText([]byte("x "))))
		if want := "x " + string(must(v.(encoding.TextMarshaler).MarshalText())); got != want {
			t.Errorf("%T: %q, want %q", v, got, want)
		}
	}
	for _, s := range []interface {
		String() string
		MarshalText() ([]byte, error)
	}{Key{1}, Chain{2}, Hash{3}, Time(1_764_000_000_123), KindToken} {
		if want := string(must(s.MarshalText())); s.String() != want {
			t.Errorf("%T: %q, want %q", s, s.String(), want)
		}
	}
}

// idTable also seeds FuzzParseID.
var idTable = []struct {
	text string
	ok   bool
}{
	{"rev_01JDQ4Y7M00000000000000000", true},
	{"rev_00000000000000000000000000", true},
	{"rev_7ZZZZZZZZZZZZZZZZZZZZZZZZZ", true},
	{"rev_01JDQ4Y7M0ABCDEFGHJKMNPQRS", true},

	{"", false},
	{"rev_", false},
	{"01JDQ4Y7M00000000000000000", false},
	{"REV_01JDQ4Y7M00000000000000000", false},
	{"rev-01JDQ4Y7M00000000000000000", false},
	{"rev_01JDQ4Y7M0000000000000000", false},
	{"rev_01JDQ4Y7M000000000000000000", false},
	{"rev_01jdq4y7m00000000000000000", false}, // lower case
	{"rev_01JDQ4Y7m00000000000000000", false},
	{"rev_8ZZZZZZZZZZZZZZZZZZZZZZZZZ", false}, // more than 128 bits
	{"rev_ZZZZZZZZZZZZZZZZZZZZZZZZZZ", false},
	{"rev_01JDQ4Y7M0000000000000000I", false}, // letters that look like digits
	{"rev_01JDQ4Y7M0000000000000000L", false},
	{"rev_01JDQ4Y7M0000000000000000O", false},
	{"rev_01JDQ4Y7M0000000000000000U", false},
	{"rev_01JDQ4Y7M0000000000000000-", false},
	{"rev_01JDQ4Y7M0000000000000000\n", false},
	{"rev_01JDQ4Y7M000000000000000\xc3\xa9", false},
	{" rev_01JDQ4Y7M00000000000000000", false},
	{"rev_01JDQ4Y7M00000000000000000 ", false},
}

func TestParseID(t *testing.T) {
	for _, c := range idTable {
		id, err := ParseID(c.text)
		if (err == nil) != c.ok || c.ok && string(id) != c.text || !c.ok && id != "" {
			t.Errorf("%q is read as %q, %v", c.text, id, err)
		}
		var u ID
		if err := u.UnmarshalText([]byte(c.text)); (err == nil) != c.ok || u != id {
			t.Errorf("%q is unmarshalled as %q, %v", c.text, u, err)
		}
		if c.ok {
			if got := IDFrom(id.Bytes()); got != id {
				t.Errorf("%q comes back from bytes as %q", id, got)
			}
		} else if b := ID(c.text).Bytes(); b != [16]byte{} {
			t.Errorf("%q has the bytes %x", c.text, b)
		}
	}
}

func TestNewID(t *testing.T) {
	id, err := NewID(time.UnixMilli(1_764_000_000_123), bytes.NewReader([]byte("0123456789")))
	if err != nil || id != "rev_01KAV9FT3V60RK4CSM6MV3EE1S" {
		t.Errorf("got %q, %v", id, err)
	}
	if want := [16]byte([]byte("\x01\x9a\xb6\x97\xe8\x7b0123456789")); id.Bytes() != want {
		t.Errorf("bytes %x, want %x", id.Bytes(), want)
	}
	if _, err := NewID(time.UnixMilli(1), bytes.NewReader([]byte("short"))); err == nil {
		t.Error("made of too little entropy")
	}
	broken := errors.New("no entropy")
	if _, err := NewID(time.UnixMilli(1), iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Error(err)
	}
	if _, err := NewID(time.UnixMilli(-1), bytes.NewReader(make([]byte, 10))); err == nil {
		t.Error("made before 1970")
	}
}

func TestIDsSortByTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func() (int64, ID) {
			ms := rapid.Int64Range(0, 1<<48-1).Draw(t, "ms")
			return ms, must(NewID(time.UnixMilli(ms), bytes.NewReader(rapid.SliceOfN(rapid.Byte(), 10, 10).Draw(t, "entropy"))))
		}
		ta, a := draw()
		tb, b := draw()
		if ta < tb && a >= b || ta > tb && a <= b {
			t.Fatalf("%s of %d, %s of %d", a, ta, b, tb)
		}
		if got, err := ParseID(string(a)); err != nil || got != a {
			t.Fatalf("%s is read as %s, %v", a, got, err)
		}
	})
}

// positionTable also seeds FuzzParsePosition.
var positionTable = []struct {
	text string
	want *Position
}{
	{"k3v9x2:1042", &Position{"k3v9x2", 1042}},
	{"a:0", &Position{"a", 0}},
	{"0:1", &Position{"0", 1}},
	{strings.Repeat("z", 32) + ":18446744073709551615", &Position{strings.Repeat("z", 32), 1<<64 - 1}},

	{"", nil},
	{":", nil},
	{":1", nil},
	{"a", nil},
	{"a:", nil},
	{"a:01", nil},
	{"a:00", nil},
	{"a:+1", nil},
	{"a:-1", nil},
	{"a:-0", nil},
	{"a:1_0", nil},
	{"a:0x1", nil},
	{"a:1.0", nil},
	{"a:1e3", nil},
	{"a:٣", nil},
	{"a: 1", nil},
	{"a:1 ", nil},
	{" a:1", nil},
	{"a:1\n", nil},
	{"a:1:2", nil},
	{"a:18446744073709551616", nil},
	{"A:1", nil},
	{"a-b:1", nil},
	{"é:1", nil},
	{"a\x00:1", nil},
	{strings.Repeat("z", 33) + ":1", nil},
}

func TestParsePosition(t *testing.T) {
	for _, c := range positionTable {
		got, err := ParsePosition(c.text)
		if c.want == nil {
			if err == nil || got != (Position{}) {
				t.Errorf("%q is read as %+v", c.text, got)
			}
			continue
		}
		if err != nil || got != *c.want || got.String() != c.text {
			t.Errorf("%q is read as %+v, %v", c.text, got, err)
		}
	}
}

func TestPositionRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Position{rapid.StringMatching(`[a-z0-9]{1,32}`).Draw(t, "epoch"), rapid.Uint64().Draw(t, "seq")}
		if got, err := ParsePosition(p.String()); err != nil || got != p {
			t.Fatalf("%s is read as %+v, %v", p, got, err)
		}
	})
}

// timeTable also seeds FuzzTime.
var timeTable = []struct {
	text string
	want Time // 0: refused
}{
	{"2026-11-22T03:00:00Z", 1795316400_000},
	{"2026-11-22T03:00:00.1Z", 1795316400_100},
	{"2026-11-22T03:00:00.123Z", 1795316400_123},
	{"2026-11-22T03:00:00.123000000Z", 1795316400_123},
	{"2026-11-22T04:00:00.123+01:00", 1795316400_123},
	{"2026-11-21T22:00:00-05:00", 1795316400_000},
	{"2024-02-29T00:00:00Z", 1709164800_000},
	{"1970-01-01T00:00:00.001Z", 1},
	{"1970-01-01T00:00:01Z", 1000},
	{"9999-12-31T23:59:59.999Z", 253402300799_999},

	{"", 0},
	{"2026-11-22", 0},
	{"2026-11-22T03:00Z", 0},
	{"2026-11-22T03:00:00", 0},
	{"2026-11-22 03:00:00Z", 0},
	{"2026-11-22T3:00:00Z", 0}, // not RFC 3339, though some parsers take it
	{"2026-11-22T03:00:00,123Z", 0},
	{"2026-11-22T03:00:00+24:00", 0},
	{"2026-11-22T03:00:00+01:60", 0},
	{"2026-11-22T03:00:00+0100", 0},
	{"2026-11-22T03:00:00.Z", 0},
	{"2026-11-22T24:00:00Z", 0},
	{"2026-11-22T03:60:00Z", 0},
	{"2026-11-22T03:00:61Z", 0},
	{"2026-02-29T03:00:00Z", 0},
	{"2026-13-01T03:00:00Z", 0},
	{"2026-1-1T03:00:00Z", 0},
	{"26-11-22T03:00:00Z", 0},
	{"10000-01-01T00:00:00Z", 0},
	{"+2026-11-22T03:00:00Z", 0},
	{"2026-11-22T03:00:00.1234Z", 0}, // finer than a millisecond
	{"2026-11-22T03:00:00.0000001Z", 0},
	{"2026-11-22T03:00:00.1230000000001Z", 0},
	{"1970-01-01T00:00:00Z", 0}, // would read as "not set"
	{"1969-12-31T23:59:59Z", 0},
	{"0001-01-01T00:00:00Z", 0},
	{"1970-01-01T00:00:00.001+01:00", 0},
	{"9999-12-31T23:59:59-01:00", 0},
	{" 2026-11-22T03:00:00Z", 0},
	{"2026-11-22T03:00:00Z ", 0},
	{"1764000000", 0},
}

func TestTime(t *testing.T) {
	for _, c := range timeTable {
		var got Time
		err := got.UnmarshalText([]byte(c.text))
		if got != c.want || (err == nil) != (c.want != 0) {
			t.Errorf("%q is read as %d, %v; want %d", c.text, got, err, c.want)
		}
	}
	if got := Time(1795316400_120).String(); got != "2026-11-22T03:00:00.120Z" {
		t.Error(got)
	}
	for _, c := range []struct {
		nsec int64
		want Time
	}{{0, 5000}, {999_999, 5000}, {1_000_000, 5001}, {999_999_999, 5999}, {-1, 4999}} {
		if got := At(time.Unix(5, c.nsec)); got != c.want {
			t.Errorf("5 s and %d ns is %d, want %d", c.nsec, got, c.want)
		}
	}
}

func TestTimeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Time(rapid.Int64Range(1, maxDate*1000+999).Draw(t, "ms"))
		text := must(want.MarshalText())
		if string(text) != want.Std().Format(timeLayout) {
			t.Fatalf("%d is written %s", want, text)
		}
		var got Time
		if err := got.UnmarshalText(text); err != nil || got != want || len(text) != len("2026-11-22T03:00:00.120Z") {
			t.Fatalf("%d is written %s, read as %d, %v", want, text, got, err)
		}
		if At(want.Std()) != want || want.Std().Location() != time.UTC {
			t.Fatalf("%d as a time is %v", want, want.Std())
		}
	})
}

func TestKindNames(t *testing.T) {
	// Both columns are on disk and on the wire.
	numbers := map[Kind]string{1: "token", 2: "handle", 3: "subject", 4: "session", 5: "grant", 6: "client", 7: "subject_client", 8: "actor",
		9: "device", 10: "key", 11: "issuer", 12: "claim"}
	for n := range 256 {
		k := Kind(n)
		name, ok := numbers[k]
		if k.Valid() != ok || slices.Contains(Kinds(), k) != ok {
			t.Errorf("%d: valid %v, want %v", n, k.Valid(), ok)
		}
		text, err := k.MarshalText()
		if (err == nil) != ok || string(text) != name {
			t.Errorf("%d is written %q, %v", n, text, err)
		}
		if ok && k.String() != name || k.String() == "" {
			t.Errorf("%d is called %q, want %q", n, k, name)
		}
		if !ok {
			continue
		}
		var u Kind
		if err := u.UnmarshalText([]byte(name)); err != nil || u != k {
			t.Errorf("%q is read as %d, %v", name, u, err)
		}
	}
	for _, s := range []string{"", "Token", "TOKEN", " token", "token ", "kind(5)", "devices", "claim:x", "1"} {
		if k, err := ParseKind(s); err == nil || k != 0 {
			t.Errorf("%q is read as %s", s, k)
		}
	}
	if len(Kinds()) != len(numbers) {
		t.Errorf("%d kinds, want %d", len(Kinds()), len(numbers))
	}
}

func TestTargetValidate(t *testing.T) {
	long := strings.Repeat("é", 128) // 256 bytes
	for _, c := range []struct {
		target Target
		field  string // "" for none
	}{
		{targetOf(KindToken, testIss, "j"), ""},
		{targetOf(KindSubject, testIss, "Zoë 😀 <>\"'"), ""},
		{targetOf(KindSession, strings.Repeat("i", 512), long), ""},
		{targetOf(KindClient, "not a url", " "), ""},
		{targetOf(KindHandle, testIss, HandleOf("x")), ""},
		{targetOf(KindIssuer, testIss, ""), ""},

		{Target{}, "kind"},
		{targetOf(13, testIss, "v"), "kind"},
		{targetOf(KindGrant, testIss, "g"), ""},
		{targetOf(KindActor, testIss, "svc"), ""},
		{targetOf(KindDevice, testIss, "d"), ""},
		{Target{Kind: KindSubjectClient, Iss: testIss, Value: "alice", Client: "c"}, ""},
		{Target{Kind: KindClaim, Iss: testIss, Claim: "tenant", Value: "t"}, ""},
		{Target{Kind: KindSubjectClient, Iss: testIss, Value: "alice"}, "client"},
		{Target{Kind: KindSubjectClient, Iss: testIss, Client: "c"}, "value"},
		{Target{Kind: KindSubjectClient, Iss: testIss, Value: "alice", Client: "a\n"}, "client"},
		{Target{Kind: KindSubjectClient, Iss: testIss, Value: "alice", Client: long + "x"}, "client"},
		{Target{Kind: KindClaim, Iss: testIss, Value: "t"}, "claim"},
		{Target{Kind: KindClaim, Iss: testIss, Claim: "tenant"}, "value"},
		{Target{Kind: KindClaim, Iss: testIss, Claim: "\xff", Value: "t"}, "claim"},
		{Target{Kind: KindClaim, Iss: testIss, Claim: "tenant", Value: "t", Client: "c"}, "client"},
		{Target{Kind: KindSubject, Iss: testIss, Value: "alice", Claim: "tenant"}, "claim"},
		{Target{Kind: KindIssuer, Iss: testIss, Client: "c"}, "client"},
		{targetOf(99, testIss, "v"), "kind"},
		{targetOf(KindToken, "", "v"), "iss"},
		{targetOf(KindIssuer, "", ""), "iss"},
		{targetOf(KindToken, strings.Repeat("i", 513), "v"), "iss"},
		{targetOf(KindToken, "a\nb", "v"), "iss"},
		{targetOf(KindToken, "\xff", "v"), "iss"},
		{targetOf(KindIssuer, "a\x00", ""), "iss"},
		{targetOf(KindToken, testIss, ""), "value"},
		{targetOf(KindToken, testIss, long+"x"), "value"},
		{targetOf(KindSubject, testIss, "a\r"), "value"},
		{targetOf(KindSubject, testIss, "\xed\xa0\x80"), "value"},
		{targetOf(KindIssuer, testIss, "v"), "value"},
		{targetOf(KindHandle, testIss, "h.p"), "value"},
		{targetOf(KindHandle, testIss, HandleOf("x")+"="), "value"},
		{targetOf(KindHandle, testIss, HandleOf("x")[1:]), "value"},
	} {
		err := c.target.Validate()
		var f *FieldError
		if c.field == "" {
			if err != nil {
				t.Errorf("%+v: %v", c.target, err)
			}
		} else if !errors.As(err, &f) || f.Field != c.field || f.Problem == "" {
			t.Errorf("%+v: %v, want field %s", c.target, err, c.field)
		}
	}
	e := (&FieldError{"iss", "missing"}).Within("target")
	if e.Field != "target.iss" || e.Error() != "target.iss: missing" {
		t.Error(e)
	}
}

func TestCheckText(t *testing.T) {
	for _, c := range []struct {
		text string
		ok   bool
	}{
		{"", true}, {"0123456789", true}, {"01234567890", false}, {"ééééé", true}, {"éééééé", false},
		{" ~", true}, {"\u00a0\u00ad", true}, {"\U0010ffff", true}, {"\ufffd", true},
		{"\x00", false}, {"\t", false}, {"\n", false}, {"\x1f", false}, {"\x7f", false}, {"\u0080", false}, {"\u0085", false}, {"\u009f", false},
		{"\u2028", false}, {"\u2029", false}, {"a\xffb", false}, {"\xc0\x80", false},
	} {
		if err := CheckText("f", c.text, 10); (err == nil) != c.ok {
			t.Errorf("%q: %v", c.text, err)
		}
	}
}
