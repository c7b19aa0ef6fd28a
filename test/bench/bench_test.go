package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/revocast/revocast/events"
)

func TestMain(m *testing.M) {
	if _, ok := os.LookupEnv(crowdEnv); ok {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

// The short form goes through every section and writes the whole document: it
// fails on errors, wrong answers among them, and never on times.
func TestTheShortFormWritesTheWholeDocument(t *testing.T) {
	dir := t.TempDir()
	if err := runSuite(t.Context(), scaleShort, "", "go run ./test/bench -short", dir, io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "performance.md"))
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for _, want := range []string{
		"go run ./test/bench -short", "load average before", "load average after", "## Look-up", "## Authenticate",
		"## Strategies", "## Ingest", "## Snapshot and start", "## Fan-out", "## Raw figures",
		"### Applying while others look up", "| push over WebSocket |", "| short-lived tokens with refresh |", "### Latency against load",
		"### A hub's restart", "### Cold starts", "### A burst", "### Paced: as the readers grow", "### Paced: as the revocations grow",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the document lacks %q", want)
		}
	}
	for _, wrong := range []string{"NaN", "Inf", "%!"} {
		if strings.Contains(page, wrong) {
			t.Errorf("the document has %q", wrong)
		}
	}
	pictures := regexp.MustCompile(`\]\(([^)]+\.svg)\)`).FindAllStringSubmatch(page, -1)
	if len(pictures) == 0 {
		t.Error("the document shows no chart")
	}
	for _, p := range pictures {
		if info, err := os.Stat(filepath.Join(dir, p[1])); err != nil || info.Size() == 0 {
			t.Errorf("chart %s: %v", p[1], err)
		}
	}
}

// What is measured is only worth something if it also answers rightly.
func TestAWrongAnswerEndsTheRun(t *testing.T) {
	for _, d := range denyLists {
		s := suiteForTest(t)
		list := d.build([]events.Key{keyOf("revoked")}, uint32(time.Now().Unix()+60))
		lie := wanted{revoked: true}
		lie.add("good")
		_, err := race(s.ctx, s.scale, s.step, contender{d.name, func(n int) error { return list(lie, time.Now().Unix(), n) }})
		if !errors.Is(err, errWrongAnswer) {
			t.Errorf("%s: the error is %v", d.name, err)
		}
	}
}

// A strategy that refuses everything would be the fastest to enforce, and one
// that takes a token as revoked before it is, too.
func TestAStrategyThatRefusesGoodTokensEndsTheRun(t *testing.T) {
	s := suiteForTest(t)
	issuerKeys, err := newKeyring()
	if err != nil {
		t.Fatal(err)
	}
	for _, refuses := range []bool{true, false} {
		revoked := make(map[string]bool)
		st := &strategy{
			name: "refuses",
			prepare: func(b bearer) check {
				return func(context.Context) (bool, error) { return refuses || revoked[b.jti], nil }
			},
			revoke: func(_ context.Context, jti string) error { revoked[jti] = true; return nil },
		}
		_, costs := costsOf(s, issuerKeys[2], []*strategy{st})
		_, delays := delaysOf(s, issuerKeys[2], []*strategy{st})
		if errors.Is(costs, errWrongAnswer) != refuses || errors.Is(delays, errWrongAnswer) != refuses {
			t.Errorf("refuses is %v, the errors are %v and %v", refuses, costs, delays)
		}
	}
}

func TestContendersTakeTurns(t *testing.T) {
	s := suiteForTest(t)
	var order []string
	turn := func(name string) contender {
		return contender{name, func(n int) error {
			time.Sleep(time.Duration(n) * time.Millisecond)
			order = append(order, name)
			return nil
		}}
	}
	for _, scale := range []scale{s.scale, s.scale.paired()} {
		order = nil
		paces, err := race(s.ctx, scale, s.step, turn("a"), turn("b"))
		if err != nil {
			t.Fatal(err)
		}
		turns := scale.Rounds * max(1, scale.Turns)
		if got := strings.Join(order[max(0, len(order)-2*turns):], ""); got != strings.Repeat("ab", turns) {
			t.Errorf("the order is %s", got)
		}
		if len(paces[0].ns) != scale.Rounds || paces[0].ns.median() < 1e6 {
			t.Errorf("paces %v", paces)
		}
	}
}

func TestSpread(t *testing.T) {
	if got := (spread{5, 1, 3000, 4}).String(); got != "4.5 (1…3,000)" {
		t.Error(got)
	}
	if got := (spread{6, 9}).over(spread{2, 3}).String(); got != "3 (3…3)" {
		t.Error(got)
	}
	if got := (quantiles{3, 1, 2}).at(.5); got != 2 {
		t.Error(got)
	}
}

func TestHistogram(t *testing.T) {
	a, b := new(histogram), new(histogram)
	for i := range 99 {
		a.add(time.Duration(i + 1))
	}
	b.add(time.Second)
	a.merge(b)
	for q, want := range map[float64]float64{0: 1, .5: 51, .98: 99, .99: 1e9, 1: 1e9} {
		if got := a.at(q); got != want {
			t.Errorf("%v: %v, want %v", q, got, want)
		}
	}
}

func TestBatches(t *testing.T) {
	b := batches{1, 1, 2, 3, 4, 255, 256, 1000}
	if got := strings.Join(b.row(), "|"); got != "25.0|25.0|12.5|||||12.5|25.0" {
		t.Error(got)
	}
	if got := b.String(); got != "median 4, most 1000" {
		t.Error(got)
	}
}

// Who is late because others were, is late: the time counts from when a request
// was due.
func TestARequestIsDueWhetherOthersAreDoneOrNot(t *testing.T) {
	s := suiteForTest(t)
	s.scale.Arriving = 100 * time.Millisecond
	var turn sync.Mutex
	a := &arrived{rate: 100}
	if err := a.round(s, 1, func(context.Context) (uint64, error) {
		turn.Lock()
		defer turn.Unlock()
		time.Sleep(50 * time.Millisecond) // 20 a second
		return 1, nil
	}); err != nil {
		t.Fatal(err)
	}
	if !a.saturated || a.p99[0] < 200 || !slices.Equal(a.batches, batches{10}) {
		t.Errorf("%+v", a)
	}
}

func TestBenchmarksAreTakenOver(t *testing.T) {
	all := make(tally)
	for line := range strings.Lines("goos: linux\nBenchmarkFanout/simple-2 \t 1\t 2000 ns/op\t 623000 deliveries/s\nBenchmarkFanout/simple \t 1\t 369000 deliveries/s\nPASS\n") {
		if b, ok := parseBenchmark(strings.TrimSpace(line)); ok {
			all.add(b)
		}
	}
	if f := all["simple"]; len(all) != 1 || !slices.Equal(f["deliveries/s"], spread{623000, 369000}) || !slices.Equal(f["ns/op"], spread{2000}) {
		t.Error(all)
	}
}

func TestAnUnknownSectionIsAnError(t *testing.T) {
	if err := runSuite(context.Background(), scaleShort, "lookup,nonsense", "", "", io.Discard, io.Discard); err == nil {
		t.Error("no error")
	}
}

func suiteForTest(t *testing.T) *suite {
	return &suite{ctx: t.Context(), scale: scaleShort, dir: t.TempDir(), report: new(report), step: func(string) {}}
}
