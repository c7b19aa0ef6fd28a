package api

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/feed"
)

// AuditLine is one operation, as a line of GET /v1/audit.
type AuditLine struct {
	Seq     uint64       `json:"seq"`
	OpIndex int          `json:"op_index"` // its place in the record
	At      events.Time  `json:"at"`
	Chain   events.Chain `json:"chain"` // after the record
	events.AuditOp
}

// AuditRecord is one record, as an event of GET /v1/audit/stream. The hashes
// are those of the whole record; Ops lacks what is beyond the limits of the
// credential.
type AuditRecord struct {
	Seq       uint64           `json:"seq"`
	At        events.Time      `json:"at"`
	Chain     events.Chain     `json:"chain"`
	FeedHash  events.Hash      `json:"feed_hash"`
	AuditHash events.Hash      `json:"audit_hash"`
	Ops       []events.AuditOp `json:"ops"`
}

const (
	// AuditType is the media type of GET /v1/audit: one JSON object a line.
	AuditType = "application/x-ndjson"
	// EventAudit is the name of the events of GET /v1/audit/stream.
	EventAudit = "audit"

	maxAuditLines = 1_000_000
)

// readers bounds how many read the audit at once: each record that one reads
// is read from the log for it alone.
type readers chan struct{}

const maxReaders = 64

var errTooManyReaders = errors.New("too many are reading the audit")

func (rs readers) enter() error {
	select {
	case rs <- struct{}{}:
		return nil
	default:
		return errTooManyReaders
	}
}

func (rs readers) leave() { <-rs }

// exportAudit writes the audit up to where it ends now. With a limit it ends
// after the record that reaches it, so that the seq of the last line is the
// after of the next request.
func (a *API) exportAudit(w http.ResponseWriter, r *request) error {
	after, err := r.query.number("after", 0, math.MaxInt64, 0)
	if err != nil {
		return err
	}
	limit, err := r.query.number("limit", 1, maxAuditLines, math.MaxInt64)
	if err != nil {
		return err
	}
	if err := a.readers.enter(); err != nil {
		return err
	}
	defer a.readers.leave()
	at, err := a.auditFrom(r.Context(), after, "after")
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", AuditType)
	rc := http.NewResponseController(w)
	var lines []byte
	for rec, err := range a.feed.Audit(r.Context(), at) {
		if err == nil && rec.Seq != at+1 {
			err = errForgotten
		}
		if err != nil {
			return err
		}
		at = rec.Seq
		lines = lines[:0]
		for i, op := range rec.Ops {
			if !r.caller.sees(op.Target) {
				continue
			}
			line, err := json.Marshal(AuditLine{rec.Seq, i, rec.At, rec.Chain, op})
			if err != nil {
				return err
			}
			lines = append(append(lines, line...), '\n')
			limit--
		}
		_ = rc.SetWriteDeadline(time.Now().Add(a.writeTimeout))
		if _, err := w.Write(lines); err != nil {
			return nil // the reader has gone
		}
		if int64(limit) <= 0 {
			return nil
		}
	}
	return r.Context().Err() // of a credential that ended, too: half is not the whole
}

var errForgotten = errors.New("the log forgot records while they were read")

// auditFrom returns the seq after which a reader who has everything up to
// after goes on: that very seq, except for who has nothing and begins with
// the oldest record that there is. field is where the request says after.
func (a *API) auditFrom(ctx context.Context, after uint64, field string) (uint64, error) {
	if after > a.feed.Position().Seq {
		// Perhaps it comes from a hub that is a moment ahead.
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if a.feed.WaitRecord(ctx, after-1) != nil {
			return 0, &Problem{Code: Conflict, Field: field, Detail: fmt.Sprintf("The log ends at %d.", a.feed.Position().Seq)}
		}
	}
	first, err := a.feed.First(ctx)
	switch {
	case err != nil:
		return 0, err
	case after == 0:
		return first - 1, nil
	case after+1 < first:
		return 0, &Problem{Code: Gone, Field: field, FirstSeq: first, Detail: fmt.Sprintf("The oldest record that the log holds is %d.", first)}
	}
	return after, nil
}

