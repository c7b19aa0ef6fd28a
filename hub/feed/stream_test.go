package feed

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/log"
)

// dial opens a connection on which a test does what no client would.
func (w *world) dial() net.Conn {
	w.Helper()
	conn, err := net.Dial("tcp", w.http.Listener.Addr().String())
	w.must(err)
	w.Cleanup(func() { conn.Close() })
	w.must(conn.(*net.TCPConn).SetReadBuffer(64 << 10)) // so that who does not read is noticed soon
	if w.http.TLS != nil && w.way == takenTLS {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true, DynamicRecordSizingDisabled: true}) // the test's own server
	}
	w.must(conn.SetDeadline(time.Now().Add(5 * time.Minute)))
	return conn
}

// get opens a stream by hand, and returns the answer's head.
func (w *world) get(conn net.Conn, rest string) (*http.Response, *bufio.Reader) {
	w.Helper()
	fmt.Fprintf(conn, "GET /v1/feed HTTP/1.1\r\nHost: x\r\n\r\n%s", rest)
	r := bufio.NewReaderSize(conn, 512)
	resp, err := http.ReadResponse(r, nil)
	w.must(err)
	return resp, r
}

// revokeMany revokes more than the system keeps for a reader in a world with
// small buffers, and more than a chunk of the frames takes.
func (w *world) revokeMany() {
	w.Helper()
	orders := make([]Order, 1000)
	for i := range 3 {
		for j := range orders {
			orders[j] = Order{Target: target(events.KindToken, fmt.Sprint(i, "-", j)), Reason: events.Logout}
		}
		_, err := w.feed.Revoke(context.Background(), Caller{Actor: "tester", Source: "test"}, orders, false)
		w.must(err)
	}
}

// smallBuffers makes the system keep little of what a reader has not read.
func smallBuffers(w *world, _ *Config, _ *log.Config) { w.buffer = 16 << 10 }

// carriages over which a test can misbehave, by hand.
func byHand(t *testing.T, test func(t *testing.T, how option)) {
	for _, way := range []carriage{taken, takenTLS, inHandler} {
		t.Run(string(way), func(t *testing.T) { test(t, by(way)) })
	}
}

// fewTicks leaves the time to what a test is about: to verify many takes long.
func fewTicks(_ *world, c *Config, _ *log.Config) { c.TickEvery = time.Hour }

// patience is the WriteTimeout.
func patience(d time.Duration) option {
	return func(_ *world, c *Config, _ *log.Config) { c.WriteTimeout = d }
}

// What is taken from the HTTP server, what is not, and that readers see the
// same in either case.
func TestTaken(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		request string
		proto   string
		taken   bool
	}{
		"GET":             {"GET /v1/feed HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1", true},
		"keep-alive":      {"GET /v1/feed HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n", "HTTP/1.1", true},
		"HTTP/1.0":        {"GET /v1/feed HTTP/1.0\r\n\r\n", "HTTP/1.0", false},
		"with a body":     {"GET /v1/feed HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab", "HTTP/1.1", false},
		"a body in parts": {"GET /v1/feed HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1", false},
		"POST":            {"POST /v1/feed HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1", false},
	} {
		t.Run(name, func(t *testing.T) {
			before := w.inHandlers.Load()
			conn := w.dial()
			io.WriteString(conn, c.request)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			w.must(err)
			defer conn.Close()
			line, err := bufio.NewReader(resp.Body).ReadString('\n')
			w.must(err)
			if resp.Status != "200 OK" || resp.Proto != c.proto || line != "event: hello\n" {
				t.Errorf("%s %s %q", resp.Proto, resp.Status, line)
			}
			for name, want := range map[string]string{
				"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Middleware": "a, b",
			} {
				if got := strings.Join(resp.Header.Values(name), ", "); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			if _, err := http.ParseTime(resp.Header.Get("Date")); err != nil {
				t.Error(err)
			}
			if c.taken && (!resp.Close || resp.ContentLength != -1 || resp.TransferEncoding != nil) {
				t.Errorf("a stream without its server ends with the connection, and has no parts: %+v", resp)
			}
			if c.taken {
				w.await("its handler returns", func() bool { return w.inHandlers.Load() == before })
			} else if w.inHandlers.Load() != before+1 {
				t.Error("no handler has it")
			}
			conn.Close()
			w.await("the stream has ended", func() bool { return w.feed.audience.size() == 0 && w.inHandlers.Load() == before })
		})
	}
}

