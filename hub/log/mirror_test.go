package log

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/internal/natstest"
)

// regions is shared by the tests: each has a feed of its own in it. TestMain
// stops it.
var regions struct {
	once sync.Once
	*natstest.Regions
	err error
}

// regionsWorld is a log at home, and hubs in both regions.
type regionsWorld struct {
	*natstest.Regions
	home, edge *clusterWorld
}

func newRegionsWorld(t testing.TB) *regionsWorld {
	t.Helper()
	regions.once.Do(func() { regions.Regions, regions.err = natstest.StartRegions(1, 1) })
	if regions.err != nil {
		t.Fatal(regions.err)
	}
	return &regionsWorld{
		regions.Regions,
		&clusterWorld{TB: t, Cluster: regions.Home, feed: feedOf(t), wait: soon, log: new(logged)},
		&clusterWorld{TB: t, Cluster: regions.Edge, feed: feedOf(t), wait: soon, log: new(logged), home: natstest.HomeDomain},
	}
}

// mirror is the mirror as it is now.
func (w *regionsWorld) mirror() jetstream.Stream {
	w.home.Helper()
	s, err := w.edge.js().Stream(w.edge.ctx(), mirrorName(w.edge.feed))
	if err != nil {
		w.home.Fatal(err)
	}
	return s
}

func (r *reader) waitFollowed(seq uint64) {
	r.Helper()
	if err := r.log.WaitFollowed(r.ctx(), seq); err != nil {
		r.Fatalf("the follower is not at %d: %v", seq, err)
	}
}

func TestHubsOfTwoRegionsHaveOneLog(t *testing.T) {
	w := newRegionsWorld(t)
	home := w.home.open()
	w.home.insist(home, "before")
	edge := w.edge.open()
	if edge.log.Epoch() != home.log.Epoch() || edge.log.Salt() != home.log.Salt() {
		t.Error("the regions have different histories")
	}
	w.edge.insist(edge, "at-the-edge")
	w.home.insist(home, "at-home")
	w.home.mustHaveOnce([]*reader{home, edge}, "before", "at-the-edge", "at-home")

	// What the edge reads is the mirror: nobody of it consumes the log.
	w.home.until("the hub at home alone consumes the log", func() bool {
		info, err := home.log.stream.Info(w.home.ctx())
		return err == nil && info.State.Consumers == 1
	})
	w.home.until("the mirror ends at 3, and the hub at the edge consumes it", func() bool {
		m := w.mirror().CachedInfo()
		return m.State.LastSeq == 3 && m.State.Consumers == 1
	})
	if err := edge.log.Tick(w.edge.ctx(), "edge-1", []byte("tick")); err != nil {
		t.Error(err)
	}
	last, err := home.log.ticks.GetLastMsgForSubject(w.home.ctx(), "revocast."+w.home.feed+".tick.edge-1")
	if err != nil || string(last.Data) != "tick" {
		t.Errorf("the tick at home: %v", err)
	}
}

