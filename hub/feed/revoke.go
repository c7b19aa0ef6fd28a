package feed

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/log"
)

// Order asks for one revocation.
type Order struct {
	Target events.Target
	// At most one of Cutoff, MinVersion and Suspend, for kinds that are not
	// outright; with none, the cutoff is now. Except goes with a cutoff.
	Cutoff     events.Time
	Except     *events.Except
	MinVersion int64
	Suspend    bool
	// EffectiveAt is when it takes effect; zero: at once. The cutoff is still
	// now: who signs in again meanwhile is not affected.
	EffectiveAt events.Time
	// ExpiresAt is the exp of the one token that is revoked, if the caller
	// knows it; zero otherwise, and for all other kinds.
	ExpiresAt events.Time
	Reason    events.Reason
	Note      string
}

// Caller says on whose behalf something is done.
type Caller struct {
	Actor  string // the name of the credential
	Source string // the door it came through
	// IdempotencyKey, if not empty, makes the same request, sent again by the
	// same actor, take effect once. Body is what "the same" is judged by.
	IdempotencyKey string
	Body           []byte
}

// Accepted is what became of one Order.
type Accepted struct {
	ID          events.ID
	EffectiveAt events.Time // when the record was appended, or as ordered
	RetainUntil events.Time // zero: until restored
	// ReissueAfter, for cutoffs, is the first moment at which a token issued
	// with an iat in whole seconds is not revoked by it; zero otherwise.
	ReissueAfter events.Time
}

// Result is what became of a request.
type Result struct {
	Revocations []Accepted
	Position    events.Position
	Replayed    bool // it was done before; this is what it did then
}

// MaxNoteLen bounds a note, in bytes.
const MaxNoteLen = 1024

// Revoke appends a request's revocations in one record and returns when the
// log has them on disk and the fold has them too. With ask, the record asks
// every subscriber to report at once.
//
// Errors: *events.FieldError and *RefusedError say what is wrong with the
// request; nothing was done. The errors of log.Append are passed on: after
// log.ErrUnknown the revocations may have been made, and the same request
// with the same IdempotencyKey finds out.
func (f *Feed) Revoke(ctx context.Context, by Caller, orders []Order, ask bool) (Result, error) {
	if len(orders) == 0 || len(orders) > events.MaxOps {
		return Result{}, &events.FieldError{Field: "revocations", Problem: fmt.Sprintf("want 1 to %d, got %d", events.MaxOps, len(orders))}
	}
	var p log.Proposal
	var request *events.Request
	if by.IdempotencyKey != "" {
		request = by.request(len(orders))
		p.Key = request.Key
		p.Settle = f.replay(request, &p)
	}
	made, err := f.draft(&p.Draft, by, request, orders)
	if err != nil {
		return Result{}, err
	}
	if ask {
		p.Draft.AskReport()
	}
	r, err := f.append(ctx, p)
	if err != nil {
		return Result{}, err
	}
	if r.Replayed {
		if made, err = f.replayed(ctx, request); err != nil {
			return Result{}, err
		}
	}
	for i := range made {
		made[i].EffectiveAt = max(made[i].EffectiveAt, r.At)
	}
	return Result{made, events.Position{Epoch: f.log.Epoch(), Seq: r.Seq}, r.Replayed}, nil
}

// draft writes all of the orders into a draft, or returns what is wrong with
// one of them.
func (f *Feed) draft(d *events.Draft, by Caller, request *events.Request, orders []Order) ([]Accepted, error) {
	now := f.cfg.Now()
	random := make([]byte, idEntropy*len(orders))
	rand.Read(random) // never fails; once, for to ask costs more than what is given
	chance := bytes.NewReader(random)
	made := make([]Accepted, len(orders))
	for i := range orders {
		op, err := f.accept(&orders[i], now, chance)
		if err != nil {
			return nil, orderError(err, i, len(orders))
		}
		op.Actor, op.Source = by.Actor, by.Source
		if i == 0 {
			op.Request = request
		}
		err = d.Add(events.Op{
			Verb: events.Revoke, Kind: op.Target.Kind, Key: f.salt.Key(op.Target), Term: op.Term(f.salt), ID: op.ID, Effective: int64(op.EffectiveAt),
		}, op)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			d.Expect(len(orders) - 1)
		}
		made[i] = accepted(&op)
	}
	return made, nil
}

// idEntropy is how many random bytes an id takes.
const idEntropy = 10