// However a reader goes, its stream ends soon, although nobody reads from it.
func TestReaderGoes(t *testing.T) {
	byHand(t, func(t *testing.T, how option) {
		w := newWorld(t, how, fewTicks)
		gone := 0
		for name, leave := range map[string]func(net.Conn) error{
			"closes":         func(c net.Conn) error { return c.Close() },
			"closes half":    func(c net.Conn) error { return c.(interface{ CloseWrite() error }).CloseWrite() },
			"is cut off":     func(c net.Conn) error { return transport(c).Close() },
			"resets":         func(c net.Conn) error { return errors.Join(transport(c).SetLinger(0), transport(c).Close()) },
			"speaks, closes": func(c net.Conn) error { io.WriteString(c, "and another thing"); return c.Close() },
		} {
			if name == "speaks, closes" && w.way == inHandler {
				continue // net/http does not look beyond what was said
			}
			conn := w.dial()
			w.get(conn, "")
			if w.feed.audience.size() != 1 {
				t.Fatal("no stream")
			}
			w.must(leave(conn))
			w.await("the stream of who "+name+" has ended", func() bool { return w.feed.audience.size() == 0 })
			gone++
		}
		w.await("all have gone by themselves", func() bool { return w.ended(readerGone)+w.ended(writeFailed) == gone })
		if w.way != inHandler && w.ended(readerGone) != gone {
			t.Errorf("%d of %d were counted as gone", w.ended(readerGone), gone)
		}
	})
}

// Who sends what nobody asked for costs no memory, and keeps its stream.
func TestReaderSpeaks(t *testing.T) {
	byHand(t, func(t *testing.T, how option) {
		w := newWorld(t, how)
		conn := w.dial()
		garbage := bytes.Repeat([]byte("GET /v1/feed HTTP/1.1\r\nHost: x\r\n\r\n"), 8<<10)
		resp, _ := w.get(conn, string(garbage[:100]))
		go conn.Write(garbage) // ends with the connection, at the latest
		body := bufio.NewScanner(resp.Body)
		for seen, ticks := false, 0; !seen || ticks < 20; { // long enough for many looks
			if !body.Scan() {
				t.Fatalf("the stream ended: %v", body.Err())
			}
			switch body.Text() {
			case "event: tick":
				if ticks++; ticks == 2 {
					w.revoke(events.KindToken, "t1")
				}
			case "event: record":
				seen = true
			case "event: hello":
			default:
				if strings.HasPrefix(body.Text(), "HTTP/") {
					t.Fatal("a second answer")
				}
			}
		}
		if n := w.feed.audience.size(); n != 1 {
			t.Errorf("%d streams for one connection", n)
		}
	})
}

// A reader that stops reading loses its stream, and that is counted.
func TestStuckReaderIsCutOff(t *testing.T) {
	byHand(t, func(t *testing.T, how option) {
		t.Parallel()
		w := newWorld(t, how, fewTicks, smallBuffers, patience(5*time.Second)) // which the other reader has, too
		w.get(w.dial(), "")
		r := w.newReader()
		r.connect()
		w.revokeMany()
		r.catchUp()
		w.await("the stuck reader has lost its stream", func() bool { return w.feed.audience.size() == 1 })
		if n := w.ended(writeFailed); n != 1 {
			t.Errorf("%d were counted as too slow", n)
		}
	})
}

// While readers are stuck, and have a minute to read on, the others get what
// is new; and who reads on has lost nothing, not a byte.
func TestStuckReadersDelayNobody(t *testing.T) {
	byHand(t, func(t *testing.T, how option) {
		w := newWorld(t, how, fewTicks, smallBuffers, patience(time.Hour))
		var stuck []*reader
		for range 3 * runtime.GOMAXPROCS(0) {
			conn := w.dial()
			r := w.newReader()
			r.raw = conn
			r.resp, _ = w.get(conn, "")
			stuck = append(stuck, r)
		}
		others := make([]*reader, 4)
		for i := range others {
			others[i] = w.newReader()
			others[i].connect()
		}
		w.revokeMany()
		for i := range 3 {
			w.revoke(events.KindSubject, fmt.Sprint(i))
			for _, r := range others {
				r.catchUp()
			}
		}
		if n := w.feed.audience.size(); n != len(stuck)+len(others) {
			t.Fatalf("%d streams: some were cut, and this test shows nothing", n)
		}
		for _, r := range stuck {
			r.follow()
			r.catchUp()
		}
		w.revoke(events.KindSubject, "after all that")
		for _, r := range slices.Concat(others, stuck) {
			r.catchUp()
		}
	})
}

// How long a write may block says nothing about how long a stream may last,
// whoever wrote last.
func TestPatienceIsForOneWrite(t *testing.T) {
	carriages(t, func(t *testing.T, how option) {
		t.Parallel()
		w := newWorld(t, how, patience(500*time.Millisecond))
		r := w.newReader()
		r.connect()
		for begun := time.Now(); time.Since(begun) < time.Second || r.ticks < 3; {
			r.take(r.next())
		}
		w.revoke(events.KindToken, "t1")
		r.catchUp()
	})
}

