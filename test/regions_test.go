package test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/hub"
	"github.com/revocast/revocast/hub/api"
	"github.com/revocast/revocast/internal/natstest"
	"github.com/revocast/revocast/subscriber"
)

// regionsWorld is the log at home, on some servers, with a hub; and a hub in
// another region that reads a mirror of it.
type regionsWorld struct {
	*natstest.Regions
	home, edge *clusterWorld
	within     time.Duration // MaxStaleness of the subscribers
}

func newRegionsWorld(t *testing.T, atHome, atEdge int) *regionsWorld {
	t.Helper()
	t.Parallel() // they wait more than they work
	r, err := natstest.StartRegions(atHome, atEdge)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Shutdown)
	return &regionsWorld{
		Regions: r, within: 2 * time.Second,
		home: newHubsOn(t, r.Home.URLs(), 1, func(c *hub.Config) { c.Name, c.Replicas = "at-home", atHome }),
		edge: newHubsOn(t, r.Edge.URLs(), 1, func(c *hub.Config) {
			c.Name, c.NATSHome, c.Replicas = "at-the-edge", natstest.HomeDomain, atEdge
		}),
	}
}

// subscribe makes a subscriber that prefers the first of the hubs.
func (w *regionsWorld) subscribe(name string, hubs ...*clusterWorld) *subscriber.Subscriber {
	w.home.Helper()
	cfg := subscriber.Config{Credential: adminKey, Name: name, MaxStaleness: w.within, Logger: slog.New(slog.DiscardHandler)}
	for _, h := range hubs {
		cfg.Hubs = append(cfg.Hubs, h.url())
	}
	s, err := subscriber.New(cfg)
	if err != nil {
		w.home.Fatal(err)
	}
	w.home.Cleanup(func() { s.Close() })
	w.mustBeFresh(s)
	return s
}

// url is that of the first hub.
func (w *clusterWorld) url() string { return "http://" + w.hubs[0].addr }

