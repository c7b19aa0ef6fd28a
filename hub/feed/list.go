package feed

import (
	"context"
	"errors"
	"slices"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/log"
)

// Revocation is a live revocation in full.
type Revocation struct {
	events.AuditOp
	RevokedAt events.Time // when its record was appended
	Seq       uint64      // of that record
}

// Filter says which revocations to list; empty fields match all.
type Filter struct {
	Kind   events.Kind
	Iss    string
	Value  string // needs Iss
	Claim  string // with Value, for KindClaim
	Client string // with Value, for KindSubjectClient
	Reason events.Reason
	Actor  string
}

// Cursor is where a list goes on; the zero Cursor is its beginning.
type Cursor struct {
	Seq uint64
	Op  uint32
}

// Get returns one live revocation, or a *RefusedError with NotFound.
func (f *Feed) Get(ctx context.Context, id events.ID) (Revocation, error) {
	f.mu.Lock()
	r, ok := f.index.get(id, f.cfg.Now().Unix())
	f.mu.Unlock()
	if !ok {
		return Revocation{}, errNotFound()
	}
	list, err := f.read(ctx, []rev{r})
	if err != nil {
		return Revocation{}, err
	}
	if len(list) == 0 {
		return Revocation{}, errNotFound()
	}
	return list[0], nil
}

// List returns at most limit live revocations, newest first, from a cursor
// on, and the cursor with which the list goes on: nil at its end.
func (f *Feed) List(ctx context.Context, by Filter, from Cursor, limit int) ([]Revocation, *Cursor, error) {
	revs := f.find(by, place{from.Seq, from.Op}, limit+1)
	var next *Cursor
	if len(revs) > limit {
		revs = revs[:limit]
		last := revs[limit-1]
		next = &Cursor{last.seq, last.op}
	}
	list, err := f.read(ctx, revs)
	return list, next, err
}

// Explain returns the live revocations that say something about a key,
// newest first.
func (f *Feed) Explain(ctx context.Context, key events.Key) ([]Revocation, error) {
	f.mu.Lock()
	revs := slices.Collect(f.index.of(key, f.cfg.Now().Unix()))
	f.mu.Unlock()
	return f.read(ctx, revs[:min(len(revs), 100)])
}

// find picks revocations from the index.
func (f *Feed) find(by Filter, from place, limit int) []rev {
	now := f.cfg.Now().Unix()
	f.mu.Lock()
	defer f.mu.Unlock()
	iss, issKnown := f.index.issuers.find(by.Iss)
	actor, actorKnown := f.index.actors.find(by.Actor)
	if by.Iss != "" && !issKnown || by.Actor != "" && !actorKnown {
		return nil
	}
	match := func(r rev) bool {
		return (by.Kind == 0 || by.Kind == r.kind) && (by.Iss == "" || iss == r.iss) &&
			(by.Actor == "" || actor == r.actor) && (by.Reason == "" || slices.Index(events.Reasons(), by.Reason) == int(r.reason))
	}
	if by.Value != "" {
		return f.findValue(by, from, limit, now, match)
	}
	var found []rev
	for r := range f.index.newestBefore(from, now) {
		if match(r) {
			if found = append(found, r); len(found) == limit {
				break
			}
		}
	}
	return found
}

// findValue looks a value up under the keys that it has, one for each kind.
func (f *Feed) findValue(by Filter, from place, limit int, now int64, match func(rev) bool) []rev {
	var found []rev
	for _, kind := range events.Kinds() {
		t := events.Target{Kind: kind, Iss: by.Iss, Value: by.Value}
		switch kind {
		case events.KindClaim:
			t.Claim = by.Claim
		case events.KindSubjectClient:
			t.Client = by.Client
		}
		for r := range f.index.of(f.salt.Key(t), now) {
			if match(r) && (from == place{} || r.place.before(from)) {
				found = append(found, r)
			}
		}
	}
	slices.SortFunc(found, func(a, b rev) int {
		if b.place.before(a.place) {
			return -1
		}
		return 1
	})
	return found[:min(len(found), limit)]
}

// read reads revocations in full from the log, each record once. It leaves out
// those whose record has aged out, which only a retention that was shortened
// can do to what is live: they stay in force, but nobody can say any more what
// they are about.
func (f *Feed) read(ctx context.Context, revs []rev) ([]Revocation, error) {
	list := make([]Revocation, 0, len(revs))
	var ops []events.AuditOp
	var have uint64
	for _, r := range revs {
		if r.seq != have {
			var err error
			if ops, err = f.readOps(ctx, r.seq); err != nil && !errors.Is(err, log.ErrNotFound) {
				return nil, err
			}
			have = r.seq
		}
		if ops == nil {
			continue
		}
		list = append(list, Revocation{AuditOp: ops[r.op], RevokedAt: events.Time(r.at * 1000), Seq: r.seq})
	}
	return list, nil
}
