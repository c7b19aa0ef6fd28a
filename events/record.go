package events

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
)

// Limits of one record.
const (
	MaxOps        = 1000
	MaxRecordSize = 512 << 10
)

// Record is one entry of the log. Each part is one line of JSON, and is
// hashed, stored and sent as the bytes that the accepting hub wrote; nobody
// encodes it a second time.
type Record struct {
	Feed  []byte // {"at":…,"report":true?,"ops":[Op…]}: the very bytes of the feed's frame
	Audit []byte // {"v":1,"at":…,"ops":[AuditOp…]}
}

// Encode returns the record as a log message: both parts, a line feed between
// them. Compact JSON holds no line feed, so the first one is the boundary.
func (r Record) Encode() []byte {
	b := make([]byte, 0, len(r.Feed)+1+len(r.Audit))
	b = append(b, r.Feed...)
	b = append(b, '\n')
	return append(b, r.Audit...)
}

// DecodeRecord splits a log message. The parts alias msg.
func DecodeRecord(msg []byte) (Record, error) {
	feed, audit, ok := bytes.Cut(msg, []byte{'\n'})
	if !ok || len(feed) == 0 || len(audit) == 0 || bytes.IndexByte(audit, '\n') >= 0 {
		return Record{}, fmt.Errorf("record: want two lines")
	}
	return Record{feed, audit}, nil
}

// A Draft collects operations that are to be appended together. The zero
// Draft is empty and ready.
type Draft struct {
	feed, audit []byte // comma-separated JSON objects
	n           int
	report      bool
}

// AskReport makes the record ask its readers to report at once.
func (d *Draft) AskReport() { d.report = true }

// Add encodes one operation in both its forms.
func (d *Draft) Add(op Op, full AuditOp) error {
	var feed, audit encoder
	feed.Text, audit.Text = d.feed, d.audit
	if d.n == 0 { // most operations fit, and few leave much of it empty
		feed.Text, audit.Text = make([]byte, 0, 192), make([]byte, 0, 512)
	} else {
		feed.Text, audit.Text = append(feed.Text, ','), append(audit.Text, ',')
	}
	feed.op(&op)
	audit.auditOp(&full)
	if err := cmp.Or(feed.Err, audit.Err); err != nil {
		return fmt.Errorf("encode operation: %w", err)
	}
	d.feed, d.audit = feed.Text, audit.Text
	d.n++
	return nil
}

// Expect makes room for n more operations, if they are about as long as those
// that there are.
func (d *Draft) Expect(n int) {
	if d.n == 0 {
		return
	}
	room := func(text []byte) []byte { return slices.Grow(text, min(n*(len(text)/d.n+8), MaxRecordSize)) }
	d.feed, d.audit = room(d.feed), room(d.audit)
}

// Append adds all of another draft.
func (d *Draft) Append(e Draft) {
	if d.n > 0 && e.n > 0 {
		d.feed = append(d.feed, ',')
		d.audit = append(d.audit, ',')
	}
	d.feed = append(d.feed, e.feed...)
	d.audit = append(d.audit, e.audit...)
	d.n += e.n
	d.report = d.report || e.report
}

// Len is the number of operations.
func (d *Draft) Len() int { return d.n }

// Size is at least the size of the record that Record will make.
func (d *Draft) Size() int { return len(d.feed) + len(d.audit) + draftOverhead }

const draftOverhead = 128

// Fits reports whether a record can hold the operations of d and e.
func (d *Draft) Fits(e *Draft) bool {
	return d.n+e.n <= MaxOps && d.Size()+e.Size() <= MaxRecordSize
}

// Message makes the record, stamped with the time at which it is appended, and
// returns it as Record.Encode would: written once, for DecodeRecord to cut.
func (d *Draft) Message(at Time) []byte {
	b := make([]byte, 0, d.Size())
	b = append(b, `{"at":"`...)
	b, _ = at.AppendText(b)
	b = append(b, '"')
	if d.report {
		b = append(b, `,"report":true`...)
	}
	b = append(b, `,"ops":[`...)
	b = append(b, d.feed...)
	b = append(b, "]}\n"+`{"v":1,"at":"`...)
	b, _ = at.AppendText(b)
	b = append(b, `","ops":[`...)
	b = append(b, d.audit...)
	return append(b, `]}`...)
}

// Record is Message, cut.
func (d *Draft) Record(at Time) Record {
	r, _ := DecodeRecord(d.Message(at)) // no error: neither part has a line feed
	return r
}
