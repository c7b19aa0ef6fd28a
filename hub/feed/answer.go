package feed

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events"
)

// The errors that only requests over NATS meet.
var (
	errTooFast = errors.New("too many requests")
	errGone    = errors.New("not held any more: attach again")
)

// work answers requests until ctx ends.
func (b *Broadcast) work(ctx context.Context) {
	for {
		select {
		case m := <-b.requests:
			b.answer(ctx, m)
		case <-ctx.Done():
			return
		}
	}
}

func (b *Broadcast) answer(ctx context.Context, m *nats.Msg) {
	ctx, cancel := context.WithTimeout(ctx, natsPatience)
	defer cancel()
	what := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	reply, err := b.handle(ctx, what, m.Data)
	code := 200
	if err != nil {
		reply, code = refusal(err)
	}
	b.feed.cfg.Metrics.answered(what, code)
	if m.Reply != "" && reply != nil && b.nc.IsConnected() {
		reply.Subject = m.Reply
		_ = b.nc.PublishMsg(reply) // the asker's time limit tells it
	}
}

func (b *Broadcast) handle(ctx context.Context, what string, data []byte) (*nats.Msg, error) {
	switch what {
	case events.HubAttach:
		return b.attach(ctx, data)
	case events.HubRead:
		return b.read(data)
	case events.HubSnapshot:
		return b.snapshot(data)
	case events.HubReport:
		return b.report(ctx, data)
	default:
		var r events.DetachRequest
		if err := decode(data, &r); err != nil {
			return nil, err
		}
		b.sessions.leave(r.Session)
		return nil, nil
	}
}

// attach answers with the hello and the latest tick, and where in the log the
// records begin that are missing. Who asks listens already, so what comes
// after the head that it is told reaches it as a frame.
func (b *Broadcast) attach(ctx context.Context, data []byte) (*nats.Msg, error) {
	var r events.AttachRequest
	if err := decode(data, &r); err != nil {
		return nil, err
	}
	if err := events.CheckText("subscriber", r.Subscriber, 128); err != nil {
		return nil, err
	}
	var after events.Position
	if r.After != "" {
		var err error
		if after, err = events.ParsePosition(r.After); err != nil {
			return nil, &events.FieldError{Field: "after", Problem: "want <epoch>:<seq>"}
		}
	}
	if b.feed.draining() {
		return nil, ErrDraining
	}
	if err := b.sessions.admit(r.Session); err != nil {
		return nil, err
	}
	hello, offset, err := b.feed.attach(ctx, after)
	if err != nil {
		return nil, err
	}
	body, err := helloFrame(hello)
	if err != nil {
		return nil, err
	}
	v, ok := b.feed.frames.from(offset, 0, nil)
	if !ok {
		return nil, errGone
	}
	// A snapshot is fetched first: nobody listens until then.
	if hello.Mode == events.ModeDelta {
		if err := b.sessions.join(r.Session, r.Subscriber, after.Seq); err != nil {
			return nil, err
		}
		body = append(body, v.tick...)
	}
	b.feed.cfg.Metrics.opened(hello.Mode)
	m := nats.NewMsg("")
	m.Header.Set(events.HeaderLog, events.LogPiece{Run: b.run, Offset: offset, Head: v.end}.String())
	m.Data = body
	return m, nil
}

// read answers with the log from an offset on, as much as a piece holds.
func (b *Broadcast) read(data []byte) (*nats.Msg, error) {
	var r events.ReadRequest
	if err := decode(data, &r); err != nil {
		return nil, err
	}
	if err := b.sessions.admit(r.Session); err != nil {
		return nil, err
	}
	if r.Run != b.run {
		return nil, errGone
	}
	v, ok := b.feed.frames.from(r.Offset, 0, nil)
	if !ok {
		return nil, errGone
	}
	if r.Offset > v.end {
		return nil, &events.FieldError{Field: "offset", Problem: "beyond the head"}
	}
	m := nats.NewMsg("")
	for _, chunk := range v.records {
		if len(chunk) > 0 {
			m.Data = chunk[:min(len(chunk), b.piece)]
			break
		}
	}
	m.Header.Set(events.HeaderLog, events.LogPiece{Run: b.run, Offset: r.Offset, Length: len(m.Data), Head: v.end}.String())
	return m, nil
}

func (b *Broadcast) snapshot(data []byte) (*nats.Msg, error) {
	var r events.SnapshotRequest
	if err := decode(data, &r); err != nil {
		return nil, err
	}
	if err := b.sessions.admit(r.Session); err != nil {
		return nil, err
	}
	c, err := b.copies.get(b.feed, r.Position)
	if err != nil {
		return nil, err
	}
	if r.Offset < 0 || r.Offset > int64(len(c.data)) {
		return nil, &events.FieldError{Field: "offset", Problem: "not within the snapshot"}
	}
	rest := c.data[r.Offset:]
	m := nats.NewMsg("")
	m.Header.Set(events.HeaderPosition, c.at.String())
	m.Header.Set(events.HeaderSize, strconv.Itoa(len(c.data)))
	m.Data = rest[:min(len(rest), b.piece)]
	return m, nil
}

func (b *Broadcast) report(ctx context.Context, data []byte) (*nats.Msg, error) {
	var r events.ReportRequest
	if err := decode(data, &r); err != nil {
		return nil, err
	}
	if err := checkReport(r.Report); err != nil {
		return nil, err
	}
	if err := b.sessions.admit(r.Session); err != nil {
		return nil, err
	}
	if err := b.sessions.join(r.Session, r.Subscriber, 0); err != nil {
		return nil, err
	}
	answer, err := b.feed.Report(ctx, overNATS, r.Report)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(answer)
	if err != nil {
		return nil, err
	}
	return &nats.Msg{Data: body}, nil
}

// maxRequest bounds what is parsed of a request, in bytes.
const maxRequest = 4 << 10

// decode reads a request. Fields may be added to it by later releases.
func decode(data []byte, v any) error {
	if len(data) > maxRequest || json.Unmarshal(data, v) != nil {
		return &events.FieldError{Field: "body", Problem: fmt.Sprintf("want a JSON object of at most %d bytes", maxRequest)}
	}
	return nil
}

// refusal is the answer to a request that met an error, with an HTTP status.
// What the error says is told only if it is about the request.
func refusal(err error) (*nats.Msg, int) {
	var field *events.FieldError
	code, text, retry := 503, "unavailable", 2*time.Second
	switch {
	case errors.As(err, &field):
		code, text, retry = 400, field.Error(), 0
	case errors.Is(err, errGone):
		code, text, retry = 410, err.Error(), 0
	case errors.Is(err, errTooFast):
		code, text, retry = 429, err.Error(), 100*time.Millisecond
	case errors.Is(err, ErrFull), errors.Is(err, ErrActorFull), errors.Is(err, ErrDraining):
		text = err.Error()
	}
	m := nats.NewMsg("")
	m.Header.Set(events.HeaderCode, strconv.Itoa(code))
	m.Header.Set(events.HeaderError, text)
	if retry > 0 {
		m.Header.Set(events.HeaderRetry, strconv.FormatInt(retry.Milliseconds(), 10))
	}
	return m, code
}
