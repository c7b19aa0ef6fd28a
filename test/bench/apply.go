package main

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/revocast/revocast/events"
)

// applying measures how long a writer takes to fold many operations into a live
// set, and what the look-ups of others notice of it.
func applying(s *suite) error {
	s.step("operations to apply")
	n := s.scale.Apply
	const standing = 100_000
	w, err := newWork(standing, n)
	if err != nil {
		return err
	}
	phases := []string{"the clock alone", "before", "while operations are applied", "while records are parsed and applied", "after"}
	seen := make(map[string]*lateness)
	for _, phase := range phases {
		seen[phase] = new(lateness)
	}
	took := map[string]*timing{
		"alone":   {name: "operations, nobody reads"},
		"ops":     {name: "operations, while others read"},
		"records": {name: "records parsed, and their operations, while others read"},
	}
	for range s.scale.few() {
		s.step(fmt.Sprintf("applying %d operations", n))
		seen[phases[0]].add(func(int) {}, wait)
		set := w.set()
		if err := took["alone"].time(func() error { return w.apply(set) }); err != nil {
			return err
		}
		for _, how := range []struct {
			during, took string
			write        func(*events.LiveSet) error
		}{{phases[2], "ops", w.apply}, {phases[3], "records", w.parse}} {
			set := w.set()
			var wrong atomic.Bool
			look := w.look(set, &wrong)
			seen["before"].add(look, wait)
			runtime.GC()
			seen[how.during].add(look, func() error {
				return took[how.took].time(func() error { return how.write(set) })
			})
			seen["after"].add(look, wait)
			if wrong.Load() || set.Len() != standing+n {
				return fmt.Errorf("%w while operations were applied; %d are in the set", errWrongAnswer, set.Len())
			}
		}
	}
	var rows [][]string
	for _, phase := range phases {
		l := seen[phase]
		if l.err != nil {
			return l.err
		}
		for _, q := range l.quantiles() {
			s.report.figures("look-ups, "+phase+", "+q.name, "ns", q.rounds)
		}
		q := l.quantiles()
		rows = append(rows, []string{phase, q[0].rounds.String(), q[1].rounds.String(), q[2].rounds.String(), q[3].rounds.String()})
	}
	s.report.say("### Applying while others look up\n\nInto a set of %s, one writer applies %s operations, as they are in memory, and then again from %s records of 1,000, which it parses, as a subscriber does. Meanwhile the other cores look tokens up, in no order, each look-up timed by itself; so what reading the clock takes is in it, and shown. The set is larger *after*, and colder.",
		count(standing), count(n), count(len(w.records)))
	s.report.table([]string{"", "ms"}, took["alone"].row(s, "applying"), took["ops"].row(s, "applying"), took["records"].row(s, "applying"))
	s.report.table([]string{"a look-up, ns", "p50", "p99", "p99.9", "longest"}, rows...)
	return nil
}

// wait is as long as nothing is applied.
func wait() error { time.Sleep(200 * time.Millisecond); return nil }

// work is what is applied, and what is asked meanwhile.
type work struct {
	standing []events.Key
	exp      uint32
	ops      []events.Op
	records  [][]byte // feed parts, with the same operations
	tokens   []events.Keys
}

func newWork(standing, n int) (*work, error) {
	w := &work{exp: uint32(time.Now().Unix() + 3600)}
	for i := range standing {
		w.standing = append(w.standing, keyOf(fmt.Sprint("t", i)))
	}
	var d events.Draft
	for i := range n {
		full := events.AuditOp{Verb: events.Revoke, ID: events.IDFrom([16]byte{12: byte(i >> 24), 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}),
			Target:    events.Target{Kind: events.KindToken, Iss: issuer, Value: fmt.Sprint("new", i)},
			ExpiresAt: events.Time(w.exp) * 1000, RetainUntil: events.Time(w.exp) * 1000, Reason: events.Logout, Actor: "bench", Source: "bench"}
		op := events.Op{Verb: events.Revoke, Kind: events.KindToken, Key: salt.Key(full.Target), Term: full.Term(salt), ID: full.ID}
		w.ops = append(w.ops, op)
		if err := d.Add(op, full); err != nil {
			return nil, err
		}
		if len(w.ops)%events.MaxOps == 0 || i == n-1 {
			w.records = append(w.records, slices.Clone(d.Record(events.At(time.Now())).Feed))
			d = events.Draft{}
		}
	}
	var ask wanted
	for i := range 1 << 16 { // every other one is revoked
		ask.add(fmt.Sprint([]string{"t", "good"}[i%2], i*7919%standing))
	}
	w.tokens = ask.keys
	return w, nil
}

