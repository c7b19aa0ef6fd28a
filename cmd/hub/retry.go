package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/revocast/revocast/hub/api"
)

const (
	// maxTries makes about ten seconds: longer than a hub takes to restart,
	// shorter than a person waits.
	maxTries   = 6
	firstPause = 300 * time.Millisecond
	maxPause   = 5 * time.Second
)

// retried repeats a request that may be sent again safely, while sending it
// again may help. It tells about each time.
func retried(ctx context.Context, std streams, ask func() error) error {
	sent := false
	for try := 1; ; try++ {
		err := ask()
		var none *noAnswerError
		if errors.As(err, &none) && none.sent {
			sent = true
		}
		if err == nil || try == maxTries || !worthRepeating(err, sent) || ctx.Err() != nil {
			return err
		}
		pause := pauseBefore(try, err)
		std.note("%s", explain(err))
		std.note("asking again in %v; it takes effect once", pause.Round(100*time.Millisecond))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

// worthRepeating reports whether the same request may meet a better answer.
// That nothing listens is worth saying at once, unless an earlier try got
// through: then it may have been done, and the hub is restarting.
func worthRepeating(err error, sent bool) bool {
	var p *problem
	var none *noAnswerError
	var strange *strangeError
	switch {
	case errors.As(err, &p):
		switch p.Code {
		case api.OutcomeUnknown, api.Busy, api.Unavailable, api.Draining:
			return true
		}
		return false
	case errors.As(err, &none):
		return none.sent || sent
	case errors.As(err, &strange):
		return strange.gateway()
	}
	return false
}

// pauseBefore doubles from try to try, and is spread, so that those who were
// turned away together don't come back together.
func pauseBefore(try int, err error) time.Duration {
	pause := min(firstPause<<(try-1), maxPause)
	pause = pause/2 + rand.N(pause/2)
	var p *problem
	if errors.As(err, &p) {
		pause = max(pause, min(p.retryAfter, maxPause))
	}
	return pause
}
