package api

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/feed"
)

// Revocation is a live revocation.
type Revocation struct {
	ID          events.ID      `json:"id"`
	Target      events.Target  `json:"target"`
	Cutoff      events.Time    `json:"cutoff,omitzero"`
	Except      *events.Except `json:"except,omitzero"`
	MinVersion  int64          `json:"min_version,omitzero"`
	Suspend     bool           `json:"suspend,omitzero"`
	EffectiveAt events.Time    `json:"effective_at,omitzero"` // if it was scheduled
	ExpiresAt   events.Time    `json:"expires_at,omitzero"`
	RetainUntil events.Time    `json:"retain_until,omitzero"` // absent: until restored
	Reason      events.Reason  `json:"reason"`
	Note        string         `json:"note,omitzero"`
	Actor       string         `json:"actor"`
	Source      string         `json:"source"`
	RevokedAt   events.Time    `json:"revoked_at"`
	Seq         uint64         `json:"seq"`
}

// RevocationList is one page of the live revocations, newest first. A page
// may have fewer than were asked for; the list ends where there is no cursor.
type RevocationList struct {
	Revocations []Revocation `json:"revocations"`
	NextCursor  string       `json:"next_cursor,omitzero"`
}

// RestoreRequest is the body, which may be left out, of
// DELETE /v1/revocations/{id}.
type RestoreRequest struct {
	Reason events.Reason `json:"reason,omitzero"` // default: admin
	Note   string        `json:"note,omitzero"`
	Force  bool          `json:"force,omitzero"` // needed if it was revoked as compromised
}

// RestoreAnswer says where the log has the restore.
type RestoreAnswer struct {
	ID    events.ID `json:"id"`
	Epoch string    `json:"epoch"`
	Seq   uint64    `json:"seq"`
}

const (
	// sourceAPI is what the audit calls this door.
	sourceAPI = "api"
	// writeTime is how long a request may wait for its record. The log
	// answers within that unless many are waiting.
	writeTime = 10 * time.Second

	defaultWait = 2 * time.Second
	maxWait     = 30 * time.Second

	// Headers of POST /v1/revocations.
	idempotencyKey      = "Idempotency-Key"
	idempotencyReplayed = "Idempotent-Replayed"
)

func (a *API) revoke(w http.ResponseWriter, r *request) error {
	wait, err := waitOf(r.query)
	if err != nil {
		return err
	}
	by := feed.Caller{Actor: r.caller.actor, Source: sourceAPI}
	if by.IdempotencyKey, err = idempotencyKeyOf(r.Request); err != nil {
		return err
	}
	if by.Body, err = readJSON(w, r); err != nil {
		return err
	}
	req, err := parseRevoke(by.Body)
	if err != nil {
		return err
	}
	orders, err := req.orders(r.caller)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeTime)
	defer cancel()
	res, err := a.feed.Revoke(ctx, by, orders, wait > 0)
	if err != nil {
		return req.located(err)
	}
	var reach *feed.Reach
	if wait > 0 {
		ctx, cancel := context.WithTimeout(r.Context(), wait)
		defer cancel()
		reached := a.feed.WaitReach(ctx, res.Position.Seq)
		reach = &reached
	}
	if res.Replayed {
		w.Header().Set(idempotencyReplayed, "true")
	}
	text, err := encodeRevoked(res, reach)
	if err != nil {
		return err
	}
	send(w, http.StatusCreated, text)
	return nil
}

// waitOf is how long to wait for the subscribers; zero: not at all.
func waitOf(q query) (time.Duration, error) {
	what, err := q.text("wait", 16)
	if err != nil {
		return 0, err
	}
	timeout, err := q.duration("timeout", maxWait, 0)
	switch {
	case err != nil:
		return 0, err
	case what != "" && what != "applied":
		return 0, &Problem{Code: InvalidField, Field: "wait", Detail: "Want applied."}
	case what == "" && timeout != 0:
		return 0, &Problem{Code: InvalidField, Field: "timeout", Detail: "It goes with wait=applied."}
	case what != "" && timeout == 0:
		return defaultWait, nil
	}
	return timeout, nil
}

