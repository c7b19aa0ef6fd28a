package subscriber

import (
	"time"

	"github.com/revocast/revocast/events"
)

// State is how far a subscriber can be relied on.
type State string

// The states. A subscriber goes from starting over syncing to fresh once, then
// to and fro between fresh, stale and expired.
const (
	Starting State = "starting" // no hub has answered yet
	Syncing  State = "syncing"  // the first head has not been reached yet
	Fresh    State = "fresh"    // complete, as proven within MaxStaleness
	Stale    State = "stale"    // not so, and the policy still allows tokens
	Expired  State = "expired"  // not so, and the policy allows no more
)

// view is everything that a check looks at, taken together, so that a verdict
// is about one moment. A view never changes once it is shown; only the sets
// that it holds do, each change whole.
type view struct {
	held *holdings // nil: nothing yet

	trouble      trouble // anything here, and the set is not fresh
	troubleSince moment
	proven       moment        // up to then the set was complete; the start if it never was
	older        time.Duration // the set is from the snapshot file, which was that old at the start
	late         bool          // an answer named a head that the stream has not brought yet,
	lateSince    moment        // since then

	// For Status.
	greeted   bool // a hello has been accepted
	hubBehind bool
	kept      int
	feed      string
	position  events.Position
	head      uint64
	unknown   []string
	blind     bool
}

// holdings are the sets in force: that of the feed first, then those of
// earlier histories whose keys were made with another salt and which can't be
// joined with it. It is never modified, and its address identifies the salts
// that a token's keys were made with.
type holdings struct {
	sets []saltedSet
}

type saltedSet struct {
	salt events.Salt
	set  *events.LiveSet
}

// trouble is a set of reasons not to be fresh whatever has been proven.
type trouble uint8

const (
	broken        trouble = 1 << iota // the stream carried something wrong; until the next hello
	disputed                          // what is held and what the hub has are not the same history; until a snapshot
	behind                            // a head is known that has not been reached
	unproven                          // no tick and no report answer yet about this set
	unenforceable                     // an operation of a kind that this release does not know
)

var troubleNames = []string{"broken", "disputed", "behind", "unproven", "unenforceable"}

func (t trouble) names() []string {
	var names []string
	for i, name := range troubleNames {
		if t&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// unenforceable lists what the hub sends and this subscriber can't enforce.
func (v *view) unenforceable() []string {
	if !v.blind {
		return v.unknown
	}
	return append([]string{"the hub revokes by claims that Config.Claims does not name"}, v.unknown...)
}

// standing is what a view amounts to at a moment.
type standing struct {
	fresh     bool
	holds     bool          // there is a set, fresh or not
	staleFor  time.Duration // how long it has not been fresh
	staleness time.Duration // age of the proof
}

// lateShare: an answer comes by another way than the records, and may name a
// head whose records are still under way. That is no trouble until it has
// lasted for this part of MaxStaleness. (The limit on staleness does not
// depend on it: such an answer proves nothing before its head is reached.)
const lateShare = 6

// standing depends on nothing but the view and the clocks: a process that was
// stopped or suspended is stale in the first check after it, before any of
// its goroutines has run.
func (v *view) standing(now moment, maxStaleness time.Duration) standing {
	st := standing{fresh: true, holds: v.held != nil, staleness: now.since(v.proven)}
	if over := st.staleness - maxStaleness; over > 0 {
		st.fresh, st.staleFor = false, over
	}
	st.staleness += v.older
	if v.trouble != 0 {
		st.fresh, st.staleFor = false, max(st.staleFor, now.since(v.troubleSince))
	}
	if v.late {
		if over := now.since(v.lateSince) - maxStaleness/lateShare; over > 0 {
			st.fresh, st.staleFor = false, max(st.staleFor, over)
		}
	}
	return st
}
