package subscriber

import (
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/revocast/revocast/events"
)

// replica is what a subscriber holds of a feed, and the rules by which it
// changes. It does no I/O, has no clock and no goroutine. Everything is
// guarded by Subscriber.mu, except that the set is read without it.
type replica struct {
	budget int64              // Config.MemoryBudget
	pinned []events.PublicKey // Config.HubKeys
	names  events.ClaimNames  // Config.Claims

	feed  string
	held  *holdings // nil: nothing yet; else sets[0] is that of the feed
	pos   events.Position
	chain events.Chain // at pos
	head  uint64       // the highest head learnt in this epoch
	keys  []events.PublicKey
	disk  bool // all this is from the snapshot file, and no hub has confirmed it

	ticks    map[string]lastTick // by kid, in this epoch
	tick     *moment             // receipt of the newest tick at or before pos
	probe    *moment             // sending of the newest report whose answer's head is at or before pos
	proven   moment              // the earlier of the two, as last known; the start at first
	older    time.Duration       // see view
	ahead    []aheadTick         // ticks beyond pos, in order
	answered []aheadAnswer       // answers beyond pos, in order

	tickedAt, answeredAt moment // receipt of the newest tick, and sending of the newest report that was answered, in this session; at first its hello

	hubAhead int64 // how far the hub's wall clock is ahead of ours, in milliseconds
	due      int64 // when, by the hub's clock, something scheduled takes effect; 0: nothing is

	trouble  trouble
	troubled bool   // trouble was not 0 when settle last looked
	since    moment // trouble began

	strikes   int // wrong frames since the last right one
	stuck     int // ticks beyond pos since the last record
	greeted   bool
	hubBehind bool     // the hub's head was before pos
	kept      int      // revocations held that the last snapshot did not know
	unknown   []string // operations that can't be enforced, as the feed names them
	blind     bool     // the hub revokes by claims that are not read here
}

// maxKept bounds the sets of earlier histories with other salts. They go when
// their last revocation has expired; a feed that is made anew more often than
// that needs a person, and the subscriber stays stale until one has come.
const maxKept = 3

func newReplica(config Config, start moment) *replica {
	return &replica{budget: config.MemoryBudget, pinned: config.HubKeys, names: config.Claims, proven: start, trouble: unproven, troubled: true, since: start}
}

// frameError is something that the protocol does not allow.
type frameError struct {
	reason   string // for counting: one of few
	detail   string
	disputed bool // it shows that hub and subscriber do not have the same history
}

func (e *frameError) Error() string { return "invalid " + e.reason + ": " + e.detail }

func wrong(reason, format string, args ...any) *frameError {
	return &frameError{reason: reason, detail: fmt.Sprintf(format, args...)}
}

func disputes(reason, format string, args ...any) *frameError {
	return &frameError{reason: reason, detail: fmt.Sprintf(format, args...), disputed: true}
}

// set is the set of the feed. There must be one.
func (r *replica) set() *events.LiveSet { return r.held.sets[0].set }

// resumeAt is the position to ask the records after; zero if there is none that
// can be relied on.
func (r *replica) resumeAt() events.Position {
	if r.held == nil || r.trouble&disputed != 0 {
		return events.Position{}
	}
	return r.pos
}

