package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/tmaxmax/go-sse"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/api"
)

type tailCmd struct {
	After  *uint64 `placeholder:"SEQ" help:"Begin after this record; 0 is the beginning. Default: the last 10 records."`
	Follow bool    `default:"true" negatable:"" help:"Wait for what comes next, until interrupted."`
	Remote
}

func (tailCmd) Help() string {
	return `One line for each operation, in the order of the log, none twice and none left
out: a connection that is lost is made again and goes on where it was. If that
can't be, because the log has forgotten what comes next or was made anew, tail
says so and exits with 1.

Examples:

    hub tail
    hub tail --after 0 --no-follow --json > audit.ndjson
    hub tail --json | grep compromised`
}

const (
	// lastRecords are shown first, so that there is something to see.
	lastRecords = 10
	// silence is how long a stream may say nothing, which a hub does not do
	// for more than its heartbeat of 2 s.
	silence = 15 * time.Second
	// maxEvent is more than the largest record.
	maxEvent = 4 << 20
)

// auditLine is one operation, as tail prints it for machines.
type auditLine struct {
	Seq   uint64       `json:"seq"`
	At    events.Time  `json:"at"`
	Chain events.Chain `json:"chain"`
	events.AuditOp
}

// auditTail reads the audit on from a position.
type auditTail struct {
	hub   *client
	std   streams
	json  bool
	at    uint64 // the last record that was read, or behind which to begin; 0: at the oldest that there is
	epoch string // of the log that at is a place in; empty until known
}

func (c tailCmd) Run(ctx context.Context, std streams) error {
	hub, err := c.client(std)
	if err != nil {
		return err
	}
	t := &auditTail{hub: hub, std: std, json: c.JSON}
	if c.After != nil {
		t.at = *c.After
	} else if err := t.nearHead(ctx); err != nil {
		return err
	}
	if c.Follow {
		err = t.follow(ctx)
	} else {
		err = t.export(ctx)
	}
	if ctx.Err() != nil {
		return nil // interrupted, which is how it ends
	}
	return t.lost(err)
}

// nearHead begins at the last few records.
func (t *auditTail) nearHead(ctx context.Context) error {
	var s api.Status
	if _, err := t.hub.ask(ctx, question{method: http.MethodGet, path: "/v1/status"}, &s); err != nil {
		return err
	}
	if t.epoch = s.Epoch; s.Head <= lastRecords {
		return nil
	}
	t.at = s.Head - lastRecords
	// Of what was asked for by nobody, nobody misses what is forgotten.
	q := question{method: http.MethodGet, path: "/v1/audit", query: t.after()}
	q.query.Set("limit", "1")
	var p *problem
	if _, err := t.hub.ask(ctx, q, nil); errors.As(err, &p) && p.Code == api.Gone {
		t.at = p.FirstSeq - 1
	}
	return nil
}

func (t *auditTail) after() url.Values {
	if t.at == 0 {
		return url.Values{}
	}
	return url.Values{"after": {strconv.FormatUint(t.at, 10)}}
}

// lost adds to a refusal to go on what it means.
func (t *auditTail) lost(err error) error {
	var p *problem
	if !errors.As(err, &p) {
		return err
	}
	switch p.Code {
	case api.Gone:
		return fmt.Errorf("the records %d to %d are no longer held; to go on behind the gap: hub tail --after %d", t.at+1, p.FirstSeq-1, p.FirstSeq-1)
	case api.Conflict:
		if t.epoch != "" {
			return fmt.Errorf("the hub's log is not the one that was read up to record %d: it was made anew; hub tail --after 0 reads it from its beginning", t.at)
		}
		return fmt.Errorf("record %d is not there yet, or the log was made anew: %s", t.at, sentence(p))
	}
	return err
}

