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
	// A clock that is set back must not make ticks look like old ones.
	at = max(at, f.tickAt+1)
	f.tickAt = at
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

// sweepAtOnce is how many revocations the index is swept of while the fold
// waits: a fraction of a millisecond.
const sweepAtOnce = 16 << 10

// sweepIndex forgets what has expired, a piece at a time so that the fold is
// not held up, and packs the index once more than half of it is dead. Only the
// ticker calls it.
func (f *Feed) sweepIndex(now time.Time) {
	expired := now.Add(-backwards).Unix()
	for at, done := 0, false; !done; {
		f.mu.Lock()
		at = f.index.sweep(expired, at, sweepAtOnce)
		done = at == f.index.revs.len()
		f.mu.Unlock()
	}
	f.mu.Lock()
	f.requests.sweep(now.Add(-f.log.Retention()))
	if !f.index.sparse() {
		f.mu.Unlock()
		return
	}
	v := f.index.frozen()
	f.mu.Unlock()
	packed := v.packed()
	f.mu.Lock()
	defer f.mu.Unlock()
	packed.follow(f.index, v)
	f.index = packed
}
