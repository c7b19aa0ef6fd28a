package feed

import (
	"fmt"
	"strconv"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/log"
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
	at, full, err := events.ParseAudit(e.Audit)
	if err != nil {
		return fmt.Errorf("record %d: %w", e.Seq, err)
	}
	if len(part.Unknown) > 0 || len(full) != len(part.Ops) {
		return fmt.Errorf("record %d: written by a newer release, which this one can't follow: %q", e.Seq, part.Unknown)
	}
	frame := appendRecordFrame(nil, f.log.Epoch(), e)

	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.cfg.Now().UnixMilli()
	for i, op := range part.Ops {
		f.live.Apply(op, now)
		if op.Effective > now {
			f.dueAt.Store(f.live.Advance(now))
		}
		if op.Verb == events.Revoke {
			f.index.add(op.Key, op.Term, full[i], at, place{e.Seq, uint32(i)})
		} else {
			f.index.remove(op.ID)
		}
		if r := full[i].Request; r != nil {
			f.requests.add(*r, at, place{e.Seq, uint32(i)})
		}
	}
	f.seq, f.chain = e.Seq, e.Chain
	f.frames.startAt(e.Seq)
	f.frames.append(frame)
	f.cfg.Metrics.folded(e.Seq, len(part.Ops))
	return nil
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