// until waits longer than others do: servers that mirror a stream take some
// minutes to ask for it again, after they have heard nothing for ten seconds.
func (w *regionsWorld) until(what string, ok func() bool) {
	w.home.Helper()
	const patience = 3 * time.Minute
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.home.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func (w *regionsWorld) mustBeFresh(subs ...*subscriber.Subscriber) {
	w.home.Helper()
	for _, s := range subs {
		w.until(s.Status().Name+" is fresh", func() bool { return s.Status().State == subscriber.Fresh })
	}
}

func (w *regionsWorld) mustRefuse(jti string, subs ...*subscriber.Subscriber) {
	w.home.Helper()
	for _, s := range subs {
		w.until(s.Status().Name+" refuses "+jti, func() bool { return revokedIn(s, jti).Outcome == subscriber.Revoked })
	}
}

// mustNotRelyOn waits as long as a subscriber may rely on what it knows; then
// it must not call itself fresh without having what was acknowledged.
func (w *regionsWorld) mustNotRelyOn(s *subscriber.Subscriber, jti string) {
	w.home.Helper()
	time.Sleep(w.within)
	if v := revokedIn(s, jti); v.Outcome == subscriber.Allowed {
		w.home.Errorf("%s does not have %s, which was acknowledged %v ago, and calls itself fresh", s.Status().Name, jti, w.within)
	}
}

// homeGoesOn makes sure that, without a link that works, only who is at the edge
// and knows no other hub is cut off from what is revoked at home, and says so.
func (w *regionsWorld) homeGoesOn(jti string, atHome, atEdge, mover *subscriber.Subscriber) {
	w.home.Helper()
	w.home.revoke(jti)
	w.mustNotRelyOn(atEdge, jti)
	w.until("the subscriber at the edge notices", func() bool { return atEdge.Status().State != subscriber.Fresh })
	w.until("who knows both hubs has moved", func() bool { return mover.Status().Hub == w.home.url() })
	w.mustRefuse(jti, atHome, mover)
	w.mustBeFresh(atHome, mover)
}

// send asks the first hub to revoke a jti, once.
func (w *clusterWorld) send(query, jti string) (status int, body []byte) {
	w.Helper()
	resp, body, err := revokeAt(w.hubs[0].addr, query, jti)
	if err != nil {
		w.Fatal(err)
	}
	return resp.StatusCode, body
}

// Two regions are one feed: what is revoked in either is refused in both,
// either hub speaks for all, and a subscriber moves between them with its
// position.
func TestRegionsAreOneFeed(t *testing.T) {
	w := newRegionsWorld(t, 3, 1)
	w.within = 30 * time.Second // it is not for lack of proof that somebody moves
	atHome, atEdge := w.subscribe("home-sub", w.home), w.subscribe("edge-sub", w.edge)
	mover := w.subscribe("mover", w.edge, w.home)
	w.home.revoke("by-home")
	w.edge.revoke("by-edge")
	w.mustRefuse("by-home", atHome, atEdge, mover)
	w.mustRefuse("by-edge", atHome, atEdge, mover)

	for _, h := range []*clusterWorld{w.home, w.edge} {
		w.until("it lists the subscribers of both, and misses nobody", func() bool {
			var list api.SubscriberList
			h.get(h.hubs[0], "/v1/subscribers", &list)
			var names []string
			for _, s := range list.Subscribers {
				names = append(names, s.Hub+"/"+s.Name)
			}
			slices.Sort(names)
			return slices.Equal(names, []string{"at-home/home-sub", "at-the-edge/edge-sub", "at-the-edge/mover"}) && list.Silent == nil
		})
		status, body := h.send("?wait=applied&timeout=30s", "reaches-all-from-"+h.hubs[0].cfg.Name)
		var made api.RevokeAnswer
		if err := json.Unmarshal(body, &made); err != nil || status != http.StatusCreated {
			t.Fatalf("%d %s: %v", status, body, err)
		}
		if r := made.Reach; r == nil || r.Applied != 3 || r.Connected != 3 || r.Hubs != 2 || r.Silent != nil {
			t.Errorf("reach is %s", body)
		}
	}

	w.edge.end(w.edge.hubs[0])
	w.until("it is with the hub at home", func() bool { return mover.Status().Hub == w.home.url() })
	w.mustBeFresh(mover)
	w.home.revoke("while-it-was-away")
	w.edge.start(w.edge.hubs[0])
	w.home.end(w.home.hubs[0])
	w.until("it is with the hub at the edge again", func() bool { return mover.Status().Hub == w.edge.url() })
	w.mustBeFresh(mover, atEdge)
	w.mustRefuse("while-it-was-away", mover, atEdge)
	w.edge.revoke("without-a-hub-at-home")
	w.mustRefuse("without-a-hub-at-home", mover, atEdge)
	w.home.start(w.home.hubs[0])
	w.mustRefuse("without-a-hub-at-home", atHome)
	for _, s := range []*subscriber.Subscriber{atHome, atEdge, mover} {
		if st := s.Status(); len(st.Resyncs) > 0 || invalid(st) > 0 {
			t.Errorf("%+v", st)
		}
	}
}

// Without the link the other region is not fresh, revokes nothing, and says
// so; home goes on. With it, all is good again by itself.
func TestTheLinkToTheLogIsCut(t *testing.T) {
	w := newRegionsWorld(t, 3, 1)
	atHome, atEdge := w.subscribe("home-sub", w.home), w.subscribe("edge-sub", w.edge)
	mover := w.subscribe("mover", w.edge, w.home)
	w.home.revoke("before")
	w.mustRefuse("before", atHome, atEdge, mover)
	if err := w.Cut(); err != nil {
		t.Fatal(err)
	}
	status, body := w.edge.send("", "never")
	if status != http.StatusServiceUnavailable || strings.Contains(string(body), `"unknown"`) {
		t.Errorf("a revocation without the log: %d %s", status, body)
	}
	w.homeGoesOn("meanwhile", atHome, atEdge, mover)
	if err := w.Heal(); err != nil {
		t.Fatal(err)
	}
	w.mustRefuse("meanwhile", atEdge)
	w.mustBeFresh(atEdge)
	w.edge.revoke("after")
	w.mustRefuse("after", atHome, atEdge, mover)
	for _, s := range []*subscriber.Subscriber{atHome, atEdge, mover} {
		if revokedIn(s, "never").Outcome == subscriber.Revoked {
			t.Errorf("%s refuses what was not acknowledged", s.Status().Name)
		}
		if st := s.Status(); len(st.Resyncs) > 0 || invalid(st) > 0 {
			t.Errorf("%+v", st)
		}
	}
}

// A link that says nothing any more, and hands on late what was said meanwhile,
// is no worse than one that is cut: nobody is fresh by what comes late.
func TestTheLinkToTheLogSaysNothing(t *testing.T) {
	w := newRegionsWorld(t, 3, 1)
	atHome, atEdge := w.subscribe("home-sub", w.home), w.subscribe("edge-sub", w.edge)
	mover := w.subscribe("mover", w.edge, w.home)
	w.home.revoke("before")
	w.mustRefuse("before", atHome, atEdge, mover)
	w.Stall()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		resp, body, err := revokeAt(w.edge.hubs[0].addr, "", "perhaps")
		if err != nil {
			t.Error(err)
		} else if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), `"unknown"`) {
			t.Errorf("a revocation whose fate nobody knows: %d %s", resp.StatusCode, body)
		}
	}()
	w.homeGoesOn("meanwhile", atHome, atEdge, mover)
	<-sent
	w.Flow()
	w.mustRefuse("meanwhile", atEdge)
	w.mustBeFresh(atEdge)
	w.edge.revoke("after")
	w.mustRefuse("after", atHome, atEdge, mover)
	// By now what was sent has come or never will, and all agree on which.
	came := revokedIn(atHome, "perhaps").Outcome
	for _, s := range []*subscriber.Subscriber{atEdge, mover} {
		if got := revokedIn(s, "perhaps").Outcome; got != came {
			t.Errorf("%s says %v of what may have been revoked, the one at home %v", s.Status().Name, got, came)
		}
		if st := s.Status(); len(st.Resyncs) > 0 || invalid(st) > 0 {
			t.Errorf("%+v", st)
		}
	}
}

