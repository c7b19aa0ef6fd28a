// Package plain reads JSON that is spelled in the plainest way, quickly and
// without reflection: no escapes, no nulls, whole numbers only, no name twice.
// That is how programs write nearly all of what the hub reads.
//
// A [Reader] is never sure that something is wrong. What it does not take as a
// matter of course is odd, and whoever reads begins again with the JSON
// library, which decides, and says what is wrong if something is:
//
//	r := plain.NewReader(text)
//	for name := range r.Fields {
//		switch string(name) {
//		case "at":
//			at = r.Number()
//		default:
//			r.Odd()
//		}
//	}
//	if !r.Done() {
//		err = json.Unmarshal(text, &v)
//	}
//
// So all that has to be shown of a Reader is that what it reads, the library
// reads as the same.
package plain

import (
	"encoding/binary"
	"math/bits"
	"slices"
	"unicode/utf8"
)

// Reader reads one text from its beginning to its end. Once something is odd
// it stays so, and everything that is read from then on is zero. Text that it
// returns is part of the text that it reads.
type Reader struct {
	text []byte
	at   int
	odd  bool
	deep int // in how many objects and arrays
}

// NewReader reads a text, which must not change meanwhile.
func NewReader(text []byte) *Reader { return &Reader{text: text} }

// Done reports whether the text has been read to its end and nothing was odd.
func (r *Reader) Done() bool { return r.peek() == 0 && r.at == len(r.text) && !r.odd }

// Odd is for a reader to whom something is odd.
func (r *Reader) Odd() { r.odd = true }

// peek returns the next byte that is not white space; 0 at the end.
func (r *Reader) peek() byte {
	for ; r.at < len(r.text); r.at++ {
		switch c := r.text[r.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// take takes a byte if it comes next, other than white space.
func (r *Reader) take(c byte) bool {
	if r.odd || r.at < len(r.text) && r.text[r.at] != c && r.text[r.at] > ' ' || r.peek() != c {
		return false
	}
	r.at++
	return true
}

func (r *Reader) want(c byte) {
	if !r.take(c) {
		r.odd = true
	}
}

const (
	// maxFields bounds how many names an object may have: they are compared
	// with one another.
	maxFields = 16
	// maxDepth is more than anything has that the hub knows.
	maxDepth = 8
)

// Fields yields the names of the object that comes next. Whoever is given one
// reads the value.
func (r *Reader) Fields(yield func(name []byte) bool) {
	var names [maxFields][]byte
	var seen uint64 // a bit for each name, which some may share
	n := 0
	for r.next('{', '}', n) {
		name := r.Text()
		r.want(':')
		if r.odd || n == maxFields {
			r.odd = true
			return
		}
		bit := bitOf(name)
		if seen&bit != 0 && slices.ContainsFunc(names[:n], func(other []byte) bool { return string(other) == string(name) }) {
			r.odd = true
			return
		}
		seen |= bit
		names[n] = name
		n++
		if !yield(name) {
			r.odd = true // the rest was not read
			return
		}
	}
}

// bitOf is one of 64 bits.
func bitOf(name []byte) uint64 {
	if len(name) == 0 {
		return 1
	}
	return 1 << ((uint(name[0]) + uint(name[len(name)-1])*4 + uint(len(name))) % 64)
}

// Elements yields the numbers of the elements of the array that comes next.
// Whoever is given one reads the value.
func (r *Reader) Elements(yield func(i int) bool) {
	for i := 0; r.next('[', ']', i); i++ {
		if !yield(i) {
			r.odd = true
			return
		}
	}
}

// next goes to member n of what begins and ends with these; false if there is
// none.
func (r *Reader) next(begin, end byte, n int) bool {
	switch {
	case n == 0:
		r.want(begin)
		if r.deep++; r.deep > maxDepth {
			r.odd = true
		}
		if !r.take(end) {
			return !r.odd
		}
	case !r.take(end):
		r.want(',')
		return !r.odd
	}
	r.deep--
	return false
}

// Text reads a string.
func (r *Reader) Text() []byte {
	r.want('"')
	if r.odd {
		return nil
	}
	begin, ascii := r.at, true
	for {
		r.at += indexSpecial(r.text[r.at:])
		if r.at == len(r.text) {
			r.odd = true
			return nil
		}
		c := r.text[r.at]
		r.at++
		switch {
		case c == '"':
			text := r.text[begin : r.at-1]
			if !ascii && !utf8.Valid(text) {
				r.odd = true
				return nil
			}
			return text
		case c >= utf8.RuneSelf:
			ascii = false
		default:
			r.odd = true
			return nil
		}
	}
}

// indexSpecial returns where the first byte is that is not simply itself in a
// string: a quote, a backslash, a control character, or one of a character that
// is not ASCII. If there is none, that is at the end.
func indexSpecial(text []byte) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	i := 0
	// Eight bytes at a time: each expression has a high bit where a byte is
	// special, and, below the first of those, nowhere else.
	for ; i+8 <= len(text); i += 8 {
		x := binary.LittleEndian.Uint64(text[i:])
		special := (x - ' '*ones) | (x ^ '"'*ones - ones) | (x ^ '\\'*ones - ones) | x
		if special &= highs; special != 0 {
			return i + bits.TrailingZeros64(special)/8
		}
	}
	for ; i < len(text); i++ {
		if c := text[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			break
		}
	}
	return i
}

// TextLike reads a string, and makes a new one only if it is not the same as
// another: lists repeat themselves.
func (r *Reader) TextLike(other string) string {
	if text := r.Text(); other != string(text) {
		return string(text)
	}
	return other
}

// maxDigits fit an int64 whatever they are.
const maxDigits = 18

// Number reads a whole number that is not negative. What follows it is odd to
// whoever reads on, if it belongs to the number.
func (r *Reader) Number() (n int64) {
	r.peek()
	begin := r.at
	for ; r.at < len(r.text) && '0' <= r.text[r.at] && r.text[r.at] <= '9'; r.at++ {
		n = n*10 + int64(r.text[r.at]-'0')
	}
	digits := r.at - begin
	if digits == 0 || digits > maxDigits || digits > 1 && r.text[begin] == '0' {
		r.odd = true
	}
	if r.odd {
		return 0
	}
	return n
}

// Bool reads true or false.
func (r *Reader) Bool() bool {
	word := "false"
	if r.peek() == 't' {
		word = "true"
	}
	for i := range len(word) {
		if r.odd || r.at == len(r.text) || r.text[r.at] != word[i] {
			r.odd = true
			return false
		}
		r.at++
	}
	return word == "true"
}

// Skip reads a value of any type.
func (r *Reader) Skip() {
	switch r.peek() {
	case '"':
		r.Text()
	case '{':
		for range r.Fields {
			r.Skip()
		}
	case '[':
		for range r.Elements {
			r.Skip()
		}
	case 't', 'f':
		r.Bool()
	default:
		r.Number()
	}
}
