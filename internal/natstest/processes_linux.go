package natstest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Build builds nats-server, in the version that go.mod has, into a directory
// and returns where it is.
func Build(dir string) (string, error) {
	program := filepath.Join(dir, "nats-server")
	out, err := exec.Command("go", "build", "-o", program, "github.com/nats-io/nats-server/v2").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("natstest: build nats-server: %w\n%s", err, out)
	}
	return program, nil
}

// Processes is a cluster of nats-server processes on loopback addresses, for
// what can only be done to a process: to kill it, and to stop it as it is. One
// test at a time may do that.
type Processes struct {
	program, dir  string
	ports, routes []int

	mu  sync.Mutex
	run []*exec.Cmd // guarded by mu; nil while one does not run
}

// StartProcesses starts n servers of a program that Build has made. It does not
// wait until they have elected a leader: hubs do. Their data is under a
// directory of their own, which Shutdown removes.
func StartProcesses(program string, n int) (*Processes, error) {
	dir, err := os.MkdirTemp("", "revocast-nats-")
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(2 * n)
	if err != nil {
		return nil, err
	}
	p := &Processes{program: program, dir: dir, ports: ports[:n], routes: ports[n:], run: make([]*exec.Cmd, n)}
	for i := range n {
		if err := errors.Join(os.Mkdir(p.server(i), 0o700), os.WriteFile(p.config(i), p.settings(i), 0o600)); err != nil {
			p.Shutdown()
			return nil, err
		}
	}
	for i := range n {
		if err := p.Start(i); err != nil {
			p.Shutdown()
			return nil, err
		}
	}
	return p, nil
}

func (p *Processes) server(i int) string { return filepath.Join(p.dir, fmt.Sprint("n", i)) }
func (p *Processes) config(i int) string { return p.server(i) + ".conf" }

func (p *Processes) settings(i int) []byte {
	var routes []string
	for _, r := range p.routes {
		routes = append(routes, fmt.Sprintf("nats-route://127.0.0.1:%d", r))
	}
	return fmt.Appendf(nil, `server_name: n%d
listen: 127.0.0.1:%d
jetstream { store_dir: %q, max_memory_store: 64MB, max_file_store: 1GB, sync_interval: always }
cluster { name: test, listen: 127.0.0.1:%d, routes: [%s] }
`, i, p.ports[i], p.server(i), p.routes[i], strings.Join(routes, ", "))
}

// URLs are where the servers are, whether they run or not.
func (p *Processes) URLs() []string {
	var urls []string
	for _, port := range p.ports {
		urls = append(urls, fmt.Sprintf("nats://127.0.0.1:%d", port))
	}
	return urls
}

// Start starts one server that does not run.
func (p *Processes) Start(i int) error {
	cmd := exec.Command(p.program, "-c", p.config(i), "-l", p.server(i)+".log")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // a test that is cut off leaves none behind
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("natstest: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.run[i] = cmd
	return nil
}

// Kill kills a server at once.
func (p *Processes) Kill(i int) {
	p.mu.Lock()
	cmd := p.run[i]
	p.run[i] = nil
	p.mu.Unlock()
	if cmd != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // says that it was killed
	}
}

// Pause stops a server as it is: its connections stay open, and nothing is
// answered. Resume lets it go on, with what it knew.
func (p *Processes) Pause(i int) error { return p.signal(i, syscall.SIGSTOP) }

// Resume ends a pause.
func (p *Processes) Resume(i int) error { return p.signal(i, syscall.SIGCONT) }

func (p *Processes) signal(i int, s syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run[i] == nil {
		return fmt.Errorf("natstest: server %d does not run", i)
	}
	return p.run[i].Process.Signal(s)
}

// Copy keeps a copy of all data, to be put back by Restore. No server may run
// then, or what is copied was never there at one moment.
func (p *Processes) Copy() (string, error) {
	dir, err := os.MkdirTemp(p.dir, "copy-")
	if err != nil {
		return "", err
	}
	for i := range p.run {
		if err := os.CopyFS(filepath.Join(dir, fmt.Sprint(i)), os.DirFS(p.server(i))); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// Restore puts a copy in the place of all data.
func (p *Processes) Restore(dir string) error {
	for i := range p.run {
		if err := errors.Join(os.RemoveAll(p.server(i)),
			os.CopyFS(p.server(i), os.DirFS(filepath.Join(dir, fmt.Sprint(i))))); err != nil {
			return err
		}
	}
	return nil
}

// Connect connects a client. The caller closes its connection.
func (p *Processes) Connect() (jetstream.JetStream, error) {
	nc, err := nats.Connect(strings.Join(p.URLs(), ","), nats.MaxReconnects(-1),
		nats.ReconnectWait(50*time.Millisecond), nats.RetryOnFailedConnect(true))
	if err != nil {
		return nil, err
	}
	return jetstream.New(nc)
}

// LeaderOf asks which server leads a stream, until one does.
func (p *Processes) LeaderOf(ctx context.Context, js jetstream.JetStream, stream string) (int, error) {
	for {
		try, cancel := context.WithTimeout(ctx, time.Second)
		s, err := js.Stream(try, stream)
		cancel()
		if err == nil {
			for i := range p.run {
				if c := s.CachedInfo().Cluster; c != nil && c.Leader == fmt.Sprint("n", i) {
					return i, nil
				}
			}
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return -1, fmt.Errorf("natstest: no leader of %s: %w", stream, errors.Join(ctx.Err(), err))
		}
	}
}

// Log is what a server has written.
func (p *Processes) Log(i int) string {
	b, _ := os.ReadFile(p.server(i) + ".log")
	return string(b)
}

// Shutdown kills all servers and removes their data.
func (p *Processes) Shutdown() {
	for i := range p.run {
		p.Kill(i)
	}
	os.RemoveAll(p.dir)
}
