package feed

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/log"
	"github.com/revocast/revocast/internal/plain"
)

// fold takes one record into everything that is derived from the log: the
// live set, the index, the frames. It runs on the follower's goroutine, and
// what it does is all that ever changes them, apart from forgetting what has
// expired; so every reader sees one order, that of the log.
func (f *Feed) fold(e log.Entry) error {
	part, err := events.ParseFeed(e.Feed)
	if err != nil {
		return fmt.Errorf("record %d: %w", e.Seq, err)
	}
	if len(part.Unknown) > 0 {
		return errNewer(e, part.Unknown)
	}
	now := f.cfg.Now()
	expired := now.Add(-backwards).Unix()
	var full []auditOp
	if matters(part, e, expired) {
		if full, err = parseAudit(e.Audit); err != nil {
			return fmt.Errorf("record %d: %w", e.Seq, err)
		}
		if len(full) != len(part.Ops) {
			return errNewer(e, nil)
		}
	}
	frame := appendRecordFrame(nil, f.log.Epoch(), e)

	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seq != 0 && e.Seq != f.seq+1 {
		return fmt.Errorf("record %d comes after record %d", e.Seq, f.seq) // what lies between has aged out since the state file was found to fit
	}
	if full == nil {
		f.index.forgotten = max(f.index.forgotten, expired)
	}
	for i := range full {
		p := place{e.Seq, uint32(i)}
		f.foldOp(part.Ops[i], &full[i], part.At, p, now, expired)
		if r := full[i].Request; r != nil {
			f.requests.add(*r, part.At, p)
		}
	}
	f.seq, f.chain = e.Seq, e.Chain
	f.ops += uint64(len(part.Ops))
	f.frames.startAt(e.Seq)
	f.frames.append(frame)
	f.cfg.Metrics.folded(e.Seq, len(part.Ops))
	return nil
}

func errNewer(e log.Entry, unknown []string) error {
	return fmt.Errorf("record %d: written by a newer release, which this one can't follow: %q", e.Seq, unknown)
}

// foldOp is called with mu held. What has expired it does not take in: it would
// be swept at the next occasion.
func (f *Feed) foldOp(op events.Op, full *auditOp, at events.Time, p place, now time.Time, expired int64) {
	switch {
	case op.Verb != events.Revoke:
		f.live.Apply(op, now.UnixMilli())
		f.index.remove(op.ID.Bytes())
	case !op.Term.Live(expired):
		f.index.forgotten = max(f.index.forgotten, expired)
	default:
		f.live.Apply(op, now.UnixMilli())
		f.index.add(op, full, at, p)
		if op.Effective > now.UnixMilli() {
			f.dueAt.Store(f.live.Advance(now.UnixMilli()))
		}
	}
}

// matters reports whether a record changes anything that is still needed. Most
// of a long history does not, and its audit part, the larger one, need not be
// read. Hubs write JSON in one way, so one that remembers a request has this
// name in it, spelled so.
func matters(part events.FeedPart, e log.Entry, expired int64) bool {
	for i := range part.Ops {
		if op := &part.Ops[i]; op.Verb != events.Revoke || op.Term.Live(expired) {
			return true
		}
	}
	return bytes.Contains(e.Audit, []byte(`"request":`))
}

// auditOp is what the fold needs of an events.AuditOp, beside what the feed
// part says. Reading the rest would take longer than all else that is done
// with a record.
type auditOp struct {
	Target struct {
		Iss string `json:"iss"`
	} `json:"target"`
	Reason  events.Reason   `json:"reason"`
	Actor   string          `json:"actor"`
	Request *events.Request `json:"request"`
}

func parseAudit(part []byte) ([]auditOp, error) {
	if ops, ok := readAudit(part); ok {
		return ops, nil
	}
	return decodeAudit(part)
}

func decodeAudit(part []byte) ([]auditOp, error) {
	var raw struct {
		V   int       `json:"v"`
		Ops []auditOp `json:"ops"`
	}
	if err := json.Unmarshal(part, &raw); err != nil {
		return nil, fmt.Errorf("audit part: %w", err)
	}
	if raw.V != 1 {
		return nil, fmt.Errorf("audit part: version %d, want 1", raw.V)
	}
	return raw.Ops, nil
}

// readAudit is decodeAudit for parts as hubs write them; false if this one is
// anything else.
func readAudit(part []byte) ([]auditOp, bool) {
	const shortest = 150 // of operations, about
	ops := make([]auditOp, 0, min(events.MaxOps, len(part)/shortest+1))
	v := int64(0)
	r := plain.NewReader(part)
	for name := range r.Fields {
		switch string(name) {
		case "v":
			v = r.Number()
		case "ops":
			before := new(auditOp)
			for i := range r.Elements {
				ops = append(ops, auditOp{})
				ops[i].read(r, before)
				before = &ops[i]
			}
		default:
			r.Skip()
		}
	}
	return ops, r.Done() && v == 1
}

// read reads an operation. It shares the text that is the same as in the one
// before.
func (op *auditOp) read(r *plain.Reader, before *auditOp) {
	for name := range r.Fields {
		switch string(name) {
		case "target":
			for name := range r.Fields {
				if string(name) == "iss" {
					op.Target.Iss = r.TextLike(before.Target.Iss)
				} else {
					r.Skip()
				}
			}
		case "reason":
			op.Reason = events.Reason(r.TextLike(string(before.Reason)))
		case "actor":
			op.Actor = r.TextLike(before.Actor)
		case "request":
			op.Request = new(events.Request)
			readRequest(r, op.Request)
		default:
			r.Skip()
		}
	}
}

func readRequest(r *plain.Reader, q *events.Request) {
	var err error
	for name := range r.Fields {
		switch string(name) {
		case "key":
			err = errors.Join(err, q.Key.UnmarshalText(r.Text()))
		case "body":
			err = errors.Join(err, q.Body.UnmarshalText(r.Text()))
		case "ops":
			n := r.Number()
			if q.Ops = int(n); int64(q.Ops) != n {
				r.Odd()
			}
		default:
			r.Skip()
		}
	}
	if err != nil {
		r.Odd()
	}
}

// appendRecordFrame encodes a record as a server-sent event. The id comes
// last, so that a reader that takes half an event for a whole one has not
// been given its position yet.
func appendRecordFrame(b []byte, epoch string, e log.Entry) []byte {
	if b == nil {
		b = make([]byte, 0, len(e.Feed)+256)
	}
	b = append(b, "event: record\ndata: {\"seq\":"...)
	b = strconv.AppendUint(b, e.Seq, 10)
	b = append(b, `,"chain":"`...)
	b, _ = e.Chain.AppendText(b)
	b = append(b, `","audit":"`...)
	b, _ = e.AuditHash.AppendText(b)
	b = append(b, `","feed":`...)
	b = append(b, e.Feed...)
	b = append(b, "}\nid: "...)
	b = append(b, epoch...)
	b = append(b, ':')
	b = strconv.AppendUint(b, e.Seq, 10)
	return append(b, "\n\n"...)
}
