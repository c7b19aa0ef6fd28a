package feed

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"
)

// crowd is many readers in a process of their own, so that what the server's
// process uses is the server's.
type crowd struct {
	testing.TB
	in  io.WriteCloser
	out *bufio.Scanner
	cmd *exec.Cmd

	connected time.Duration // the time it had used when all were
}

// crowdEnv tells a copy of the test binary to be a crowd; its value is a
// crowdPlan in JSON.
const crowdEnv = "REVOCAST_TEST_CROWD"

type crowdPlan struct {
	Addr, Path string
	TLS        bool
	Readers    int
	Each       int // deliveries to each reader in a round

	// Of a crowd that takes times: the event that is due at pace.begin, and
	// each Every later, says First, First+1 and so on as its exp.
	First int64
	Every time.Duration // 0: none are taken
}

// newCrowd returns when all readers are connected.
func newCrowd(tb testing.TB, plan crowdPlan) *crowd {
	tb.Helper()
	text, err := json.Marshal(plan)
	if err != nil {
		tb.Fatal(err)
	}
	c := &crowd{TB: tb, cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), crowdEnv+"="+string(text))
	c.cmd.Stderr = os.Stderr
	c.in, err = c.cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	c.out = bufio.NewScanner(out)
	if err := c.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	c.connected = c.await("connected").used
	return c
}

// crowdSays is what a crowd says with a word.
type crowdSays struct {
	used            time.Duration // the time of the processors that its process has used
	p50, p99, worst time.Duration // from when an event was due to when it was read
}

// await waits until the crowd says a word.
func (c *crowd) await(word string) (s crowdSays) {
	c.Helper()
	if c.out.Scan() {
		if _, err := fmt.Sscanf(c.out.Text(), word+" %d %d %d %d", &s.used, &s.p50, &s.p99, &s.worst); err == nil {
			return s
		}
	}
	c.Fatalf("the crowd said %q, %v; want %q", c.out.Text(), c.out.Err(), word)
	return s
}

func (s crowdSays) say(word string) {
	fmt.Println(word, int64(s.used), int64(s.p50), int64(s.p99), int64(s.worst))
}

// begin tells the crowd when the first event is due.
func (c *crowd) begin(at time.Time) {
	c.Helper()
	if _, err := fmt.Fprintln(c.in, at.UnixNano()); err != nil {
		c.Fatal(err)
	}
}

// leave ends the crowd.
func (c *crowd) leave() {
	c.Helper()
	c.in.Close()
	if err := c.cmd.Wait(); err != nil {
		c.Error(err)
	}
}

// serveCrowd is what the crowd's process does until its input ends.
func serveCrowd(text string) error {
	r := new(reading)
	if err := json.Unmarshal([]byte(text), &r.crowdPlan); err != nil {
		return err
	}
	r.late = make([][]uint32, r.Readers)
	var there sync.WaitGroup
	var failed atomic.Int64
	dialing := make(chan struct{}, 64)
	for i := range r.Readers {
		there.Add(1)
		go func() {
			dialing <- struct{}{}
			body, err := r.connect()
			<-dialing
			if err != nil {
				failed.Add(1)
				fmt.Fprintln(os.Stderr, err)
			}
			there.Done()
			if err == nil {
				r.read(i, body)
			}
		}()
	}
	there.Wait()
	if failed.Load() > 0 {
		return errors.New("not all readers could connect")
	}
	crowdSays{used: cpuTime()}.say("connected")
	for told := bufio.NewScanner(os.Stdin); told.Scan(); {
		at, err := strconv.ParseInt(told.Text(), 10, 64)
		if err != nil {
			return err
		}
		r.begin.Store(at)
	}
	return nil
}

func (p crowdPlan) connect() (io.Reader, error) {
	conn, err := net.Dial("tcp", p.Addr)
	if err != nil {
		return nil, err
	}
	if p.TLS {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) // the benchmark's own server
	}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: hub\r\n\r\n", p.Path)
	resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 1<<10), nil)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(resp.Status)
	}
	return resp.Body, nil
}

