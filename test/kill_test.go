package test

import (
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/revocast/revocast/subscriber"
)

// Promises 1 and 7, with a process and SIGKILL at a random moment of what a
// hub does: under load, while it starts, while it makes and sends snapshots,
// and while it drains. What was acknowledged is there, once and in order, and
// the subscribers need no help to have it all.
func TestHubIsKilled(t *testing.T) {
	moments := []struct {
		name string
		kill func(*trial, func(most time.Duration))
	}{
		{"under load", killUnderLoad},
		{"while it starts", killStarting},
		{"in a snapshot", killInSnapshot},
		{"in the drain", killDraining},
	}
	random := dice(t)
	const perWorld = 20
	for range quickOr(1, 50) {
		w := newWorld(t)
		w.startHub()
		tr := newTrial(w)
		const within = 2 * time.Second
		sub := w.subscribe(func(c *subscriber.Config) { c.MaxStaleness = within })
		tr.observe("subscriber", sub, within)
		tr.produce(8)
		for round := range perWorld {
			m := moments[round%len(moments)]
			enough := tr.acknowledged() + 20
			w.eventually("there is load again", func() bool { return tr.acknowledged() > enough })
			m.kill(tr, func(most time.Duration) { time.Sleep(time.Duration(random.Int64N(int64(most)))) })
			w.killHub()
			w.startHub()
		}
		tr.verdict()
		if s := sub.Status(); len(s.Resyncs) > 0 {
			t.Errorf("the subscriber needed a snapshot, though the hub had all records: %v", s.Resyncs)
		}
		w.stopHub()
	}
}

// The killers leave a hub behind that is to be killed at once.

func killUnderLoad(_ *trial, wait func(time.Duration)) { wait(200 * time.Millisecond) }

func killStarting(t *trial, wait func(time.Duration)) {
	t.killHub()
	t.launchHub()
	wait(400 * time.Millisecond) // it serves after about half of that
}

func killInSnapshot(t *trial, wait func(time.Duration)) {
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			for {
				if _, err := t.call("GET", "/v1/snapshot", ""); err != nil {
					return // it is dead
				}
			}
		})
	}
	wait(100 * time.Millisecond)
	_ = t.hub.Process.Kill()
	readers.Wait()
}

func killDraining(t *trial, wait func(time.Duration)) {
	t.must(t.hub.Process.Signal(syscall.SIGTERM))
	wait(200 * time.Millisecond)
}

// The negative control: the same judgement over a hub that lost its log, which
// is what a hub that acknowledges too early looks like after a power cut.
func TestKillsWouldBeNoticed(t *testing.T) {
	w := newWorld(t)
	w.startHub()
	tr := newTrial(w)
	tr.produce(2)
	w.eventually("some are acknowledged", func() bool { return tr.acknowledged() > 10 })
	tr.rest()
	w.killHub()
	w.dir += "-other"
	w.startHub()
	found := broken(judge(history{claims: tr.claims, log: tr.readLog()}))
	if !strings.Contains(found, string(lost)) {
		t.Errorf("nothing is missed: %s", found)
	}
	if resp, err := http.Get("http://" + w.ops + "/livez"); err != nil || resp.Body.Close() != nil || resp.StatusCode != http.StatusOK {
		t.Error("it is not a hub that lost all:", err)
	}
}
