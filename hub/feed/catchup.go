package feed

import (
	"context"
	"errors"
	"math"
	"time"
)

// progressEvery is how often a long replay says how far it is.
const progressEvery = 3 * time.Second

// catchUp waits for the fold to reach head, and says now and then how long that
// will still take.
func (f *Feed) catchUp(ctx context.Context, head uint64) error {
	begun, from := time.Now(), f.Position().Seq
	for {
		wait, cancel := context.WithTimeout(ctx, progressEvery)
		err := f.log.WaitFollowed(wait, head)
		cancel()
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		at := f.Position().Seq
		if from == 0 {
			from = at // where the log begins, about
			continue
		}
		rate := float64(at-from) / time.Since(begun).Seconds()
		f.cfg.Logger.Info("reading the log", "seq", at, "head", head, "records_per_second", math.Round(rate),
			"left", time.Duration(float64(head-at)/max(rate, 1)*float64(time.Second)).Round(time.Second))
	}
}