// reading is what the readers of a crowd have in common.
type reading struct {
	crowdPlan
	begin atomic.Int64 // unix ns; 0 until told
	count atomic.Int64 // rounds of readers that are over
	late  [][]uint32   // µs; each reader's until count has its round
}

// delivery is in each revocation once, whichever server sends it; ten digits
// follow.
var delivery = []byte(`"exp":`)

const digits = 10

func (r *reading) read(reader int, body io.Reader) {
	buf := make([]byte, 512) // until there is more to read, as for who is idle
	kept, seen := 0, 0
	for {
		n, err := body.Read(buf[kept:])
		if err != nil {
			return
		}
		b := buf[:kept+n]
		now := int64(0)
		if r.Every > 0 {
			now = time.Now().UnixNano()
		}
		for rest := b; ; {
			i := bytes.Index(rest, delivery)
			if i < 0 || len(rest) < i+len(delivery)+digits {
				break
			}
			if r.Every > 0 {
				r.took(reader, now, rest[i+len(delivery):])
			}
			rest = rest[i+len(delivery)+digits:]
			if seen++; seen == r.Each {
				seen = 0
				r.done()
			}
		}
		if len(b) == len(buf) && len(buf) < 64<<10 {
			buf = append(make([]byte, 0, 64<<10), buf...)[:64<<10]
			b = buf[:len(b)]
		}
		// A part of a delivery is kept for the rest of it, and never a whole one.
		kept = copy(buf, b[max(0, len(b)-len(delivery)-digits+1):])
	}
}

// took notes how late an event is read.
func (r *reading) took(reader int, now int64, exp []byte) {
	n := int64(0)
	for _, digit := range exp[:digits] {
		n = n*10 + int64(digit-'0')
	}
	due := r.begin.Load() + (n-r.First)*int64(r.Every)
	r.late[reader] = append(r.late[reader], uint32(max(0, now-due)/1000))
}

// done says when all readers have all of a round.
func (r *reading) done() {
	if r.count.Add(1)%int64(r.Readers) != 0 {
		return
	}
	s := crowdSays{used: cpuTime()}
	if all := slices.Concat(r.late...); len(all) > 0 {
		slices.Sort(all)
		at := func(q float64) time.Duration {
			return time.Duration(all[min(int(q*float64(len(all))), len(all)-1)]) * time.Microsecond
		}
		s.p50, s.p99, s.worst = at(.5), at(.99), at(1)
	}
	s.say("round")
}

// What a benchmark counts is counted once, however it is cut into reads.
func TestACrowdFindsEachDeliveryOnce(t *testing.T) {
	var text strings.Builder
	const events = 5000
	for i := range events {
		fmt.Fprintf(&text, `{"op":"revoke","k":"%s","exp":%d,"id":"rev_%d"}`+"\n", strings.Repeat("k", i%50), 1_764_000_000+i, i)
	}
	for name, cut := range map[string]func(io.Reader) io.Reader{
		"byte by byte": iotest.OneByteReader, "halves": iotest.HalfReader, "whole": func(r io.Reader) io.Reader { return r },
	} {
		r := &reading{crowdPlan: crowdPlan{Readers: 2, Each: events, First: 1_764_000_000, Every: time.Millisecond}, late: make([][]uint32, 2)}
		r.begin.Store(time.Now().Add(-time.Minute).UnixNano())
		r.read(1, cut(strings.NewReader(text.String())))
		if r.count.Load() != 1 || len(r.late[1]) != events {
			t.Fatalf("%s: %d rounds, %d deliveries", name, r.count.Load(), len(r.late[1]))
		}
		// The first was due a minute ago, each of the others a millisecond later.
		if first, last := r.late[1][0], r.late[1][events-1]; first < 60e6 || last < 55e6 || last > 59e6 {
			t.Errorf("%s: the first is %d µs late, the last %d", name, first, last)
		}
	}
}
