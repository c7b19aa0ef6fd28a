package test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/subscriber"
)

var rounds = flag.Int("kill.rounds", 10, "how often TestKilledUnderLoad kills the hub")

// Promise 1, with a process and a SIGKILL: an acknowledged revocation is never
// lost, and a subscriber that was there needs no help to have it all.
func TestKilledUnderLoad(t *testing.T) {
	w := newWorld(t)
	w.startHub()
	sub := w.subscribe(func(c *subscriber.Config) { c.MaxStaleness = 2 * time.Second })
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))

	var mu sync.Mutex
	var acked, unknown []string // guarded by mu
	for round := range *rounds {
		stop := make(chan struct{})
		var load sync.WaitGroup
		for writer := range 8 {
			load.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					jti := fmt.Sprintf("%d-%d-%d", round, writer, n)
					a, err := w.call("POST", "/v1/revocations", order(events.KindToken, jti))
					mu.Lock()
					if err == nil && a.status == http.StatusCreated {
						acked = append(acked, jti)
					} else {
						unknown = append(unknown, jti)
					}
					mu.Unlock()
				}
			})
		}
		time.Sleep(time.Duration(50+random.IntN(300)) * time.Millisecond)
		w.killHub()
		close(stop)
		load.Wait()
		w.startHub()

		seen := w.audited()
		for _, jti := range acked {
			if seen[jti] != 1 {
				t.Fatalf("round %d: acknowledged, and %d times in the audit: %s", round, seen[jti], jti)
			}
		}
		sent := len(acked) + len(unknown)
		if len(seen) > sent {
			t.Fatalf("round %d: %d in the audit, %d were ever sent", round, len(seen), sent)
		}
		head := w.position()
		w.eventually("the subscriber is fresh at the head again", func() bool {
			s := sub.Status()
			return s.State == subscriber.Fresh && s.Position == head.String()
		})
		for jti := range seen {
			if v := revokedIn(sub, jti); v.Outcome != subscriber.Revoked {
				t.Fatalf("round %d: the subscriber says %v of %s, which is in the audit", round, v.Outcome, jti)
			}
		}
	}
	if len(acked) < 50*(*rounds) {
		t.Errorf("only %d acknowledged in %d rounds: too little load to prove anything", len(acked), *rounds)
	}
	if s := sub.Status(); len(s.Resyncs) > 0 {
		t.Errorf("the subscriber needed a snapshot, though the hub had all records: %v", s.Resyncs)
	}
	t.Logf("%d acknowledged, %d unknown", len(acked), len(unknown))
}
