package feed

import (
	"context"
	"math/rand/v2"
	"net/http"
	"time"
)

// answer is a stream that is written as the answer to its request, by the
// request's goroutine: what there is to do with a connection that can't be
// taken from the HTTP server, as with HTTP/2.
type answer struct {
	stream
	w  http.ResponseWriter
	rc *http.ResponseController
}

// serve writes until the stream ends, and says why it did.
func (a *answer) serve(ctx context.Context) (why string) {
	// Half the promised time, so that a beat that is late is still in time.
	beat := time.NewTicker(a.feed.cfg.Heartbeat / 2)
	defer beat.Stop()
	drain := a.feed.drain
	var leave <-chan time.Time
	var buf [][]byte
	quiet := true // nothing but heartbeats sent since the last beat
	for {
		v, ok := a.feed.frames.from(a.offset, a.tickNo, buf[:0])
		if !ok {
			return fellBehind
		}
		if buf = v.records; len(a.rest) > 0 || len(v.records) > 0 || v.tick != nil {
			if a.send(v, a.write) != nil || !a.flush() {
				return writeFailed
			}
			quiet = quiet && len(v.records) == 0 && v.tick == nil
		}
		if a.last {
			return drainedOff
		}
		select {
		case <-v.changed:
		case <-beat.C:
			if quiet {
				a.rest = heartbeat
			}
			quiet = true
		case <-ctx.Done():
			return readerGone
		case <-drain:
			drain = nil
			leave = time.After(a.feed.leaveAfter())
		case <-leave:
			a.leave()
		}
	}
}

// leaveAfter is when, after the drain has begun, one of the readers goes.
func (f *Feed) leaveAfter() time.Duration {
	return time.Duration(rand.Int64N(int64(f.window) + 1))
}

// write sends a piece, which has a deadline of its own.
func (a *answer) write(b []byte) (int, error) {
	_ = a.rc.SetWriteDeadline(time.Now().Add(a.feed.cfg.WriteTimeout))
	return a.w.Write(b)
}

// flush leaves no deadline armed: an idle HTTP/2 stream would be reset by it.
func (a *answer) flush() bool {
	if a.rc.Flush() != nil {
		return false
	}
	_ = a.rc.SetWriteDeadline(time.Time{})
	return true
}