func TestANewMirrorIsWaitedFor(t *testing.T) {
	w := newRegionsWorld(t)
	home := w.home.open()
	const many = 2000
	var load sync.WaitGroup
	for n := range 20 {
		load.Go(func() {
			for i := range many / 20 {
				if _, err := home.log.Append(w.home.ctx(), Proposal{Draft: draftOf(t, fmt.Sprint(n, "-", i)), Alone: true}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	load.Wait()
	edge := w.edge.open()
	if got := edge.catchUp(); len(got) != many {
		t.Fatalf("%d records, want %d", len(got), many)
	}
	// It is made anew, and has to copy all before what the follower needs.
	if err := w.edge.js().DeleteStream(w.edge.ctx(), mirrorName(w.edge.feed)); err != nil {
		t.Fatal(err)
	}
	w.home.insist(home, "after")
	edge.waitFollowed(many + 1)
	if got := edge.where("after"); len(got) != 1 || got[0] != many+1 {
		t.Errorf("after is in records %v", got)
	}
	mustChain(t, edge.catchUp())
}

// A mirror that lags, or stands still, holds up the follower and nothing else.
func TestAMirrorThatStandsStill(t *testing.T) {
	w := newRegionsWorld(t)
	home, edge := w.home.open(), w.edge.open()
	w.home.insist(home, "a")
	edge.waitFollowed(1)
	letGo, err := w.Hold(w.home.ctx(), streamName(w.home.feed))
	if err != nil {
		t.Fatal(err)
	}
	w.home.insist(home, "b")
	late := w.edge.open() // a hub that starts meanwhile
	for _, r := range []*reader{edge, late} {
		r.waitFollowed(1)
		head, err := r.log.Head(w.edge.ctx())
		if head != 2 || err != nil {
			t.Errorf("the log ends at %d, %v", head, err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 3*idleLook)
		defer cancel()
		if err := r.log.WaitFollowed(ctx, head); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("what the mirror does not have is followed: %v", err)
		}
		if e, err := r.log.Read(w.edge.ctx(), 2); err != nil || namesIn(t, e)[0] != "b" {
			t.Errorf("read what the mirror does not have: %v", err)
		}
		if _, err := r.log.Read(w.edge.ctx(), 3); !errors.Is(err, ErrNotFound) {
			t.Errorf("read what is not there: %v", err)
		}
	}
	w.edge.until("it is told", func() bool { return strings.Contains(w.edge.log.String(), "the mirror stands still") })
	// Whoever asked the mirror where the log ends would have been at the end.
	if end := w.mirror().CachedInfo().State.LastSeq; end != 1 {
		t.Errorf("the mirror ends at %d: it did not stand still", end)
	}
	// One at the edge appends all the same, if it need not know the state.
	if got, err := edge.log.Append(w.edge.ctx(), Proposal{Draft: draftOf(t, "c")}); err != nil || got.Seq != 3 {
		t.Errorf("append: %+v, %v", got, err)
	}
	if err := letGo(); err != nil {
		t.Fatal(err)
	}
	w.home.mustHaveOnce([]*reader{home, edge, late}, "a", "b", "c")
}

func TestTheLinkBetweenRegionsIsCut(t *testing.T) {
	w := newRegionsWorld(t)
	home, edge := w.home.open(), w.edge.open()
	w.edge.insist(edge, "before")
	edge.catchUp() // else the mirror is still being set up, which takes its servers long to try again
	for seq := uint64(2); seq < 4; seq++ {
		if err := w.Cut(); err != nil {
			t.Fatal(err)
		}
		if _, err := edge.log.Append(w.edge.ctx(), Proposal{Draft: draftOf(t, "lost")}); !errors.Is(err, ErrUnavailable) {
			t.Errorf("append without home: %v", err)
		}
		if _, err := edge.log.Head(w.edge.ctx()); err == nil {
			t.Error("somebody tells where the log ends")
		}
		if err := edge.log.Tick(w.edge.ctx(), "edge-1", nil); err == nil {
			t.Error("a tick is acknowledged")
		}
		w.home.insist(home, fmt.Sprint("at-home-", seq))
		if err := w.Heal(); err != nil {
			t.Fatal(err)
		}
		w.edge.until("it is followed", func() bool { at, _ := edge.log.Followed(); return at >= seq })
	}
	w.edge.insist(edge, "after")
	w.home.mustHaveOnce([]*reader{home, edge}, "before", "at-home-2", "at-home-3", "after")
}

func TestAnEdgeHubWaitsForTheLog(t *testing.T) {
	w := newRegionsWorld(t)
	for domain, want := range map[string]string{
		natstest.HomeDomain: "waiting for the log in the JetStream domain home", // which no hub there has made
		"nowhere":           "waiting for the log in the JetStream domain nowhere",
	} {
		w.edge.home = domain
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		defer cancel()
		if _, err := Open(ctx, w.edge.connect(), w.edge.config()); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(w.edge.log.String(), want) {
			t.Errorf("it ends with %v, and says:\n%s", err, w.edge.log)
		}
	}
	// That it is not in another region does not pass.
	w.edge.home = natstest.EdgeDomain
	mustSay(t, w.edge.mustNotOpen(), "the servers connected to are those of domain edge")

	w.edge.home = natstest.HomeDomain
	opened := make(chan *reader, 1)
	go func() { opened <- w.edge.open() }()
	home := w.home.open()
	w.home.insist(home, "a")
	w.home.mustHaveOnce([]*reader{home, <-opened}, "a")
}

// The mirror of a log whose records have aged out begins where it goes on.
func TestAMirrorBeginsLate(t *testing.T) {
	w := newRegionsWorld(t)
	short := func(w *clusterWorld) *reader {
		cfg := w.config()
		cfg.Retention = 6 * time.Second
		l, err := Open(w.ctx(), w.connect(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.Close)
		return (&world{TB: t}).follow(l)
	}
	home := short(w.home)
	w.home.insist(home, "a")
	w.home.insist(home, "b")
	home.catchUp()
	if err := home.log.Tick(w.home.ctx(), "hub-1", nil); err != nil {
		t.Fatal(err)
	}
	w.home.until("all has aged out", func() bool { first, err := home.log.First(w.home.ctx()); return err == nil && first == 3 })
	edge := short(w.edge)
	edge.waitFollowed(2)
	w.home.insist(home, "c")
	edge.waitFollowed(3)
	if got := edge.where("c"); len(got) != 1 || got[0] != 3 {
		t.Errorf("c is in records %v", got)
	}
}

func TestHubsOfTwoRegionsShareAValue(t *testing.T) {
	w := newRegionsWorld(t)
	home, edge := w.home.open(), w.edge.open()
	opened := make(chan *Shared, 1)
	go func() {
		s, err := edge.log.OpenShared(w.edge.ctx(), "KEYS")
		if err != nil {
			t.Error(err)
		}
		opened <- s
	}()
	a, err := home.log.OpenShared(w.home.ctx(), "KEYS")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b := <-opened
	if b == nil {
		t.FailNow()
	}
	defer b.Close()
	for _, s := range [][2]*Shared{{a, b}, {b, a}} {
		var is string
		w.edge.until("the other region hears of it", func() bool { // as soon as it is known there that somebody listens
			if err := s[0].Update(w.home.ctx(), func(v []byte) ([]byte, error) { is = string(v) + "x"; return []byte(is), nil }); err != nil {
				t.Fatal(err)
			}
			select {
			case <-s[1].News():
				return true
			case <-time.After(50 * time.Millisecond):
				return false
			}
		})
		_ = s[1].Update(w.edge.ctx(), func(v []byte) ([]byte, error) {
			if string(v) != is {
				t.Errorf("it reads %q, want %q", v, is)
			}
			return v, nil
		})
	}
}
