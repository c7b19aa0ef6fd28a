package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/revocast/revocast/test/chart"
)

// arrived is how requests did that came at their own times, at one rate.
type arrived struct {
	rate      int
	p50, p99  spread // ms, from when a request was due to its answer
	done      spread // answers a second
	batches   batches
	saturated bool
}

// callersAtOnce is how many requests are on their way at once; who is due while
// all are waits, and that counts.
const callersAtOnce = 512

// arrivals raises the rate at which requests come until the answers fall
// behind.
func arrivals(s *suite, call func(context.Context) (seq uint64, err error)) error {
	all := make([]*arrived, len(s.scale.Arrivals))
	for i, rate := range s.scale.Arrivals {
		all[i] = &arrived{rate: rate}
	}
	for round := range s.scale.few() {
		for _, a := range all {
			s.step(fmt.Sprintf("%d requests a second", a.rate))
			if err := a.round(s, uint64(round), call); err != nil {
				return fmt.Errorf("%d requests a second: %w", a.rate, err)
			}
			if a.saturated {
				break
			}
		}
	}
	var rows, sizes [][]string
	median, tail := chart.Line{Name: "p50"}, chart.Line{Name: "p99"}
	for _, a := range all {
		if len(a.done) == 0 {
			break
		}
		name := fmt.Sprintf("ingest, %d requests/s offered", a.rate)
		s.report.figures(name+", p50", "ms", a.p50)
		s.report.figures(name+", p99", "ms", a.p99)
		s.report.figures(name+", answered", "requests/s", a.done)
		rows = append(rows, []string{count(a.rate), a.done.String(), a.p50.String(), a.p99.String(), a.batches.String()})
		sizes = append(sizes, append([]string{count(a.rate) + " requests/s"}, a.batches.row()...))
		median.X, median.Y = append(median.X, float64(a.rate)), append(median.Y, a.p50.median())
		tail.X, tail.Y = append(tail.X, float64(a.rate)), append(tail.Y, a.p99.median())
	}
	s.report.say("### Latency against load\n\nSingle revocations that come when they come (a Poisson process), whether those before are answered or not; a time is from when a request was due to when its answer was read. At most %d are on their way at once: others wait, and that counts. It ends at the rate of which less than nine tenths are answered in time.", callersAtOnce)
	s.report.table([]string{"offered, requests/s", "answered/s", "p50, ms", "p99, ms", "batch"}, rows...)
	if len(median.X) > 1 {
		if err := s.report.lines("ingest-load", chart.Chart{Title: "Durable revocations over HTTP, latency against load", X: "requests/s offered", Y: "ms", LogY: true}, median, tail); err != nil {
			return err
		}
	}
	s.report.say("Of 100 records, how many had a batch of so many revocations:")
	s.report.table(append([]string{""}, classNames()...), sizes...)
	return nil
}

func (a *arrived) round(s *suite, seed uint64, call func(context.Context) (uint64, error)) error {
	random := rand.New(rand.NewPCG(uint64(a.rate), seed))
	due := make([]time.Duration, max(10, int(float64(a.rate)*s.scale.Arriving.Seconds())))
	at := time.Duration(0)
	for i := range due {
		at += time.Duration(random.ExpFloat64() * float64(time.Second) / float64(a.rate))
		due[i] = at
	}
	took := make(quantiles, len(due))
	var next atomic.Int64
	var mu sync.Mutex // guards records
	records := make(map[uint64]int)
	g, ctx := errgroup.WithContext(s.ctx)
	begun := time.Now()
	for range min(callersAtOnce, len(due)) {
		g.Go(func() error {
			for i := next.Add(1) - 1; i < int64(len(due)); i = next.Add(1) - 1 {
				if wait := due[i] - time.Since(begun); wait > 0 {
					if err := sleep(ctx, wait); err != nil {
						return err
					}
				}
				seq, err := call(ctx)
				if err != nil {
					return err
				}
				took[i] = time.Since(begun) - due[i]
				mu.Lock()
				records[seq]++
				mu.Unlock()
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	done := float64(len(due)) / time.Since(begun).Seconds()
	offered := float64(len(due)) / at.Seconds()
	a.done = append(a.done, done)
	a.saturated = done < .9*offered
	a.p50 = append(a.p50, took.at(.5).Seconds()*1e3)
	a.p99 = append(a.p99, took.at(.99).Seconds()*1e3)
	for _, n := range records {
		a.batches = append(a.batches, n)
	}
	return nil
}
