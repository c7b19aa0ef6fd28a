package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const feedPackage = "github.com/revocast/revocast/hub/feed"

// fanout takes over what hub/feed's own benchmark measures: its peers have to
// be inside that package.
func fanout(s *suite) error {
	const text = `
One revocation to many connections. The benchmark is BenchmarkFanout of hub/feed:

    go test -run '^$' -bench Fanout -benchtime 1x ./hub/feed`
	s.step("BenchmarkFanout of hub/feed")
	if !s.scale.Fanout {
		s.report.section("Fan-out", text+"\n\nSkipped: not in the short form.")
		return nil
	}
	// Its data belongs where that of the other sections is.
	run := exec.CommandContext(s.ctx, "go", "test", "-run", "^$", "-bench", "Fanout", "-benchtime", "1x", feedPackage)
	run.Env = append(os.Environ(), "TMPDIR="+s.dir)
	var stderr bytes.Buffer
	run.Stderr = &stderr
	out, err := run.Output()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s%s", run, err, out, stderr.Bytes())
	}
	found := parseBenchmarks(string(out))
	if len(found) == 0 {
		s.report.section("Fan-out", text+"\n\nSkipped: hub/feed has no such benchmark.")
		return nil
	}
	s.report.section("Fan-out", text)
	head, rows := benchmarkTable(found)
	s.report.table(head, rows...)
	return nil
}

// benchmark is a line of what go test -bench prints: a name, and values by
// their units in the order printed.
type benchmark struct {
	name   string
	units  []string
	values map[string]string
}

var benchmarkLine = regexp.MustCompile(`(?m)^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+(.+)$`)

func parseBenchmarks(out string) []benchmark {
	var found []benchmark
	for _, line := range benchmarkLine.FindAllStringSubmatch(out, -1) {
		b := benchmark{name: line[1], values: make(map[string]string)}
		fields := strings.Fields(line[2])
		for i := 0; i+1 < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				break
			}
			b.units = append(b.units, fields[i+1])
			b.values[fields[i+1]] = figure(v)
		}
		found = append(found, b)
	}
	return found
}

// benchmarkTable has a column for each unit that any of them has.
func benchmarkTable(found []benchmark) (head []string, rows [][]string) {
	head = []string{""}
	for _, b := range found {
		for _, unit := range b.units {
			if !slices.Contains(head, unit) {
				head = append(head, unit)
			}
		}
	}
	for _, b := range found {
		row := []string{b.name}
		for _, unit := range head[1:] {
			row = append(row, b.values[unit])
		}
		rows = append(rows, row)
	}
	return head, rows
}
