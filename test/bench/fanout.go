package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/revocast/revocast/test/chart"
)

// carriers are the servers that hub/feed's benchmarks compare.
var carriers = []struct{ name, title string }{
	{"hijacked", "Revocast"},
	{"simple", "Revocast, in handlers"},
	{"tls", "Revocast, TLS"},
	{"r3labs", "r3labs/sse"},
}

// paced are those of them whose latency is compared.
var paced = []string{"hijacked", "simple", "r3labs"}

func titleOf(name string) string {
	for _, c := range carriers {
		if c.name == name {
			return c.title
		}
	}
	return name
}

// fanout runs hub/feed's own benchmarks, whose peers have to be inside that
// package, in turn.
func fanout(s *suite) error {
	s.step("building the benchmarks of hub/feed")
	t, err := buildFeedTest(s.ctx, s.dir)
	if err != nil {
		return err
	}
	s.report.section("Fan-out", `
One revocation to many connections, which stay open. The readers are a process
of their own on the same processors, and each of them reads all that comes: what
they need is given apart. A *delivery* is one revocation that one reader has
read, whatever else came with the same write(2); a server that has several for a
reader may send them in one, so writes are counted too (ticks and what the log
writes among them: with few readers those are more than the deliveries). *CPU*
is what the server's process used, everything included: who publishes, and for
Revocast the log, which is synced to disk before anything is sent, the fold, and
a tick each second to each reader; the kernel's part of it is sampled, and left
out where there was little. *In handlers* is how it carries what can't be
taken from the HTTP server, HTTP/2 for one: here HTTP/1.1, to compare. The server
of r3labs/sse gets events of the same size, and keeps nothing.`)
	if err := bursts(s, t); err != nil {
		return err
	}
	if err := crowds(s, t); err != nil {
		return err
	}
	if err := rates(s, t); err != nil {
		return err
	}
	return idle(s, t)
}

// keep takes a benchmark over, its raw figures included.
func keep(s *suite, what string, t tally) {
	for _, c := range carriers {
		for _, unit := range []string{"deliveries/s", "events/s", "server-ns/delivery", "server-kernel-%", "readers-ns/delivery", "writes/delivery", "p50-ms", "p99-ms", "worst-ms"} {
			if figures := t[c.name][unit]; len(figures) > 0 {
				s.report.figures("fan-out, "+what+", "+c.name, unit, figures)
			}
		}
	}
}

func bursts(s *suite, t *feedTest) error {
	env := []string{"FANOUT_READERS=" + strconv.Itoa(s.scale.Burst)}
	all := make(tally)
	for range s.scale.few() {
		if err := t.run(s.ctx, "^BenchmarkFanout$", env, func(b benchmark) { s.step("burst: " + b.name); all.add(b) }); err != nil {
			return err
		}
	}
	keep(s, "burst", all)
	var rows [][]string
	var bars []chart.Bar
	for _, c := range carriers {
		f := all[c.name]
		rows = append(rows, []string{c.title, f["deliveries/s"].String(), f["server-ns/delivery"].String(), inKernel(f), f["readers-ns/delivery"].String(),
			perWrite(f), figure(f["deliveries/s"].over(all["r3labs"]["deliveries/s"]).median()) + " ×"})
		bars = append(bars, chart.Bar{Name: c.title, Value: f["deliveries/s"].median()})
	}
	s.report.say("### A burst\n\n16 publishers, each waiting for its answer before it publishes again, send 2,000 revocations to %s readers. By hand:\n\n    %s",
		count(s.scale.Burst), t.command("Fanout", env...))
	s.report.table([]string{"", "deliveries/s", "CPU, ns for each", "of it the kernel's", "readers' CPU, ns for each", "deliveries in a write", "over r3labs/sse"}, rows...)
	return s.report.bars("fanout", chart.Chart{Title: fmt.Sprintf("A burst to %s readers", count(s.scale.Burst)), X: "deliveries/s"}, bars...)
}

func perWrite(f map[string]spread) string {
	if len(f["writes/delivery"]) == 0 {
		return "" // only Linux tells
	}
	return figure(1 / f["writes/delivery"].median())
}

