package feed

import (
	"context"
	"fmt"
	"sync"

	"github.com/revocast/revocast/events"
)

// Report takes a subscriber's report and answers with the log's head, asked
// for after the report came in. Errors: *events.FieldError, or the log's.
func (f *Feed) Report(ctx context.Context, actor string, r events.Report) (events.ReportAnswer, error) {
	if err := checkReport(r); err != nil {
		return events.ReportAnswer{}, err
	}
	now := events.At(f.cfg.Now())
	f.audience.report(actor, r, f.log.Epoch(), now)
	head, err := f.heads.after(ctx, f.log.Head)
	if err != nil {
		return events.ReportAnswer{}, fmt.Errorf("answer a report: %w", err)
	}
	a := events.ReportAnswer{Epoch: f.log.Epoch(), Head: head, Nonce: r.Nonce, At: now}
	a.Sign(f.Name(), f.cfg.Keys)
	return a, nil
}

func checkReport(r events.Report) error {
	for _, f := range []struct {
		name, value string
		max         int
		required    bool
	}{
		{"subscriber", r.Subscriber, 128, true},
		{"nonce", r.Nonce, 64, true},
		{"state", r.State, 32, true},
	} {
		if f.value == "" && f.required {
			return &events.FieldError{Field: f.name, Problem: "missing"}
		}
		if err := events.CheckText(f.name, f.value, f.max); err != nil {
			return err
		}
	}
	if r.Epoch != "" && !events.ValidEpoch(r.Epoch) {
		return &events.FieldError{Field: "epoch", Problem: "not an epoch"}
	}
	return nil
}

// heads lets many reports share one question for the log's head. A report may
// only use an answer whose question was put after it came in, so those who
// come while one is out wait for the next.
type heads struct {
	mu   sync.Mutex
	next *headQuestion // guarded by mu: not yet put
	busy bool          // guarded by mu: one is out
}

type headQuestion struct {
	done chan struct{} // closed when head and err are set
	head uint64
	err  error
}

func (h *heads) after(ctx context.Context, ask func(context.Context) (uint64, error)) (uint64, error) {
	h.mu.Lock()
	if h.next == nil {
		h.next = &headQuestion{done: make(chan struct{})}
	}
	q := h.next
	asking := !h.busy
	if asking {
		h.busy = true
	}
	h.mu.Unlock()
	if asking {
		// Whoever finds nobody asking asks, for itself and then for those
		// who came meanwhile; not under its own ctx, which is not theirs.
		h.askAll(context.WithoutCancel(ctx), ask)
	}
	select {
	case <-q.done:
		return q.head, q.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (h *heads) askAll(ctx context.Context, ask func(context.Context) (uint64, error)) {
	for {
		h.mu.Lock()
		q := h.next
		h.next = nil
		if q == nil {
			h.busy = false
			h.mu.Unlock()
			return
		}
		h.mu.Unlock()
		q.head, q.err = ask(ctx)
		close(q.done)
	}
}
