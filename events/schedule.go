package events

import (
	"cmp"
	"slices"
)

// Scheduled is a revoke that takes effect at a time of its own.
type Scheduled struct {
	Kind      Kind
	Key       Key
	Term      Term
	ID        ID
	Effective int64 // unix milliseconds by the hub's clock
}

// schedule holds what takes effect later and what has, until it is restored or
// its term has ended. What has taken effect is kept because a reader may be far
// behind the log: a restore that was written before the effect, and is read
// after it, leaves it out of what it says is left.
type schedule struct {
	list  []Scheduled
	mixed bool         // list is not soonest first, which many that come at once would pay for with each
	at    map[ID]int64 // Effective of each
}

// rememberEffect is how much longer than its term a scheduled revoke is kept,
// in milliseconds: longer than clocks are apart.
const rememberEffect = 10 * 60 * 1000

// after returns the place of the first one that takes effect later.
func (s *schedule) after(at int64) int {
	i, _ := slices.BinarySearchFunc(s.list, at, func(q Scheduled, at int64) int {
		if q.Effective <= at {
			return -1
		}
		return 1
	})
	return i
}

func (s *schedule) add(p Scheduled) {
	s.remove(p.ID)
	s.mixed = s.mixed || len(s.list) > 0 && s.list[len(s.list)-1].Effective > p.Effective
	s.list = append(s.list, p)
	if s.at == nil {
		s.at = make(map[ID]int64)
	}
	s.at[p.ID] = p.Effective
}

func (s *schedule) remove(id ID) {
	at, ok := s.at[id]
	if !ok {
		return
	}
	delete(s.at, id)
	s.order()
	for i := s.after(at) - 1; i >= 0; i-- {
		if s.list[i].ID == id {
			s.list = slices.Delete(s.list, i, i+1)
			return
		}
	}
}

// order puts the list in order: soonest first, and what came first before what
// came later.
func (s *schedule) order() {
	if s.mixed {
		slices.SortStableFunc(s.list, func(a, b Scheduled) int { return cmp.Compare(a.Effective, b.Effective) })
		s.mixed = false
	}
}

// Schedule joins a scheduled revoke to the set, in effect or not, as Apply
// does.
func (s *LiveSet) Schedule(p Scheduled, now int64) {
	s.Apply(Op{Verb: Revoke, Kind: p.Kind, Key: p.Key, Term: p.Term, ID: p.ID, Effective: p.Effective}, now)
}

// Advance puts into effect what is due at a unix millisecond by the hub's
// clock, and returns when to call it next: zero if nothing is scheduled.
// Calling it late is the same as calling it in time, but for the delay.
func (s *LiveSet) Advance(now int64) (next int64) {
	s.scheduled.order()
	keep := s.scheduled.list[:0]
	for _, p := range s.scheduled.list {
		if p.Effective > now {
			if next == 0 {
				next = p.Effective
			}
		} else if p.Term.Live((now - rememberEffect) / 1000) {
			s.Join(p.Kind, p.Key, p.Term)
		} else {
			delete(s.scheduled.at, p.ID)
			continue
		}
		keep = append(keep, p)
	}
	clear(s.scheduled.list[len(keep):])
	s.scheduled.list = keep
	return next
}

// Scheduled lists what takes effect later, and what has and is still
// remembered, soonest first. The slice is the set's; it is valid until the set
// changes.
func (s *LiveSet) Scheduled() []Scheduled {
	s.scheduled.order()
	return s.scheduled.list
}
