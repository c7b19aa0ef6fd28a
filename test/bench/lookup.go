package main

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/bits-and-blooms/bloom/v3"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/test/chart"
)

const issuer = "https://issuer.example"

var salt = events.Salt{1}

var errWrongAnswer = errors.New("wrong answer")

// wanted are tokens that are asked about, with what each contender needs of
// them ready.
type wanted struct {
	keys    []events.Keys
	key     []events.Key
	revoked bool
}

func (w *wanted) add(jti string) {
	w.keys = append(w.keys, salt.Keys(events.Claims{Issuer: issuer, ID: jti}))
	w.key = append(w.key, keyOf(jti))
}

func keyOf(jti string) events.Key {
	return salt.Key(events.Target{Kind: events.KindToken, Iss: issuer, Value: jti})
}

// denyList is one way of remembering what is revoked. build fills one and
// returns what asks about n tokens in turn.
type denyList struct {
	name  string
	build func(revoked []events.Key, exp uint32) func(w wanted, now int64, n int) error
}

var denyLists = []denyList{
	{"Revocast live set", func(revoked []events.Key, exp uint32) func(wanted, int64, int) error {
		set := liveSet(revoked, exp)
		return ask(func(k events.Key, now int64) bool {
			t, ok := set.Lookup(events.KindToken, k)
			return ok && t.Live(now)
		})
	}},
	{"Revocast, a token's check", func(revoked []events.Key, exp uint32) func(wanted, int64, int) error {
		set := liveSet(revoked, exp)
		return func(w wanted, now int64, n int) error {
			for i, j := 0, 0; i < n; i++ {
				if _, hit := set.Match(&w.keys[j], now); hit != w.revoked {
					return errWrongAnswer
				}
				if j++; j == len(w.keys) {
					j = 0
				}
			}
			return nil
		}
	}},
	{"map and RWMutex", func(revoked []events.Key, exp uint32) func(wanted, int64, int) error {
		var mu sync.RWMutex
		set := make(map[events.Key]uint32, len(revoked))
		for _, k := range revoked {
			set[k] = exp
		}
		return ask(func(k events.Key, now int64) bool {
			mu.RLock()
			exp, ok := set[k]
			mu.RUnlock()
			return ok && int64(exp) > now
		})
	}},
	{"sync.Map", func(revoked []events.Key, exp uint32) func(wanted, int64, int) error {
		var set sync.Map
		for _, k := range revoked {
			set.Store(k, exp)
		}
		return ask(func(k events.Key, now int64) bool {
			exp, ok := set.Load(k)
			return ok && int64(exp.(uint32)) > now
		})
	}},
	{"golang-lru as deny list", func(revoked []events.Key, exp uint32) func(wanted, int64, int) error {
		set, err := lru.New[events.Key, uint32](len(revoked))
		if err != nil {
			return func(wanted, int64, int) error { return err }
		}
		for _, k := range revoked {
			set.Add(k, exp)
		}
		return ask(func(k events.Key, now int64) bool {
			exp, ok := set.Get(k)
			return ok && int64(exp) > now
		})
	}},
	{"bloom filter, 0.1 %", func(revoked []events.Key, _ uint32) func(wanted, int64, int) error {
		set := bloom.NewWithEstimates(uint(len(revoked)), .001)
		for _, k := range revoked {
			set.Add(k[:])
		}
		return func(w wanted, _ int64, n int) error {
			for i, j := 0, 0; i < n; i++ {
				if w.revoked && !set.Test(w.key[j][:]) {
					return errWrongAnswer
				} else if !w.revoked {
					set.Test(w.key[j][:]) // wrong now and then
				}
				if j++; j == len(w.key) {
					j = 0
				}
			}
			return nil
		}
	}},
}

func liveSet(revoked []events.Key, exp uint32) *events.LiveSet {
	set := events.NewLiveSet()
	set.Reserve(events.KindToken, len(revoked))
	for _, k := range revoked {
		set.Join(events.KindToken, k, events.Term{Exp: exp})
	}
	return set
}

func ask(revoked func(k events.Key, now int64) bool) func(wanted, int64, int) error {
	return func(w wanted, now int64, n int) error {
		for i, j := 0, 0; i < n; i++ {
			if revoked(w.key[j], now) != w.revoked {
				return errWrongAnswer
			}
			if j++; j == len(w.key) {
				j = 0
			}
		}
		return nil
	}
}

func lookup(s *suite) error {
	s.report.section("Look-up", `
What it costs to find out that a token is, or is not, among the revoked ones.
All have the same 16-byte keys, made beforehand, as for a token that was seen
before; each entry has an expiry that is compared, except in the bloom filter,
which can't have one. *A token's check* is what a subscriber does: it has all the
keys of a token at hand, some 280 bytes that have to be read, too, and looks for
those of which anything is revoked (here for one). *Warm* asks about 1,000 tokens
in turn; *cold* about many more, in no order, so that little of the set is in the
processor's nearer caches. The *pointer chase* is the floor: one dependent load
after the other in an array as large as the live set. Look-ups of different tokens
don't depend on each other, so a processor that works ahead can be faster than it.

*Bytes* is what the heap grows by for each entry. *Collection* is a full garbage
collection with hardly anything else on the heap, and its longest pause the one that
runtime/metrics tells (the upper end of its bucket).`)
	var curves = make([]chart.Line, len(denyLists)+1)
	for _, live := range s.scale.Live {
		if err := lookupAmong(s, live, curves); err != nil {
			return fmt.Errorf("%d live: %w", live, err)
		}
	}
	if len(s.scale.Live) > 1 {
		if err := s.report.lines("lookup", chart.Chart{
			Title: "A look-up that finds nothing, cold", X: "live revocations", Y: "ns", LogX: true, LogY: true}, curves...); err != nil {
			return err
		}
	}
	return applying(s)
}

