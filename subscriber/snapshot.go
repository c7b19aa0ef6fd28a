package subscriber

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/revocast/revocast/events"
)

// fetch downloads a hub's snapshot, as long as it makes progress.
func (s *Subscriber) fetch(ctx context.Context, hub string) (*events.Snapshot, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	alive := newWatchdog(s.tuning.idle, cancel)
	defer alive.stop()
	body, err := s.transport.Snapshot(ctx, hub)
	if err == nil {
		defer body.Close()
		var snap *events.Snapshot
		if snap, err = events.ReadSnapshot(watchedReader{body, alive}, s.config.snapshotLimit()); err == nil {
			return snap, nil
		}
	}
	if cause := context.Cause(ctx); cause != nil {
		return nil, fmt.Errorf("read snapshot: %w", cause)
	}
	return nil, err
}

// watchedReader tells a watchdog what arrives.
type watchedReader struct {
	io.Reader
	alive *watchdog
}

func (r watchedReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		r.alive.alive()
	}
	return n, err
}

// Snapshot implements Transport.
func (h *hubClient) Snapshot(ctx context.Context, hub string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, hub+"/v1/snapshot", nil)
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Client{Transport: h, CheckRedirect: noRedirect}).Do(req)
	if err != nil {
		return nil, err
	}
	if err := checkStatus(resp); err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp.Body, nil
}