func idempotencyKeyOf(r *http.Request) (string, error) {
	keys := r.Header.Values(idempotencyKey)
	if len(keys) == 0 {
		return "", nil
	}
	key := keys[0]
	if len(keys) > 1 || key == "" || len(key) > 128 || slices.ContainsFunc([]byte(key), func(c byte) bool { return c <= ' ' || c > '~' }) {
		return "", &Problem{Code: InvalidField, Field: idempotencyKey, Detail: "Want one, of 1 to 128 visible ASCII characters."}
	}
	return key, nil
}

// orders returns what is asked for, if the caller may ask for all of it.
func (req RevokeRequest) orders(c *caller) ([]feed.Order, error) {
	list, path := req.Revocations, func(i int) string { return fmt.Sprintf("revocations[%d].", i) }
	switch one := req.RevocationRequest; {
	case list == nil:
		list, path = []RevocationRequest{one}, func(int) string { return "" }
	case one != RevocationRequest{}:
		return nil, &Problem{Code: InvalidField, Field: "revocations", Detail: "Want either a list or one revocation."}
	case len(list) == 0 || len(list) > events.MaxOps:
		return nil, &Problem{Code: InvalidField, Field: "revocations", Detail: fmt.Sprintf("Want 1 to %d, got %d.", events.MaxOps, len(list))}
	}
	orders := make([]feed.Order, len(list))
	for i, one := range list {
		if name := one.missing(); name != "" {
			return nil, &Problem{Code: MissingField, Field: path(i) + name, Detail: "It is needed."}
		}
		if p := c.mayChange(one.Target); p != nil {
			p.Field = path(i) + p.Field
			return nil, p
		}
		orders[i] = feed.Order(one)
	}
	return orders, nil
}

// located names the field at fault as the body has it. The feed numbers
// orders only if there are several.
func (req RevokeRequest) located(err error) error {
	if len(req.Revocations) != 1 {
		return err
	}
	const parent = "revocations[0]"
	switch e := err.(type) {
	case *events.FieldError:
		return e.Within(parent)
	case *feed.RefusedError:
		if e.Code != feed.KeyReused { // that is a header's fault
			return &feed.RefusedError{Code: e.Code, Field: parent + "." + e.Field, Detail: e.Detail}
		}
	}
	return err
}

// missing names a field that is needed and not there.
func (req RevocationRequest) missing() string {
	switch {
	case req.Target.Kind == 0:
		return "target.kind"
	case req.Target.Iss == "":
		return "target.iss"
	case req.Target.Value == "" && req.Target.Kind != events.KindIssuer:
		return "target.value"
	case req.Reason == "":
		return "reason"
	}
	return ""
}

func (a *API) restore(w http.ResponseWriter, r *request) error {
	id, err := revocationID(r)
	if err != nil {
		return err
	}
	req := RestoreRequest{Reason: events.Admin}
	if r.ContentLength != 0 {
		if _, err := decode(w, r, &req); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeTime)
	defer cancel()
	rev, err := a.feed.Get(ctx, id)
	if err != nil {
		return err
	}
	if p := r.caller.mayChange(rev.Target); p != nil {
		p.Field = "id" // what it stands for is not the caller's to know
		return p
	}
	by := feed.Caller{Actor: r.caller.actor, Source: sourceAPI}
	at, err := a.feed.Restore(ctx, by, feed.RestoreOrder{ID: id, Reason: req.Reason, Note: req.Note, Force: req.Force})
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, RestoreAnswer{id, at.Epoch, at.Seq})
}

func revocationID(r *request) (events.ID, error) {
	id, err := events.ParseID(r.PathValue("id"))
	if err != nil {
		return "", &Problem{Code: InvalidField, Field: "id", Detail: "Not the id of a revocation (want rev_ and 26 characters)."}
	}
	return id, nil
}

func (a *API) getRevocation(w http.ResponseWriter, r *request) error {
	id, err := revocationID(r)
	if err != nil {
		return err
	}
	rev, err := a.feed.Get(r.Context(), id)
	if err != nil {
		return err
	}
	if !r.caller.sees(rev.Target) {
		return &Problem{Code: Forbidden, Field: "id", Detail: "It is beyond what this credential is limited to."}
	}
	return answer(w, http.StatusOK, revocationOf(rev))
}

