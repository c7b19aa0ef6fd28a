package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/revocast/revocast/events"
)

// crowdEnv tells a copy of this program to be many subscribers that start at
// once; its value is a crowdPlan in JSON.
const crowdEnv = "REVOCAST_BENCH_CROWD"

type crowdPlan struct {
	Addr      string
	Newcomers int
	AtOnce    int // connections that are being made, or fetch a snapshot
	Live      int // revocations that a snapshot has
}

// newcomers is what the crowd's process found.
type newcomers struct {
	Ready     []time.Duration // when each had all, from the common start
	Snapshots int             // how many needed one
	Bytes     int64           // that they read
	CPU       time.Duration   // that they used
}

// serveCrowd runs the crowd, and says what it found.
func serveCrowd(text string) error {
	var plan crowdPlan
	if err := json.Unmarshal([]byte(text), &plan); err != nil {
		return err
	}
	found := newcomers{Ready: make([]time.Duration, plan.Newcomers)}
	var mu sync.Mutex // guards found but Ready, and failed
	var failed error
	turns := make(chan struct{}, plan.AtOnce)
	begun := time.Now()
	var all sync.WaitGroup
	for i := range plan.Newcomers {
		all.Go(func() {
			n := newcomer{plan: plan, first: i == 0}
			turns <- struct{}{}
			err := n.start()
			<-turns
			found.Ready[i] = time.Since(begun)
			mu.Lock()
			defer mu.Unlock()
			found.Snapshots += n.snapshots
			found.Bytes += n.bytes
			if err != nil {
				failed = fmt.Errorf("newcomer %d: %w", i, err)
			}
		})
	}
	all.Wait()
	found.CPU = cpuTime()
	if failed != nil {
		return failed
	}
	return json.NewEncoder(os.Stdout).Encode(found) // the streams end with the process
}

// newcomer is a subscriber that starts with nothing, reduced to the protocol:
// it reads all that it needs, but keeps nothing of it. The first of a crowd
// also makes sure that the snapshot is right.
type newcomer struct {
	plan      crowdPlan
	first     bool
	position  string
	snapshots int
	bytes     int64
}

// start returns when the newcomer has everything that was in force; its stream
// stays open.
func (n *newcomer) start() error {
	for range 3 {
		hello, stream, err := n.follow()
		if err != nil {
			return err
		}
		if hello.Mode == events.ModeDelta {
			return n.read(hello, stream)
		}
		stream.conn.Close()
		if err := n.fetch(); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: three snapshots, and still not ready", errWrongAnswer)
}

// stream is a connection on which an answer is coming.
type stream struct {
	conn net.Conn
	resp *http.Response
	body *bufio.Reader
}

func (n *newcomer) get(path, header string) (*stream, error) {
	conn, err := net.Dial("tcp", n.plan.Addr)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n%s\r\n", path, n.plan.Addr, adminKey, header)
	resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 4<<10), nil)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &stream{conn, resp, bufio.NewReaderSize(resp.Body, 4<<10)}, nil
}

// follow opens the feed and reads the hello.
func (n *newcomer) follow() (events.Hello, *stream, error) {
	var hello events.Hello
	header := ""
	if n.position != "" {
		header = "Last-Event-ID: " + n.position + "\r\n"
	}
	s, err := n.get("/v1/feed", header)
	if err != nil {
		return hello, nil, err
	}
	for {
		field, value, err := n.line(s)
		if err != nil {
			return hello, nil, err
		}
		if field == "data" {
			return hello, s, json.Unmarshal([]byte(value), &hello)
		}
	}
}

// line reads one line of a stream.
func (n *newcomer) line(s *stream) (field, value string, err error) {
	text, err := s.body.ReadString('\n')
	n.bytes += int64(len(text))
	field, value, _ = strings.Cut(strings.TrimSpace(text), ": ")
	return field, value, err
}

// read reads records until the head that the hello named.
func (n *newcomer) read(hello events.Hello, s *stream) error {
	at, _ := events.ParsePosition(n.position) // none: zero
	for at.Seq < hello.Head {
		field, value, err := n.line(s)
		if err != nil {
			return err
		}
		if field == "id" {
			if at, err = events.ParsePosition(value); err != nil {
				return err
			}
		}
	}
	return nil
}

// fetch fetches the snapshot.
func (n *newcomer) fetch() error {
	s, err := n.get("/v1/snapshot", "")
	if err != nil {
		return err
	}
	defer s.conn.Close()
	n.snapshots++
	n.position = strings.Trim(s.resp.Header.Get("ETag"), `"`)
	counted := &counter{r: s.body}
	defer func() { n.bytes += counted.n }()
	if !n.first {
		_, err := io.Copy(io.Discard, counted)
		return err
	}
	snap, err := events.ReadSnapshot(counted, 1<<30)
	if err == nil && snap.Set.Len() != n.plan.Live {
		err = fmt.Errorf("%w: the snapshot has %d of %d", errWrongAnswer, snap.Set.Len(), n.plan.Live)
	}
	return err
}

// counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}
