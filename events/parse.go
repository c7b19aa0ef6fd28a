package events

import (
	"fmt"
	"math"

	"github.com/go-json-experiment/json"

	"github.com/revocast/revocast/internal/plain"
)

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
	if p, ok := readFeed(part); ok {
		return p, nil
	}
	return decodeFeed(part)
}

func decodeFeed(part []byte) (FeedPart, error) {
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
	return op, op.validate()
}

// validate reports why no hub would have written the operation.
func (op *Op) validate() error {
	switch {
	case op.ID == "":
		return fmt.Errorf("no id")
	case op.Key == Key{}:
		return fmt.Errorf("no key")
	case op.Verb == Revoke && !op.Term.valid(op.Kind):
		return fmt.Errorf("a revoke of kind %s with term %+v", op.Kind, op.Term)
	case op.Effective < 0 || op.Verb == Restore && op.Effective != 0:
		return fmt.Errorf("a %s that takes effect at %d", op.Verb, op.Effective)
	case op.Verb == Restore && op.Left != nil && !op.Left.valid(op.Kind):
		return fmt.Errorf("a restore of kind %s that leaves %+v", op.Kind, *op.Left)
	}
	return nil
}

// readFeed is decodeFeed for parts as hubs of this release write them: those
// who follow a log read little else. False if this one is anything else, which
// need not be wrong.
func readFeed(part []byte) (p FeedPart, ok bool) {
	const shortest = 100 // of operations, about
	p.Ops = make([]Op, 0, min(MaxOps, len(part)/shortest+1))
	r := plain.NewReader(part)
	for name := range r.Fields {
		switch string(name) {
		case "at":
			if p.At.UnmarshalText(r.Text()) != nil {
				r.Odd()
			}
		case "report":
			p.Report = r.Bool()
		case "ops":
			for i := range r.Elements {
				if i == MaxOps {
					r.Odd()
					break
				}
				p.Ops = append(p.Ops, Op{})
				readOp(r, &p.Ops[i])
			}
		default:
			r.Odd()
		}
	}
	return p, r.Done() && p.At != 0 && len(p.Ops) > 0
}

func readOp(r *plain.Reader, op *Op) {
	for name := range r.Fields {
		switch string(name) {
		case "op":
			switch string(r.Text()) {
			case string(Revoke):
				op.Verb = Revoke
			case string(Restore):
				op.Verb = Restore
			default:
				r.Odd()
			}
		case "k":
			readKey(r, &op.Key)
		case "kind":
			if op.Kind = parseKind(r.Text()); op.Kind == 0 {
				r.Odd()
			}
		case "id":
			if op.ID.UnmarshalText(r.Text()) != nil {
				r.Odd()
			}
		case "effective":
			op.Effective = r.Number()
		case "left":
			op.Left = new(Term)
			for name := range r.Fields {
				readTerm(r, name, op.Left)
			}
		default:
			readTerm(r, name, &op.Term)
		}
	}
	if op.Kind == 0 || op.Verb == "" || op.validate() != nil {
		r.Odd()
	}
}

// readTerm reads one field of a term.
func readTerm(r *plain.Reader, name []byte, t *Term) {
	switch string(name) {
	case "cutoff":
		t.Cutoff = r.Number()
	case "sparing_cutoff":
		t.SparingCutoff = r.Number()
	case "spared":
		readKey(r, &t.Spared)
	case "min_version":
		t.MinVersion = r.Number()
	case "suspended":
		t.Suspended = r.Bool()
	case "exp":
		exp := r.Number()
		if t.Exp = uint32(exp); exp > math.MaxUint32 {
			r.Odd()
		}
	default:
		r.Odd()
	}
}

func readKey(r *plain.Reader, k *Key) {
	if k.UnmarshalText(r.Text()) != nil {
		r.Odd()
	}
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
