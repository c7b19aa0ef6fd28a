package log

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
)

// callers is how many requests are under way at once.
const callers = 64

// BenchmarkDurableIngest compares appending to the log with what a program
// gets that publishes each operation to JetStream and waits for the answer.
// Both store operations of the same size on the same disk, and both wait until
// they are synced.
func BenchmarkDurableIngest(b *testing.B) {
	var plain float64
	b.Run("plain-jetstream-publish/64callers", func(b *testing.B) {
		w := newWorld(b)
		js, err := jetstream.New(w.connect())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := js.CreateStream(b.Context(), jetstream.StreamConfig{
			Name: "PLAIN", Subjects: []string{"plain"}, Storage: jetstream.FileStorage,
		}); err != nil {
			b.Fatal(err)
		}
		draft := draftOf(b, "peer")
		payload := draft.Message(events.At(time.Now()))
		plain = inParallel(b, 1, func(ctx context.Context) error {
			_, err := js.Publish(ctx, "plain", payload)
			return err
		})
	})
	b.Run("append/64callers", func(b *testing.B) {
		w := newWorld(b)
		l := w.open()
		w.followBlindly(l)
		rate := inParallel(b, 1, func(ctx context.Context) error {
			_, err := l.Append(ctx, Proposal{Draft: draftOf(b, "bench")})
			return err
		})
		b.ReportMetric(float64(b.N)/float64(l.last.Load()), "ops/record")
		if plain > 0 {
			b.ReportMetric(rate/plain, "x-plain")
		}
	})
	b.Run("append/bulk-1000ops", func(b *testing.B) {
		w := newWorld(b)
		l := w.open()
		w.followBlindly(l)
		names := make([]string, events.MaxOps)
		for i := range names {
			names[i] = fmt.Sprint("bulk-", i)
		}
		bulk := draftOf(b, names...)
		rate := inParallel(b, events.MaxOps, func(ctx context.Context) error {
			_, err := l.Append(ctx, Proposal{Draft: bulk})
			return err
		})
		if plain > 0 {
			b.ReportMetric(rate/plain, "x-plain")
		}
	})
}

// inParallel runs f from 64 goroutines, and returns the operations per second.
func inParallel(b *testing.B, ops int, f func(context.Context) error) float64 {
	b.SetParallelism(max(1, callers/runtime.GOMAXPROCS(0)))
	b.ReportAllocs()
	b.ResetTimer()
	start := time.Now()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := f(b.Context()); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	rate := float64(b.N*ops) / time.Since(start).Seconds()
	b.ReportMetric(rate, "ops/s")
	return rate
}
