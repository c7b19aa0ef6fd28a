package subscriber

import (
	"time"

	"github.com/go-json-experiment/json"

	"github.com/revocast/revocast/events"
)

// How a replica comes to know that it is complete. Two proofs are needed, and
// neither trusts a clock that others set: a tick, signed after the log took a
// write, by when it came; and the answer to a report, by when that was sent.

type lastTick struct {
	at  events.Time
	seq uint64
}

type aheadTick struct {
	seq      uint64
	chain    events.Chain
	received moment
}

type aheadAnswer struct {
	head           uint64
	sent, received moment
}

// maxAhead bounds the proofs that wait for their head to be reached. If more
// come, the oldest are kept: they are reached first.
const maxAhead = 16

// proveTick takes a tick as proof that the log ended at a place at about the
// time of its receipt. A tick that is not newer than the last is no proof of
// anything and no error either: a hub may repeat it to who reconnects.
func (r *replica) proveTick(data []byte, now moment) (proof bool, err *frameError) {
	var t events.Tick
	if err := json.Unmarshal(data, &t); err != nil {
		return false, wrong("tick", "%v", err)
	}
	if err := t.Verify(r.feed, r.pos.Epoch, r.keys); err != nil {
		return false, wrong("tick_signature", "%v", err)
	}
	last := r.ticks[t.KeyID]
	if t.At <= last.at {
		return false, nil
	}
	if t.Seq < last.seq {
		return false, disputes("tick", "the log ended at %d after it had ended at %d", t.Seq, last.seq)
	}
	if t.Seq == r.pos.Seq && t.Chain != r.chain {
		return false, disputes("tick", "the hub signed for another history up to %d", t.Seq)
	}
	r.ticks[t.KeyID] = lastTick{t.At, t.Seq}
	r.tickedAt = now
	r.hubAhead = int64(t.At) - now.wall
	r.head = max(r.head, t.Seq)
	if t.Seq <= r.pos.Seq {
		r.tick = &now
		r.strikes = 0
	} else if len(r.ahead) < maxAhead {
		r.ahead = append(r.ahead, aheadTick{t.Seq, t.Chain, now})
	}
	r.settle(now)
	if t.Seq > r.pos.Seq {
		if r.stuck++; r.stuck >= maxAhead {
			return false, wrong("held_back", "the log ends at %d, and nothing comes after %d", t.Seq, r.pos.Seq)
		}
	}
	return true, nil
}

// proveAnswer takes the answer to a report, sent with nonce, as proof that
// the log had ended at a place when the report was sent.
func (r *replica) proveAnswer(data []byte, nonce string, sent, now moment) *frameError {
	var a events.ReportAnswer
	if err := json.Unmarshal(data, &a); err != nil {
		return wrong("answer", "%v", err)
	}
	if a.Epoch != r.pos.Epoch || a.Nonce != nonce {
		return wrong("answer", "to another report, or about another history")
	}
	if err := a.Verify(r.feed, r.keys); err != nil {
		return wrong("answer_signature", "%v", err)
	}
	r.answeredAt = sent
	if a.Head <= r.pos.Seq {
		r.provenBy(sent)
	} else if len(r.answered) < maxAhead {
		r.answered = append(r.answered, aheadAnswer{a.Head, sent, now})
	}
	r.settle(now)
	return nil
}

// silence is how long the hub has given no proof of one of the two kinds,
// whether the head that it proved is reached or not.
func (r *replica) silence(now moment) time.Duration {
	return now.mono - min(r.tickedAt.mono, r.answeredAt.mono)
}

func (r *replica) provenBy(sent moment) {
	if r.probe == nil || r.probe.mono < sent.mono {
		r.probe = &sent
	}
}

// settle draws the conclusions from what has changed.
func (r *replica) settle(now moment) {
	for len(r.ahead) > 0 && r.ahead[0].seq <= r.pos.Seq {
		t := r.ahead[0]
		r.ahead = r.ahead[1:]
		if t.seq == r.pos.Seq && t.chain != r.chain {
			r.trouble |= disputed
			continue
		}
		r.tick = &t.received
	}
	for len(r.answered) > 0 && r.answered[0].head <= r.pos.Seq {
		r.provenBy(r.answered[0].sent)
		r.answered = r.answered[1:]
	}
	set := func(t trouble, on bool) {
		r.trouble &^= t
		if on {
			r.trouble |= t
		}
	}
	set(behind, r.pos.Seq < r.head)
	set(unproven, r.tick == nil || r.probe == nil)
	set(unenforceable, len(r.unknown) > 0 || r.blind)
	if r.trouble != 0 && !r.troubled {
		r.since = now
	}
	r.troubled = r.trouble != 0
	if r.trouble&(unproven|disputed) == 0 {
		r.older = 0
		r.proven = *r.tick
		if r.probe.mono < r.tick.mono {
			r.proven = *r.probe
		}
	}
}
