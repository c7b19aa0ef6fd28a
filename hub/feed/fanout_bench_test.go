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

// servers are what carries events to a crowd. Those of the hub, by how they
// carry, have a log that is synced to disk. The server of r3labs/sse gets events
// as long as one revocation, and keeps nothing.
var servers = []struct {
	name  string
	serve func(*testing.B) served
}{
	{"simple", serveHub(inHandler)},
	{"hijacked", serveHub(taken)},
	{"tls", serveHub(takenTLS)},
	{"r3labs", servePeer},
}

// served is one of them, until the end of the benchmark.
type served struct {
	plan crowdPlan
	// publish publishes n events, together if it can; they say exp, exp+1 and so
	// on, in unix seconds.
	publish func(exp int64, n int) error
}

func serveHub(way carriage) func(*testing.B) served {
	return func(b *testing.B) served {
		w := newWorld(b, by(way), forBenchmark)
		var jti atomic.Int64
		return served{
			crowdPlan{Addr: w.http.Listener.Addr().String(), Path: "/v1/feed", TLS: way == takenTLS},
			func(exp int64, n int) error {
				orders := make([]Order, n)
				for i := range orders {
					until := time.Unix(exp+int64(i)-1, 0).Add(-DefaultSkew) // it is kept for a second and a skew more
					orders[i] = Order{Target: target(events.KindToken, strconv.FormatInt(jti.Add(1), 10)), ExpiresAt: events.At(until), Reason: events.Logout}
				}
				_, err := w.feed.Revoke(context.Background(), Caller{Actor: "bench", Source: "bench"}, orders, false)
				return err
			},
		}
	}
}

// forBenchmark sets what a hub has by default.
func forBenchmark(w *world, c *Config, _ *log.Config) {
	w.sync = true
	c.TickEvery, c.Heartbeat, c.Now = 0, 0, nil
}

func servePeer(b *testing.B) served {
	server := sse.New()
	server.AutoReplay = false // it would keep everything for ever
	server.CreateStream("feed")
	web := httptest.NewServer(http.HandlerFunc(server.ServeHTTP))
	b.Cleanup(func() { // in this order, or it leaves goroutines behind
		web.Close()
		server.Close()
	})
	return served{
		crowdPlan{Addr: web.Listener.Addr().String(), Path: "/?stream=feed"},
		func(exp int64, n int) error {
			for i := range n {
				server.Publish("feed", &sse.Event{Data: fmt.Appendf(nil, `{"op":"revoke","k":"%s","kind":"token","exp":%d,"id":"rev_%s"}`,
					strings.Repeat("k", 22), exp+int64(i), strings.Repeat("0", 26))})
			}
			return nil
		},
	}
}

// firstExp is what the first event says; a second more each.
func firstExp() int64 { return time.Now().Add(time.Hour).Unix() }

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

