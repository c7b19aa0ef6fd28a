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
// come while one is out wait for the next, which one of them puts: nobody is
// kept busy with the questions of others.
type heads struct {
	mu   sync.Mutex
	next *headQuestion // guarded by mu: not yet put
	busy bool          // guarded by mu: one is out, or somebody has the turn to put it
}

type headQuestion struct {
	turn chan struct{} // holds a token for the one who is to put it
	done chan struct{} // closed when head and err are set
	head uint64
	err  error
}

func (h *heads) after(ctx context.Context, ask func(context.Context) (uint64, error)) (uint64, error) {
	h.mu.Lock()
	if h.next == nil {
		h.next = &headQuestion{turn: make(chan struct{}, 1), done: make(chan struct{})}
	}
	q := h.next
	if !h.busy {
		h.busy = true
		q.turn <- struct{}{}
	}
	h.mu.Unlock()
	select {
	case <-q.done:
	case <-q.turn:
		// Not under our own ctx, which is not that of those who wait with us.
		h.put(context.WithoutCancel(ctx), q, ask)
	case <-ctx.Done():
		// If the turn was ours, it lies there for the next who comes.
		return 0, ctx.Err()
	}
	return q.head, q.err
}

// put asks a question and passes the turn on.
func (h *heads) put(ctx context.Context, q *headQuestion, ask func(context.Context) (uint64, error)) {
	h.mu.Lock()
	h.next = nil
	h.mu.Unlock()
	q.head, q.err = ask(ctx)
	close(q.done)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.busy = h.next != nil; h.busy {
		h.next.turn <- struct{}{}
	}
}
