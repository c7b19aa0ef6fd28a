package natsfeed

import (
	"context"
	"hash/maphash"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events"
)

// hubs are those that have said lately that they are there.
type hubs struct {
	seed maphash.Seed // makes the order this process's own

	mu      sync.Mutex
	until   map[string]time.Time // guarded by mu: when to give a hub up
	changed chan struct{}        // guarded by mu: closed and replaced when one is new
}

const (
	// maxHubs bounds what anybody who may publish there can make us remember.
	maxHubs = 256
	// missed is how many presences in a row may get lost.
	missed = 3
	// The least and most that a hub's word about its next presence counts.
	minPresence, maxPresence = 100 * time.Millisecond, 10 * time.Second
)

func newHubs() *hubs {
	return &hubs{seed: maphash.MakeSeed(), until: make(map[string]time.Time), changed: make(chan struct{})}
}

// listen takes what the hubs say, until ctx ends.
func (h *hubs) listen(ctx context.Context, nc *nats.Conn, subject string) {
	for ctx.Err() == nil {
		_ = h.listenOnce(ctx, nc, subject) // Hubs tells what has become of it
		// A slow consumer, or no permission, which may come.
		select {
		case <-time.After(listenAgain):
		case <-ctx.Done():
		}
	}
}

const listenAgain = time.Second

func (h *hubs) listenOnce(ctx context.Context, nc *nats.Conn, subject string) error {
	presences, err := nc.SubscribeSync(subject)
	if err != nil {
		return err
	}
	defer presences.Unsubscribe()
	for {
		m, err := presences.NextMsgWithContext(ctx)
		if err != nil {
			return err
		}
		h.take(m.Data, time.Now())
	}
}

func (h *hubs) take(data []byte, now time.Time) {
	var p events.Presence
	if len(data) > 1024 || json.Unmarshal(data, &p) != nil || !events.ValidHub(p.Hub) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if p.Leaving {
		delete(h.until, p.Hub)
		return
	}
	maps.DeleteFunc(h.until, func(_ string, until time.Time) bool { return until.Before(now) })
	if _, known := h.until[p.Hub]; !known && len(h.until) >= maxHubs {
		return
	}
	every := min(max(time.Duration(p.EveryMS)*time.Millisecond, minPresence), maxPresence)
	h.until[p.Hub] = now.Add(missed * every)
	close(h.changed)
	h.changed = make(chan struct{})
}

// wait returns the hubs that are there, and waits until there is one.
func (h *hubs) wait(ctx context.Context) ([]string, error) {
	for {
		list, changed := h.there(time.Now())
		if len(list) > 0 {
			return list, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// there lists the hubs in an order that stays the same, and is another one in
// each process, so that subscribers spread over the hubs.
func (h *hubs) there(now time.Time) (list []string, changed <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for hub, until := range h.until {
		if !until.Before(now) {
			list = append(list, hub)
		}
	}
	slices.SortFunc(list, func(a, b string) int {
		if maphash.String(h.seed, a) < maphash.String(h.seed, b) {
			return -1
		}
		return 1
	})
	return list, h.changed
}
