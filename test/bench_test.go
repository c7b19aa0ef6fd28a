package test

import (
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/subscriber"
)

// BenchmarkEnforced measures the time from the hub's 201, as the caller reads
// it, to the first check in a connected subscriber that refuses. Hub and
// subscriber are two processes on one machine; the log is synced to disk.
func BenchmarkEnforced(b *testing.B) {
	w := newWorld(b)
	w.startHub()
	sub := w.subscribe()
	var took []time.Duration
	for n := 0; b.Loop(); n++ {
		jti := fmt.Sprint("t", n)
		a, err := w.call("POST", "/v1/revocations", order(events.KindToken, jti))
		if err != nil || a.status != http.StatusCreated {
			b.Fatal(err, a.status, string(a.body))
		}
		acknowledged := time.Now()
		for revokedIn(sub, jti).Outcome != subscriber.Revoked {
			runtime.Gosched()
		}
		took = append(took, time.Since(acknowledged))
	}
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	b.ReportMetric(ms(took[len(took)/2]), "p50-ms")
	b.ReportMetric(ms(took[len(took)*99/100]), "p99-ms")
	b.ReportMetric(ms(took[len(took)-1]), "max-ms")
}