func lookupAmong(s *suite, live int, curves []chart.Line) error {
	s.step(fmt.Sprint(live, " live: keys"))
	now := time.Now().Unix()
	exp := uint32(now + 3600)
	revoked := make([]events.Key, live)
	for i := range revoked {
		revoked[i] = keyOf(fmt.Sprint("t", i))
	}
	random := rand.New(rand.NewPCG(1, uint64(live)))
	tokens := func(n int, hit bool) wanted {
		w := wanted{revoked: hit}
		for i := range n {
			if hit {
				w.add(fmt.Sprint("t", random.IntN(live)))
			} else {
				w.add(fmt.Sprint("good", i))
			}
		}
		return w
	}

	weights := make([]weight, len(denyLists))
	for i, d := range denyLists {
		s.step(fmt.Sprint(live, " live: weighing ", d.name))
		weights[i] = weigh(live, func() any { return d.build(revoked, exp) })
	}
	lists := make([]func(wanted, int64, int) error, len(denyLists))
	for i, d := range denyLists {
		s.step(fmt.Sprint(live, " live: building ", d.name))
		lists[i] = d.build(revoked, exp)
	}

	kinds := []struct {
		name   string
		tokens wanted
	}{
		{"hit, warm", tokens(1000, true)}, {"miss, warm", tokens(1000, false)},
		{"hit, cold", tokens(s.scale.Lookups, true)}, {"miss, cold", tokens(s.scale.Lookups, false)},
	}
	rows := make([][]string, len(denyLists)+1)
	for i, d := range denyLists {
		rows[i] = []string{d.name}
	}
	rows[len(denyLists)] = []string{"pointer chase"}
	floor := newChase(int(weights[0].bytes*float64(live)), random)
	allocs := make([]float64, len(denyLists))
	for _, kind := range kinds {
		var contenders []contender
		for i, d := range denyLists {
			contenders = append(contenders, contender{d.name, func(n int) error { return lists[i](kind.tokens, now, n) }})
		}
		contenders = append(contenders, contender{"pointer chase", floor.run})
		paces, err := race(s.ctx, s.scale, func(string) { s.step(fmt.Sprint(live, " live: ", kind.name)) }, contenders...)
		if err != nil {
			return err
		}
		for i, p := range paces {
			rows[i] = append(rows[i], p.ns.String())
			s.report.figures(fmt.Sprintf("look-up, %d live, %s, %s", live, kind.name, contenders[i].name), "ns", p.ns)
			if i < len(allocs) {
				allocs[i] = max(allocs[i], p.allocs)
			}
			if kind.name == "miss, cold" {
				curves[i].Name = contenders[i].name
				curves[i].X, curves[i].Y = append(curves[i].X, float64(live)), append(curves[i].Y, p.ns.median())
			}
		}
	}
	for i, w := range weights {
		rows[i] = append(rows[i], figure(math.Round(allocs[i]*100)/100), figure(w.bytes), span(w.collection), span(w.pause))
	}
	rows[len(denyLists)] = append(rows[len(denyLists)], "", "", "", "")
	s.report.say("With %s live revocations, ns for each look-up:", figure(float64(live)))
	s.report.table([]string{"", "hit, warm", "miss, warm", "hit, cold", "miss, cold", "allocations", "bytes", "collection", "longest pause"}, rows...)
	runtime.KeepAlive(revoked)
	return nil
}

// weight is what a set does to the heap.
type weight struct {
	bytes             float64 // for each entry
	collection, pause time.Duration
}

func weigh(entries int, build func() any) weight {
	before := heap()
	set := build()
	w := weight{bytes: max(0, float64(heap())-float64(before)) / float64(entries)}
	counted := pauses()
	var took quantiles
	for range 5 {
		begun := time.Now()
		runtime.GC()
		took = append(took, time.Since(begun))
	}
	w.collection = took.at(.5)
	after := pauses()
	for i, n := range after.Counts {
		if n > counted.Counts[i] {
			w.pause = time.Duration(after.Buckets[i+1] * float64(time.Second))
		}
	}
	runtime.KeepAlive(set)
	return w
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// pauses are those of the garbage collector until now.
func pauses() *metrics.Float64Histogram {
	sample := []metrics.Sample{{Name: "/sched/pauses/total/gc:seconds"}}
	metrics.Read(sample)
	return sample[0].Value.Float64Histogram()
}

// chase is an array of cache lines in which each names the next, in one
// random circle.
type chase struct {
	lines [][8]uint64
	at    uint64
}

func newChase(bytes int, random *rand.Rand) *chase {
	c := &chase{lines: make([][8]uint64, max(2, bytes/64))}
	for i := range c.lines {
		c.lines[i][0] = uint64(i)
	}
	for i := len(c.lines) - 1; i > 0; i-- { // Sattolo's shuffle makes one circle
		j := random.IntN(i)
		c.lines[i][0], c.lines[j][0] = c.lines[j][0], c.lines[i][0]
	}
	return c
}

func (c *chase) run(n int) error {
	at := c.at
	for range n {
		at = c.lines[at][0]
	}
	c.at = at // so that the loads can't be left out
	return nil
}
