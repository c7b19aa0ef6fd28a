package feed

import (
	"context"
	"fmt"
	"math/rand/v2"
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
// stops reading, or the feed drains. Errors are returned only before anything
// was sent: *events.FieldError, ErrFull, ErrActorFull, ErrDraining, or the
// log's.
func (f *Feed) ServeStream(w http.ResponseWriter, r *http.Request, actor string) error {
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
	l := &listener{name: name, actor: actor, remote: r.RemoteAddr, since: events.At(f.cfg.Now()), applied: at.Seq}
	if hello.Mode != events.ModeDelta {
		l.applied = 0
	}
	if err := f.audience.join(l); err != nil {
		return err
	}
	defer f.audience.leave(l)

	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would hold the stream back
	c := &connection{feed: f, w: w, rc: http.NewResponseController(w), offset: offset}
	f.cfg.Metrics.opened(hello.Mode)
	why := c.serve(r.Context(), hello)
	f.cfg.Metrics.closed(why)
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

// connection is one stream being written. Its goroutine, the request's, owns it.
type connection struct {
	feed   *Feed
	w      http.ResponseWriter
	rc     *http.ResponseController
	offset int64  // of the frames: what lies before has been sent
	tickNo uint64 // of the last tick sent
}

// The reasons for which a stream ends, as the metrics count them.
const (
	readerGone = "reader_gone"
	writeSlow  = "write_failed"
	fellBehind = "fell_behind"
	drainedOff = "drained"
)

func (c *connection) serve(ctx context.Context, hello events.Hello) (why string) {
	data, err := helloFrame(hello)
	if err != nil || !c.write([][]byte{data}) {
		return writeSlow
	}
	// Half the promised time, so that a beat that is late is still in time.
	beat := time.NewTicker(c.feed.cfg.Heartbeat / 2)
	defer beat.Stop()
	drain := c.feed.drain
	var leave <-chan time.Time
	var buf [][]byte
	quiet := true // nothing sent since the last beat
	for {
		v, ok := c.feed.frames.from(c.offset, c.tickNo, buf[:0])
		if !ok {
			return fellBehind
		}
		if buf = v.records; v.tick != nil {
			buf = append(buf, v.tick)
		}
		if len(buf) > 0 {
			if !c.write(buf) {
				return writeSlow
			}
			c.offset, c.tickNo, quiet = v.end, v.tickNo, false
		}
		select {
		case <-v.changed:
		case <-beat.C:
			if quiet && !c.write([][]byte{[]byte(":\n\n")}) {
				return writeSlow
			}
			quiet = true
		case <-ctx.Done():
			return readerGone
		case <-drain:
			drain = nil
			leave = time.After(time.Duration(rand.Int64N(int64(c.feed.window) + 1)))
		case <-leave:
			c.write([][]byte{byeFrame(c.feed.window)})
			return drainedOff
		}
	}
}

func helloFrame(h events.Hello) ([]byte, error) {
	data, err := json.Marshal(h)
	return fmt.Appendf(nil, "event: hello\ndata: %s\n\n", data), err
}

// byeFrame asks a reader to come back, here or elsewhere, after a random part
// of a window.
func byeFrame(window time.Duration) []byte {
	return fmt.Appendf(nil, "event: bye\ndata: {\"retry_ms\":%d}\n\n", window.Milliseconds())
}

// write sends pieces and flushes. Each piece has a deadline of its own, and
// none is left armed: an idle HTTP/2 stream would be reset by it.
func (c *connection) write(pieces [][]byte) bool {
	for _, p := range pieces {
		_ = c.rc.SetWriteDeadline(time.Now().Add(c.feed.cfg.WriteTimeout))
		if _, err := c.w.Write(p); err != nil {
			return false
		}
	}
	if c.rc.Flush() != nil {
		return false
	}
	_ = c.rc.SetWriteDeadline(time.Time{})
	return true
}
