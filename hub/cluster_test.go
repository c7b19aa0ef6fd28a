package hub_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/hub"
	"github.com/revocast/revocast/hub/api"
	"github.com/revocast/revocast/hub/log"
	"github.com/revocast/revocast/internal/natstest"
)

// cluster is shared by the tests, one after the other: the feed of a hub has
// one name, so they share its log, too. TestMain stops it.
var cluster struct {
	once sync.Once
	*natstest.Cluster
	err error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if cluster.Cluster != nil {
		cluster.Shutdown()
	}
	if err := natstest.Leaks(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// newHubs starts hubs on the shared cluster, at the same time.
func newHubs(t *testing.T, names ...string) []*world {
	t.Helper()
	cluster.once.Do(func() { cluster.Cluster, cluster.err = natstest.Start(3) })
	if cluster.err != nil {
		t.Fatal(cluster.err)
	}
	var list []*world
	for _, name := range names {
		list = append(list, newWorld(t, func(c *hub.Config) {
			c.Name, c.NATS = name, log.NATS{Servers: cluster.URLs()}
			c.TickEvery = 200 * time.Millisecond
		}))
	}
	var opening sync.WaitGroup
	opened := make([]*hub.Hub, len(list))
	errs := make([]error, len(list))
	for i, w := range list {
		opening.Go(func() { opened[i], errs[i] = hub.Open(w.Context(), w.cfg) })
	}
	opening.Wait()
	for i, w := range list {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		w.serve(opened[i], nil)
	}
	return list
}

// until waits for something that has no event to wait for.
func (w *world) until(what string, ok func() bool) {
	w.Helper()
	for end := time.Now().Add(natstest.Patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("not within %v: %s", natstest.Patience, what)
		}
	}
}

// reader opens the feed as a subscriber that has a name.
func (w *world) reader(name string) {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, "GET", w.url+"/v1/feed", nil)
	if err != nil {
		w.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminKey)
	req.Header.Set("Revocast-Subscriber", name)
	resp, err := w.client.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		w.Fatal(resp, err)
	}
	w.Cleanup(func() { cancel(); resp.Body.Close() })
}

// report says that a subscriber has applied everything up to seq.
func (w *world) report(name, epoch string, seq uint64) {
	w.Helper()
	must[map[string]any](w, "POST", "/v1/feed/report",
		fmt.Sprintf(`{"subscriber":%q,"epoch":%q,"applied":%d,"state":"fresh","nonce":"n-%d"}`, name, epoch, seq, time.Now().UnixNano()), 200)
}

func names(list api.SubscriberList) (names []string) {
	for _, s := range list.Subscribers {
		names = append(names, s.Hub+"/"+s.Name)
	}
	return names
}

func TestAnyHubSpeaksForAll(t *testing.T) {
	hubs := newHubs(t, "one", "two")
	a, b := hubs[0], hubs[1]
	for _, w := range hubs {
		w.until("both are known", func() bool { return len(must[api.Status](w, "GET", "/v1/status", "", 200).Hubs) == 2 })
	}
	a.reader("alice")
	b.reader("bob")
	for _, w := range hubs {
		w.until("it lists the subscribers of both, and misses nobody", func() bool {
			list := must[api.SubscriberList](w, "GET", "/v1/subscribers", "", 200)
			return slices.Equal(names(list), []string{"one/alice", "two/bob"}) && list.Silent == nil
		})
	}

	// Nobody reports: the numbers are of both hubs.
	var made api.RevokeAnswer
	a.until("both hubs have answered in time", func() bool {
		made = must[api.RevokeAnswer](a, "POST", "/v1/revocations?wait=applied&timeout=1s", subject, 201)
		if r := made.Reach; r == nil || r.Applied != 0 || r.Connected > 2 {
			t.Fatalf("reach is %+v", made.Reach)
		}
		return made.Reach.Connected == 2 && made.Reach.Hubs == 2 && made.Reach.Silent == nil
	})
	// Both report, each to its own hub; the wait ends with the later of them.
	answered := make(chan api.RevokeAnswer, 1)
	go func() {
		answered <- must[api.RevokeAnswer](a, "POST", "/v1/revocations?wait=applied&timeout=30s", subject, 201)
	}()
	b.until("it is there", func() bool { return must[api.Status](b, "GET", "/v1/status", "", 200).Head > made.Seq })
	a.report("alice", made.Epoch, made.Seq+1)
	select {
	case got := <-answered:
		t.Fatalf("answered before bob has applied it: %+v", got.Reach)
	case <-time.After(100 * time.Millisecond):
	}
	b.report("bob", made.Epoch, made.Seq+1)
	if r := (<-answered).Reach; r.Applied != 2 || r.Connected != 2 || r.Silent != nil {
		t.Errorf("reach is %+v", r)
	}

	// A hub that stops in good order is not missed, long before the minute is over
	// for which one that says nothing is.
	if err := b.mustStop(); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	a.until("a hub that has taken its leave is not counted", func() bool { return len(must[api.Status](a, "GET", "/v1/status", "", 200).Hubs) == 1 })
	if took := time.Since(stopped); took > 30*time.Second {
		t.Errorf("a hub that has taken its leave was counted for %v", took)
	}
}

