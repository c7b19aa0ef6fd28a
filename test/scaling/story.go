package main

import "time"

// Chapter is one thing that goes wrong.
type Chapter struct {
	At   time.Duration
	What string
	do   func(w *world)
}

// story is what happens to a fleet: one revocation each second throughout, and
// these faults.
func story(f Fleet) []Chapter {
	home := f.Regions[0].Hubs
	last := 0
	for _, r := range f.Regions[:len(f.Regions)-1] {
		last += r.Hubs
	}
	return []Chapter{
		{30 * time.Second, "a hub is killed", func(w *world) { w.kill(0, false) }},
		{60 * time.Second, "a hub's host vanishes", func(w *world) { w.kill(1, true) }},
		{90 * time.Second, "the last region is cut off from the log for 30 s", func(w *world) {
			for n := last; n < len(w.hubs); n++ {
				w.cut(n)
				w.after(30*time.Second, func() { w.heal(n) })
			}
		}},
		{180 * time.Second, "the hubs of the first region are restarted, one each 6 s", func(w *world) {
			for n := range home {
				w.after(time.Duration(n)*6*time.Second, func() { w.drain(n) })
				w.after(time.Duration(n)*6*time.Second+w.Drain+3*time.Second, func() { w.start(n) })
			}
		}},
		{180*time.Second + time.Duration(home)*6*time.Second + 30*time.Second, "all hubs of the first region are killed", func(w *world) {
			for n := range home {
				w.kill(n, false)
			}
		}},
	}
}

// simulate tells a fleet's story. progress is told how much of it is done.
func simulate(f Fleet, progress func(done float64)) (Result, []Chapter) {
	w := newWorld(f)
	chapters := story(f)
	end := chapters[len(chapters)-1].At + 90*time.Second
	for _, c := range chapters {
		w.after(c.At, func() { c.do(w) })
	}
	for t := time.Duration(0); t < end; t += time.Second {
		w.after(t, w.tick)
		w.after(t+500*time.Millisecond, w.revoke)
	}
	for t := time.Second; t <= end; t += time.Second {
		w.run(t)
		progress(float64(t) / float64(end))
	}
	return w.seen, chapters
}
