package feed

import (
	"context"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/revocast/revocast/events"
)

// tick proves each TickEvery that the log takes writes, and does what has to
// be done now and then. It ends with ctx.
func (f *Feed) tick(ctx context.Context) {
	every := time.NewTicker(f.cfg.TickEvery)
	defer every.Stop()
	lastUpkeep := f.cfg.Now()
	for {
		if err := f.tickOnce(ctx); err != nil && ctx.Err() == nil {
			f.cfg.Metrics.ticksFailed.Inc()
			f.cfg.Logger.Error("no tick: subscribers will go stale", "err", err)
		}
		f.sweepLive()
		if now := f.cfg.Now(); now.Sub(lastUpkeep) >= upkeepEvery {
			lastUpkeep = now
			f.sweepIndex(now)
			f.renew(ctx, now)
		}
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
	}
}

const upkeepEvery = time.Minute

// tickOnce makes one tick. The head is asked for after the time is taken, and
// the write acknowledged after that: whoever reads the tick knows that at its
// time the log ended no later than its seq, and took writes afterwards.
func (f *Feed) tickOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, max(f.cfg.TickEvery, 2*time.Second))
	defer cancel()
	begun := time.Now()
	at := events.At(f.cfg.Now())
	head, err := f.log.Head(ctx)
	if err != nil {
		return fmt.Errorf("head: %w", err)
	}
	if err := f.log.WaitFollowed(ctx, head); err != nil {
		return fmt.Errorf("follow to %d: %w", head, err)
	}
	f.mu.Lock()
	t := events.Tick{Seq: f.seq, At: at, Chain: f.chain}
	f.mu.Unlock()
	t.Sign(f.Name(), f.log.Epoch(), f.cfg.Keys)
	data, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if err := f.log.Tick(ctx, f.cfg.Name, data); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	f.mu.Lock()
	f.lastTick = begun
	f.mu.Unlock()
	f.frames.setTick(fmt.Appendf(nil, "event: tick\ndata: %s\n\n", data))
	f.cfg.Metrics.ticked(begun)
	return nil
}

// backwards is how far a clock, ours or a subscriber's, may be set back
// without a token coming to life again whose revocation has been forgotten.
const backwards = 10 * time.Minute

func (f *Feed) sweepLive() {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.cfg.Now()
	f.dueAt.Store(f.live.Advance(now.UnixMilli()))
	f.live.Sweep(now.Add(-backwards).Unix())
}

func (f *Feed) sweepIndex(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.index.sweep(now.Add(-backwards).Unix())
	f.requests.sweep(now.Add(-f.log.Retention()))
}
