package test

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// How a fault test comes to its verdict. While the fault lasts, producers
// write down what they sent and what they were told, and observers what their
// subscribers said. Afterwards the log of the hub is read, and judge compares
// the three. It knows nothing of the fault: the promises are the same for all.

// claim is one revocation as its producer knows it.
type claim struct {
	jti      string
	producer int
	sent     time.Time
	outcome  outcome
	told     time.Time // when the outcome was known to the producer
	seq      uint64    // of an acknowledged one
}

type outcome string

const (
	sent         outcome = "sent"         // no answer yet
	acknowledged outcome = "acknowledged" // 201
	unknown      outcome = "unknown"      // no answer, or one that says so
	refused      outcome = "refused"      // an answer that says that nothing was done
)

// entry is one operation as the hub's audit has it, in the order of the log.
type entry struct {
	seq uint64
	jti string
}

// sighting is what one subscriber has said of one token over a run. It keeps
// of each answer only the instance that is hardest to excuse.
type sighting struct {
	revoked   time.Time // the first answer "revoked": when that check had ended
	allowed   time.Time // the last answer "allowed": when that check began
	at        uint64    // the highest position that was shown before an answer "allowed"
	forgotten bool      // "allowed" after "revoked"
	final     string    // the answer after the run
}

// testimony is what one subscriber has said over a run.
type testimony struct {
	name string
	// within is the subscriber's MaxStaleness: the promise is about it.
	within time.Duration
	epoch  string // of the last position
	tokens map[string]*sighting
	// fresh is, by position, when it was last shown together with the state
	// fresh: when that look began.
	fresh map[uint64]time.Time
	// backwards lists the steps back that its position took in one epoch, but
	// for those that it gave a reason for: a snapshot that it was sent when what
	// it had was disputed may be older, and what it knew stays in force.
	backwards []string
}

// finding is one broken promise.
type finding struct {
	kind kind
	what string
}

type kind string

const (
	lost      kind = "lost"               // acknowledged, and not in the log, or not enforced after the run
	phantom   kind = "phantom"            // in the log or enforced, and never asked for, or twice
	gap       kind = "gap"                // a position that does not mean that all before it is there
	disorder  kind = "order"              // the log, a producer and a position don't agree on what came first
	late      kind = "time to enforce"    // enforced never, though the run has ended well
	unexposed kind = "fresh while behind" // relied on itself longer than MaxStaleness after an acknowledgement
	forgotten kind = "forgotten"          // enforced, and then not any more
)

// history is all that is known after a run.
type history struct {
	claims []claim
	log    []entry
	heard  []testimony
}

// judge returns every broken promise.
func judge(h history) []finding {
	var found []finding
	say := func(k kind, format string, args ...any) {
		found = append(found, finding{k, fmt.Sprintf(format, args...)})
	}
	at := judgeLog(h, say)
	claims := make(map[string]*claim)
	for i := range h.claims {
		claims[h.claims[i].jti] = &h.claims[i]
	}
	acked := byOrder(h.claims)
	for _, t := range h.heard {
		for jti, s := range t.tokens {
			judgeSighting(t, jti, s, claims[jti], at, say)
		}
		for pos, looked := range t.fresh {
			if c := firstAfter(acked, pos); c != nil && looked.Sub(c.told) > t.within {
				say(unexposed, "%s was fresh at %d, %v after %s was acknowledged at %d", t.name, pos, looked.Sub(c.told), c.jti, c.seq)
			}
		}
		for _, step := range t.backwards {
			say(disorder, "%s went back: %s", t.name, step)
		}
	}
	return found
}

// told is an acknowledgement, and the first of all those that are not before
// it in the log.
type told struct {
	claim
	first *claim
}

// byOrder returns the acknowledged ones in the order of the log.
func byOrder(claims []claim) []told {
	var list []told
	for _, c := range claims {
		if c.outcome == acknowledged {
			list = append(list, told{claim: c})
		}
	}
	slices.SortFunc(list, func(a, b told) int { return cmp.Compare(a.seq, b.seq) })
	for i := len(list) - 1; i >= 0; i-- {
		list[i].first = &list[i].claim
		if i+1 < len(list) && list[i+1].first.told.Before(list[i].told) {
			list[i].first = list[i+1].first
		}
	}
	return list
}