// inKernel is nothing for what took too little time.
func inKernel(f map[string]spread) string {
	if len(f["server-kernel-%"]) == 0 {
		return ""
	}
	return f["server-kernel-%"].String() + " %"
}

func only(names ...string) string { return "^BenchmarkPaced$/^(" + strings.Join(names, "|") + ")$" }

// crowds is how latency and cost grow with the readers.
func crowds(s *suite, t *feedTest) error {
	limit := openFiles(s.ctx)
	var rows [][]string
	costs, tails := newCurves(paced), newCurves(paced)
	for _, readers := range s.scale.Crowds {
		if readers+200 > limit {
			rows = append(rows, []string{count(readers), fmt.Sprintf("skipped: a process may open %d files", limit), "", "", "", "", "", ""})
			continue
		}
		env := []string{"PACED_READERS=" + strconv.Itoa(readers), "PACED_SECONDS=" + strconv.Itoa(s.scale.Paced)}
		all := make(tally)
		for range s.scale.few() {
			if err := t.run(s.ctx, only(paced...), env, func(b benchmark) {
				s.step(fmt.Sprintf("paced, %d readers: %s", readers, b.name))
				all.add(b)
			}); err != nil {
				return err
			}
		}
		keep(s, fmt.Sprintf("20/s, %d readers", readers), all)
		for _, name := range paced {
			f := all[name]
			rows = append(rows, []string{count(readers), titleOf(name), f["p50-ms"].String(), f["p99-ms"].String(),
				figure(f["events/s"].median()), micro(f["server-ns/delivery"]).String(), inKernel(f), perWrite(f)})
			costs.add(name, float64(readers), micro(f["server-ns/delivery"]).median())
			tails.add(name, float64(readers), f["p99-ms"].median())
		}
	}
	s.report.say("### Paced: as the readers grow\n\n20 revocations a second, one in each request, whether those before are done or not. The times are from the moment at which a revocation was *due* to the moment at which a reader had it, of all deliveries. Where fewer than 20 a second were published, the server could not keep up: what it owes then grows for as long as it goes on. A delivery that comes alone costs the kernel some microseconds for the write; where readers and rate come to more of those than the cores have, only a server that puts several into one write falls no further behind. With few readers most of the cost is not theirs: it is that of publishing, and for Revocast of the log. By hand:\n\n    %s",
		t.command("Paced", "PACED_READERS=10000"))
	s.report.table([]string{"readers", "", "p50, ms", "p99, ms", "revocations/s", "CPU, µs for each delivery", "of it the kernel's", "deliveries in a write"}, rows...)
	if len(s.scale.Crowds) < 2 {
		return nil
	}
	if err := s.report.lines("fanout-readers-cpu", chart.Chart{Title: "CPU of the server for a delivery, 20 revocations a second", X: "readers", Y: "µs", LogX: true, LogY: true}, costs.lines...); err != nil {
		return err
	}
	return s.report.lines("fanout-readers-p99", chart.Chart{Title: "From due to read, p99, 20 revocations a second", X: "readers", Y: "ms", LogX: true, LogY: true}, tails.lines...)
}

