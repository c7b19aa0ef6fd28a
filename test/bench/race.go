package main

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"
	"time"
)

// contender is one way of doing something, compared with others.
type contender struct {
	name string
	do   func(n int) error // does it n times
}

// spread is what the rounds of one contender came to, in their order.
type spread []float64

// median is zero for none, as what this system can't tell.
func (s spread) median() float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// over is how many times as much each round came to as that of another
// contender right beside it.
func (s spread) over(o spread) spread {
	ratios := make(spread, len(s))
	for i := range s {
		ratios[i] = s[i] / o[i]
	}
	return ratios
}

// String is the median, and the least and the most; nothing for none.
func (s spread) String() string {
	if len(s) == 0 {
		return ""
	}
	return fmt.Sprintf("%s (%s…%s)", figure(s.median()), figure(slices.Min(s)), figure(slices.Max(s)))
}

// figure has three digits, or as many as stand before the point.
func figure(v float64) string {
	switch {
	case v >= 1000:
		return count(int(math.Round(v)))
	case v >= 100 || v == 0:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
}

// count is a figure that was not measured.
func count(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// pace is what a contender needs for one operation.
type pace struct {
	ns     spread
	allocs float64
}

// race measures the contenders in turn, round after round, so that what else
// the machine does meets all of them. Within a round each may have several
// turns, which add up to one figure. A first round that does not count finds out
// how often to do it, and warms up.
func race(ctx context.Context, s scale, step func(string), contenders ...contender) ([]pace, error) {
	paces := make([]pace, len(contenders))
	times := make([]int, len(contenders))
	for i, c := range contenders {
		n, took := 1, time.Duration(0)
		for {
			begun := time.Now()
			if err := c.do(n); err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
			if took = time.Since(begun); took >= s.Slice/4 || ctx.Err() != nil {
				break
			}
			n *= 2
		}
		times[i] = max(1, int(float64(n)*float64(s.Slice)/float64(took)))
	}
	turns := max(1, s.Turns)
	for i := range times {
		times[i] = max(1, times[i]/turns)
	}
	for range s.Rounds {
		took, allocs := make([]time.Duration, len(contenders)), make([]uint64, len(contenders))
		for range turns {
			for i, c := range contenders {
				if err := ctx.Err(); err != nil {
					return nil, err
				}
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				begun := time.Now()
				err := c.do(times[i])
				took[i] += time.Since(begun)
				runtime.ReadMemStats(&after)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", c.name, err)
				}
				allocs[i] += after.Mallocs - before.Mallocs
			}
		}
		for i := range contenders {
			n := float64(turns * times[i])
			paces[i].ns = append(paces[i].ns, float64(took[i].Nanoseconds())/n)
			paces[i].allocs = float64(allocs[i]) / n
		}
		step("round")
	}
	return paces, nil
}

// quantiles of latencies.
type quantiles []time.Duration

// at sorts them once and returns the latency that a part q is not above.
func (l quantiles) at(q float64) time.Duration {
	if len(l) == 0 {
		return 0
	}
	slices.Sort(l)
	return l[min(int(q*float64(len(l))), len(l)-1)]
}

// span is a duration with three digits.
func span(d time.Duration) string {
	switch {
	case d < time.Microsecond:
		return figure(float64(d)) + " ns"
	case d < time.Millisecond:
		return figure(float64(d)/1e3) + " µs"
	case d < time.Second:
		return figure(float64(d)/1e6) + " ms"
	default:
		return figure(d.Seconds()) + " s"
	}
}
