package natsfeed

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/subscriber"
)

// What may wait for a subscriber that is busy. The library's own limit is
// half a million messages.
const maxPendingMsgs, maxPendingBytes = 16 << 10, 64 << 20

// The reasons for which a stream ends, beside the library's and the hub's.
var (
	errHubName   = errors.New("not the name of a hub")
	errRestarted = errors.New("the hub has started anew")
	errMessage   = errors.New("a message that is not a piece of the stream")
)

// Follow implements subscriber.Transport: it listens to the hub's frames,
// attaches, reads what is missing, and goes on with the frames. They overlap:
// what was published before it listened is in the log when it attaches.
func (t *Transport) Follow(ctx context.Context, hub string, from subscriber.Start, r subscriber.Receiver) error {
	if !events.ValidHub(hub) {
		return errHubName
	}
	frames, err := t.nc.SubscribeSync(events.HubSubject(t.feed, hub, events.HubFrames))
	if err != nil {
		return fmt.Errorf("listen to the hub: %w", err)
	}
	defer frames.Unsubscribe()
	if err := frames.SetPendingLimits(maxPendingMsgs, maxPendingBytes); err != nil {
		return fmt.Errorf("listen to the hub: %w", err)
	}
	s := &stream{t: t, hub: hub, session: newSession(), r: r}
	defer t.name(followed{hub, from.Subscriber}, s.session)()

	head, err := s.attach(ctx, from)
	for err == nil && s.offset < head {
		err = s.read(ctx)
	}
	for err == nil {
		var m *nats.Msg
		if m, err = frames.NextMsgWithContext(ctx); err == nil {
			err = s.piece(m, s.run)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return t.explain(frames.Subject, fmt.Errorf("follow the hub: %w", err))
}

// name notes a session for the reports of whom follows; the function that it
// returns ends it.
func (t *Transport) name(f followed, session string) (end func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sessions[f] = session
	return func() {
		t.mu.Lock()
		if t.sessions[f] == session {
			delete(t.sessions, f)
		}
		t.mu.Unlock()
		t.detach(f.hub, session)
	}
}

// stream is the log of a hub as it arrives. Follow's goroutine owns it.
type stream struct {
	t       *Transport
	hub     string
	session string
	r       subscriber.Receiver
	run     string // names the log
	offset  int64  // what lies before has come
	log     parser
}

// attach begins the session and returns where the log ends.
func (s *stream) attach(ctx context.Context, from subscriber.Start) (head int64, err error) {
	req := events.AttachRequest{Session: s.session, Subscriber: from.Subscriber}
	if from.After != (events.Position{}) {
		req.After = from.After.String()
	}
	m, err := s.t.request(ctx, s.hub, events.HubAttach, req)
	if err != nil {
		return 0, err
	}
	p, err := events.ParseLogPiece(m.Header.Get(events.HeaderLog), len(m.Data))
	if err != nil {
		return 0, errMessage
	}
	s.run, s.offset = p.Run, p.Offset
	return p.Head, s.piece(m, p.Run)
}

// read asks for the next piece that is missing.
func (s *stream) read(ctx context.Context) error {
	before := s.offset
	m, err := s.t.request(ctx, s.hub, events.HubRead, events.ReadRequest{Session: s.session, Run: s.run, Offset: s.offset})
	if err != nil {
		return err
	}
	if err := s.piece(m, s.run); err != nil {
		return err
	}
	if s.offset == before {
		return errMessage
	}
	// The receiver may have had enough while it took the last event.
	return ctx.Err()
}

// piece takes a message of the stream: what is new of the log, and what
// follows it.
func (s *stream) piece(m *nats.Msg, run string) error {
	p, err := events.ParseLogPiece(m.Header.Get(events.HeaderLog), len(m.Data))
	switch {
	case err != nil:
		return errMessage
	case p.Run != run:
		return errRestarted
	case p.Offset > s.offset:
		return fmt.Errorf("%d bytes of the stream got lost", p.Offset-s.offset)
	}
	s.r.Alive()
	if end := p.Offset + int64(p.Length); end > s.offset {
		data := m.Data[s.offset-p.Offset : p.Length]
		s.offset = end
		if err := s.log.take(data, s.r.Event); err != nil {
			return err
		}
	}
	var beside parser
	if err := beside.take(m.Data[p.Length:], s.r.Event); err != nil {
		return err
	}
	if len(beside.rest) > 0 {
		return errMessage
	}
	return nil
}
