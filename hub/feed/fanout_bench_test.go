package feed

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/r3labs/sse/v2"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/log"
)

const (
	burst      = 2000 // revocations, or events of the same size
	publishers = 16
)

var servers = []struct {
	name string
	way  carriage
}{{"simple", inHandler}, {"hijacked", taken}, {"tls", takenTLS}}

// fromEnv lets a benchmark be run at another size.
func fromEnv(b *testing.B, name string, otherwise int) int {
	b.Helper()
	text, ok := os.LookupEnv(name)
	if !ok {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		b.Fatalf("%s: want a number, got %q", name, text)
	}
	return n
}

// BenchmarkFanout measures a burst: 16 publishers, one revocation for each
// append, synced to disk, to 1,000 readers (FANOUT_READERS). A delivery is one
// revocation that one reader has read. The readers are another process on the
// same processors; server-ns is what this process uses for one delivery, the
// publishers, the log and the fold included. The server of r3labs/sse gets
// events as long as one revocation, and keeps nothing.
func BenchmarkFanout(b *testing.B) {
	for _, c := range servers {
		b.Run(c.name, func(b *testing.B) { fanOutHub(b, c.way) })
	}
	b.Run("r3labs", fanOutPeer)
}

func fanOutHub(b *testing.B, way carriage) {
	w := newWorld(b, by(way), forBenchmark)
	var n atomic.Int64
	fanOut(b, w.plan(), func() error {
		_, err := w.feed.Revoke(context.Background(), Caller{Actor: "bench", Source: "bench"},
			[]Order{{Target: target(events.KindToken, strconv.FormatInt(n.Add(1), 10)), Reason: events.Logout}}, false)
		return err
	})
}

// forBenchmark sets what a hub has by default.
func forBenchmark(w *world, c *Config, _ *log.Config) {
	w.sync = true
	c.TickEvery, c.Heartbeat, c.Now = 0, 0, nil
}

func (w *world) plan() crowdPlan {
	return crowdPlan{Addr: w.http.Listener.Addr().String(), Path: "/v1/feed", TLS: w.way == takenTLS}
}

func fanOutPeer(b *testing.B) {
	server := sse.New()
	server.AutoReplay = false // it would keep everything for ever
	server.CreateStream("feed")
	web := httptest.NewServer(http.HandlerFunc(server.ServeHTTP))
	defer func() { // in this order, or it leaves goroutines behind
		web.Close()
		server.Close()
	}()
	event := []byte(`{"op":"revoke","k":"` + strings.Repeat("k", 22) + `","kind":"token","exp":1764000000,"id":"rev_` + strings.Repeat("0", 26) + `"}`)
	fanOut(b, crowdPlan{Addr: web.Listener.Addr().String(), Path: "/?stream=feed"}, func() error {
		server.Publish("feed", &sse.Event{Data: event})
		return nil
	})
}

func fanOut(b *testing.B, plan crowdPlan, publish func() error) {
	plan.Readers, plan.Each = fromEnv(b, "FANOUT_READERS", 1000), burst
	c := newCrowd(b, plan)
	defer c.leave()
	runtime.GC()
	var publishing, read time.Duration
	before := cpuTime()
	b.ResetTimer()
	for range b.N {
		begun := time.Now()
		var all sync.WaitGroup
		for range publishers {
			all.Go(func() {
				for range burst / publishers {
					if err := publish(); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
		publishing += time.Since(begun)
		read = c.await("round") - c.connected
	}
	b.StopTimer()
	deliveries := float64(b.N) * burst * float64(plan.Readers)
	b.ReportMetric(deliveries/b.Elapsed().Seconds(), "deliveries/s")
	b.ReportMetric(float64(cpuTime()-before)/deliveries, "server-ns/delivery")
	b.ReportMetric(float64(read)/deliveries, "readers-ns/delivery")
	b.ReportMetric(publishing.Seconds()*1000/float64(b.N), "publish-ms")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkIdle measures what a reader costs for whom there is nothing: the
// memory of this process, as the system counts it and as Go does, for each of
// 2,000 (IDLE_READERS; 10,000 is what a hub is measured by), and the processor's
// time that each takes in a second, ticks included.
func BenchmarkIdle(b *testing.B) {
	for _, c := range servers {
		b.Run(c.name, func(b *testing.B) {
			w := newWorld(b, by(c.way), forBenchmark)
			plan := w.plan()
			plan.Readers, plan.Each = fromEnv(b, "IDLE_READERS", 2000), 1
			before := memoryNow(b)
			c := newCrowd(b, plan)
			defer c.leave()
			w.await("all are there", func() bool { return w.feed.audience.size() == plan.Readers })
			time.Sleep(2 * time.Second) // a few ticks
			after := memoryNow(b)
			each := func(after, before uint64) float64 { return (float64(after) - float64(before)) / float64(plan.Readers) }
			cpu := cpuTime()
			begun := time.Now()
			b.ResetTimer()
			for range b.N {
				time.Sleep(time.Second)
			}
			b.StopTimer()
			b.ReportMetric(float64(cpuTime()-cpu)/time.Since(begun).Seconds()/float64(plan.Readers), "ns/reader/s")
			b.ReportMetric(each(after.resident, before.resident), "B-resident/reader")
			b.ReportMetric(each(after.inuse, before.inuse), "B-heap+stack/reader")
			b.ReportMetric(0, "ns/op")
		})
	}
}

type memory struct{ resident, inuse uint64 }

func memoryNow(b *testing.B) (m memory) {
	debug.FreeOSMemory()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	m.inuse = s.HeapInuse + s.StackInuse
	text, err := os.ReadFile("/proc/self/statm") // of Linux
	if err != nil {
		return m
	}
	var size, resident uint64
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		b.Fatal(err)
	}
	m.resident = resident * uint64(os.Getpagesize())
	return m
}