func TestReaderThatFallsBehindIsTold(t *testing.T) {
	byHand(t, func(t *testing.T, how option) {
		w := newWorld(t, how, fewTicks, smallBuffers, patience(time.Hour), func(_ *world, c *Config, _ *log.Config) { c.KeepFrames = 1 })
		r := w.newReader()
		r.raw = w.dial()
		r.resp, _ = w.get(r.raw, "")
		w.revokeMany()
		w.revokeMany() // after this, the frames don't go back to where the reader is
		r.follow()
		for range r.events { // ends
		}
		w.await("it is counted", func() bool { return w.ended(fellBehind) == 1 })
	})
}

func TestDrainTellsEverybodyAndTakesNobody(t *testing.T) {
	carriages(t, func(t *testing.T, how option) {
		w := newWorld(t, how)
		readers := make([]*reader, 20)
		for i := range readers {
			readers[i] = w.newReader()
			readers[i].connect()
		}
		w.feed.Drain(50 * time.Millisecond)
		for _, r := range readers {
			for {
				ev, ok := <-r.events
				if !ok {
					t.Fatal("the stream ended without a word")
				}
				if ev.Type == "bye" {
					break
				}
			}
			if _, ok := <-r.events; ok {
				t.Fatal("something came after bye")
			}
		}
		w.await("all are counted", func() bool { return w.ended(drainedOff) == len(readers) })
		resp, err := w.http.Client().Get(w.http.URL + "/v1/feed")
		w.must(err)
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusTeapot || w.feed.Ready() == nil {
			t.Fatalf("a draining feed took a reader: %s %s", resp.Status, body)
		}
	})
}

// Close ends the streams that no server knows of any more, stuck or not, and
// leaves neither goroutines nor descriptors.
func TestCloseCutsWhatWasTaken(t *testing.T) {
	for _, c := range []struct {
		way   carriage
		stuck bool
	}{{taken, false}, {taken, true}, {takenTLS, false}, {takenTLS, true}} {
		t.Run(fmt.Sprintf("%s, stuck %v", c.way, c.stuck), func(t *testing.T) {
			w := newWorld(t, by(c.way), fewTicks, smallBuffers, patience(time.Hour))
			before := goleak.IgnoreCurrent()
			open := descriptors(t)
			conns := make([]net.Conn, 50)
			for i := range conns {
				conns[i] = w.dial()
				w.get(conns[i], "")
			}
			if c.stuck {
				w.revokeMany() // nobody reads this
			}
			w.feed.Close()
			if n := w.feed.audience.size(); n != 0 {
				t.Errorf("%d streams are left", n)
			}
			if n := w.ended(feedClosed); n != len(conns) {
				t.Errorf("%d were counted as closed", n)
			}
			if n := descriptors(t); n > open+len(conns) {
				t.Errorf("%d sockets are open, %d of them the readers' and %d from before", n, len(conns), open)
			}
			for _, conn := range conns {
				conn.Close()
			}
			w.http.Client().CloseIdleConnections()
			w.await("all descriptors are closed", func() bool { return descriptors(t) <= open })
			w.await("its goroutines have ended", func() bool { return goleak.Find(before) == nil })
			resp, err := w.http.Client().Get(w.http.URL + "/v1/feed")
			if err == nil {
				io.Copy(io.Discard, resp.Body) // ends: nobody would write on it
				resp.Body.Close()
			}
		})
	}
}

// descriptors is how many are open, without those of the log's files; on
// systems that don't say, always 0.
func descriptors(t *testing.T) (n int) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil && runtime.GOOS == "linux" {
		t.Fatal(err)
	}
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// A stream that goes on without its request ends with its credential, also
// while its reader is stuck.
func TestStreamEndsWithItsCredential(t *testing.T) {
	for _, way := range []carriage{taken, takenTLS} {
		t.Run(string(way), func(t *testing.T) {
			w := newWorld(t, by(way), fewTicks, smallBuffers, patience(time.Hour))
			w.get(w.dial(), "")
			w.revokeMany() // the one above does not read this
			r := w.newReader()
			r.connect()
			r.catchUp()
			w.mu.Lock()
			w.invalid = true
			w.mu.Unlock()
			for range r.events { // ends
			}
			w.await("both are counted", func() bool { return w.ended(credentialOver) == 2 })
		})
	}
}