// The region has three servers, and each has a copy of the mirror: one that
// stops takes nothing with it.
func TestAServerOfTheMirrorStops(t *testing.T) {
	w := newRegionsWorld(t, 1, 3)
	atHome, atEdge := w.subscribe("home-sub", w.home), w.subscribe("edge-sub", w.edge)
	w.home.revoke("before")
	w.mustRefuse("before", atHome, atEdge)
	leader := -1
	w.until("the mirror has a leader", func() bool { leader = w.Edge.LeaderOf(mirrorStream); return leader >= 0 })
	w.Edge.StopServer(leader)
	w.home.revoke("by-home")
	w.edge.revoke("by-edge")
	w.mustRefuse("by-home", atHome, atEdge)
	w.mustRefuse("by-edge", atHome, atEdge)
	w.mustBeFresh(atEdge)
	if err := w.Edge.StartServer(leader); err != nil {
		t.Fatal(err)
	}
	w.edge.revoke("with-all-of-them")
	w.mustRefuse("with-all-of-them", atHome, atEdge)
	w.mustBeFresh(atEdge)
	for _, s := range []*subscriber.Subscriber{atHome, atEdge} {
		if st := s.Status(); len(st.Resyncs) > 0 || invalid(st) > 0 {
			t.Errorf("%+v", st)
		}
	}
}

// A mirror that stands still, with a link that works, proves nothing: where the
// log ends is asked of the log.
func TestTheMirrorStandsStill(t *testing.T) {
	w := newRegionsWorld(t, 1, 1)
	atEdge := w.subscribe("edge-sub", w.edge)
	w.home.revoke("before")
	w.mustRefuse("before", atEdge)
	ctx, cancel := context.WithTimeout(context.Background(), natstest.Patience)
	defer cancel()
	letGo, err := w.Hold(ctx, logStream)
	if err != nil {
		t.Fatal(err)
	}
	w.home.revoke("meanwhile")
	w.mustNotRelyOn(atEdge, "meanwhile")
	w.until("the subscriber notices", func() bool { return atEdge.Status().State != subscriber.Fresh })
	if revokedIn(atEdge, "meanwhile").Outcome == subscriber.Revoked {
		t.Error("the mirror did not stand still")
	}
	if err := letGo(); err != nil {
		t.Fatal(err)
	}
	w.mustRefuse("meanwhile", atEdge)
	w.mustBeFresh(atEdge)
	if st := atEdge.Status(); len(st.Resyncs) > 0 {
		t.Errorf("%+v", st)
	}
}