// rates is how latency and cost grow with the revocations, until a server can't
// keep up.
func rates(s *suite, t *feedTest) error {
	var rows [][]string
	contenders := []string{"hijacked", "r3labs"}
	costs, tails := newCurves(contenders), newCurves(contenders)
	behind := make(map[string]bool)
	for _, rate := range s.scale.Rates {
		pending := slices.DeleteFunc(slices.Clone(contenders), func(name string) bool { return behind[name] })
		if len(pending) == 0 {
			break
		}
		env := []string{"PACED_READERS=" + strconv.Itoa(s.scale.RateReaders), "PACED_RATE=" + strconv.Itoa(rate),
			"PACED_TOGETHER=" + strconv.Itoa(max(1, rate/1000)), "PACED_SECONDS=" + strconv.Itoa(max(s.scale.Paced, min(5, 10*s.scale.Paced/rate)))}
		all := make(tally)
		for range s.scale.few() {
			if err := t.run(s.ctx, only(pending...), env, func(b benchmark) {
				s.step(fmt.Sprintf("%d a second: %s", rate, b.name))
				all.add(b)
			}); err != nil {
				return err
			}
		}
		keep(s, fmt.Sprintf("%d/s, %d readers", rate, s.scale.RateReaders), all)
		for _, name := range pending {
			f := all[name]
			behind[name] = f["events/s"].median() < .9*float64(rate)
			rows = append(rows, []string{count(rate), titleOf(name), f["p50-ms"].String(), f["p99-ms"].String(),
				figure(f["events/s"].median()), micro(f["server-ns/delivery"]).String(), perWrite(f)})
			costs.add(name, float64(rate), micro(f["server-ns/delivery"]).median())
			tails.add(name, float64(rate), f["p99-ms"].median())
		}
	}
	s.report.say("### Paced: as the revocations grow\n\nTo %s readers; above 1,000 a second in 1,000 requests a second, each sent when its last revocation is due. A server is left out once it has fallen behind. By hand:\n\n    %s",
		count(s.scale.RateReaders), t.command("Paced", "PACED_READERS=100", "PACED_RATE=10000", "PACED_TOGETHER=10"))
	s.report.table([]string{"offered/s", "", "p50, ms", "p99, ms", "revocations/s", "CPU, µs for each delivery", "deliveries in a write"}, rows...)
	if len(s.scale.Rates) < 2 {
		return nil
	}
	if err := s.report.lines("fanout-rate-cpu", chart.Chart{Title: fmt.Sprintf("CPU of the server for a delivery, %d readers", s.scale.RateReaders), X: "revocations/s", Y: "µs", LogX: true, LogY: true}, costs.lines...); err != nil {
		return err
	}
	return s.report.lines("fanout-rate-p99", chart.Chart{Title: fmt.Sprintf("From due to read, p99, %d readers", s.scale.RateReaders), X: "revocations/s", Y: "ms", LogX: true, LogY: true}, tails.lines...)
}

// idle is what readers cost for whom there is nothing.
func idle(s *suite, t *feedTest) error {
	readers := s.scale.Idle
	if readers == 0 {
		return nil
	}
	if limit := openFiles(s.ctx); readers+200 > limit {
		s.report.say("### Idle\n\nSkipped: %d connections, but a process may open %d files.", readers, limit)
		return nil
	}
	env := []string{"IDLE_READERS=" + strconv.Itoa(readers)}
	all := make(tally)
	if err := t.run(s.ctx, "^BenchmarkIdle$", env, func(b benchmark) { s.step("idle: " + b.name); all.add(b) }); err != nil {
		return err
	}
	var rows [][]string
	for _, c := range carriers {
		f := all[c.name]
		rows = append(rows, []string{c.title, figure(f["B-resident/reader"].median()), figure(f["B-heap+stack/reader"].median()), figure(f["ns/reader/s"].median() / 1e3)})
	}
	s.report.say("### Idle\n\n%s connections for which there is nothing but Revocast's ticks; r3labs/sse sends none, so that its readers can't tell silence from a broken line. Resident memory is what the system counts, after Go has given back what it can; what the kernel keeps for sockets is not in it. By hand:\n\n    %s",
		count(readers), t.command("Idle", env...))
	s.report.table([]string{"for each connection", "bytes resident", "bytes of heap and stacks", "CPU, µs in a second"}, rows...)
	return nil
}

// micro are ns as µs.
func micro(ns spread) spread {
	us := make(spread, len(ns))
	for i, v := range ns {
		us[i] = v / 1e3
	}
	return us
}

// curves are lines that grow point by point.
type curves struct{ lines []chart.Line }

func newCurves(names []string) *curves {
	c := new(curves)
	for _, name := range names {
		c.lines = append(c.lines, chart.Line{Name: titleOf(name)})
	}
	return c
}

func (c *curves) add(name string, x, y float64) {
	for i := range c.lines {
		if l := &c.lines[i]; l.Name == titleOf(name) {
			l.X, l.Y = append(l.X, x), append(l.Y, y)
		}
	}
}

// openFiles is how many files a process may open, once it has raised its soft
// limit, as Go does.
func openFiles(ctx context.Context) int {
	n, err := strconv.Atoi(said(ctx, "sh", "-c", "ulimit -Hn"))
	if err != nil {
		return 1 << 30 // no limit, or none that is known
	}
	return n
}
