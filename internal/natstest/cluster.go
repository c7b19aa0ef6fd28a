// Package natstest runs NATS clusters inside a test's process, on loopback
// addresses, and does to them what happens to clusters.
package natstest

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

// Patience bounds what a cluster needs some seconds for, on a machine that has
// other things to do.
const Patience = 90 * time.Second

// Cluster is some NATS servers with JetStream that know each other. One test at
// a time may stop and start its servers.
type Cluster struct {
	dir     string
	options []*server.Options

	mu      sync.Mutex
	servers []*server.Server // guarded by mu; nil while stopped
}

// Start starts n servers and returns when they have elected a leader. Their
// data is under a directory of their own, which Shutdown removes.
func Start(n int) (*Cluster, error) { return start(n, func(int, *server.Options) {}) }

// start starts n servers whose options, by number, change has had a look at.
func start(n int, change func(i int, o *server.Options)) (*Cluster, error) {
	dir, err := os.MkdirTemp("", "revocast-nats-")
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(2 * n)
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir, servers: make([]*server.Server, n)}
	var routes string
	for i := range n {
		routes += fmt.Sprintf("nats-route://127.0.0.1:%d,", ports[n+i])
	}
	for i := range n {
		o := &server.Options{
			ServerName: fmt.Sprintf("n%d", i), Host: "127.0.0.1", Port: ports[i],
			NoSigs: true, NoLog: true, JetStream: true, StoreDir: filepath.Join(dir, fmt.Sprint(i)),
			JetStreamMaxMemory: 64 << 20, JetStreamMaxStore: 1 << 30,
		}
		if n > 1 {
			o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: ports[n+i]}
			o.Routes = server.RoutesFromStr(routes[:len(routes)-1])
		}
		change(i, o)
		c.options = append(c.options, o)
	}
	for i := range n {
		if err := c.start(i); err != nil {
			c.Shutdown()
			return nil, err
		}
	}
	err = eventually("there is a leader", func() bool {
		for _, s := range c.servers {
			if n == 1 || s.JetStreamIsLeader() && len(s.JetStreamClusterPeers()) == n {
				return true
			}
		}
		return false
	})
	if err != nil {
		c.Shutdown()
		return nil, err
	}
	return c, nil
}

// retry is how often what takes a while is tried, or looked at.
const retry = 20 * time.Millisecond

func eventually(what string, ok func() bool) error {
	for end := time.Now().Add(Patience); !ok(); time.Sleep(retry) {
		if time.Now().After(end) {
			return fmt.Errorf("natstest: not within %v: %s", Patience, what)
		}
	}
	return nil
}

func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all of them at the end, so that no port is there twice
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

func (c *Cluster) start(i int) error {
	s, err := server.NewServer(c.options[i].Clone())
	if err != nil {
		return err
	}
	s.Start()
	if !s.ReadyForConnections(Patience) {
		s.Shutdown()
		return fmt.Errorf("natstest: server %d is not ready", i)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.servers[i] = s
	return nil
}

// URLs are where the servers are, whether they run or not.
func (c *Cluster) URLs() []string {
	urls := make([]string, len(c.options))
	for i, o := range c.options {
		urls[i] = fmt.Sprintf("nats://127.0.0.1:%d", o.Port)
	}
	return urls
}

// Server is one server, or nil while it is stopped.
func (c *Cluster) Server(i int) *server.Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.servers[i]
}

// StopServer stops one server, as a signal would.
func (c *Cluster) StopServer(i int) {
	c.mu.Lock()
	s := c.servers[i]
	c.servers[i] = nil
	c.mu.Unlock()
	if s != nil {
		s.Shutdown()
		s.WaitForShutdown()
	}
}

// StartServer starts one server that was stopped.
func (c *Cluster) StartServer(i int) error { return c.start(i) }

// LeaderOf is the server that leads a stream, or -1.
func (c *Cluster) LeaderOf(stream string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, s := range c.servers {
		if s != nil && s.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream) {
			return i
		}
	}
	return -1
}

// StepDown has a stream elect another leader.
func (c *Cluster) StepDown(ctx context.Context, nc *nats.Conn, stream string) error {
	_, err := nc.RequestWithContext(ctx, fmt.Sprintf(server.JSApiStreamLeaderStepDownT, stream), nil)
	return err
}

// JetStream is a client of the cluster. The caller closes its connection.
func (c *Cluster) JetStream() (jetstream.JetStream, *nats.Conn, error) {
	var urls string
	for _, u := range c.URLs() {
		urls += u + ","
	}
	nc, err := nats.Connect(urls[:len(urls)-1], nats.Timeout(Patience), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(nc)
	return js, nc, err
}

// Shutdown stops all servers and removes their data.
func (c *Cluster) Shutdown() {
	for i := range c.servers {
		c.StopServer(i)
	}
	os.RemoveAll(c.dir)
}

// Leaks is goleak.Find for a busy machine, and without what servers that mirrored
// a stream leave behind for up to half a minute after they have stopped: they
// wait for its answers.
func Leaks() (err error) {
	const stream = "github.com/nats-io/nats-server/v2/server.(*stream)."
	for range 20 { // of half a second each
		if err = goleak.Find(
			goleak.IgnoreAnyFunction(stream+"setupMirrorConsumer.func3"),
			goleak.IgnoreAnyFunction(stream+"tryDeleteSourcingConsumer.func1")); err == nil {
			return nil
		}
	}
	return err
}
