package log

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
)

// A tick tells, beside its payload, where its hub was. When every record has
// aged out, the ticks are where the chain survives.
const headerSeq = "Revocast-Seq"

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
	header[headerBefore] = []string{chain.String()}
	_, err := l.js.PublishMsg(ctx, &nats.Msg{
		Subject: strings.TrimSuffix(tickSubjects(l.cfg.Feed), "*") + hub,
		Header:  header,
		Data:    payload,
	})
	if err != nil {
		return fmt.Errorf("tick: %w", err)
	}
	return nil
}

// chainInTicks looks for a hub that had followed to seq when it ticked last.
func (l *Log) chainInTicks(ctx context.Context, seq uint64) (events.Chain, bool, error) {
	info, err := l.ticks.Info(ctx, jetstream.WithSubjectFilter(tickSubjects(l.cfg.Feed)))
	if err != nil {
		return events.Chain{}, false, fmt.Errorf("read ticks: %w", err)
	}
	for subject := range info.State.Subjects {
		msg, err := l.ticks.GetLastMsgForSubject(ctx, subject)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			return events.Chain{}, false, fmt.Errorf("read ticks: %w", err)
		}
		var chain events.Chain
		if msg.Header.Get(headerSeq) == strconv.FormatUint(seq, 10) &&
			chain.UnmarshalText([]byte(msg.Header.Get(headerBefore))) == nil {
			return chain, true, nil
		}
	}
	return events.Chain{}, false, nil
}
