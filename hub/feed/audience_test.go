package feed

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
)

// What the audience says is what one would say who looks at every stream for
// every report.
func TestTheAudienceSaysWhatItWasTold(t *testing.T) {
	type stream struct {
		*listener
		said report
	}
	rapid.Check(t, func(t *rapid.T) {
		a := newAudience(30, 20, NewMetrics(nil))
		var open []*stream
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			who := teller{rapid.SampledFrom([]string{"a", "b"}).Draw(t, "actor"), rapid.SampledFrom([]string{"", "x", "y", "z"}).Draw(t, "name")}
			switch rapid.IntRange(0, 2).Draw(t, "step") {
			case 0:
				begun := rapid.Uint64Range(0, 9).Draw(t, "begun")
				s := &stream{&listener{teller: who, begun: begun}, report{applied: begun}}
				if a.join(s.listener) == nil {
					open = append(open, s)
				}
			case 1:
				if len(open) == 0 {
					continue
				}
				n := rapid.IntRange(0, len(open)-1).Draw(t, "which")
				a.leave(open[n].listener)
				open = append(open[:n:n], open[n+1:]...)
			case 2:
				if who.name == "" {
					continue // nobody reports so
				}
				_, changed := a.reach(0)
				r := events.Report{Subscriber: who.name, Applied: rapid.Uint64Range(0, 9).Draw(t, "applied"), State: fmt.Sprint(i),
					Epoch: rapid.SampledFrom([]string{"this", "other"}).Draw(t, "epoch")}
				a.report(who.actor, r, "this", events.Time(i+1))
				heard := false
				for _, s := range open {
					if s.teller == who {
						heard = true
						s.said = report{0, r.State, events.Time(i + 1)}
						if r.Epoch == "this" {
							s.said.applied = r.Applied
						}
					}
				}
				select {
				case <-changed:
				default:
					if heard {
						t.Fatal("nobody is told of a report")
					}
				}
			}
			want := Reach{Hubs: 1}
			const seq = 5
			for _, s := range open {
				if got := s.latest(); got != s.said {
					t.Fatalf("%v is said to have said %+v, and said %+v", s.teller, got, s.said)
				}
				if s.name != "" {
					want.Connected++
				}
				if s.name != "" && s.said.applied >= seq {
					want.Applied++
				}
			}
			if got, _ := a.reach(seq); got.Applied != want.Applied || got.Connected != want.Connected {
				t.Fatalf("reach is %+v, want %+v", got, want)
			}
		}
		for _, s := range open {
			a.leave(s.listener)
		}
		if len(a.said)+len(a.conns)+len(a.actors) != 0 {
			t.Fatalf("something is left of those who have gone: %v %v %v", a.said, a.conns, a.actors)
		}
	})
}

// Whoever waits hears of those that leave, too.
func TestWhoeverWaitsHearsOfThoseThatLeave(t *testing.T) {
	a := newAudience(10, 10, NewMetrics(nil))
	l := &listener{teller: teller{"a", "x"}}
	if err := a.join(l); err != nil {
		t.Fatal(err)
	}
	_, changed := a.reach(1)
	a.leave(l)
	select {
	case <-changed:
	default:
		t.Error("nobody is told")
	}
}

func BenchmarkReport(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			a := newAudience(n, n, NewMetrics(nil))
			names := make([]string, n)
			for i := range names {
				names[i] = fmt.Sprint("subscriber-", i)
				if err := a.join(&listener{teller: teller{"actor", names[i]}}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				a.report("actor", events.Report{Subscriber: names[i%n], Epoch: "this", Applied: 1, State: "fresh"}, "this", 1)
			}
		})
	}
}
