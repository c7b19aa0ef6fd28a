package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

const feedPackage = "github.com/revocast/revocast/hub/feed"

// feedTest is the test binary of hub/feed, in which there are the benchmarks
// that need the inside of that package.
type feedTest struct{ path, dir string }

func buildFeedTest(ctx context.Context, dir string) (*feedTest, error) {
	t := &feedTest{filepath.Join(dir, "feed.test"), dir}
	if out, err := exec.CommandContext(ctx, "go", "test", "-c", "-o", t.path, feedPackage).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go test -c %s: %w: %s", feedPackage, err, out)
	}
	return t, nil
}

// run runs benchmarks once, and tells found of each as soon as it is over. env
// says how large they are.
func (t *feedTest) run(ctx context.Context, pattern string, env []string, found func(benchmark)) error {
	run := exec.CommandContext(ctx, t.path, "-test.run", "^$", "-test.bench", pattern, "-test.benchtime", "1x", "-test.timeout", "1h")
	run.Dir = t.dir
	run.Env = append(append(os.Environ(), "TMPDIR="+t.dir), env...) // its data belongs where that of the other sections is
	var stderr bytes.Buffer
	run.Stderr = &stderr
	out, err := run.StdoutPipe()
	if err != nil {
		return err
	}
	if err := run.Start(); err != nil {
		return err
	}
	var printed strings.Builder
	some := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if b, ok := parseBenchmark(lines.Text()); ok {
			some = true
			found(b)
		} else {
			printed.WriteString(lines.Text() + "\n")
		}
	}
	if err := run.Wait(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s%s", strings.Join(env, " "), pattern, err, printed.String(), stderr.Bytes())
	}
	if !some {
		return fmt.Errorf("hub/feed has no benchmark %s", pattern)
	}
	return nil
}

// command is how to run benchmarks by hand.
func (t *feedTest) command(pattern string, env ...string) string {
	return strings.TrimSpace(strings.Join(env, " ") + " go test -run '^$' -bench '" + pattern + "' -benchtime 1x ./hub/feed")
}

// benchmark is a line of what go test -bench prints: the last part of a name,
// and values by their units.
type benchmark struct {
	name   string
	values map[string]float64
}

var benchmarkLine = regexp.MustCompile(`^Benchmark\S*?([^/\s]+?)(?:-\d+)?\s+\d+\s+(.+)$`)

func parseBenchmark(text string) (b benchmark, ok bool) {
	line := benchmarkLine.FindStringSubmatch(text)
	if line == nil {
		return b, false
	}
	b = benchmark{line[1], make(map[string]float64)}
	fields := strings.Fields(line[2])
	for i := 0; i+1 < len(fields); i += 2 {
		v, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			return b, false
		}
		b.values[fields[i+1]] = v
	}
	return b, true
}

// tally has the values of benchmarks, by name and unit, of all rounds.
type tally map[string]map[string]spread

func (t tally) add(b benchmark) {
	if t[b.name] == nil {
		t[b.name] = make(map[string]spread)
	}
	for unit, v := range b.values {
		t[b.name][unit] = append(t[b.name][unit], v)
	}
}
