package test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub"
	"github.com/revocast/revocast/internal/natstest"
	"github.com/revocast/revocast/subscriber"
)

// follower is a subscriber without a set: it follows one hub after the other with
// its position, and makes sure that nothing is missing. Its fields but at are
// the goroutine's that runs it.
type follower struct {
	hubs []*clusterHub
	at   atomic.Uint64 // the last record; from another goroutine, too
	pos  string
	// modes are those of the hellos, but the first; away counts refusals, and
	// unasked those without a Retry-After.
	modes         []string
	away, unasked int
	gap           string
}

func (r *follower) run(ctx context.Context, client *http.Client) {
	for n := 0; ctx.Err() == nil; n++ {
		wait := time.Duration(rand.Int64N(int64(250*time.Millisecond) << min(n, 4)))
		if again := r.follow(ctx, client, r.hubs[n%len(r.hubs)].addr); again > 0 {
			wait = again + time.Duration(rand.Int64N(int64(again)))
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

// follow reads one stream to its end; it returns how long the hub asked to be
// left alone.
func (r *follower) follow(ctx context.Context, client *http.Client, addr string) time.Duration {
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+addr+"/v1/feed", nil)
	if err != nil {
		panic(err) // of fixed parts
	}
	req.Header.Set("Authorization", "Bearer "+adminKey)
	if r.pos != "" {
		req.Header.Set("Last-Event-ID", r.pos)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		r.away++
		secs, err := strconv.Atoi(resp.Header.Get("Retry-After"))
		if err != nil || resp.StatusCode != http.StatusServiceUnavailable {
			r.unasked++
		}
		return time.Duration(secs) * time.Second
	}
	event := ""
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		switch field, value, _ := strings.Cut(lines.Text(), ": "); {
		case field == "event":
			event = value
		case field == "data" && event == events.EventHello && r.pos != "":
			var h events.Hello
			_ = json.Unmarshal([]byte(value), &h)
			r.modes = append(r.modes, h.Mode)
		case field == "id":
			pos, err := events.ParsePosition(value)
			if before := r.at.Load(); err != nil || pos.Seq != before+1 {
				r.gap = fmt.Sprintf("%s after %d", value, before)
			}
			r.pos = value
			r.at.Store(pos.Seq)
		}
	}
	return 0
}

// One of two hubs dies, and all who followed it come to the other: with their
// positions, so that nobody needs a snapshot, and not all at once; those who are
// too many are sent away for a while; and soon everybody is fresh.
func TestHerdFromAHubThatDied(t *testing.T) {
	const readers, real, soon = 500, 20, 30 * time.Second
	nats, err := natstest.Start(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nats.Shutdown)
	w := newHubsOn(t, nats.URLs(), 2, func(c *hub.Config) {
		c.Replicas, c.MaxSubscribers, c.MaxStreamsPerCredential = 1, readers+real, readers+real
	})
	w.revoke("first")

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ctx, cancel := context.WithCancel(t.Context())
	var reading sync.WaitGroup
	stop := func() { cancel(); reading.Wait() }
	defer stop()
	var herd []*follower
	for range readers {
		r := &follower{hubs: w.hubs}
		herd = append(herd, r)
		reading.Go(func() { r.run(ctx, client) })
	}
	var subs []*subscriber.Subscriber
	for i := range real {
		s, err := subscriber.New(subscriber.Config{
			Hubs: []string{"http://" + w.hubs[0].addr, "http://" + w.hubs[1].addr}, Credential: adminKey, Name: fmt.Sprint("sub-", i),
			Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		subs = append(subs, s)
	}
	all := func(seq uint64) func() bool {
		return func() bool {
			for _, r := range herd {
				if r.at.Load() < seq {
					return false
				}
			}
			for _, s := range subs {
				if st := s.Status(); st.State != subscriber.Fresh || !strings.HasSuffix(st.Position, fmt.Sprint(":", seq)) {
					return false
				}
			}
			return true
		}
	}
	w.until("all have the first record", all(1))

	moves := make(map[string]bool) // a busy machine may have moved one already
	for _, s := range subs {
		if st := s.Status(); st.Hub == "http://"+w.hubs[0].addr {
			moves[st.Name] = true
		}
	}
	begun := time.Now()
	w.kill(w.hubs[0])
	w.revoke("second")
	w.until("all have the second record", all(2))
	if took := time.Since(begun); took > soon {
		t.Errorf("all are fresh after %v, want %v", took, soon)
	} else {
		t.Logf("all are fresh after %v", took)
	}
	other := w.hubs[1]
	var list struct {
		Subscribers []struct {
			Name  string
			Since events.Time
		}
	}
	w.until("the other hub has all", func() bool {
		w.get(other, "/v1/subscribers", &list)
		return len(list.Subscribers) == readers+real
	})
	var first, last events.Time
	for _, s := range list.Subscribers {
		if !moves[s.Name] {
			continue
		}
		if first == 0 || s.Since < first {
			first = s.Since
		}
		last = max(last, s.Since)
	}
	if spread := time.Duration(last-first) * time.Millisecond; spread < 50*time.Millisecond && len(moves) > real/4 {
		t.Errorf("%d subscribers came within %v", len(moves), spread)
	} else {
		t.Logf("%d subscribers came within %v", len(moves), spread)
	}

	// The hub is full: who comes now is told to come later, and nobody who is
	// there is the worse for it.
	late := &follower{hubs: w.hubs[1:]}
	lateCtx, leave := context.WithTimeout(ctx, 6*time.Second)
	late.run(lateCtx, client)
	leave()
	if late.away == 0 || late.unasked > 0 || late.at.Load() > 0 {
		t.Errorf("sent away %d times, %d of them without a time; at %d", late.away, late.unasked, late.at.Load())
	}
	w.until("all are still there", all(2))

	stop()
	for i, r := range herd {
		if r.gap != "" || len(r.modes) == 0 || slices.ContainsFunc(r.modes, func(m string) bool { return m != events.ModeDelta }) {
			t.Fatalf("reader %d: gap %q, hellos %v", i, r.gap, r.modes)
		}
	}
	for _, s := range subs {
		if st := s.Status(); len(st.Resyncs) > 0 || st.Sessions["failed"] == 0 || revokedIn(s, "second").Outcome != subscriber.Revoked {
			t.Errorf("%+v", st)
		}
	}
}