func (w *work) set() *events.LiveSet {
	set := events.NewLiveSet()
	for _, k := range w.standing {
		set.Join(events.KindToken, k, events.Term{Exp: w.exp})
	}
	runtime.GC()
	return set
}

func (w *work) apply(set *events.LiveSet) error {
	now := time.Now().UnixMilli()
	for _, op := range w.ops {
		set.Apply(op, now)
	}
	return nil
}

func (w *work) parse(set *events.LiveSet) error {
	now := time.Now().UnixMilli()
	for _, record := range w.records {
		part, err := events.ParseFeed(record)
		if err != nil {
			return err
		}
		for _, op := range part.Ops {
			set.Apply(op, now)
		}
	}
	return nil
}

// look returns what looks up tokens in turn, by any number of goroutines.
func (w *work) look(set *events.LiveSet, wrong *atomic.Bool) func(i int) {
	now := time.Now().Unix()
	return func(i int) {
		i %= len(w.tokens)
		if _, hit := set.Match(&w.tokens[i], now); hit != (i%2 == 0) {
			wrong.Store(true)
		}
	}
}

// lateness is how long single look-ups took, in rounds.
type lateness struct {
	p50, p99, p999, most spread
	err                  error
}

// add looks up on all cores but one, until during returns.
func (l *lateness) add(look func(i int), during func() error) {
	var over atomic.Bool
	found := make([]*histogram, max(1, runtime.GOMAXPROCS(0)-1))
	var all sync.WaitGroup
	for r := range found {
		found[r] = new(histogram)
		all.Go(func() {
			h := found[r]
			before := time.Now()
			for i := r * 1009; !over.Load(); i++ {
				look(i)
				now := time.Now()
				h.add(now.Sub(before))
				before = now
			}
		})
	}
	err := during()
	over.Store(true)
	all.Wait()
	l.err = errors.Join(l.err, err)
	for _, h := range found[1:] {
		found[0].merge(h)
	}
	h := found[0]
	l.p50, l.p99, l.p999 = append(l.p50, h.at(.5)), append(l.p99, h.at(.99)), append(l.p999, h.at(.999))
	l.most = append(l.most, h.at(1))
}

type namedSpread struct {
	name   string
	rounds spread
}

func (l *lateness) quantiles() []namedSpread {
	return []namedSpread{{"p50", l.p50}, {"p99", l.p99}, {"p99.9", l.p999}, {"longest", l.most}}
}

// histogram counts durations by the ns; those that are too long for it, it keeps.
type histogram struct {
	counts [1 << 14]int
	n      int
	long   quantiles
}

func (h *histogram) add(d time.Duration) {
	h.n++
	if d < time.Duration(len(h.counts)) {
		h.counts[max(0, d)]++
	} else {
		h.long = append(h.long, d)
	}
}

func (h *histogram) merge(o *histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.n += o.n
	h.long = append(h.long, o.long...)
}

// at is the time that a part q is not above, in ns.
func (h *histogram) at(q float64) float64 {
	rank := min(int(q*float64(h.n)), h.n-1)
	for ns, n := range h.counts {
		if rank -= n; rank < 0 {
			return float64(ns)
		}
	}
	slices.Sort(h.long)
	return float64(h.long[rank])
}
