package feed

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Each report gets an answer to a question that was put after it came, and
// whoever puts one is not kept for those who come meanwhile.
func TestHeadsAreAskedAfterTheReport(t *testing.T) {
	var h heads
	var log atomic.Uint64 // what a question finds
	var asked atomic.Int64
	ask := func(context.Context) (uint64, error) {
		asked.Add(1)
		head := log.Load()
		time.Sleep(time.Millisecond)
		return head, nil
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	var reports atomic.Int64
	for range 16 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				before := log.Add(1) // acknowledged before the report
				put := 0
				head, err := h.after(t.Context(), func(ctx context.Context) (uint64, error) { put++; return ask(ctx) })
				if err != nil || head < before {
					t.Errorf("head %d, %v; %d was there before the report", head, err, before)
					return
				}
				if put > 1 {
					t.Errorf("it put the question %d times, for others", put)
				}
				reports.Add(1)
			}
		})
	}
	time.Sleep(300 * time.Millisecond)
	close(stop)
	wg.Wait()
	if a, r := asked.Load(), reports.Load(); a == 0 || a > r/2 {
		t.Errorf("%d questions for %d reports: they are not shared", a, r)
	}
}

// One who leaves with the turn does not leave the others waiting.
func TestTurnIsNotLost(t *testing.T) {
	var h heads
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	for range 50 {
		_, _ = h.after(gone, func(context.Context) (uint64, error) { return 1, nil })
		ctx, stop := context.WithTimeout(context.Background(), 5*time.Second)
		if head, err := h.after(ctx, func(context.Context) (uint64, error) { return 7, nil }); err != nil || head != 7 {
			t.Fatalf("%d, %v", head, err)
		}
		stop()
	}
}