// BenchmarkFanout measures a burst: 16 publishers, each waiting for its answer
// before it publishes again, 2,000 events, to 1,000 readers (FANOUT_READERS). A
// delivery is one revocation that one reader has read, whatever else was in the
// same write. The readers are another process on the same processors;
// server-ns is what this process uses for one delivery, the publishers, the log
// and the fold included.
func BenchmarkFanout(b *testing.B) {
	for _, s := range servers {
		b.Run(s.name, func(b *testing.B) {
			server := s.serve(b)
			server.plan.Readers, server.plan.Each = fromEnv(b, "FANOUT_READERS", 1000), burst
			c := newCrowd(b, server.plan)
			defer c.leave()
			runtime.GC()
			exp := firstExp()
			var publishing time.Duration
			u := begin(c)
			b.ResetTimer()
			for range b.N {
				begun := time.Now()
				var all sync.WaitGroup
				for range publishers {
					all.Go(func() {
						for range burst / publishers {
							if err := server.publish(exp, 1); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				all.Wait()
				publishing += time.Since(begun)
				u.round = c.await("round")
			}
			b.StopTimer()
			u.report(b, b.N*burst*server.plan.Readers)
			b.ReportMetric(publishing.Seconds()*1000/float64(b.N), "publish-ms")
		})
	}
}

// BenchmarkPaced measures how long an event takes from when it is due to each
// of 1,000 readers (PACED_READERS), at 20 events a second (PACED_RATE), for 2 s
// (PACED_SECONDS). As many as PACED_TOGETHER, one by default, are published in
// one request, when the last of them is due. What can't be published when it
// is due, because what came before is not done, is published later, and late by
// that much more. The ticks of the hub, one a second to each reader, count as
// work and not as deliveries.
func BenchmarkPaced(b *testing.B) {
	readers, rate, seconds := fromEnv(b, "PACED_READERS", 1000), fromEnv(b, "PACED_RATE", 20), fromEnv(b, "PACED_SECONDS", 2)
	together := fromEnv(b, "PACED_TOGETHER", 1)
	for _, s := range servers {
		b.Run(s.name, func(b *testing.B) {
			server := s.serve(b)
			requests := b.N * max(1, rate*seconds/together)
			events := requests * together
			server.plan.Readers, server.plan.Each = readers, events
			server.plan.First, server.plan.Every = firstExp(), time.Second/time.Duration(rate)
			c := newCrowd(b, server.plan)
			defer c.leave()
			runtime.GC()
			u := begin(c)
			b.ResetTimer()
			first := time.Now().Add(100 * time.Millisecond) // until the crowd knows it
			c.begin(first)
			var taken atomic.Int64
			var all sync.WaitGroup
			for range min(requests, 1000) { // as many as one record takes
				all.Go(func() {
					for n := int(taken.Add(1)); n <= requests; n = int(taken.Add(1)) {
						last := n*together - 1
						time.Sleep(time.Until(first.Add(time.Duration(last) * server.plan.Every)))
						if err := server.publish(server.plan.First+int64(last-together+1), together); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			u.round = c.await("round")
			took := max(time.Since(first), time.Duration(events)*server.plan.Every)
			b.StopTimer()
			u.report(b, events*readers)
			b.ReportMetric(float64(events)/took.Seconds(), "events/s")
			b.ReportMetric(u.round.p50.Seconds()*1000, "p50-ms")
			b.ReportMetric(u.round.p99.Seconds()*1000, "p99-ms")
			b.ReportMetric(u.round.worst.Seconds()*1000, "worst-ms")
		})
	}
}

// use is what a crowd and its server have used since a moment.
type use struct {
	cpu, kernel time.Duration
	writes      int
	crowd       *crowd
	round       crowdSays // the last
}

func begin(c *crowd) *use {
	return &use{cpu: cpuTime(), kernel: kernelTime(), writes: writes(), crowd: c}
}

func (u *use) report(b *testing.B, deliveries int) {
	each := func(total float64) float64 { return total / float64(deliveries) }
	b.ReportMetric(float64(deliveries)/b.Elapsed().Seconds(), "deliveries/s")
	if cpu := cpuTime() - u.cpu; cpu > 0 {
		b.ReportMetric(each(float64(cpu)), "server-ns/delivery")
		if cpu > 100*time.Millisecond { // the kernel tells them apart by samples, some hundred in a second
			b.ReportMetric(100*float64(kernelTime()-u.kernel)/float64(cpu), "server-kernel-%")
		}
	}
	b.ReportMetric(each(float64(u.round.used-u.crowd.connected)), "readers-ns/delivery")
	if n := writes(); n > 0 {
		b.ReportMetric(each(float64(n-u.writes)), "writes/delivery")
	}
	b.ReportMetric(0, "ns/op")
}

// writes is how often this process has called write(2), on Linux.
func writes() (n int) {
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if _, err := fmt.Sscanf(line, "syscw: %d", &n); err == nil {
			return n
		}
	}
	return 0
}

// BenchmarkIdle measures what a reader costs for whom there is nothing: the
// memory of this process, as the system counts it and as Go does, for each of
// 2,000 (IDLE_READERS; 10,000 is what a hub is measured by), and the processor's
// time that each takes in a second, ticks included.
func BenchmarkIdle(b *testing.B) {
	for _, s := range servers {
		b.Run(s.name, func(b *testing.B) {
			server := s.serve(b)
			plan := server.plan
			plan.Readers, plan.Each = fromEnv(b, "IDLE_READERS", 2000), 1
			before := memoryNow(b)
			c := newCrowd(b, plan)
			defer c.leave()
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
