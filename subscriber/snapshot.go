package subscriber

import (
	"context"
	"fmt"
	"net/http"

	"github.com/revocast/revocast/events"
)

// fetch downloads a hub's snapshot, as long as it makes progress.
func (h *hubClient) fetch(ctx context.Context, hub string, maxBytes int64, alive *watchdog) (*events.Snapshot, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, hub+"/v1/snapshot", nil)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: heard{h, alive}, CheckRedirect: noRedirect}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if err := checkStatus(resp); err != nil {
		return nil, err
	}
	if resp.ContentLength > maxBytes {
		return nil, wrong("snapshot", "%d bytes, at most %d are allowed", resp.ContentLength, maxBytes)
	}
	s, err := events.ReadSnapshot(resp.Body, maxBytes)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, fmt.Errorf("read snapshot: %w", cause)
		}
		return nil, err
	}
	return s, nil
}