// append appends and waits for the fold, so that who is told of a revocation
// also finds it.
func (f *Feed) append(ctx context.Context, p log.Proposal) (log.Receipt, error) {
	r, err := f.log.Append(ctx, p)
	if err != nil {
		return r, err
	}
	// The log has it. That the fold is microseconds behind, or stuck, makes
	// the acknowledgement no less true.
	if at, _ := f.log.Followed(); at >= r.Seq {
		return r, nil
	}
	ctx, cancel := context.WithTimeout(ctx, foldPatience)
	defer cancel()
	_ = f.log.WaitFollowed(ctx, r.Seq)
	return r, nil
}

// foldPatience is how long an answer waits for the fold: no longer, for where
// the fold stands still, as without NATS, the answer is all there is to say.
const foldPatience = time.Second

func orderError(err error, i, n int) error {
	parent := fmt.Sprintf("revocations[%d]", i)
	switch e := err.(type) {
	case *events.FieldError:
		if n > 1 {
			return e.Within(parent)
		}
	case *RefusedError:
		if n > 1 && e.Field != "" {
			e.Field = parent + "." + e.Field
		}
	}
	return err
}

// accept checks an order and works out how long it has to be remembered.
func (f *Feed) accept(o *Order, now time.Time, random io.Reader) (events.AuditOp, error) {
	if err := o.validate(); err != nil {
		return events.AuditOp{}, err
	}
	lifetime, skew, ok := f.cfg.Issuer(o.Target.Iss)
	if !ok {
		return events.AuditOp{}, &RefusedError{UnknownIssuer, "target.iss", "no issuer of this name is configured"}
	}
	if o.Target.Kind == events.KindClaim && !slices.Contains(f.cfg.Claims.Extra, o.Target.Claim) {
		return events.AuditOp{}, &events.FieldError{Field: "target.claim", Problem: "not one of the claims that this hub is configured to revoke by"}
	}
	op := events.AuditOp{
		Verb: events.Revoke, Target: o.Target, ExpiresAt: o.ExpiresAt, Reason: o.Reason, Note: o.Note,
		Cutoff: o.Cutoff, Except: o.Except, MinVersion: o.MinVersion, Suspend: o.Suspend,
	}
	if !o.Target.Kind.Outright() && op.Cutoff == 0 && op.MinVersion == 0 && !op.Suspend {
		op.Cutoff = events.At(now)
	}
	if op.Cutoff.Std().After(now.Add(skew)) {
		return op, &RefusedError{FutureCutoff, "cutoff", "lies in the future; for a margin there is effective_at"}
	}
	if o.ExpiresAt != 0 && !o.ExpiresAt.Std().Add(skew).After(now) {
		return op, &RefusedError{AlreadyExpired, "expires_at", "the token has expired; nothing is left to revoke"}
	}
	if err := f.retain(&op, now, lifetime, skew); err != nil {
		return op, err
	}
	if err := f.schedule(&op, o.EffectiveAt, now); err != nil {
		return op, err
	}
	id, err := events.NewID(now, random)
	op.ID = id
	return op, err
}

// retain works out how long an operation has to be remembered: until none of
// the tokens that it is about can be valid any more.
func (f *Feed) retain(op *events.AuditOp, now time.Time, lifetime, skew time.Duration) error {
	if op.Target.Kind == events.KindKey || op.Suspend {
		return nil // until restored
	}
	until := now.Add(lifetime)
	if op.ExpiresAt != 0 {
		until = op.ExpiresAt.Std()
	}
	// Rounded up: a term is remembered in whole seconds.
	op.RetainUntil = events.Time((until.Add(skew).Unix() + 1) * 1000)
	if op.RetainUntil.Std().After(now.Add(f.log.Retention())) {
		return &RefusedError{RetentionExceeded, "expires_at", fmt.Sprintf(
			"would have to be remembered until %s, longer than the log keeps anything (%s)", op.RetainUntil, f.log.Retention())}
	}
	return nil
}

// maxScheduled bounds what takes effect later. Each is looked at when another
// comes.
const maxScheduled = 10_000

// schedule sets when an operation takes effect, if that is not at once.
func (f *Feed) schedule(op *events.AuditOp, at events.Time, now time.Time) error {
	if at <= events.At(now) {
		return nil
	}
	if op.RetainUntil != 0 && at >= op.RetainUntil {
		return &events.FieldError{Field: "effective_at", Problem: "by then none of the tokens is valid any more"}
	}
	if limit := now.Add(maxMargin); at.Std().After(limit) {
		return &events.FieldError{Field: "effective_at", Problem: fmt.Sprintf("more than %s ahead", maxMargin)}
	}
	f.mu.Lock()
	full := len(f.live.Scheduled()) >= maxScheduled
	f.mu.Unlock()
	if full {
		return &RefusedError{TooManyScheduled, "effective_at", fmt.Sprintf("%d revocations are scheduled already", maxScheduled)}
	}
	op.EffectiveAt = at
	return nil
}

