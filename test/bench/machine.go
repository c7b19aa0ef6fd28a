package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// machine is where the figures come from.
type machine struct {
	cpu, memory, kernel, commit string
	sync                        quantiles // of 4 KiB, written and synced
	loadBefore, loadAfter       string
	modules, servers            []string
}

// shownModules are those whose versions decide about a figure.
var shownModules = []string{
	"github.com/nats-io/nats-server/v2", "github.com/nats-io/nats.go", "github.com/golang-jwt/jwt/v5",
	"github.com/hashicorp/golang-lru/v2", "github.com/bits-and-blooms/bloom/v3", "github.com/jackc/pgx/v5",
	"github.com/redis/go-redis/v9", "github.com/r3labs/sse/v2", "github.com/coder/websocket",
}

func describeMachine(ctx context.Context, dir string) (*machine, error) {
	m := &machine{
		cpu:        field("/proc/cpuinfo", "model name"),
		memory:     field("/proc/meminfo", "MemTotal"),
		kernel:     firstLine("/proc/sys/kernel/osrelease"),
		loadBefore: firstLine("/proc/loadavg"),
		commit:     said(ctx, "git", "describe", "--always", "--dirty"),
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if slices.Contains(shownModules, dep.Path) {
				m.modules = append(m.modules, dep.Path+" "+dep.Version)
			}
		}
	}
	for _, server := range []string{"redis-server", "postgres"} {
		if version := said(ctx, server, "--version"); version != "unknown" {
			m.servers = append(m.servers, version)
		}
	}
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for range 50 {
		begun := time.Now()
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			return nil, err
		}
		if err := f.Sync(); err != nil {
			return nil, err
		}
		m.sync = append(m.sync, time.Since(begun))
	}
	return m, nil
}

// end notes the load when everything has been measured.
func (m *machine) end() { m.loadAfter = firstLine("/proc/loadavg") }

func (m *machine) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| | |\n|---|---|\n")
	for _, row := range [][2]string{
		{"date", time.Now().UTC().Format("2006-01-02 15:04 UTC")},
		{"commit", m.commit},
		{"processor", fmt.Sprintf("%s, %d cores", m.cpu, runtime.NumCPU())},
		{"memory", m.memory},
		{"kernel", runtime.GOOS + " " + m.kernel},
		{"disk", fmt.Sprintf("4 KiB written and synced: median %s, p99 %s", span(m.sync.at(.5)), span(m.sync.at(.99)))},
		{"load average before", m.loadBefore},
		{"load average after", m.loadAfter},
		{"Go", runtime.Version()},
		{"servers", strings.Join(m.servers, ", ")},
		{"modules", strings.Join(m.modules, ", ")},
	} {
		fmt.Fprintf(&b, "| %s | %s |\n", row[0], row[1])
	}
	b.WriteString("\nA load average above the number of cores before the start means that others were\nat work on the machine: then read ratios, and not the times.\n")
	return b.String()
}

// said is what a program prints, or "unknown".
func said(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

func firstLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

// field is a value of a file with lines "name: value".
func field(path, name string) string {
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