// With nothing to say the hub says that, at least as often as it promised.
func TestHeartbeats(t *testing.T) {
	byHand(t, func(t *testing.T, how option) {
		t.Parallel()
		const promised = 2 * time.Second
		w := newWorld(t, how, func(_ *world, c *Config, _ *log.Config) { c.TickEvery, c.Heartbeat = time.Hour, promised })
		var readers []*bufio.Reader
		for range 40 {
			resp, _ := w.get(w.dial(), "")
			readers = append(readers, bufio.NewReader(resp.Body))
		}
		var wg sync.WaitGroup
		for _, r := range readers {
			wg.Go(func() {
				// The shortest gap counts: a busy machine makes one of them long,
				// and a hub that says too little all of them.
				shortest := time.Hour
				for beats, last := 0, time.Now(); beats < 4; {
					line, err := r.ReadString('\n')
					if err != nil {
						t.Error(err)
						return
					}
					if strings.HasPrefix(line, ":") {
						beats++
						shortest = min(shortest, time.Since(last))
						last = time.Now()
					}
				}
				if shortest > promised {
					t.Errorf("never a word within %v, want %v", shortest, promised)
				}
			})
		}
		wg.Wait()
	})
}

// The looks at many lines, and so their heartbeats, don't come all at once.
func TestLooksAreSpread(t *testing.T) {
	w := newWriter(&Feed{cfg: Config{}.withDefaults()})
	defer w.look.Stop()
	lines := make([]*line, 10*slots)
	for i := range lines {
		lines[i] = new(line)
		w.add(lines[i])
	}
	for s, in := range w.slots {
		if len(in) != 10 {
			t.Errorf("%d lines in slot %d", len(in), s)
		}
	}
}

// Many readers, each of whom sees each record once and in order, whenever it
// came, while there is much to say.
func TestManyReadersUnderLoad(t *testing.T) {
	carriages(t, func(t *testing.T, how option) {
		w := newWorld(t, how, fewTicks)
		var wg sync.WaitGroup
		for p := range 8 {
			wg.Go(func() {
				for n := range 20 {
					_, err := w.feed.Revoke(context.Background(), Caller{Actor: "tester", Source: "test"},
						[]Order{{Target: target(events.KindToken, fmt.Sprintf("%d-%d", p, n)), Reason: events.Logout}}, false)
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		readers := make([]*reader, 200)
		for i := range readers {
			readers[i] = w.newReader()
			readers[i].connect() // while records come
		}
		wg.Wait()
		for _, r := range readers {
			r.catchUp() // fails on any gap, duplicate, or broken chain
		}
	})
}

// Whatever the offset, a view holds the bytes from there to the head.
func TestFramesFromAnyOffset(t *testing.T) {
	f := newFrames(1 << 20)
	f.startAt(1)
	var all []byte
	for range 200 {
		frame := make([]byte, 1+rand.IntN(chunkSize/8))
		for i := range frame {
			frame[i] = byte(rand.Int())
		}
		f.append(frame)
		all = append(all, frame...)
	}
	head := int64(len(all))
	for _, at := range []int64{f.base - 1, f.base, f.base + 1, head - 1, head} {
		check(t, f, all, at)
	}
	for range 200 {
		check(t, f, all, f.base+rand.Int64N(head-f.base+1))
	}
	if f.base == 0 {
		t.Error("nothing was dropped")
	}
}

func check(t *testing.T, f *frames, all []byte, at int64) {
	t.Helper()
	v, ok := f.from(at, 0, nil)
	if ok != (at >= f.base) {
		t.Fatalf("at %d of %d to %d: %v", at, f.base, f.head, ok)
	}
	if ok && (v.end != f.head || !bytes.Equal(slices.Concat(v.records...), all[at:])) {
		t.Fatalf("at %d of %d to %d: other bytes", at, f.base, f.head)
	}
}

// A reader that is found gone at the moment at which it is sent away has its
// stream ended once.
func TestSentAwayAndGone(t *testing.T) {
	w := newWorld(t, fewTicks)
	w.revoke(events.KindToken, "what the reader lacks")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	defer l.Close()
	reader, err := net.Dial("tcp", l.Addr().String())
	w.must(err)
	defer reader.Close()
	conn, err := l.Accept()
	w.must(err)

	joined := &listener{teller: teller{name: "reader"}}
	w.must(w.feed.audience.join(joined))
	hand := newWriter(w.feed) // which nobody runs
	hand.begin()
	line := newLine(stream{feed: w.feed, listener: joined}, conn, nil, hand)
	hand.add(line)
	line.out = false
	conn.Close() // so that the next write fails
	hand.sendAway(line)
	if line.out || hand.known != 0 || w.feed.audience.size() != 0 {
		t.Errorf("out %v, %d lines known, %d streams: want the end of the only one", line.out, hand.known, w.feed.audience.size())
	}
	hand.takeIn() // what was dropped must not come back
	hand.look.Stop()
}
