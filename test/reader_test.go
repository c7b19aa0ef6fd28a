package test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/subscriber"
)

// reader is a raw subscriber: one connection that asks for the feed, and
// counts the records that come.
type reader struct {
	conn    net.Conn
	records atomic.Int64
	last    atomic.Int64 // unix nanoseconds: when the latest record came
	done    chan struct{}
}

// dialReader asks for the feed and returns when the hello has come. A stuck
// reader has room for little, and reads no more.
func (w *world) dialReader(stuck bool) (*reader, error) {
	d := net.Dialer{Timeout: 30 * time.Second}
	if stuck {
		d.Control = func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10) })
		}
	}
	conn, err := d.Dial("tcp", w.listen)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(conn, "GET /v1/feed HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer %s\r\nLast-Event-ID: %s\r\n\r\n", adminKey, w.from)
	in := bufio.NewReaderSize(conn, 64<<10)
	conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			conn.Close()
			return nil, err
		}
		if strings.HasPrefix(line, "event: hello") {
			break
		}
		if strings.HasPrefix(line, "HTTP/1.1 ") && !strings.HasPrefix(line, "HTTP/1.1 200") {
			conn.Close()
			return nil, fmt.Errorf("the hub says %s", strings.TrimSpace(line))
		}
	}
	conn.SetReadDeadline(time.Time{})
	r := &reader{conn: conn, done: make(chan struct{})}
	if stuck {
		close(r.done)
		return r, nil
	}
	go func() { // ends with the connection
		defer close(r.done)
		for {
			line, err := in.ReadSlice('\n')
			if bytes.HasPrefix(line, []byte("id: ")) {
				r.records.Add(1)
				r.last.Store(time.Now().UnixNano())
			}
			if err != nil && err != bufio.ErrBufferFull {
				return
			}
		}
	}()
	return r, nil
}

// dialReaders connects many, some at a time, and closes them when the test ends.
func (w *world) dialReaders(n int, stuck bool) []*reader {
	w.Helper()
	w.from = w.position().String()
	list := make([]*reader, n)
	errs := make(chan error, n)
	turn := make(chan struct{}, 32)
	for i := range list {
		go func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			var err error
			list[i], err = w.dialReader(stuck)
			errs <- err
		}()
	}
	for range list {
		w.must(<-errs)
	}
	w.Cleanup(func() {
		for _, r := range list {
			r.conn.Close()
			<-r.done
		}
	})
	return list
}

// flood appends records until so many bytes have gone to each reader, and
// returns how many records that were.
func (w *world) flood(size int) (records int64) {
	w.Helper()
	for sent := 0; sent < size; records++ {
		var list []string
		for n := range 1000 {
			list = append(list, fmt.Sprintf(`{"target":{"kind":"token","iss":%q,"value":"flood%d-%d-%d"},"reason":"logout"}`, issuer, time.Now().UnixNano(), records, n))
		}
		a, err := w.call("POST", "/v1/revocations", `{"revocations":[`+strings.Join(list, ",")+`]}`)
		w.must(err)
		if a.status != http.StatusCreated {
			w.Fatalf("%d: %s", a.status, a.body)
		}
		sent += 100 << 10 // some 110 bytes for each
	}
	return records
}

// metric reads one number of the hub's, 0 if it has no such series yet.
func (w *world) metric(name string) float64 {
	w.Helper()
	resp, err := http.Get("http://" + w.ops + "/metrics")
	w.must(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	w.must(err)
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			w.must(err)
			return n
		}
	}
	return 0
}

// Promise 6: readers that have stopped reading hold up nobody. The others get
// everything, and those are cut off for a reason that is counted.
func TestStuckReaders(t *testing.T) {
	w := newWorld(t)
	w.startHub()
	const many, few = 50, 2
	others := w.dialReaders(many, false)
	w.dialReaders(few, true)
	sent := w.flood(8 << 20)
	begun := time.Now()
	for _, r := range others {
		w.eventually("every other reader has everything", func() bool { return r.records.Load() == sent })
	}
	t.Logf("%d records of 1,000 at %d readers, the last %v after the last was sent", sent, many, time.Since(begun))
	cutOff := func() float64 {
		return w.metric(`revocast_streams_ended_total{reason="write_failed"}`) + w.metric(`revocast_streams_ended_total{reason="fell_behind"}`)
	}
	w.eventually("the stuck ones are cut off", func() bool { return cutOff() == few })
	for i, r := range others {
		select {
		case <-r.done:
			t.Errorf("reader %d was cut off, too", i)
		default:
		}
	}
}

// With -long: what the others notice of 20 stuck readers among 2,000.
func TestStuckReadersAreNotNoticed(t *testing.T) {
	if !*long {
		t.Skip("only with -long: it takes minutes, and a quiet machine")
	}
	measure := func(stuck int) time.Duration {
		w := newWorld(t)
		w.startHub()
		defer w.stopHub()
		others := w.dialReaders(2000-stuck, false)
		w.dialReaders(stuck, true)
		total := w.flood(4 << 20)
		var took []time.Duration
		for n := range 200 {
			for _, r := range others {
				w.eventually("all have it", func() bool { return r.records.Load() == total })
			}
			begun := time.Now()
			w.revoke(events.KindToken, fmt.Sprintf("one-%d-%d", stuck, n))
			total++
			for _, r := range others {
				w.eventually("all have it", func() bool { return r.records.Load() == total })
				took = append(took, time.Duration(r.last.Load()-begun.UnixNano()))
			}
		}
		return percentile(took, 99)
	}
	without, with := measure(0), measure(20)
	t.Logf("p99 of 2,000 readers: %v without stuck ones, %v with 20 of them", without, with)
	if float64(with) > 1.3*float64(without) {
		t.Errorf("that is %.2f times as long, want 1.3 at most", float64(with)/float64(without))
	}
}