func revocationOf(rev feed.Revocation) Revocation {
	return Revocation{
		ID: rev.ID, Target: rev.Target, Cutoff: rev.Cutoff, Except: rev.Except, MinVersion: rev.MinVersion, Suspend: rev.Suspend,
		EffectiveAt: rev.EffectiveAt, ExpiresAt: rev.ExpiresAt, RetainUntil: rev.RetainUntil,
		Reason: rev.Reason, Note: rev.Note, Actor: rev.Actor, Source: rev.Source, RevokedAt: rev.RevokedAt, Seq: rev.Seq,
	}
}

const (
	defaultPage = 100
	maxPage     = 1000
)

func (a *API) listRevocations(w http.ResponseWriter, r *request) error {
	by, err := filterOf(r.query)
	if err != nil {
		return err
	}
	limit, err := r.query.number("limit", 1, maxPage, defaultPage)
	if err != nil {
		return err
	}
	from, err := cursorOf(r.query)
	if err != nil {
		return err
	}
	revs, next, err := a.feed.List(r.Context(), by, from, int(limit))
	if err != nil {
		return err
	}
	page := RevocationList{Revocations: make([]Revocation, 0, len(revs))}
	for _, rev := range revs {
		if r.caller.sees(rev.Target) {
			page.Revocations = append(page.Revocations, revocationOf(rev))
		}
	}
	if next != nil {
		page.NextCursor = encodeCursor(*next)
	}
	return answer(w, http.StatusOK, page)
}

func filterOf(q query) (f feed.Filter, err error) {
	var kind, reason string
	for _, p := range []struct {
		name   string
		value  *string
		maxLen int
	}{
		{"kind", &kind, 32},
		{"iss", &f.Iss, events.MaxIssuerLen},
		{"value", &f.Value, events.MaxValueLen},
		{"claim", &f.Claim, events.MaxValueLen},
		{"client", &f.Client, events.MaxValueLen},
		{"reason", &reason, 32},
		{"actor", &f.Actor, events.MaxIssuerLen + 1 + events.MaxValueLen},
	} {
		if *p.value, err = q.text(p.name, p.maxLen); err != nil {
			return f, err
		}
	}
	if f.Value != "" && f.Iss == "" {
		return f, &Problem{Code: MissingField, Field: "iss", Detail: "A value means something together with its issuer."}
	}
	if (f.Claim != "" || f.Client != "") && f.Value == "" {
		return f, &Problem{Code: MissingField, Field: "value", Detail: "A claim or client goes with a value."}
	}
	if kind != "" && f.Kind.UnmarshalText([]byte(kind)) != nil {
		return f, &Problem{Code: InvalidField, Field: "kind", Detail: fmt.Sprintf("Want one of %v.", events.Kinds())}
	}
	f.Reason = events.Reason(reason)
	if reason != "" && !slices.Contains(events.Reasons(), f.Reason) {
		return f, &Problem{Code: InvalidField, Field: "reason", Detail: fmt.Sprintf("Want one of %v.", events.Reasons())}
	}
	return f, nil
}

// A cursor is a version, the seq, and the place in the record, in base64url.
const (
	cursorVersion = 1
	cursorSize    = 1 + 8 + 4
)

var cursorText = base64.RawURLEncoding.Strict()

func encodeCursor(c feed.Cursor) string {
	b := append(make([]byte, 0, cursorSize), cursorVersion)
	b = binary.BigEndian.AppendUint64(b, c.Seq)
	b = binary.BigEndian.AppendUint32(b, c.Op)
	return cursorText.EncodeToString(b)
}

func cursorOf(q query) (feed.Cursor, error) {
	s, err := q.text("cursor", 32)
	if err != nil || s == "" {
		return feed.Cursor{}, err
	}
	b, err := cursorText.DecodeString(s)
	if err != nil || len(b) != cursorSize || b[0] != cursorVersion {
		return feed.Cursor{}, errBadCursor
	}
	c := feed.Cursor{Seq: binary.BigEndian.Uint64(b[1:]), Op: binary.BigEndian.Uint32(b[9:])}
	if c == (feed.Cursor{}) {
		return c, errBadCursor // would begin the list again
	}
	return c, nil
}

var errBadCursor = &Problem{Code: InvalidField, Field: "cursor", Detail: "Not a cursor that a list was answered with."}