// streamAudit sends each record once the log has it, from the one after the
// Last-Event-ID on, or else the one after the parameter.
func (a *API) streamAudit(w http.ResponseWriter, r *request) error {
	after, field, err := a.streamPosition(r)
	if err != nil {
		return err
	}
	select {
	case <-a.feed.Draining():
		return feed.ErrDraining
	default:
	}
	if err := a.readers.enter(); err != nil {
		return err
	}
	defer a.readers.leave()
	at, err := a.auditFrom(r.Context(), after, field)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx would hold the stream back
	s := &auditStream{api: a, w: w, rc: http.NewResponseController(w), caller: r.caller, at: at}
	return s.serve(r.Context())
}

// streamPosition returns the seq after which a stream is to begin, and where
// the request says so.
func (a *API) streamPosition(r *request) (after uint64, field string, err error) {
	const header = "Last-Event-ID"
	ids := r.Header.Values(header)
	if len(ids) == 0 {
		after, err := r.query.number("after", 0, math.MaxInt64, 0)
		return after, "after", err
	}
	at, err := events.ParsePosition(ids[0])
	if err != nil || len(ids) > 1 || at.Seq > math.MaxInt64 {
		return 0, "", &Problem{Code: InvalidField, Field: header, Detail: "Want <epoch>:<seq>, as an id line of the stream gave it."}
	}
	if at.Epoch != a.feed.Position().Epoch {
		return 0, "", &Problem{Code: Conflict, Field: header, Detail: "The log was made anew since; its records are others."}
	}
	return at.Seq, header, nil
}

// auditStream is one stream being written. Its request's goroutine owns it.
type auditStream struct {
	api    *API
	w      http.ResponseWriter
	rc     *http.ResponseController
	caller *caller
	at     uint64 // the last record sent
}

// serve ends without an error when the reader goes or stops reading, when its
// credential ends, and when the feed drains.
func (s *auditStream) serve(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() { // ends with ctx, which this function cancels
		select {
		case <-s.api.feed.Draining():
			stop()
		case <-ctx.Done():
		}
	}()
	if !s.write([]byte(":\n\n")) { // the header goes out although there may be nothing to send for hours
		return nil
	}
	for {
		for rec, err := range s.api.feed.Audit(ctx, s.at) {
			if err == nil && rec.Seq != s.at+1 {
				err = errForgotten
			}
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
			event, err := s.encode(rec)
			if err != nil {
				return err
			}
			if !s.write(event) {
				return nil
			}
			s.at = rec.Seq
		}
		beat, cancel := context.WithTimeout(ctx, s.api.heartbeat)
		err := s.api.feed.WaitRecord(beat, s.at)
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, context.DeadlineExceeded):
			if !s.write([]byte(":\n\n")) {
				return nil
			}
		case err != nil:
			return err
		}
	}
}

// encode makes the event of a record. The id comes last, so that who has it
// has the record.
func (s *auditStream) encode(rec feed.AuditRecord) ([]byte, error) {
	ops := slices.DeleteFunc(rec.Ops, func(op events.AuditOp) bool { return !s.caller.sees(op.Target) })
	data, err := json.Marshal(AuditRecord{rec.Seq, rec.At, rec.Chain, rec.FeedHash, rec.AuditHash, ops})
	if err != nil {
		return nil, err
	}
	at := events.Position{Epoch: s.api.feed.Position().Epoch, Seq: rec.Seq}
	return fmt.Appendf(nil, "event: %s\ndata: %s\nid: %s\n\n", EventAudit, data, at), nil
}

// write sends and flushes. The deadline is not left armed: an idle HTTP/2
// stream would be reset by it.
func (s *auditStream) write(b []byte) bool {
	_ = s.rc.SetWriteDeadline(time.Now().Add(s.api.writeTimeout))
	if _, err := s.w.Write(b); err != nil || s.rc.Flush() != nil {
		return false
	}
	_ = s.rc.SetWriteDeadline(time.Time{})
	return true
}