// hello begins a session. It reports whether a snapshot is needed before
// records can follow, and whether what is held must be kept beside it because
// the snapshot is of another history, or a disputed one.
func (r *replica) hello(h *events.Hello, now moment) (snapshot, union bool, err *frameError) {
	defer r.settle(now)
	keys, err := r.checkHello(h)
	if err != nil {
		return false, false, err
	}
	if r.feed != "" && r.feed != h.Feed {
		if !r.disk {
			return false, false, wrong("hello", "the credential is for feed %.64q now, and what is held is of another", h.Feed)
		}
		// The file is not of this feed: nothing of it was ever of use, nor is
		// the mode, which answers the file's position.
		*r = *newReplica(Config{MemoryBudget: r.budget, HubKeys: r.pinned, Claims: r.names}, r.proven)
		h.Mode = events.ModeSnapshot
	}
	r.feed, r.keys, r.greeted, r.stuck = h.Feed, keys, true, 0
	r.tickedAt, r.answeredAt = now, now
	r.blind = !r.names.Covers(h.Claims)
	for kid := range r.ticks {
		// Bounded by the keys of one hello; a key that comes back later has
		// the report's nonce against replays.
		if len(r.ticks) > maxKeys && !slices.ContainsFunc(keys, func(k events.PublicKey) bool { return k.KeyID == kid }) {
			delete(r.ticks, kid)
		}
	}

	same := r.held != nil && r.pos.Epoch == h.Epoch && r.held.sets[0].salt == h.Salt
	switch {
	case r.held == nil && h.Mode == events.ModeDelta:
		r.begin(&holdings{[]saltedSet{{h.Salt, events.NewLiveSet()}}}, events.Position{Epoch: h.Epoch}, events.Chain{})
	case r.held == nil:
		return true, false, nil
	case !same || h.Mode == events.ModeReset:
		r.trouble |= disputed
		return true, true, nil
	case r.trouble&disputed != 0:
		return true, true, nil
	}
	r.head = max(r.head, h.Head)
	r.hubBehind = h.Head < r.pos.Seq
	if h.Mode != events.ModeDelta {
		return true, false, nil
	}
	r.trouble &^= broken
	r.disk = false
	return false, false, nil
}

// maxKeys bounds the keys of a hello. A cluster has one for each hub.
const maxKeys = 256