// maxMargin is how far ahead a revocation can be scheduled. The margin is for
// people who are to sign in again, not for calendars.
const maxMargin = 24 * time.Hour

func (o *Order) validate() error {
	if err := o.Target.Validate(); err != nil {
		if fe, ok := err.(*events.FieldError); ok {
			return fe.Within("target")
		}
		return err
	}
	if !slices.Contains(events.Reasons(), o.Reason) {
		return &events.FieldError{Field: "reason", Problem: fmt.Sprintf("want one of %v", events.Reasons())}
	}
	if err := events.CheckText("note", o.Note, MaxNoteLen); err != nil {
		return err
	}
	kind := o.Target.Kind
	if err := o.validateCondition(); err != nil {
		return err
	}
	if o.ExpiresAt != 0 && kind != events.KindToken && kind != events.KindHandle {
		return &events.FieldError{Field: "expires_at", Problem: "only a token or a handle has one"}
	}
	return nil
}

// validateCondition checks that there is at most one, and that the kind has it.
func (o *Order) validateCondition() error {
	kind, given := o.Target.Kind, 0
	for _, c := range []struct {
		field string
		set   bool
	}{{"cutoff", o.Cutoff != 0}, {"min_version", o.MinVersion != 0}, {"suspend", o.Suspend}} {
		if !c.set {
			continue
		}
		if kind.Outright() {
			return &events.FieldError{Field: c.field, Problem: fmt.Sprintf("must be absent for kind %s, which is revoked outright", kind)}
		}
		if given++; given > 1 {
			return &events.FieldError{Field: c.field, Problem: "only one of cutoff, min_version and suspend"}
		}
	}
	if o.MinVersion < 0 {
		return &events.FieldError{Field: "min_version", Problem: "must be positive"}
	}
	if e := o.Except; e != nil {
		if o.MinVersion != 0 || o.Suspend {
			return &events.FieldError{Field: "except", Problem: "goes with a cutoff only"}
		}
		return e.Validate(o.Target)
	}
	return nil
}

// accepted lacks the time at which the record was appended, which is when what
// is not scheduled takes effect.
func accepted(op *events.AuditOp) Accepted {
	a := Accepted{ID: op.ID, EffectiveAt: op.EffectiveAt, RetainUntil: op.RetainUntil}
	if op.Cutoff != 0 {
		a.ReissueAfter = (op.Cutoff/1000 + 1) * 1000
	}
	return a
}

// request hashes the caller and its key, so that neither can be found by
// guessing at the other's, and none is kept in clear.
func (c Caller) request(ops int) *events.Request {
	h := sha256.New()
	fmt.Fprintf(h, "%d:%s%s", len(c.Actor), c.Actor, c.IdempotencyKey)
	body := sha256.Sum256(c.Body)
	return &events.Request{Key: events.Key(h.Sum(nil)[:events.KeySize]), Body: events.Key(body[:events.KeySize]), Ops: ops}
}

// replay returns the Settle of a proposal with an Idempotency-Key: a request
// that the log has already is answered from there.
func (f *Feed) replay(q *events.Request, p *log.Proposal) func() (events.Draft, *log.Receipt, error) {
	return func() (events.Draft, *log.Receipt, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		done, ok := f.requests.find(q.Key)
		switch {
		case !ok:
			return p.Draft, nil, nil
		case done.body != q.Body:
			return events.Draft{}, nil, &RefusedError{KeyReused, "Idempotency-Key", "was used for another request"}
		}
		return events.Draft{}, &log.Receipt{Seq: done.seq, At: done.at, Replayed: true}, nil
	}
}

// replayed reads back what a request did.
func (f *Feed) replayed(ctx context.Context, q *events.Request) ([]Accepted, error) {
	f.mu.Lock()
	done, ok := f.requests.find(q.Key)
	f.mu.Unlock()
	if !ok {
		return nil, errors.New("the request was just forgotten")
	}
	ops, err := f.readOps(ctx, done.seq)
	if err != nil {
		return nil, err
	}
	end := int(done.op) + int(done.ops)
	if end > len(ops) {
		return nil, fmt.Errorf("record %d has no %d operations", done.seq, end)
	}
	made := make([]Accepted, done.ops)
	for i := range made {
		made[i] = accepted(&ops[int(done.op)+i])
	}
	return made, nil
}

// readOps reads a record's operations in full from the log.
func (f *Feed) readOps(ctx context.Context, seq uint64) ([]events.AuditOp, error) {
	e, err := f.log.Read(ctx, seq)
	if err != nil {
		return nil, fmt.Errorf("read record %d: %w", seq, err)
	}
	_, ops, err := events.ParseAudit(e.Audit)
	if err != nil {
		return nil, fmt.Errorf("record %d: %w", seq, err)
	}
	return ops, nil
}