// firstAfter is what was acknowledged first of all that lies behind a
// position; nil if nothing does.
func firstAfter(list []told, pos uint64) *claim {
	i, _ := slices.BinarySearchFunc(list, pos+1, func(t told, seq uint64) int { return cmp.Compare(t.seq, seq) })
	if i == len(list) {
		return nil
	}
	return list[i].first
}

// judgeLog compares the log with what was asked for, and returns where each
// revocation is.
func judgeLog(h history, say func(kind, string, ...any)) map[string]uint64 {
	at := make(map[string]uint64)
	var last uint64
	for _, e := range h.log {
		switch {
		case e.seq < last:
			say(disorder, "the audit has %d after %d", e.seq, last)
		case e.seq > last+1:
			say(gap, "the audit has %d after %d", e.seq, last)
		}
		last = e.seq
		if first, twice := at[e.jti]; twice {
			say(phantom, "%s is in the log twice: at %d and %d", e.jti, first, e.seq)
		}
		at[e.jti] = e.seq
	}
	asked := make(map[string]bool)
	before := make(map[int]claim) // by producer: its last that was acknowledged
	for _, c := range h.claims {
		asked[c.jti] = true
		seq, there := at[c.jti]
		switch {
		case c.outcome == refused && there:
			say(phantom, "%s was refused, and is in the log at %d", c.jti, seq)
		case c.outcome != acknowledged:
			continue
		case !there:
			say(lost, "%s was acknowledged at %d, and is not in the log", c.jti, c.seq)
		case seq != c.seq:
			say(disorder, "%s was acknowledged at %d, and is in the log at %d", c.jti, c.seq, seq)
		}
		if b, ok := before[c.producer]; ok && c.seq <= b.seq && c.sent.After(b.told) {
			say(disorder, "%s at %d was sent after %s at %d had been acknowledged", c.jti, c.seq, b.jti, b.seq)
		}
		before[c.producer] = c
	}
	for jti, seq := range at {
		if !asked[jti] {
			say(phantom, "%s is in the log at %d, and nobody asked for it", jti, seq)
		}
	}
	return at
}

// judgeSighting compares what a subscriber said of a token with what is known
// of it; c is nil if nobody revoked it.
func judgeSighting(t testimony, jti string, s *sighting, c *claim, at map[string]uint64, say func(kind, string, ...any)) {
	seq, there := at[jti]
	if !s.revoked.IsZero() && (c == nil || c.outcome == refused) {
		say(phantom, "%s enforces %s, which nobody revoked", t.name, jti)
	}
	if s.forgotten {
		say(forgotten, "%s allowed %s after it had refused it", t.name, jti)
	}
	if there && s.at >= seq {
		say(gap, "%s said that it was at %d, and allowed %s of %d", t.name, s.at, jti, seq)
	}
	if c == nil || c.outcome != acknowledged {
		if there && s.final == "allowed" {
			say(late, "%s still allows %s, which is in the log", t.name, jti)
		}
		return
	}
	if over := s.allowed.Sub(c.told); !s.allowed.IsZero() && over > t.within {
		say(unexposed, "%s allowed %s %v after it was acknowledged", t.name, jti, over)
	}
	switch s.final {
	case "revoked":
	case "allowed":
		say(late, "%s still allows %s after the run", t.name, jti)
	default:
		say(lost, "%s does not know %s after the run, and says %q", t.name, jti, s.final)
	}
}

// broken says what was found, by kind, a few of each; "" if nothing was.
func broken(found []finding) string {
	by := make(map[kind][]string)
	for _, f := range found {
		by[f.kind] = append(by[f.kind], f.what)
	}
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(by)) {
		fmt.Fprintf(&b, "%s: %d\n", k, len(by[k]))
		for _, what := range by[k][:min(5, len(by[k]))] {
			fmt.Fprintf(&b, "\t%s\n", what)
		}
	}
	return b.String()
}

// slowest is how long it took at most from an acknowledgement to the first
// refusal; a refusal before the acknowledgement took no time.
func slowest(h history) (most time.Duration) {
	for _, c := range h.claims {
		for _, t := range h.heard {
			if s := t.tokens[c.jti]; s != nil && c.outcome == acknowledged && !s.revoked.IsZero() {
				most = max(most, s.revoked.Sub(c.told))
			}
		}
	}
	return most
}
