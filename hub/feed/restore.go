package feed

import (
	"context"
	"slices"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/log"
)

// RestoreOrder asks for one revocation to be taken back.
type RestoreOrder struct {
	ID     events.ID
	Reason events.Reason
	Note   string
	// Force is needed for a revocation whose reason is Compromised.
	Force bool
}

// Restore takes a revocation back. What other revocations say about the same
// target stands. Errors are those of Revoke; NotFound if the id is unknown,
// restored already, or expired.
func (f *Feed) Restore(ctx context.Context, by Caller, o RestoreOrder) (events.Position, error) {
	if !slices.Contains(events.Reasons(), o.Reason) {
		return events.Position{}, &events.FieldError{Field: "reason", Problem: "missing or unknown"}
	}
	if err := events.CheckText("note", o.Note, MaxNoteLen); err != nil {
		return events.Position{}, err
	}
	revoked, err := f.Get(ctx, o.ID)
	if err != nil {
		return events.Position{}, err
	}
	if revoked.Reason == events.Compromised && !o.Force {
		return events.Position{}, &RefusedError{Protected, "", "it was revoked as compromised; to restore it all the same, say force"}
	}
	r, err := f.append(ctx, log.Proposal{Alone: true, Settle: func() (events.Draft, *log.Receipt, error) {
		d, err := f.draftRestore(by, o, revoked.Target)
		return d, nil, err
	}})
	return events.Position{Epoch: f.log.Epoch(), Seq: r.Seq}, err
}

// draftRestore says what is left of the target. It is called when the fold is
// at the very position after which the draft is appended.
func (f *Feed) draftRestore(by Caller, o RestoreOrder, target events.Target) (events.Draft, error) {
	now := f.cfg.Now().Unix()
	f.mu.Lock()
	defer f.mu.Unlock()
	r, ok := f.index.get(o.ID, now)
	if !ok {
		return events.Draft{}, errNotFound()
	}
	var d events.Draft
	err := d.Add(
		events.Op{Verb: events.Restore, Kind: r.kind, Key: r.key, ID: o.ID, Left: f.index.left(r.key, o.ID, now)},
		events.AuditOp{Verb: events.Restore, ID: o.ID, Target: target, Reason: o.Reason, Note: o.Note,
			Actor: by.Actor, Source: by.Source, Forced: o.Force})
	return d, err
}

func errNotFound() error {
	return &RefusedError{NotFound, "", "no live revocation has this id"}
}

// renew appends anew what has no end of its own, before the log would forget
// it. A renewal is the same revocation, with the same id.
func (f *Feed) renew(ctx context.Context, now time.Time) {
	old := now.Add(-f.log.Retention() / 2).Unix()
	var due []events.ID
	f.mu.Lock()
	for r := range f.index.newestBefore(place{}, now.Unix()) {
		if r.term.Exp == events.Never && r.at < old {
			due = append(due, events.IDFrom(r.id))
		}
	}
	f.mu.Unlock()
	for _, id := range due {
		if err := f.renewOne(ctx, id); err != nil {
			f.cfg.Logger.Error("a revocation without end was not renewed; will try again", "id", id, "err", err)
		}
	}
}

func (f *Feed) renewOne(ctx context.Context, id events.ID) error {
	full, err := f.Get(ctx, id)
	if err != nil {
		return err
	}
	full.Source, full.Request = "renewal", nil
	_, err = f.append(ctx, log.Proposal{Alone: true, Settle: func() (events.Draft, *log.Receipt, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		var d events.Draft
		r, ok := f.index.get(id, f.cfg.Now().Unix())
		if !ok {
			return d, nil, errNotFound() // restored meanwhile
		}
		err := d.Add(events.Op{Verb: events.Revoke, Kind: r.kind, Key: r.key, Term: r.term, ID: id, Effective: r.effective}, full.AuditOp)
		return d, nil, err
	}})
	return err
}
