// Bench measures Revocast next to what people would otherwise use: everything
// through the real packages, peers in turn with it in one run, and writes
// docs/performance.md with its charts.
//
//	go run ./test/bench                  # all of it, in some 8 minutes
//	go run ./test/bench -long            # and what takes 20: sets of 10,000,000, long histories
//	go run ./test/bench -short -o ""     # seconds, to see that it works; the figures mean nothing
//	go run ./test/bench -only ingest -o ""
//
// Peers that need a server (redis-server, postgres) are measured if it is on
// the PATH, and otherwise named as skipped.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
)

// section is one part of the suite. It writes its tables into the report.
type section struct {
	name  string
	steps int // about how often it calls suite.step
	run   func(*suite) error
}

var sections = []section{
	{"lookup", 50, lookup},
	{"authenticate", 30, authenticate},
	{"strategies", 105, strategies},
	{"ingest", 57, ingest},
	{"snapshot", 26, snapshot},
	{"fanout", 84, fanout},
}

// suite is one run of the program.
type suite struct {
	ctx    context.Context
	scale  scale
	dir    string // for data, removed at the end
	report *report
	step   func(what string) // shows that something else is measured from now on
}

func main() {
	if crowd, ok := os.LookupEnv(crowdEnv); ok { // this process is the subscribers of a cold start
		if err := serveCrowd(crowd); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	short := flag.Bool("short", false, "measure next to nothing, to see that everything works")
	long := flag.Bool("long", false, "also look-ups among 10,000,000, a restart after 10,000,000 records that have expired, and 10,000 cold starts with 100,000 revocations: needs 6 GB of memory, 20 GB of disk and about 20 minutes")
	out := flag.String("o", "docs", "`directory` of performance.md and its charts; empty: none")
	only := flag.String("only", "", "comma-separated `sections` to run: lookup, authenticate, strategies, ingest, snapshot, fanout")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	debug.SetMemoryLimit(5 << 30)
	s := scaleFull
	if *short {
		s = scaleShort
	}
	if *long {
		s = s.long()
	}
	command := strings.Join(append([]string{"go run ./test/bench"}, os.Args[1:]...), " ")
	if err := runSuite(ctx, s, *only, command, *out, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// runSuite runs the sections that only names, all if it is empty, prints their
// tables, and writes the document into the directory out unless that is empty.
func runSuite(ctx context.Context, s scale, only, command, out string, tables, progress io.Writer) (err error) {
	wanted, err := choose(only)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "revocast-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	machine, err := describeMachine(ctx, dir)
	if err != nil {
		return err
	}
	total := 0
	for _, sec := range wanted {
		total += sec.steps
	}
	bar := progressbar.NewOptions(total, progressbar.OptionSetWriter(progress), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetWidth(30), progressbar.OptionSetPredictTime(false))
	if out != "" {
		if err := os.MkdirAll(out, 0o755); err != nil {
			return err
		}
	}
	begun := time.Now()
	r := &report{charts: out}
	before := 0
	for _, sec := range wanted {
		done := 0
		su := &suite{ctx: ctx, scale: s, dir: filepath.Join(dir, sec.name), report: r}
		su.step = func(what string) {
			bar.Describe(fmt.Sprintf("%-12s %-36.36s", sec.name, what))
			if done < sec.steps {
				done++
				_ = bar.Set(before + done)
			}
		}
		if err := os.Mkdir(su.dir, 0o755); err != nil {
			return err
		}
		if err := sec.run(su); err != nil {
			return fmt.Errorf("%s: %w", sec.name, err)
		}
		before += sec.steps
		debug.FreeOSMemory()
	}
	_ = bar.Finish()
	machine.end()
	if _, err := io.WriteString(tables, r.text.String()); err != nil {
		return err
	}
	if out == "" {
		return nil
	}
	return r.write(filepath.Join(out, "performance.md"), command, machine, time.Since(begun))
}

func choose(only string) ([]section, error) {
	if only == "" {
		return sections, nil
	}
	var chosen []section
next:
	for name := range strings.SplitSeq(only, ",") {
		for _, sec := range sections {
			if sec.name == name {
				chosen = append(chosen, sec)
				continue next
			}
		}
		return nil, fmt.Errorf("-only: no section is called %q", name)
	}
	return chosen, nil
}