// follow prints records until ctx ends or the hub refuses to go on.
func (t *auditTail) follow(ctx context.Context) error {
	connected := false
	for try := 1; ; try++ {
		err := t.stream(ctx, func() {
			if connected {
				t.std.note("connected again, after record %d", t.at)
			}
			connected, try = true, 1
		})
		if ctx.Err() != nil || !worthRepeating(err, connected) {
			return err
		}
		pause := pauseBefore(min(try, maxTries), err)
		t.std.note("%s", explain(err))
		t.std.note("trying again in %v", pause.Round(100*time.Millisecond))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// stream reads one connection to its end, which is always an error.
func (t *auditTail) stream(ctx context.Context, connected func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(silence, func() { cancel(errSilence) })
	defer quiet.Stop()

	q := question{method: http.MethodGet, path: "/v1/audit/stream"}
	if t.epoch == "" {
		q.query = t.after()
	} else {
		at := events.Position{Epoch: t.epoch, Seq: t.at}
		q.header = map[string]string{"Last-Event-ID": at.String()}
	}
	resp, err := t.hub.open(ctx, q)
	if err == nil {
		defer resp.Body.Close()
		connected()
		for event, readErr := range sse.Read(awake{resp.Body, quiet}, &sse.ReadConfig{MaxEventSize: maxEvent}) {
			if err = readErr; err != nil {
				break
			}
			if event.Type != api.EventAudit {
				continue
			}
			if err := t.record(event); err != nil {
				return err
			}
		}
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		err = &noAnswerError{hub: t.hub.base.String(), sent: true, err: fmt.Errorf("the connection was lost: %w", err)}
	}
	if context.Cause(ctx) == errSilence {
		return &noAnswerError{hub: t.hub.base.String(), sent: true, err: errSilence}
	}
	return err
}

var errSilence = fmt.Errorf("nothing came for %v", silence)

// awake puts off the alarm with each read.
type awake struct {
	io.Reader
	alarm *time.Timer
}

func (a awake) Read(b []byte) (int, error) {
	n, err := a.Reader.Read(b)
	if n > 0 {
		a.alarm.Reset(silence)
	}
	return n, err
}

// gapError is a record that does not follow the one before it.
type gapError struct{ want, got uint64 }

func (e *gapError) Error() string {
	return fmt.Sprintf("the hub sent record %d, want %d: what is between is missing here. Read it with hub tail --after %d, and report this", e.got, e.want, e.want-1)
}

// record prints a record, then remembers it.
func (t *auditTail) record(event sse.Event) error {
	var rec api.AuditRecord
	if err := json.Unmarshal([]byte(event.Data), &rec); err != nil {
		return fmt.Errorf("record after %d can't be read: %w; a newer release of this program may", t.at, err)
	}
	at, err := events.ParsePosition(event.LastEventID)
	if err != nil || at.Seq != rec.Seq || t.at > 0 && rec.Seq != t.at+1 {
		return &gapError{t.at + 1, rec.Seq}
	}
	for _, op := range rec.Ops {
		if err := t.print(auditLine{rec.Seq, rec.At, rec.Chain, op}); err != nil {
			return err
		}
	}
	t.at, t.epoch = rec.Seq, at.Epoch
	return nil
}

// export prints what there is, and ends.
func (t *auditTail) export(ctx context.Context) error {
	resp, err := t.hub.open(ctx, question{method: http.MethodGet, path: "/v1/audit", query: t.after()})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxEvent)
	for lines.Scan() {
		var line auditLine
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("a line of the audit can't be read: %w", err)
		}
		if err := t.print(line); err != nil {
			return err
		}
		t.at = line.Seq
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("the audit broke off: %w; the rest comes with --after %d", err, t.at)
	}
	return nil
}

func (t *auditTail) print(l auditLine) error {
	if t.json {
		return printJSON(t.std.out, l)
	}
	note := ""
	if l.Note != "" {
		note = " " + strconv.Quote(l.Note)
	}
	if l.Forced {
		note += " (forced)"
	}
	_, err := fmt.Fprintln(t.std.out, printable(fmt.Sprintf("%d %s %-7s %s %s reason=%s by=%s via=%s%s",
		l.Seq, l.At, l.Verb, l.ID, describe(l.Target), l.Reason, l.Actor, l.Source, note)))
	return err
}