// checkHello returns the keys that may sign in this session.
func (r *replica) checkHello(h *events.Hello) ([]events.PublicKey, *frameError) {
	switch {
	case h.V != 1:
		return nil, wrong("hello", "version %d, want 1", h.V)
	case h.Feed == "" || len(h.Feed) > 256:
		return nil, wrong("hello", "no feed")
	case !events.ValidEpoch(h.Epoch):
		return nil, wrong("hello", "no epoch")
	case h.Mode != events.ModeDelta && h.Mode != events.ModeSnapshot && h.Mode != events.ModeReset:
		return nil, wrong("hello", "unknown mode %.16q", h.Mode)
	case len(h.Keys) > maxKeys:
		return nil, wrong("hello", "%d keys", len(h.Keys))
	}
	var keys []events.PublicKey
	for _, k := range h.Keys {
		if k.Validate() == nil && (len(r.pinned) == 0 || slices.Contains(r.pinned, k)) {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil, wrong("hello", "none of its %d keys may sign here", len(h.Keys))
	}
	return keys, nil
}

// begin puts other holdings in place, about which nothing is proven yet.
func (r *replica) begin(held *holdings, pos events.Position, chain events.Chain) {
	if r.pos.Epoch != pos.Epoch {
		r.ticks = make(map[string]lastTick)
		r.head = 0
	}
	r.held, r.pos, r.chain = held, pos, chain
	r.head = max(r.head, pos.Seq)
	r.tick, r.probe, r.ahead, r.answered = nil, nil, nil, nil
	r.due = 1 // long ago: the next advance looks at everything that is scheduled
}

// install puts a snapshot in place. h is the hello that asked for it, and
// union what hello said.
func (r *replica) install(s *events.Snapshot, h *events.Hello, union bool, now moment) *frameError {
	defer r.settle(now)
	switch {
	case s.Feed != h.Feed:
		return wrong("snapshot", "of feed %.64q", s.Feed)
	case s.Epoch != h.Epoch || s.Salt != h.Salt:
		return wrong("snapshot", "of another history than the hello: epoch %s, want %s", s.Epoch, h.Epoch)
	case !union && r.held != nil && s.Seq < r.pos.Seq:
		r.hubBehind = true
		return wrong("snapshot", "at %d, and %d is reached already", s.Seq, r.pos.Seq)
	}

	kept := 0
	held := &holdings{[]saltedSet{{s.Salt, s.Set}}}
	if union && r.held != nil {
		for _, old := range r.held.sets {
			if old.salt != s.Salt {
				if old.set.Len() > 0 {
					held.sets = append(held.sets, old)
					kept += old.set.Len()
				}
				continue
			}
			kept += joinAll(s.Set, old.set, horizon(now))
		}
	} else if r.held != nil {
		held.sets = append(held.sets, r.held.sets[1:]...)
	}
	if len(held.sets) > 1+maxKept {
		return wrong("snapshot", "the feed was made anew %d times, and revocations of all of them are live", maxKept+1)
	}
	if size := held.size(); r.budget > 0 && size > r.budget {
		return wrong("memory_budget", "the set would take %d bytes of %d", size, r.budget)
	}
	if h.Mode == events.ModeReset && s.Epoch == r.pos.Epoch {
		r.rewind()
	}
	r.begin(held, s.Position(), s.Chain)
	r.kept, r.unknown = kept, s.Unknown
	r.trouble &^= broken | disputed
	r.disk = false
	r.strikes = 0
	return nil
}

// rewind gives up what is known of the end of the log: the hub's was set back
// to an old copy, which has the same epoch. Ticks from before are still none.
func (r *replica) rewind() {
	r.head = 0
	for kid, last := range r.ticks {
		r.ticks[kid] = lastTick{at: last.at}
	}
}

// joinAll adds what is live in another set with the same salt, and returns how
// much of it was news.
func joinAll(into, from *events.LiveSet, now int64) (news int) {
	for _, kind := range events.Kinds() {
		for key, term := range from.All(kind) {
			if !term.Live(now) {
				continue
			}
			if known, _ := into.Lookup(kind, key); known.Join(term) != known {
				into.Join(kind, key, term)
				news++
			}
		}
	}
	for _, p := range from.Scheduled() {
		if !slices.ContainsFunc(into.Scheduled(), func(q events.Scheduled) bool { return q.ID == p.ID }) {
			into.Schedule(p, 0)
		}
	}
	return news
}

// load puts the snapshot of the file in place.
func (r *replica) load(s *events.Snapshot, now moment) *frameError {
	held := &holdings{[]saltedSet{{s.Salt, s.Set}}}
	if size := held.size(); r.budget > 0 && size > r.budget {
		return wrong("memory_budget", "the set would take %d bytes of %d", size, r.budget)
	}
	r.begin(held, s.Position(), s.Chain)
	r.feed, r.disk, r.unknown = s.Feed, true, s.Unknown
	r.older = max(0, time.Duration(now.wall-int64(s.At))*time.Millisecond)
	r.settle(now)
	return nil
}

// record applies the next record. A record that has been applied before is
// ignored: applied is false then.
func (r *replica) record(data []byte, id string, now moment) (part events.FeedPart, applied bool, err *frameError) {
	var f events.RecordFrame
	if err := json.Unmarshal(data, &f); err != nil {
		return part, false, wrong("record", "%v", err)
	}
	// The id comes last in a frame: with it, the frame is whole.
	if id != (events.Position{Epoch: r.pos.Epoch, Seq: f.Seq}).String() {
		return part, false, wrong("record", "the id %.64q is not that of seq %d", id, f.Seq)
	}
	if f.Seq <= r.pos.Seq {
		return part, false, nil
	}
	if f.Seq != r.pos.Seq+1 {
		return part, false, wrong("gap", "seq %d after %d", f.Seq, r.pos.Seq)
	}
	chain := r.chain.Next(events.HashPart(f.Feed), f.Audit)
	if chain != f.Chain {
		return part, false, disputes("chain", "seq %d does not continue what is held", f.Seq)
	}
	part, perr := events.ParseFeed(f.Feed)
	if perr != nil {
		return part, false, wrong("record", "seq %d: %v", f.Seq, perr)
	}
	if r.budget > 0 {
		if size := r.held.size() + growth(part.Ops); size > r.budget {
			r.head = max(r.head, f.Seq)
			r.settle(now)
			return part, false, wrong("memory_budget", "seq %d would take the set to %d bytes of %d", f.Seq, size, r.budget)
		}
	}
	// A restore does not reach the sets of earlier histories: their keys are
	// of another salt. They keep what they have until it expires.
	hubNow := r.hubTime(now)
	for _, op := range part.Ops {
		r.set().Apply(op, hubNow)
		if op.Effective > hubNow && (r.due == 0 || op.Effective < r.due) {
			r.due = op.Effective
		}
	}
	for _, what := range part.Unknown {
		if len(r.unknown) < maxUnknown && !slices.Contains(r.unknown, what) {
			r.unknown = append(slices.Clip(r.unknown), what) // a view has the old slice
		}
	}
	r.pos.Seq, r.chain, r.stuck = f.Seq, chain, 0
	r.settle(now)
	if r.trouble&disputed != 0 {
		return part, true, disputes("tick", "the record at %d is not the one that the hub signed for", f.Seq)
	}
	r.strikes = 0
	return part, true, nil
}

// maxUnknown bounds what Status lists.
const maxUnknown = 16

// fault notes that a session ended because of a wrong frame. Until the next
// hello nothing is fresh. The second one in a row, or one that shows another
// history, makes the position worthless.
func (r *replica) fault(err *frameError, now moment) {
	r.trouble |= broken
	if err.reason != "memory_budget" { // nothing is wrong with the frame
		r.strikes++
	}
	if r.held != nil && (err.disputed || r.strikes >= 2) {
		r.trouble |= disputed
	}
	r.settle(now)
}

// hubTime is the hub's clock, in unix milliseconds, as the latest tick tells
// it: behind by no more than the tick was on its way.
func (r *replica) hubTime(now moment) int64 { return now.wall + r.hubAhead }

// advance puts into effect what was scheduled for now or before, and reports
// whether there was any.
func (r *replica) advance(now moment) (effective bool) {
	hubNow := r.hubTime(now)
	if r.due == 0 || r.due > hubNow {
		return false
	}
	r.due = 0
	for _, s := range r.held.sets {
		if next := s.set.Advance(hubNow); next != 0 && (r.due == 0 || next < r.due) {
			r.due = next
		}
	}
	return true
}

// sweep forgets what has expired, a part at each call.
func (r *replica) sweep(now moment) {
	if r.held == nil {
		return
	}
	for i, s := range r.held.sets {
		s.set.Sweep(horizon(now))
		if i > 0 && s.set.Len() == 0 {
			r.held = &holdings{slices.Delete(slices.Clone(r.held.sets), i, i+1)}
			return
		}
	}
}

// view is what checks are to see from now on.
func (r *replica) view() *view {
	v := &view{
		held: r.held, trouble: r.trouble, troubleSince: r.since, proven: r.proven, older: r.older,
		greeted: r.greeted, hubBehind: r.hubBehind, kept: r.kept, feed: r.feed, position: r.pos, head: r.head, unknown: r.unknown, blind: r.blind,
	}
	if len(r.answered) > 0 {
		v.late, v.lateSince = true, r.answered[0].received
	}
	return v
}

// What an entry takes in memory: its slot in a table that is between two
// thirds and three quarters full, and for kinds with a cutoff its term.
const outrightBytes, cutoffBytes = 32, 56

func entryBytes(kind events.Kind) int64 {
	if kind.Outright() {
		return outrightBytes
	}
	return cutoffBytes
}

func (h *holdings) size() int64 {
	var n int64
	for _, s := range h.sets {
		for _, kind := range events.Kinds() {
			n += int64(s.set.LenKind(kind)) * entryBytes(kind)
		}
	}
	return n
}

// growth is the most that operations can add.
func growth(ops []events.Op) int64 {
	var n int64
	for _, op := range ops {
		if op.Verb == events.Revoke {
			n += entryBytes(op.Kind)
		}
	}
	return n
}
