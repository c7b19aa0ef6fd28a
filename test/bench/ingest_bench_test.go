package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/revocast/revocast/hub"
)

// BenchmarkIngest measures what BenchmarkDurableIngest of hub/log leaves out:
// the way from the socket to the log, and the fold. An operation is one
// request; cpu-ns is what this process uses for one revocation, and the
// senders, which are part of it, take some of that. The floor is a server that
// reads what is sent and answers as long a text.
//
// Each revocation takes half a kilobyte on the disk, so name a number of
// operations: -benchtime 500x.
func BenchmarkIngest(b *testing.B) {
	for _, load := range []struct {
		name        string
		connections int
		ops         int
	}{{"bulk", 8, most}, {"single", 64, 1}} {
		b.Run(load.name+"/hub", func(b *testing.B) {
			h, err := startHub(b.Context(), hub.Config{DataDir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer h.close()
			h.measure(b, load.connections, load.ops)
		})
		b.Run(load.name+"/floor", func(b *testing.B) {
			h := startFloor(b, load.ops)
			defer h.close()
			h.measure(b, load.connections, load.ops)
		})
	}
}

func (h *servedHub) measure(b *testing.B, connections, ops int) {
	exp := time.Now().Add(time.Hour)
	senders := make([]*sender, connections)
	var first uint64 // the last record before
	for i := range senders {
		s, err := h.newSender(b.Context(), ops, exp)
		if err != nil {
			b.Fatal(err)
		}
		defer s.close()
		if first, err = s.send(); err != nil {
			b.Fatal(err)
		}
		senders[i] = s
	}
	b.ReportAllocs()
	cpu := cpuTime()
	b.ResetTimer()
	var sent, last atomic.Int64
	var all sync.WaitGroup
	for _, s := range senders {
		all.Go(func() {
			for sent.Add(1) <= int64(b.N) {
				seq, err := s.send()
				if err != nil {
					b.Error(err)
					return
				}
				last.Store(int64(seq)) // about: another may come after a later one
			}
		})
	}
	all.Wait()
	b.StopTimer()
	n := float64(b.N * ops)
	b.ReportMetric(n/b.Elapsed().Seconds(), "revocations/s")
	b.ReportMetric(float64(cpuTime()-cpu)/n, "cpu-ns/revocation")
	if records := last.Load() - int64(first); records > 0 {
		b.ReportMetric(n/float64(records), "revocations/record")
	}
}

// startFloor serves what does nothing.
func startFloor(b *testing.B, ops int) *servedHub {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var text []byte
	for range ops {
		text = fmt.Appendf(text, `{"id":"rev_01K000000000000000000000000","effective_at":"2026-01-01T00:00:00.000Z","retain_until":"2026-01-01T00:00:00.000Z"},`)
	}
	text = append(text, `"seq":1}`...)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(text)
	})}
	h := &servedHub{url: "http://" + l.Addr().String(), client: http.DefaultClient, served: make(chan error, 1)}
	ctx, stop := context.WithCancel(context.Background())
	h.stop = stop
	go func() { _ = server.Serve(l) }()
	go func() { <-ctx.Done(); h.served <- server.Close() }()
	return h
}
