package feed

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events"
)

// Broadcast is the feed over core NATS: it publishes the frames once, for all
// who follow this hub, and answers their requests. It reads the frames like
// any connection, and like any it delays nobody. events/nats.go has the
// subjects and messages, docs/protocol.md how they play together.
type Broadcast struct {
	// Set once by ServeNATS.
	feed     *Feed
	nc       *nats.Conn
	hub      string
	run      string // names the byte log of this process
	piece    int    // bytes of the log or of a snapshot in one message, at most
	requests chan *nats.Msg
	subs     []*nats.Subscription
	sessions *sessions
	copies   copies
	stop     context.CancelFunc
	running  sync.WaitGroup // the publisher and the workers
	closing  sync.Once

	// The publisher's own.
	offset int64  // of the frames: what lies before has been published
	tickNo uint64 // of the last tick published
	left   bool   // the bye is said
	failed bool   // the latest publish did, and that is logged
}

const (
	// pieceSize keeps a message far below max_payload, which is 1 MiB by
	// default, and lets short ones pass between the pieces of a long one.
	pieceSize = 256 << 10
	// headerRoom is what a message needs beside its piece.
	headerRoom = 4 << 10
	// natsWorkers bounds the requests that are answered at once. Most of their
	// time is the log's, which answers many with one question.
	natsWorkers = 256
	// natsQueue bounds those that wait. What comes beyond is lost, as the
	// asker's own time limit tells it.
	natsQueue = 8192
	// natsPatience bounds the work for one request.
	natsPatience = 2 * time.Second
)

// ServeNATS begins to serve the feed on a connection to NATS, as the hub with
// this id (events.ValidHub) which no other hub of the feed has, until Close.
// The connection stays the caller's, who closes it afterwards; it has to
// reconnect for ever. While it is not connected, nothing is kept for later:
// subscribers see the gap and come back with their position.
func (f *Feed) ServeNATS(nc *nats.Conn, hubID string) (*Broadcast, error) {
	if !events.ValidHub(hubID) {
		return nil, fmt.Errorf("serve NATS: hub id %q: want 1 to 64 of A-Z, a-z, 0-9, - and _", hubID)
	}
	b := &Broadcast{
		feed: f, nc: nc, hub: hubID, run: strings.ToLower(rand.Text()[:16]),
		piece:    int(min(pieceSize, nc.MaxPayload()-headerRoom)),
		requests: make(chan *nats.Msg, natsQueue),
		sessions: newSessions(f),
		offset:   f.frames.headOffset(),
	}
	if b.piece < headerRoom {
		return nil, fmt.Errorf("serve NATS: max_payload is %d, want at least %d", nc.MaxPayload(), 2*headerRoom)
	}
	for _, what := range []string{events.HubAttach, events.HubRead, events.HubSnapshot, events.HubReport, events.HubDetach} {
		sub, err := nc.ChanSubscribe(events.HubSubject(f.Name(), hubID, what), b.requests)
		if err != nil {
			b.unsubscribe()
			return nil, fmt.Errorf("serve NATS: %w", err)
		}
		b.subs = append(b.subs, sub)
	}
	ctx, stop := context.WithCancel(context.Background())
	b.stop = stop
	for range natsWorkers {
		b.running.Go(func() { b.work(ctx) })
	}
	b.running.Go(func() { b.publish(ctx) })
	return b, nil
}

// Close takes leave of the subscribers, stops, and waits, for NATS a second at
// most unless a write hangs. It comes before the feed's Close. Closing again
// waits for the first to be done.
func (b *Broadcast) Close() {
	b.closing.Do(func() {
		b.stop()
		b.running.Wait()
		b.unsubscribe()
		b.sessions.close()
		if b.nc.IsConnected() {
			_ = b.nc.FlushTimeout(time.Second) // best effort: the bye
		}
	})
}

func (b *Broadcast) unsubscribe() {
	for _, s := range b.subs {
		_ = s.Unsubscribe() // fails if the connection is closed, which is as good
	}
}

// publish is connection.serve for everybody who listens.
func (b *Broadcast) publish(ctx context.Context) {
	f := b.feed
	beat := time.NewTicker(f.cfg.Heartbeat / 2)
	defer beat.Stop()
	drain := f.drain
	var buf [][]byte
	quiet := false // nothing published since the last beat
	b.announce()
	for {
		v, ok := f.frames.from(b.offset, b.tickNo, buf[:0])
		if !ok {
			// NATS has taken nothing for so long. Those who listen see a gap.
			f.cfg.Metrics.closed(fellBehind)
			b.offset = f.frames.headOffset()
			continue
		}
		buf = v.records
		changed := v.changed
		if len(v.records) > 0 || v.tick != nil {
			quiet = false
			if !b.log(v) {
				changed = nil // try again at the next beat
			}
		}
		select {
		case <-changed:
		case <-beat.C:
			b.announce()
			b.sessions.sweep()
			if quiet {
				b.send([]byte(":\n\n"), 0, b.offset)
			}
			quiet = true
		case <-drain:
			drain = nil
			b.leave(f.window)
		case <-ctx.Done():
			b.leave(f.cfg.Heartbeat)
			return
		}
	}
}

// log publishes what is new, and reports whether all of it went out.
func (b *Broadcast) log(v view) bool {
	for _, chunk := range v.records {
		for len(chunk) > 0 {
			n := min(len(chunk), b.piece)
			if !b.send(chunk[:n], n, v.end) {
				return false
			}
			b.offset += int64(n)
			chunk = chunk[n:]
		}
	}
	if v.tick != nil {
		if !b.send(v.tick, 0, v.end) {
			return false
		}
		b.tickNo = v.tickNo
	}
	return true
}

// send publishes data, whose first length bytes are the log at b.offset.
func (b *Broadcast) send(data []byte, length int, head int64) bool {
	m := nats.NewMsg(events.HubSubject(b.feed.Name(), b.hub, events.HubFrames))
	m.Header.Set(events.HeaderLog, events.LogPiece{Run: b.run, Offset: b.offset, Length: length, Head: head}.String())
	m.Data = data
	return b.put(m)
}

func (b *Broadcast) put(m *nats.Msg) bool {
	err := errNotConnected // the library might keep it for later
	if b.nc.IsConnected() {
		err = b.nc.PublishMsg(m)
	}
	if err != nil && !b.failed {
		b.feed.cfg.Logger.Error("can't publish the feed: subscribers over NATS will go stale", "err", err)
	}
	b.failed = err != nil
	return err == nil
}

var errNotConnected = errors.New("not connected to NATS")

// announce says that this hub is there, and when to give it up.
func (b *Broadcast) announce() {
	data, err := json.Marshal(events.Presence{Hub: b.hub, EveryMS: int(b.feed.cfg.Heartbeat / time.Millisecond), Leaving: b.left})
	if err == nil {
		b.put(&nats.Msg{Subject: events.HubsSubject(b.feed.Name()), Data: data})
	}
}

// leave tells everybody to go, once. Each takes a random part of the window
// for it, so they don't arrive elsewhere at once.
func (b *Broadcast) leave(window time.Duration) {
	if b.left {
		return
	}
	b.left = true
	b.announce()
	b.send(byeFrame(window), 0, b.offset)
}
