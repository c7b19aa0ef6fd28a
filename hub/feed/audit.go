package feed

import (
	"context"
	"errors"
	"iter"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/log"
)

// AuditRecord is one record of the audit, in full.
type AuditRecord struct {
	Seq       uint64
	At        events.Time // when it was appended
	Chain     events.Chain
	FeedHash  events.Hash
	AuditHash events.Hash
	Ops       []events.AuditOp
}

// Audit yields the records after a seq that the log still holds, up to where
// it ends when it is asked.
func (f *Feed) Audit(ctx context.Context, after uint64) iter.Seq2[AuditRecord, error] {
	return func(yield func(AuditRecord, error) bool) {
		first, err := f.log.First(ctx)
		if err != nil {
			yield(AuditRecord{}, err)
			return
		}
		head := f.Position().Seq
		for seq := max(after+1, first); seq <= head; seq++ {
			r, err := f.auditRecord(ctx, seq)
			if errors.Is(err, log.ErrNotFound) {
				continue // forgotten since First
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

func (f *Feed) auditRecord(ctx context.Context, seq uint64) (AuditRecord, error) {
	e, err := f.log.Read(ctx, seq)
	if err != nil {
		return AuditRecord{}, err
	}
	at, ops, err := events.ParseAudit(e.Audit)
	return AuditRecord{seq, at, e.Chain, e.FeedHash, e.AuditHash, ops}, err
}

// First asks for the seq of the oldest record that the log still holds; if it
// holds none, that is the seq of the next one.
func (f *Feed) First(ctx context.Context) (uint64, error) { return f.log.First(ctx) }

// WaitRecord waits until a record after seq has been folded, or ctx ends.
func (f *Feed) WaitRecord(ctx context.Context, seq uint64) error {
	return f.log.WaitFollowed(ctx, seq+1)
}
