package feed

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/revocast/revocast/events"
)

// snapshots keeps the latest encoded snapshot for all who ask.
type snapshots struct {
	mu      sync.Mutex // held while one is built, so that it is built once
	data    []byte     // guarded by mu; the bytes never change
	at      events.Position
	builtAt time.Time
}

// reuseFor is how long a snapshot is handed out although the log has moved
// on. Who loads it gets the records since from the stream.
const reuseFor = 2 * time.Second

// SnapshotType is the media type of a snapshot.
const SnapshotType = "application/vnd.revocast.snapshot"

func (f *Feed) snapshot() ([]byte, events.Position, error) {
	s := &f.snapshots
	s.mu.Lock()
	defer s.mu.Unlock()
	head := f.Position()
	if s.data != nil && (s.at == head || time.Since(s.builtAt) < reuseFor && f.frames.holds(s.at.Seq)) {
		return s.data, s.at, nil
	}
	begun := time.Now()
	data, at, err := f.encodeSnapshot()
	if err != nil {
		return nil, at, err
	}
	s.data, s.at, s.builtAt = data, at, time.Now()
	f.cfg.Metrics.snapshotBuilt(len(data), begun)
	return data, at, nil
}

// encodeSnapshot holds the fold for as long as it takes to write the set down
// in memory: some 40 ms for a million entries.
func (f *Feed) encodeSnapshot() ([]byte, events.Position, error) {
	now := f.cfg.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	h := events.SnapshotHeader{
		Feed: f.Name(), Epoch: f.log.Epoch(), Seq: f.seq, Chain: f.chain, At: events.At(now), Salt: f.salt,
	}
	buf := bytes.NewBuffer(make([]byte, 0, 1024+24*f.live.Len()))
	err := events.WriteSnapshot(buf, h, f.live, now.Add(-backwards).Unix())
	return buf.Bytes(), h.Position(), err
}

// ServeSnapshot answers GET /v1/snapshot. The ETag is the position.
func (f *Feed) ServeSnapshot(w http.ResponseWriter, r *http.Request) error {
	data, at, err := f.snapshot()
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	etag := strconv.Quote(at.String())
	w.Header().Set("ETag", etag)
	w.Header().Set("Cache-Control", "no-cache")
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	w.Header().Set("Content-Type", SnapshotType)
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	rc := http.NewResponseController(w)
	const piece = 256 << 10
	for len(data) > 0 {
		// A deadline for each piece cuts off who has stopped reading, and
		// lets everybody else take as long as the line needs.
		_ = rc.SetWriteDeadline(time.Now().Add(f.cfg.WriteTimeout))
		n, err := w.Write(data[:min(piece, len(data))])
		if err != nil {
			return nil // the reader's loss; the status is out already
		}
		data = data[n:]
	}
	_ = rc.SetWriteDeadline(time.Time{})
	return nil
}