// Promise 7: many subscribers come back at once to a hub that was killed. It
// needs nobody, and its memory stays within bounds.
func TestHerd(t *testing.T) {
	many := quickOr(200, 2000)
	w := newWorld(t)
	w.startHub()
	for n := range 20 {
		w.revoke(events.KindToken, fmt.Sprint("t", n))
	}
	var herd herd
	for range many {
		herd = append(herd, w.lightSubscriber())
	}
	w.eventually("all are fresh", func() bool { return herd.fresh() == many })
	w.killHub()
	w.startHub()
	back := time.Now()
	w.eventually("all are fresh again", func() bool { return herd.freshSince(back) == many })
	t.Logf("%d subscribers were fresh %v after the hub served", many, time.Since(back))
	const most = 512 << 20
	if rss := w.metric("process_resident_memory_bytes"); rss > most {
		t.Errorf("the hub takes %.0f MiB, want %d at most", rss/(1<<20), most>>20)
	} else {
		t.Logf("the hub takes %.0f MiB", rss/(1<<20))
	}
}

// lightSubscriber is one of very many.
func (w *world) lightSubscriber() *subscriber.Subscriber {
	w.Helper()
	s, err := subscriber.New(subscriber.Config{
		Hubs: []string{w.url()}, Credential: adminKey, VerifiedTokens: -1, Details: 16, Logger: slog.New(slog.DiscardHandler)})
	w.must(err)
	w.Cleanup(func() { s.Close() })
	return s
}

type herd []*subscriber.Subscriber

// fresh counts those that are.
func (h herd) fresh() (n int) {
	for _, s := range h {
		if s.Status().State == subscriber.Fresh {
			n++
		}
	}
	return n
}

// freshSince counts those whose proof is younger than a moment.
func (h herd) freshSince(t time.Time) (n int) {
	for _, s := range h {
		if status := s.Status(); status.State == subscriber.Fresh && status.Staleness < time.Since(t) {
			n++
		}
	}
	return n
}

func percentile(list []time.Duration, p int) time.Duration {
	slices.Sort(list)
	return list[len(list)*p/100]
}

// use is what a hub has in use.
type use struct{ goroutines, descriptors, heap float64 }

func (w *world) use() use {
	return use{w.metric("go_goroutines"), w.metric("process_open_fds"), w.metric("go_memstats_heap_alloc_bytes")}
}

// grown reports whether more is in use than noise explains.
func (u use) grown(from use) bool {
	return u.goroutines > from.goroutines+10 || u.descriptors > from.descriptors+10 || u.heap > from.heap+4<<20
}

// cycles connects and leaves, some at a time, so many times.
func (w *world) cycles(n int) {
	w.Helper()
	turn := make(chan struct{}, 16)
	errs := make(chan error, n)
	for range n {
		go func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			r, err := w.dialReader(false)
			if err == nil {
				r.conn.Close()
				<-r.done
			}
			errs <- err
		}()
	}
	for range n {
		w.must(<-errs)
	}
}

// Whoever connects and leaves, leaves nothing behind: not in the hub, and, for
// as many cuts of its connection, not in a subscriber.
func TestNothingLeaks(t *testing.T) {
	w := newWorld(t)
	w.startHub()
	w.from = w.position().String()
	n := quickOr(500, 10_000)
	w.cycles(200) // pools and buffers of their usual size
	w.settled()
	before := w.use()
	w.cycles(n)
	w.settled()
	w.eventually("what was in use is free", func() bool { return !w.use().grown(before) })
	t.Logf("before %+v, after %d cycles %+v", before, n, w.use())

	p := newProxy(t, w.url(), dice(t))
	sub := w.subscribe(func(c *subscriber.Config) { c.Hubs, c.MaxStaleness = []string{p.server.URL}, time.Second })
	goroutines := runtime.NumGoroutine()
	for n := range quickOr(5, 100) {
		p.server.CloseClientConnections()
		w.eventually("it notices", func() bool { return sub.Status().Sessions["failed"] > uint64(n) })
		noticed := time.Now()
		w.eventually("it is there again", func() bool { return herd{sub}.freshSince(noticed) == 1 })
	}
	w.eventually("no goroutines are left over", func() bool { return runtime.NumGoroutine() <= goroutines+4 })

	// The negative control: the same check, with connections that stay.
	w.dialReaders(50, false)
	if !w.use().grown(before) {
		t.Error("50 connections that are open are not noticed")
	}
}

// settled waits until no stream is open.
func (w *world) settled() {
	w.Helper()
	w.eventually("no stream is open", func() bool { return w.metric("revocast_subscribers") == 0 })
}
