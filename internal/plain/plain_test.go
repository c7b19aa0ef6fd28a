package plain

import (
	"bytes"
	stdjson "encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// read reads a value as the library reads it into an any.
func read(r *Reader) any {
	switch r.peek() {
	case '"':
		return string(r.Text())
	case '{':
		m := map[string]any{}
		for name := range r.Fields {
			m[string(name)] = read(r)
		}
		return m
	case '[':
		list := []any{}
		for range r.Elements {
			list = append(list, read(r))
		}
		return list
	case 't', 'f':
		return r.Bool()
	default:
		return float64(r.Number())
	}
}

var plainTexts = []string{
	`{}`, `[]`, `0`, `7`, `999999999999999999`, `true`, `false`, `""`, `"a"`, `"äöü€😀"`, "\"\u007f\"",
	` { "a" : [ 1 , 2 , { } , [ ] , true , false ] , "b" : "" } `, "\t{\r\n\"a\":1}\n",
	`{"a":{"a":{"a":1}},"b":{"a":2}}`,
	`[[[[[[[[1]]]]]]]]`,
	`{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8,"i":9,"j":10,"k":11,"l":12,"m":13,"n":14,"o":15,"p":16}`,
}

var oddTexts = []string{
	// Not JSON.
	``, ` `, `{`, `}`, `[`, `]`, `"`, `"a`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{,}`, `{"a" 1}`, `{a:1}`, `{1:1}`, `[1,]`, `[,1]`, `[1 2]`,
	`1 2`, `{}{}`, `{} x`, `truex`, `tru`, `fals`, `t`, `f`, `01`, `00`, `+1`, `1.`, `.1`, `1e`, `0x1`, `'a'`, "\"\n\"", "\"\x00\"", "\"\xff\"", "\"\xc3\"", "\"\xed\xa0\x80\"",
	"\ufeff{}", "\x00", "{}\x00", "\u00a01", "\v1",
	// JSON that has to be refused.
	`{"a":1,"a":1}`, `{"a":{"b":1,"b":2}}`,
	// JSON that is not plain.
	`null`, `{"a":null}`, `-1`, `-0`, `1.5`, `1.0`, `1e3`, `1E3`, `1000000000000000000`, `"\n"`, `"\u0041"`, `{"\u0061":1}`, `"\\"`,
	`[[[[[[[[[1]]]]]]]]]`,
	`{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8,"i":9,"j":10,"k":11,"l":12,"m":13,"n":14,"o":15,"p":16,"q":17}`,
}

func TestWhatIsPlainIsReadAndTheRestIsOdd(t *testing.T) {
	for _, text := range plainTexts {
		if !same(t, text) {
			t.Errorf("%s is odd", text)
		}
	}
	for _, text := range oddTexts {
		if same(t, text) {
			t.Errorf("%q is plain", text)
		}
	}
}

// same reports whether a text is plain, and fails if the libraries do not read
// the same in it, or if skipping it is another thing than reading it.
func same(t *testing.T, text string) bool {
	t.Helper()
	r := NewReader([]byte(text))
	got := read(r)
	plain := r.Done()
	skip := NewReader([]byte(text))
	if skip.Skip(); skip.Done() != plain {
		t.Errorf("%q: skipped %v, read %v", text, skip.Done(), plain)
	}
	if !plain {
		return false
	}
	var want any
	if err := json.Unmarshal([]byte(text), &want); err != nil {
		t.Errorf("%q is taken, though the library says %v", text, err)
	} else if !reflect.DeepEqual(got, want) {
		t.Errorf("%q is read as %v, by the library as %v", text, got, want)
	}
	if !stdjson.Valid([]byte(text)) {
		t.Errorf("%q is taken, and another library refuses it", text)
	}
	return true
}

// A reader that stops early has not read the text, even if it ends there.
func TestWhatWasNotReadIsOdd(t *testing.T) {
	for _, text := range []string{`{"a":1}`, `[1]`} {
		for _, stop := range []func(*Reader){
			func(r *Reader) {
				for range r.Fields {
					break
				}
			},
			func(r *Reader) {
				for range r.Elements {
					break
				}
			},
			func(r *Reader) {
				for range r.Fields {
				}
			},
			func(r *Reader) { r.Skip(); r.Odd() },
			func(r *Reader) { r.Number() },
			func(r *Reader) {},
		} {
			r := NewReader([]byte(text))
			if stop(r); r.Done() {
				t.Errorf("%s is done", text)
			}
		}
	}
}

func FuzzReader(f *testing.F) {
	for _, text := range append(plainTexts, oddTexts...) {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if same(t, text) {
			return
		}
		// Of what is JSON, only what is named in the package's comment is odd.
		if !jsontext.Value(text).IsValid() || strings.ContainsAny(text, `\-.eE`) || strings.Contains(text, "null") ||
			strings.Count(text, "[")+strings.Count(text, "{") > maxDepth || strings.Count(text, ":") > maxFields || longNumber(text) {
			return
		}
		t.Errorf("%q is odd", text)
	})
}

func longNumber(text string) bool {
	n := 0
	for _, c := range text {
		if n++; c < '0' || c > '9' {
			n = 0
		}
		if n > maxDigits {
			return true
		}
	}
	return false
}

func TestReadingTakesNoMemory(t *testing.T) {
	text := []byte(`{"at":1,"ops":[{"op":"revoke","exp":1764000000,"deep":{"a":true}}]}`)
	if n := testing.AllocsPerRun(100, func() {
		r := NewReader(text)
		r.Skip()
		if !r.Done() {
			t.Fatal("odd")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzIndexSpecial(f *testing.F) {
	for _, text := range []string{"", "plain", `plain and "`, "\x1f", " ~\x7f", "aaaaaaa\x80", "aaaaaaaa\\", "!!!!!!!!#", "\x00\x21\x22", "########[]"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		want := bytes.IndexFunc(text, func(r rune) bool { return r < ' ' || r == '"' || r == '\\' || r > '\x7f' })
		if want < 0 {
			want = len(text)
		}
		if got := indexSpecial(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	})
}
