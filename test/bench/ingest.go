package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/revocast/revocast/hub"
	"github.com/revocast/revocast/hub/log"
	"github.com/revocast/revocast/test/chart"
)

// load is what a number of callers got done, each waiting for its answer
// before it asks again.
type load struct {
	rate      spread    // operations a second, in each round
	latencies quantiles // of all rounds
	batches   batches   // revocations in each record
}

func ingest(s *suite) (err error) {
	s.report.section("Ingest", `
Revocations that are acknowledged after they are synced to disk, over HTTP with
keep-alive; each connection waits for its answer before it sends the next. The
senders share the hub's processors, and little else: their requests are made
beforehand. The peer publishes messages of 200 bytes to a JetStream stream with
the same settings (embedded, every write synced), without HTTP, and waits for the
server's answer. *Batch* is how many revocations shared one record of the log, and so one sync:
the group commit.`)
	hubDir, err := newDir(s.dir, "hub")
	if err != nil {
		return err
	}
	h, err := startHub(s.ctx, hub.Config{DataDir: hubDir})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	plain, err := startPlain(s)
	if err != nil {
		return err
	}
	defer plain.close()

	exp := time.Now().Add(time.Hour)
	single, bulk := h.newSenders(1, exp), h.newSenders(most, exp)
	defer single.close()
	defer bulk.close()
	type row struct {
		name    string
		callers int
		ops     int
		call    func(context.Context) (seq uint64, err error)
		load
	}
	var rows []*row
	for _, n := range s.scale.Connections {
		rows = append(rows,
			&row{name: "Revocast, one for each request", callers: n, ops: 1, call: single.send},
			&row{name: "JetStream, publish and wait", callers: n, ops: 1, call: plain.publish})
	}
	rows = append(rows, &row{name: "Revocast, 1,000 for each request", callers: 8, ops: most, call: bulk.send})
	for range s.scale.few() {
		for _, r := range rows {
			s.step(fmt.Sprint(r.name, ", ", r.callers))
			if err := r.apply(s, r.callers, r.ops, r.call); err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
		}
	}
	var table, sizes [][]string
	var bars []chart.Bar
	for _, r := range rows {
		s.report.figures(fmt.Sprintf("ingest, %s, %d connections", r.name, r.callers), "operations/s", r.rate)
		batch := ""
		if len(r.batches) > 0 && r.ops == 1 {
			batch = r.batches.String()
			sizes = append(sizes, append([]string{fmt.Sprintf("%d at once", r.callers)}, r.batches.row()...))
		}
		table = append(table, []string{r.name, strconv.Itoa(r.callers), r.rate.String(), span(r.latencies.at(.5)), span(r.latencies.at(.99)), batch})
		bars = append(bars, chart.Bar{Name: fmt.Sprintf("%s, %d", r.name, r.callers), Value: r.rate.median()})
	}
	s.report.table([]string{"", "connections", "operations/s", "p50", "p99", "batch"}, table...)
	slices.Reverse(bars)
	if err := s.report.bars("ingest", chart.Chart{Title: "Durable operations, by callers", X: "operations/s"}, bars...); err != nil {
		return err
	}
	s.report.say("Of 100 records that single requests made, how many had a batch of so many revocations:")
	s.report.table(append([]string{""}, classNames()...), sizes...)
	return arrivals(s, single.send)
}

// apply runs one round of a load.
func (l *load) apply(s *suite, callers, ops int, call func(context.Context) (seq uint64, err error)) error {
	var mu sync.Mutex // guards calls, batches and l.latencies
	calls, batches := 0, make(map[uint64]int)
	g, ctx := errgroup.WithContext(s.ctx)
	begun := time.Now()
	for range callers {
		g.Go(func() error {
			for time.Since(begun) < s.scale.Load {
				asked := time.Now()
				seq, err := call(ctx)
				if err != nil {
					return err
				}
				took := time.Since(asked)
				mu.Lock()
				calls++
				batches[seq] += ops
				l.latencies = append(l.latencies, took)
				mu.Unlock()
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	l.rate = append(l.rate, float64(calls*ops)/time.Since(begun).Seconds())
	delete(batches, 0) // those without a record
	for _, n := range batches {
		l.batches = append(l.batches, n)
	}
	return nil
}

// plain is JetStream as a program would use it that has no group commit.
type plain struct {
	server *log.Server
	js     jetstream.JetStream
	end    func()
}

func startPlain(s *suite) (*plain, error) {
	dir, err := newDir(s.dir, "plain")
	if err != nil {
		return nil, err
	}
	srv, err := log.StartServer(log.ServerConfig{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	nc, err := srv.Connect()
	if err != nil {
		srv.Shutdown()
		return nil, err
	}
	p := &plain{server: srv, end: func() { nc.Close(); srv.Shutdown() }}
	if p.js, err = jetstream.New(nc); err == nil {
		_, err = p.js.CreateStream(s.ctx, jetstream.StreamConfig{Name: "PLAIN", Subjects: []string{"plain"}, Storage: jetstream.FileStorage})
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *plain) publish(ctx context.Context) (uint64, error) {
	return 0, p.put(ctx, make([]byte, 200))
}

// put returns when a message is synced to disk.
func (p *plain) put(ctx context.Context, message []byte) error {
	_, err := p.js.Publish(ctx, "plain", message)
	return err
}

func (p *plain) close() { p.end() }
