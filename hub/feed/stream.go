package feed

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/revocast/revocast/events"
)

// SubscriberHeader is the request header in which a subscriber names itself,
// so that its reports can be matched with its stream.
const SubscriberHeader = "Revocast-Subscriber"

// ServeStream answers GET /v1/feed for the holder of a credential: a stream
// of server-sent events that lasts until the reader goes, falls off the tail,
// stops reading, loses its credential, or the feed drains or closes. Errors
// are returned only before anything was sent: *events.FieldError, ErrFull,
// ErrActorFull, ErrDraining, or the log's.
//
// The stream may outlive the request: a connection that can be taken from the
// HTTP server is (see lines), and ServeStream returns when the reader has what
// there was. From then on r's context means nothing, and valid says, when
// asked about once a second, whether the credential is still good. It must not
// block; several goroutines may call it; nil: it is good for ever. A stream
// that stays with its request ends with r's context.
func (f *Feed) ServeStream(w http.ResponseWriter, r *http.Request, actor string, valid func() bool) error {
	name := r.Header.Get(SubscriberHeader)
	if err := events.CheckText(SubscriberHeader, name, 128); err != nil {
		return err
	}
	at, err := lastEventID(r)
	if err != nil {
		return err
	}
	if f.draining() {
		return ErrDraining
	}
	hello, offset, err := f.attach(r.Context(), at)
	if err != nil {
		return err
	}
	first, err := helloFrame(hello)
	if err != nil {
		return fmt.Errorf("hello: %w", err)
	}
	l := &listener{teller: teller{actor, name}, remote: r.RemoteAddr, since: events.At(f.cfg.Now()), begun: at.Seq}
	if hello.Mode != events.ModeDelta {
		l.begun = 0
	}
	if err := f.audience.join(l); err != nil {
		return err
	}
	f.cfg.Metrics.opened(hello.Mode)

	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would hold the stream back
	s := stream{feed: f, listener: l, offset: offset, rest: first}
	if !f.lines.take(w, r, s, valid) {
		a := answer{stream: s, w: w, rc: http.NewResponseController(w)}
		a.end(a.serve(r.Context()))
	}
	return nil
}

// lastEventID reads the position from which a stream is to go on; the zero
// position if the reader has none.
func lastEventID(r *http.Request) (events.Position, error) {
	id := r.Header.Get("Last-Event-ID")
	if id == "" {
		return events.Position{}, nil
	}
	at, err := events.ParsePosition(id)
	if err != nil {
		return at, &events.FieldError{Field: "Last-Event-ID", Problem: "want <epoch>:<seq>, as an id line of the stream gave it"}
	}
	return at, nil
}

// attach decides how a session begins, and at which offset of the frames.
//
// There is no gap between what has happened and what will: a record that is
// folded after the decision lies behind the offset in the same byte log, and
// the connection reads on from there.
func (f *Feed) attach(ctx context.Context, at events.Position) (events.Hello, int64, error) {
	epoch := f.log.Epoch()
	head := f.Position().Seq
	mode := events.ModeDelta
	if at.Epoch == epoch && at.Seq > head {
		// Ahead of this hub's fold is not ahead of the log: wait for it.
		var err error
		if head, err = f.log.Head(ctx); err != nil {
			return events.Hello{}, 0, fmt.Errorf("attach: %w", err)
		}
		if at.Seq <= head {
			if err := f.log.WaitFollowed(ctx, at.Seq); err != nil {
				return events.Hello{}, 0, fmt.Errorf("attach: %w", err)
			}
		}
	}
	offset, ok := f.frames.offsetAfter(at.Seq)
	switch {
	case at.Epoch != "" && at.Epoch != epoch, at.Seq > head:
		mode = events.ModeReset // it has seen what this log has not
	case !ok:
		mode = events.ModeSnapshot
	}
	if mode != events.ModeDelta {
		offset = f.frames.headOffset()
	}
	return events.Hello{
		V: 1, Feed: f.Name(), Epoch: epoch, Head: head, Mode: mode,
		HeartbeatMS: int(f.cfg.Heartbeat / time.Millisecond), Salt: f.salt,
		Keys: f.cfg.HubKeys, Claims: f.cfg.Claims,
	}, offset, nil
}

// stream is a reader's place in the feed: what it has been sent, and so what
// comes next. Whoever writes to the reader owns it, one goroutine at a time.
type stream struct {
	feed     *Feed
	listener *listener
	offset   int64  // of the frames: what lies before has been sent
	tickNo   uint64 // of the last tick begun
	rest     []byte // what comes next and is not in the frames: a hello, what is left of a tick
	last     bool   // nothing comes after rest
}

// The reasons for which a stream ends, as the metrics count them.
const (
	readerGone     = "reader_gone"
	writeFailed    = "write_failed"
	fellBehind     = "fell_behind"
	drainedOff     = "drained"
	credentialOver = "credential_ended"
	feedClosed     = "closed"
)

func helloFrame(h events.Hello) ([]byte, error) {
	data, err := json.Marshal(h)
	return fmt.Appendf(nil, "event: hello\ndata: %s\n\n", data), err
}

// byeFrame asks a reader to come back, here or elsewhere, after a random part
// of a window.
func byeFrame(window time.Duration) []byte {
	return fmt.Appendf(nil, "event: bye\ndata: {\"retry_ms\":%d}\n\n", window.Milliseconds())
}

// heartbeat is a comment, which readers skip.
var heartbeat = []byte(":\n\n")

// send gives write, piece by piece, what is left to send and then what v
// holds. Where write fails, the stream goes on later at the very byte.
//
// This is all that those who write differ in: write sends b, and returns how
// much of it was sent, with an error if that is not all. It does not keep b.
func (s *stream) send(v view, write func(b []byte) (int, error)) error {
	if err := s.sendRest(write); err != nil || s.last {
		return err
	}
	for _, p := range v.records {
		n, err := write(p)
		s.offset += int64(n)
		if err != nil {
			return err
		}
	}
	if v.tick == nil {
		return nil
	}
	s.tickNo, s.rest = v.tickNo, v.tick
	return s.sendRest(write)
}

func (s *stream) sendRest(write func([]byte) (int, error)) error {
	if len(s.rest) == 0 {
		return nil
	}
	n, err := write(s.rest)
	if s.rest = s.rest[n:]; len(s.rest) == 0 {
		s.rest = nil // it may keep much alive
	}
	return err
}

// leave makes a bye the last that is sent. Nothing may be left of what was
// begun before.
func (s *stream) leave() {
	s.rest = byeFrame(s.feed.window)
	s.last = true
}

// end accounts for the end of a stream.
func (s *stream) end(why string) {
	s.feed.audience.leave(s.listener)
	s.feed.cfg.Metrics.closed(why)
}