// A hub that does not answer makes the answer say so.
func TestASilentHubIsNamed(t *testing.T) {
	a := newHubs(t, "one")[0]
	// All that is known of another hub is a tick; nobody is there to ask.
	_, nc, err := cluster.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	tick := nats.NewMsg("revocast.default.tick.ghost")
	tick.Header.Set("Revocast-Run", "GHOSTRUN")
	if err := nc.PublishMsg(tick); err != nil {
		t.Fatal(err)
	}
	a.until("it is known", func() bool { return len(must[api.Status](a, "GET", "/v1/status", "", 200).Hubs) == 2 })
	if h := must[api.Status](a, "GET", "/v1/status", "", 200).Hubs[1]; !h.Silent || h.Hub != "ghost" {
		t.Errorf("it is %+v", h)
	}
	if list := must[api.SubscriberList](a, "GET", "/v1/subscribers", "", 200); !slices.Equal(list.Silent, []string{"ghost"}) {
		t.Errorf("silent: %v", list.Silent)
	}
	made := must[api.RevokeAnswer](a, "POST", "/v1/revocations?wait=applied&timeout=500ms", subject, 201)
	if r := made.Reach; r.Connected != 0 || r.Hubs != 1 || !slices.Equal(r.Silent, []string{"ghost"}) {
		t.Errorf("reach is %+v", r)
	}
	// Started again, it is another run; that its first one is silent is no news.
	tick.Header.Set("Revocast-Run", "NEXTRUN")
	if err := nc.PublishMsg(tick); err != nil {
		t.Fatal(err)
	}
	sub, err := nc.Subscribe("revocast.default.hub.NEXTRUN.ask", func(m *nats.Msg) { _ = m.Respond([]byte(`{"hub":"ghost","applied":3,"connected":4,"hubs":1}`)) })
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe()
	a.until("it answers", func() bool {
		r := must[api.RevokeAnswer](a, "POST", "/v1/revocations?wait=applied&timeout=500ms", subject, 201).Reach
		return r.Silent == nil && r.Applied == 3 && r.Connected == 4 && r.Hubs == 2
	})
	tick.Header.Set("Revocast-Left", "1")
	if err := nc.PublishMsg(tick); err != nil {
		t.Fatal(err)
	}
	tick.Header.Set("Revocast-Run", "GHOSTRUN")
	if err := nc.PublishMsg(tick); err != nil {
		t.Fatal(err)
	}
	a.until("it has left", func() bool { return len(must[api.Status](a, "GET", "/v1/status", "", 200).Hubs) == 1 })
}

func TestKeysAreSharedByHubs(t *testing.T) {
	hubs := newHubs(t, "one", "two")
	a, b := hubs[0], hubs[1]
	key := must[api.NewKey](a, "POST", "/v1/keys", `{"name":"auditor","roles":["audit"]}`, 201)
	// A key that is refused often is answered with 429, not 401, in the end.
	takes := func(w *world) bool {
		status, _ := w.send("GET", w.url+"/v1/status", "", key.Secret)
		return status == 200
	}
	if !takes(a) {
		t.Error("the hub that made a key does not take it")
	}
	b.until("the other takes it", func() bool { return takes(b) })
	if status, body := b.ask("DELETE", "/v1/keys/"+key.ID, ""); status != 204 {
		t.Fatal(status, body)
	}
	if takes(b) {
		t.Error("the hub that deleted a key takes it")
	}
	a.until("the other refuses it", func() bool { return !takes(a) })
	for _, w := range hubs {
		if strings.Contains(w.log.String(), key.Secret) {
			t.Error("a key is in the log")
		}
	}
}

// Each hub's tick can be verified with the keys of every hello.
func TestHelloNamesTheKeysOfAllHubs(t *testing.T) {
	first := newHubs(t, "one")[0]
	jwks := must[struct {
		Keys []map[string]string `json:"keys"`
	}](first, "GET", "/.well-known/jwks.json", "", 200)
	if len(jwks.Keys) != 1 {
		t.Fatal(jwks)
	}
	second := newWorld(t, func(c *hub.Config) {
		c.Name, c.NATS = "two", log.NATS{Servers: cluster.URLs()}
		c.HubKeys = first.hub.PublicKeys()
	})
	second.start(nil)
	for line := range second.stream() {
		if strings.HasPrefix(line, "data: ") {
			if !strings.Contains(line, jwks.Keys[0]["kid"]) || strings.Count(line, `"kid"`) != 2 {
				t.Errorf("hello is %s", line)
			}
			return
		}
	}
}

func TestADataDirectoryIsOneHubs(t *testing.T) {
	w := newHubs(t, "one")[0]
	if _, err := hub.Open(w.Context(), w.cfg); err == nil || !strings.Contains(err.Error(), log.ErrLocked.Error()) {
		t.Errorf("a second hub on the directory: %v", err)
	}
}
