package plain

import (
	"encoding"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Writer writes JSON as the library does, byte for byte, for those who know
// the fields. The zero Writer is ready.
type Writer struct {
	Text []byte // what was written; more may be appended
	Err  error  // the first error; what is written after it means nothing
}

// Begin and End enclose an object.
func (w *Writer) Begin() { w.Text = append(w.Text, '{') }

// End ends what Begin began.
func (w *Writer) End() { w.Text = append(w.Text, '}') }

// Name begins a field. It has to need no escapes.
func (w *Writer) Name(name string) {
	if w.Text[len(w.Text)-1] != '{' {
		w.Text = append(w.Text, ',')
	}
	w.Text = append(w.Text, '"')
	w.Text = append(w.Text, name...)
	w.Text = append(w.Text, `":`...)
}

// String writes a field. Text that is not UTF-8 is an error.
func (w *Writer) String(name, s string) {
	w.Name(name)
	begin := len(w.Text)
	w.Text = append(w.Text, '"')
	w.Text = append(w.Text, s...)
	if indexSpecial(w.Text[begin+1:]) < len(s) {
		w.Text = w.Text[:begin]
		w.quote(s)
		return
	}
	w.Text = append(w.Text, '"')
}

func (w *Writer) quote(s string) {
	var err error
	w.Text, err = jsontext.AppendQuote(w.Text, s)
	w.Fail(err)
}

// WriteText writes a field that appends its own text, which needs no escapes.
func WriteText[T encoding.TextAppender](w *Writer, name string, v T) {
	w.Name(name)
	w.Text = append(w.Text, '"')
	var err error
	w.Text, err = v.AppendText(w.Text)
	w.Fail(err)
	w.Text = append(w.Text, '"')
}

// Number writes a field.
func (w *Writer) Number(name string, n int64) {
	w.Name(name)
	w.Text = strconv.AppendInt(w.Text, n, 10)
}

// Uint writes a field.
func (w *Writer) Uint(name string, n uint64) {
	w.Name(name)
	w.Text = strconv.AppendUint(w.Text, n, 10)
}

// OptString writes a field, unless it is zero, as the next two do.
func (w *Writer) OptString(name, s string) {
	if s != "" {
		w.String(name, s)
	}
}

// OptNumber is said above.
func (w *Writer) OptNumber(name string, n int64) {
	if n != 0 {
		w.Number(name, n)
	}
}

// OptBool is said above.
func (w *Writer) OptBool(name string, is bool) {
	if is {
		w.Name(name)
		w.Text = append(w.Text, "true"...)
	}
}

// Fail notes an error, unless it is nil.
func (w *Writer) Fail(err error) {
	if w.Err == nil {
		w.Err = err
	}
}
