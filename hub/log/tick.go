package log

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
)

// A tick tells, beside its payload, where its hub was and in which history.
// When every record has aged out, the ticks are where the chain survives; and
// a log that was cut short is caught by them.
const (
	headerSeq   = "Revocast-Seq"
	headerEpoch = "Revocast-Epoch"
	headerFirst = "Revocast-First" // see oldest
)

// oldest is the first record of the log, and until when it is held.
type oldest struct {
	seq       uint64
	at        time.Time // when it was stored
	retention time.Duration
}

func oldestIn(info *jetstream.StreamInfo) *oldest {
	if info.State.Msgs == 0 {
		return nil
	}
	return &oldest{info.State.FirstSeq, info.State.FirstTime, info.Config.MaxAge}
}

func (o *oldest) String() string {
	return fmt.Sprintf("%d %d %d", o.seq, o.at.UnixMilli(), o.retention.Milliseconds())
}

func parseOldest(s string) (*oldest, bool) {
	var seq uint64
	var at, retention int64
	if n, _ := fmt.Sscanf(s, "%d %d %d", &seq, &at, &retention); n != 3 {
		return nil, false
	}
	return &oldest{seq, time.UnixMilli(at), time.Duration(retention) * time.Millisecond}, true
}

// missed reports whether the record is gone before its time.
func (o *oldest) missed(first uint64, retention time.Duration, now time.Time) bool {
	return first > o.seq && now.Before(o.at.Add(min(o.retention, retention)))
}

// Tick stores a payload, at most 60 KiB, in place of the hub's last one, and
// returns once that is acknowledged. It proves that writes are stored: the
// companion stream is on the same disk, or in the same cluster, as the log.
// The hub's name is 1 to 64 of A-Z, a-z, 0-9, "-" and "_", and no other hub's.
func (l *Log) Tick(ctx context.Context, hub string, payload []byte) error {
	return l.tick(ctx, hub, payload, nats.Header{})
}

// Leave is the last tick: it tells the other hubs that this one has no
// subscribers any more.
func (l *Log) Leave(ctx context.Context, hub string) error {
	return l.tick(ctx, hub, nil, nats.Header{headerLeft: {"1"}})
}

func (l *Log) tick(ctx context.Context, hub string, payload []byte, header nats.Header) error {
	if !events.ValidHub(hub) {
		return fmt.Errorf("tick: hub %q: want 1 to 64 of A-Z, a-z, 0-9, - and _", hub)
	}
	if l.ctx.Err() != nil {
		return context.Cause(l.ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, l.cfg.AppendTimeout)
	defer cancel()
	seq, chain := l.Followed()
	header[jetstream.ExpectedStreamHeader] = []string{ticksName(l.cfg.Feed)}
	header[headerRun] = []string{l.run}
	header[headerSeq] = []string{strconv.FormatUint(seq, 10)}
	header[headerEpoch] = []string{l.id.epoch}
	header[headerBefore] = []string{chain.String()}
	if o := l.oldest.Load(); o != nil {
		header[headerFirst] = []string{o.String()}
	}
	ack, err := l.js.PublishMsg(ctx, &nats.Msg{
		Subject: strings.TrimSuffix(tickSubjects(l.cfg.Feed), "*") + hub,
		Header:  header,
		Data:    payload,
	})
	if err == nil {
		err = l.ours(ack)
	}
	if err != nil {
		return fmt.Errorf("tick: %w", err)
	}
	return nil
}

// chainInTicks looks for a hub that had followed to seq when it ticked last.
func (l *Log) chainInTicks(ctx context.Context, seq uint64) (chain events.Chain, ok bool, err error) {
	err = l.eachTick(ctx, func(t seenAt) {
		if t.seq == seq {
			chain, ok = t.chain, true
		}
	})
	return chain, ok, err
}

// ticked is what the last ticks have seen of this history: how far any hub had
// followed it, and the oldest record of each. It is zero if no tick tells.
func (l *Log) ticked(ctx context.Context) (last seenAt, first []*oldest, err error) {
	err = l.eachTick(ctx, func(t seenAt) {
		if t.epoch != l.id.epoch {
			return
		}
		if t.seq > last.seq {
			last = t
		}
		if t.first != nil {
			first = append(first, t.first)
		}
	})
	return last, first, err
}

// seenAt is what a tick says of the log.
type seenAt struct {
	epoch string // "" if a release wrote it that did not say
	seq   uint64
	chain events.Chain
	first *oldest // nil if it does not say
}

// eachTick calls f for the last tick of each hub, but those that can't be read.
func (l *Log) eachTick(ctx context.Context, f func(seenAt)) error {
	info, err := l.ticks.Info(ctx, jetstream.WithSubjectFilter(tickSubjects(l.cfg.Feed)))
	if err != nil {
		return fmt.Errorf("read ticks: %w", err)
	}
	for subject := range info.State.Subjects {
		msg, err := l.ticks.GetLastMsgForSubject(ctx, subject)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read ticks: %w", err)
		}
		t := seenAt{epoch: msg.Header.Get(headerEpoch)}
		t.first, _ = parseOldest(msg.Header.Get(headerFirst))
		t.seq, err = strconv.ParseUint(msg.Header.Get(headerSeq), 10, 64)
		if err == nil && t.chain.UnmarshalText([]byte(msg.Header.Get(headerBefore))) == nil {
			f(t)
		}
	}
	return nil
}
