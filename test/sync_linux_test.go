//go:build amd64 || arm64

package test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/revocast/revocast/subscriber"
)

// syncOrder checks, call by call, that a hub syncs what it acknowledges: the
// record is written to a file, then that file is synced, then the answer goes
// out that names the revocation.
type syncOrder struct {
	mu     sync.Mutex
	where  map[string]string   // guarded by mu: by id: the file that has it
	open   map[string][]string // guarded by mu: by file: ids written and not synced
	ended  map[string]int      // guarded by mu: by id: when its write had ended
	synced map[string]bool     // guarded by mu: by id
	right  int                 // guarded by mu: acknowledgements of what was synced
	wrong  []string            // guarded by mu
	now    int                 // guarded by mu: of the latest call
}

func newSyncOrder() *syncOrder {
	return &syncOrder{where: make(map[string]string), open: make(map[string][]string), ended: make(map[string]int), synced: make(map[string]bool)}
}

var revocationID = regexp.MustCompile(`rev_[0-9A-HJKMNP-TV-Z]{26}`)

func (o *syncOrder) begins(c *kernelCall) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now = c.began
	if !strings.HasPrefix(c.path, "socket:") || !bytes.HasPrefix(c.data, []byte("HTTP/1.1 201 ")) {
		return
	}
	for _, id := range revocationID.FindAllString(string(c.data), -1) {
		switch {
		case o.where[id] == "":
			o.wrong = append(o.wrong, id+" was acknowledged before it was written")
		case !o.synced[id]:
			o.wrong = append(o.wrong, fmt.Sprintf("%s was acknowledged before %s was synced", id, filepath.Base(o.where[id])))
		default:
			o.right++
		}
	}
}

func (o *syncOrder) ends(c *kernelCall) syscall.Errno {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case c.failed:
	case c.writes() && strings.HasSuffix(c.path, ".blk"):
		for _, id := range revocationID.FindAllString(string(c.data), -1) {
			if o.where[id] == "" {
				o.where[id], o.ended[id] = c.path, o.now
				o.open[c.path] = append(o.open[c.path], id)
			}
		}
	case c.syncs():
		var rest []string
		for _, id := range o.open[c.path] {
			if o.ended[id] < c.began {
				o.synced[id] = true
			} else {
				rest = append(rest, id)
			}
		}
		o.open[c.path] = rest
	}
	return 0
}

// result waits for the order to have seen n acknowledgements.
func (o *syncOrder) seen() (right int, wrong []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.right, o.wrong
}

// traced starts a hub under trace.
func (w *world) traced(tr *tracer) {
	w.Helper()
	tr.start(w.TB, w.hubCommand())
	w.eventually("the traced hub serves", func() bool {
		resp, err := w.call("GET", "/v1/status", "")
		return err == nil && resp.status == 200
	})
}

// Promise 1, where it is made: each acknowledgement comes after the fsync of
// the file that has the record, as the kernel sees it. A power cut is not
// needed to show it, and would show it less often.
func TestSyncedBeforeAcknowledged(t *testing.T) {
	order := tracedOrder(t, false)
	right, wrong := order.seen()
	if len(wrong) > 0 {
		t.Errorf("%d of %d: %s", len(wrong), len(wrong)+right, wrong[0])
	}
}

// The negative control: a hub that is told not to sync fails the same check.
func TestNotSyncedIsNoticed(t *testing.T) {
	order := tracedOrder(t, true)
	if right, wrong := order.seen(); len(wrong) == 0 {
		t.Errorf("a hub that does not sync passed, %d times", right)
	}
}

func tracedOrder(t *testing.T, skipSync bool) *syncOrder {
	w := newWorld(t)
	w.own = &ownHub{DangerouslySkipSync: skipSync}
	order := newSyncOrder()
	w.traced(&tracer{begins: order.begins, ends: order.ends})
	tr := newTrial(w)
	tr.produce(4)
	enough := quickOr(100, 3000)
	w.eventually("enough is acknowledged", func() bool {
		right, wrong := order.seen()
		return right+len(wrong) >= enough
	})
	tr.rest()
	right, wrong := order.seen()
	t.Logf("%d acknowledgements seen, %d of them too early", right+len(wrong), len(wrong))
	if acked := tr.acknowledged(); right+len(wrong) < acked {
		t.Errorf("%d were acknowledged, and only %d seen", acked, right+len(wrong))
	}
	return order
}

// A sync that fails ends the hub: nothing is acknowledged from then on, and
// nobody is told that all is well. After a restart nothing is missing.
func TestSyncFails(t *testing.T) {
	w := newWorld(t)
	var failing atomic.Bool
	failed := make(chan struct{})
	var once sync.Once
	h := &tracer{ends: func(c *kernelCall) syscall.Errno {
		if failing.Load() && c.syncs() && strings.Contains(c.path, "/REVOCAST_default/") {
			once.Do(func() { close(failed) })
			return unix.EIO
		}
		return 0
	}}
	w.traced(h)
	tr := newTrial(w)
	const within = 2 * time.Second
	tr.observe("subscriber", w.subscribe(func(c *subscriber.Config) { c.MaxStaleness = within }), within)
	tr.produce(4)
	w.eventually("some are acknowledged", func() bool { return tr.acknowledged() > 20 })
	failing.Store(true)
	select {
	case <-failed:
	case <-time.After(30 * time.Second):
		t.Fatal("nothing is synced any more")
	}
	first := time.Now()
	if state := h.wait(t, 60*time.Second); !state.Exited() || state.ExitStatus() == 0 {
		t.Errorf("the hub ended with %v, want an exit with an error", state)
	}
	t.Logf("the hub ended %v after the first failure", time.Since(first))
	if !strings.Contains(w.log.String(), "can't go on") {
		t.Errorf("the hub does not say why:\n%s", w.log)
	}
	tr.rest()
	for _, c := range tr.claims {
		if c.outcome == acknowledged && c.sent.After(first.Add(time.Second)) {
			t.Errorf("%s was acknowledged after a sync had failed", c.jti)
		}
	}
	w.startHub()
	tr.verdict()
}
