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
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// crowd is many readers in a process of their own, so that what the server's
// process uses is the server's.
type crowd struct {
	testing.TB
	in  io.Closer
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
	c.connected = c.await("connected")
	return c
}

// await waits until the crowd says a word, and returns how much of the
// processors' time its process had used by then.
func (c *crowd) await(word string) (used time.Duration) {
	c.Helper()
	if c.out.Scan() {
		if n, err := fmt.Sscanf(c.out.Text(), word+" %d", &used); n == 1 && err == nil {
			return used
		}
	}
	c.Fatalf("the crowd said %q, %v; want %q", c.out.Text(), c.out.Err(), word)
	return 0
}

func say(word string) { fmt.Println(word, int64(cpuTime())) }

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
	var plan crowdPlan
	if err := json.Unmarshal([]byte(text), &plan); err != nil {
		return err
	}
	var there sync.WaitGroup
	var ready, failed atomic.Int64
	rounds := newRounds(plan.Readers)
	dialing := make(chan struct{}, 64)
	for range plan.Readers {
		there.Add(1)
		go func() {
			dialing <- struct{}{}
			body, err := plan.connect()
			<-dialing
			if err != nil {
				failed.Add(1)
				fmt.Fprintln(os.Stderr, err)
			}
			ready.Add(1)
			there.Done()
			if err == nil {
				plan.read(body, rounds)
			}
		}()
	}
	there.Wait()
	if failed.Load() > 0 {
		return errors.New("not all readers could connect")
	}
	say("connected")
	_, _ = io.Copy(io.Discard, os.Stdin)
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

// delivery is in each revocation once, whichever server sends it.
var delivery = []byte(`"op":`)

func (p crowdPlan) read(body io.Reader, r *rounds) {
	buf := make([]byte, 512) // until there is more to read, as for who is idle
	kept, seen := 0, 0
	for {
		n, err := body.Read(buf[kept:])
		if err != nil {
			return
		}
		b := buf[:kept+n]
		seen += bytes.Count(b, delivery)
		for ; seen >= p.Each; seen -= p.Each {
			r.done()
		}
		if len(b) == len(buf) && len(buf) < 64<<10 {
			buf = make([]byte, 64<<10)
		}
		// Half a delivery is kept for the rest of it. A whole one is longer.
		kept = copy(buf, b[max(0, len(b)-len(delivery)+1):])
	}
}

// rounds says when all readers have all of a round.
type rounds struct {
	readers int64
	count   atomic.Int64
}

func newRounds(readers int) *rounds { return &rounds{readers: int64(readers)} }

func (r *rounds) done() {
	if r.count.Add(1)%r.readers == 0 {
		say("round")
	}
}
