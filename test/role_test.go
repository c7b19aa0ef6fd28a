package test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/revocast/revocast/hub"
)

// Some tests need a process that is not one of the programs: they start this
// very binary, with a role.
const (
	roleEnv = "REVOCASTTEST_ROLE" // not with the prefix that the hub knows
	partEnv = "REVOCASTTEST_PART" // what the role needs to know, as JSON
)

var roles = map[string]func(part []byte) error{
	"hub": playHub,
}

// playRole ends the process if it has a role.
func playRole() {
	name := os.Getenv(roleEnv)
	if name == "" {
		return
	}
	if err := roles[name]([]byte(os.Getenv(partEnv))); err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func roleCommand(name string, part any) *exec.Cmd {
	data, err := json.Marshal(part)
	if err != nil {
		panic(err) // of plain fields
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"="+name, partEnv+"="+string(data))
	return cmd
}

// ownHub is a hub with settings that the program has no flags for, because
// nobody should set them. Zero fields have the hub's defaults.
type ownHub struct {
	DataDir, Listen, Ops                              string
	TickEvery, Heartbeat                              time.Duration
	MaxConnections                                    int
	MaxConnectionsPerAddress, MaxStreamsPerCredential int
	DangerouslySkipSync                               bool
}

func (w *world) ownHubCommand() *exec.Cmd {
	part := *w.own
	part.DataDir, part.Listen, part.Ops = w.dir, w.listen, w.ops
	return roleCommand("hub", part)
}

func playHub(part []byte) error {
	var own ownHub
	if err := unmarshal(part, &own); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	h, err := hub.Open(ctx, hub.Config{
		DataDir: own.DataDir, AdminKey: adminKey, TickEvery: own.TickEvery, Heartbeat: own.Heartbeat,
		MaxConnections: own.MaxConnections, MaxConnectionsPerAddress: own.MaxConnectionsPerAddress,
		MaxStreamsPerCredential: own.MaxStreamsPerCredential, DangerouslySkipSync: own.DangerouslySkipSync,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	api, err := net.Listen("tcp", own.Listen)
	if err != nil {
		h.Close()
		return err
	}
	ops, err := net.Listen("tcp", own.Ops)
	if err != nil {
		h.Close()
		return err
	}
	return h.Serve(ctx, api, ops, nil)
}

func unmarshal(part []byte, into any) error {
	if err := json.Unmarshal(part, into); err != nil {
		return fmt.Errorf("the part: %w", err)
	}
	return nil
}

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// lines are what a child says.
type lines struct {
	w    *world
	from *bufio.Scanner
}

// newLines starts a child, which is killed when the test ends.
func newLines(w *world, cmd *exec.Cmd) *lines {
	w.Helper()
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	w.must(err)
	w.must(cmd.Start())
	w.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return &lines{w, bufio.NewScanner(out)}
}

// await returns the next line that begins so.
func (l *lines) await(prefix string) string {
	l.w.Helper()
	for l.from.Scan() {
		if strings.HasPrefix(l.from.Text(), prefix) {
			return l.from.Text()
		}
	}
	l.w.Fatalf("the child ended before it said %q", prefix)
	return ""
}
