package events

import (
	"bytes"
	"fmt"

	"github.com/go-json-experiment/json"
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
	feed, err := json.Marshal(op)
	if err != nil {
		return fmt.Errorf("encode operation: %w", err)
	}
	audit, err := json.Marshal(full)
	if err != nil {
		return fmt.Errorf("encode operation: %w", err)
	}
	d.append(feed, audit, 1)
	return nil
}

// Append adds all of another draft.
func (d *Draft) Append(e Draft) {
	if e.n > 0 {
		d.append(e.feed, e.audit, e.n)
	}
	d.report = d.report || e.report
}

func (d *Draft) append(feed, audit []byte, n int) {
	if d.n > 0 {
		d.feed = append(d.feed, ',')
		d.audit = append(d.audit, ',')
	}
	d.feed = append(d.feed, feed...)
	d.audit = append(d.audit, audit...)
	d.n += n
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

// Record makes the record, stamped with the time at which it is appended.
func (d *Draft) Record(at Time) Record {
	feed := make([]byte, 0, len(d.feed)+draftOverhead/2)
	feed = append(feed, `{"at":"`...)
	feed, _ = at.AppendText(feed)
	feed = append(feed, '"')
	if d.report {
		feed = append(feed, `,"report":true`...)
	}
	feed = append(feed, `,"ops":[`...)
	feed = append(feed, d.feed...)
	feed = append(feed, `]}`...)
	audit := make([]byte, 0, len(d.audit)+draftOverhead/2)
	audit = append(audit, `{"v":1,"at":"`...)
	audit, _ = at.AppendText(audit)
	audit = append(audit, `","ops":[`...)
	audit = append(audit, d.audit...)
	audit = append(audit, `]}`...)
	return Record{feed, audit}
}

// FeedPart is a decoded feed part.
type FeedPart struct {
	At  Time
	Ops []Op
	// Report asks the reader to report at once that it has applied this.
	Report bool
	// Unknown holds, for each operation that this release can't enforce, its
	// verb and kind. Those operations are not among Ops.
	Unknown []string
}

// ParseFeed decodes a feed part. Fields that it does not know are ignored, so
// that a hub one release ahead may add some; a verb or kind that it does not
// know is reported in Unknown, for the reader can't enforce it; all else that
// is unexpected is an error.
func ParseFeed(part []byte) (FeedPart, error) {
	var raw struct {
		At     Time     `json:"at"`
		Report bool     `json:"report"`
		Ops    []wireOp `json:"ops"`
	}
	if err := json.Unmarshal(part, &raw); err != nil {
		return FeedPart{}, fmt.Errorf("feed part: %w", err)
	}
	if raw.At == 0 || len(raw.Ops) == 0 || len(raw.Ops) > MaxOps {
		return FeedPart{}, fmt.Errorf("feed part: no time, or not 1 to %d operations", MaxOps)
	}
	p := FeedPart{At: raw.At, Report: raw.Report, Ops: make([]Op, 0, len(raw.Ops))}
	for i := range raw.Ops {
		op, err := raw.Ops[i].op()
		switch {
		case err != nil:
			return FeedPart{}, fmt.Errorf("feed part: operation %d: %w", i, err)
		case op.Kind == 0:
			p.Unknown = append(p.Unknown, fmt.Sprintf("%.32q %.32q", raw.Ops[i].Verb, raw.Ops[i].Kind))
		default:
			p.Ops = append(p.Ops, op)
		}
	}
	return p, nil
}

// wireOp is Op before its verb and kind are known to be ours.
type wireOp struct {
	Verb string `json:"op"`
	Kind string `json:"kind"`
	Key  Key    `json:"k"`
	Term
	ID        ID    `json:"id"`
	Effective int64 `json:"effective"`
	Left      *Term `json:"left"`
}

// op returns an Op without a kind if this release can't enforce it.
func (w *wireOp) op() (Op, error) {
	kind, err := ParseKind(w.Kind)
	verb := Verb(w.Verb)
	if err != nil || verb != Revoke && verb != Restore {
		return Op{}, nil
	}
	op := Op{Verb: verb, Key: w.Key, Kind: kind, Term: w.Term, ID: w.ID, Effective: w.Effective, Left: w.Left}
	switch {
	case op.ID == "":
		return Op{}, fmt.Errorf("no id")
	case op.Key == Key{}:
		return Op{}, fmt.Errorf("no key")
	case verb == Revoke && !op.Term.valid(kind):
		return Op{}, fmt.Errorf("a revoke of kind %s with term %+v", kind, op.Term)
	case op.Effective < 0 || verb == Restore && op.Effective != 0:
		return Op{}, fmt.Errorf("a %s that takes effect at %d", verb, op.Effective)
	case verb == Restore && op.Left != nil && !op.Left.valid(kind):
		return Op{}, fmt.Errorf("a restore of kind %s that leaves %+v", kind, *op.Left)
	}
	return op, nil
}

// ParseAudit decodes an audit part. Unknown fields are ignored.
func ParseAudit(part []byte) (at Time, ops []AuditOp, err error) {
	var raw struct {
		V   int       `json:"v"`
		At  Time      `json:"at"`
		Ops []AuditOp `json:"ops"`
	}
	if err := json.Unmarshal(part, &raw); err != nil {
		return 0, nil, fmt.Errorf("audit part: %w", err)
	}
	if raw.V != 1 || raw.At == 0 {
		return 0, nil, fmt.Errorf("audit part: version %d, want 1, or no time", raw.V)
	}
	return raw.At, raw.Ops, nil
}
