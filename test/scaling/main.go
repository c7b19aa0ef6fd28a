// Scaling simulates a fleet of a million subscribers over hubs and regions,
// lets things go wrong, and shows how long revocations take to be enforced
// and how the subscribers come back. It is seeded: the same flags give the
// same figures. docs/scaling.md is written with them.
//
//	go run ./test/scaling                       # the table, and docs/scaling*.svg
//	go run ./test/scaling -subscribers 100000 -hubs 4
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/revocast/revocast/test/chart"
)

func main() {
	f := DefaultFleet()
	hubs := flag.Int("hubs", f.Regions[0].Hubs, "hubs of each region")
	out := flag.String("o", "docs", "`directory` of the charts; empty: none")
	flag.IntVar(&f.Subscribers, "subscribers", f.Subscribers, "in all regions together")
	flag.Uint64Var(&f.Seed, "seed", f.Seed, "of all that is left to chance")
	flag.DurationVar(&f.PerDelivery, "per-delivery", f.PerDelivery, "CPU time of a hub for one frame to one subscriber")
	flag.DurationVar(&f.PerConnect, "per-connect", f.PerConnect, "CPU time of a hub to take a subscriber in")
	flag.IntVar(&f.Admit, "admit", f.Admit, "subscribers that a hub takes in per second")
	flag.BoolVar(&f.NoJitter, "no-jitter", false, "subscribers come back without jitter, to see what it is for")
	flag.Parse()
	for i := range f.Regions {
		f.Regions[i].Hubs = *hubs
	}
	bar := progressbar.NewOptions(1000, progressbar.OptionSetDescription("simulating"),
		progressbar.OptionSetWriter(os.Stderr), progressbar.OptionClearOnFinish())
	begun := time.Now()
	r, chapters := simulate(f, func(done float64) { _ = bar.Set(int(done * 1000)) })
	_ = bar.Finish()
	show(f, r, chapters, time.Since(begun))
	if *out == "" {
		return
	}
	if err := draw(*out, r); err != nil {
		fmt.Fprintln(os.Stderr, "scaling:", err)
		os.Exit(1)
	}
}

func show(f Fleet, r Result, chapters []Chapter, took time.Duration) {
	n := 0
	for _, region := range f.Regions {
		n += region.Hubs
	}
	fmt.Printf("%d subscribers, %d hubs in %d regions, seed %d; simulated in %.0f s\n\n", f.Subscribers, n, len(f.Regions), f.Seed, took.Seconds())
	for _, c := range chapters {
		fmt.Printf("%6.0f s  %s\n", c.At.Seconds(), c.What)
	}
	fmt.Printf("\n| from the acknowledgement to the enforcement | count | median | p99 | p99.9 | worst |\n|---|---|---|---|---|---|\n")
	for _, row := range []struct {
		name string
		h    *Histogram
	}{
		{"by subscribers that were connected", &r.OnTime},
		{"by subscribers that had to come back", &r.Late},
		{"time without a hub", &r.Outage},
	} {
		fmt.Printf("| %s | %d | %s | %s | %s | %s |\n", row.name, row.h.N,
			brief(row.h.Quantile(.5)), brief(row.h.Quantile(.99)), brief(row.h.Quantile(.999)), brief(row.h.Most))
	}
	fmt.Printf("\nmost attempts in a second: %.0f; sent away with Retry-After: %d; most without a hub: %.0f; most not fresh: %.0f\n",
		slices.Max(r.Attempts), r.SentAway, slices.Max(r.Gone), slices.Max(r.Stale))
	fmt.Printf("fresh while behind: %d\n", r.FreshWhileBehind)
}

func brief(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", d.Seconds()*1000)
	default:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
}

func draw(dir string, r Result) error {
	attempts := make([]float64, len(r.Seconds))
	copy(attempts, r.Attempts)
	return chart.Chart{Title: "A million subscribers while things go wrong", X: "seconds", Y: "subscribers"}.SaveLines(
		filepath.Join(dir, "scaling.svg"),
		chart.Line{Name: "without a hub", X: r.Seconds, Y: r.Gone},
		chart.Line{Name: "not fresh", X: r.Seconds, Y: r.Stale},
		chart.Line{Name: "attempts in that second", X: r.Seconds, Y: attempts})
}
