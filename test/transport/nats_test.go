package transport_test

import (
	"context"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/subscriber"
	"github.com/revocast/revocast/subscriber/natsfeed"
)

// overNATS is core NATS. The hubs are on one server and the subscriber on
// another; the man in the middle carries everything from the one to the other.
type overNATS struct {
	w     *world
	outer *server.Server // the subscriber's

	mu     sync.Mutex
	last   *nats.Msg       // guarded by mu: the latest frame
	killed map[string]bool // guarded by mu: hubs of which nothing is heard
}

// permissions are what docs/protocol.md grants a subscriber.
var permissions = &server.Permissions{
	Publish: &server.SubjectPermission{Allow: []string{
		"revocast.default.hub.*.attach", "revocast.default.hub.*.read", "revocast.default.hub.*.snapshot",
		"revocast.default.hub.*.report", "revocast.default.hub.*.detach"}},
	Subscribe: &server.SubjectPermission{Allow: []string{
		"revocast.default.hubs", "revocast.default.hub.*.frames", "_INBOX_orders.>"}},
}

func newNATS(w *world) wire {
	n := &overNATS{w: w, killed: make(map[string]bool)}
	n.outer = w.startNATS(&server.Options{Users: []*server.User{
		{Username: "middle", Password: "m"},
		{Username: "orders", Password: "secret", Permissions: permissions},
	}})
	inner, outer := w.connect(w.nats), w.connect(n.outer, nats.UserInfo("middle", "m"))
	for _, subject := range []string{events.HubsSubject("default"), events.HubSubject("default", "*", events.HubFrames)} {
		_, err := inner.Subscribe(subject, func(m *nats.Msg) { n.outward(outer, m) })
		w.must(err)
	}
	requests := make(chan *nats.Msg, 1024)
	for _, what := range []string{events.HubAttach, events.HubRead, events.HubSnapshot, events.HubReport, events.HubDetach} {
		_, err := outer.ChanSubscribe(events.HubSubject("default", "*", what), requests)
		w.must(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var asking sync.WaitGroup
	for range 8 {
		asking.Go(func() {
			for ctx.Err() == nil {
				select {
				case m := <-requests:
					n.inward(ctx, inner, m)
				case <-ctx.Done():
				}
			}
		})
	}
	w.Cleanup(func() { stop(); asking.Wait() })
	w.must(inner.Flush())
	w.must(outer.Flush())
	return n
}

// outward passes on what a hub publishes. What it takes out of the log is a
// message that got lost; it can't know where the next one begins.
func (n *overNATS) outward(outer *nats.Conn, m *nats.Msg) {
	if n.w.middle.isDown() || n.silent(m) {
		return
	}
	out := nats.NewMsg(m.Subject)
	out.Header, out.Data = m.Header, m.Data
	if m.Header.Get(events.HeaderLog) != "" {
		p, err := events.ParseLogPiece(m.Header.Get(events.HeaderLog), len(m.Data))
		if err != nil {
			n.w.Error(err)
			return
		}
		logged := n.pass(m.Data[:p.Length])
		if len(logged) != p.Length {
			return
		}
		out.Data = append(logged, n.pass(m.Data[p.Length:])...)
		if len(out.Data) == 0 {
			return
		}
		n.mu.Lock()
		n.last = out
		n.mu.Unlock()
	}
	_ = outer.PublishMsg(out)
}

func (n *overNATS) pass(text []byte) []byte {
	var out []byte
	for _, e := range eventsIn(string(text)) {
		out = append(out, n.w.middle.pass(e)...)
	}
	return out
}

// inward passes a request on, and the answer back.
func (n *overNATS) inward(ctx context.Context, inner *nats.Conn, m *nats.Msg) {
	if n.w.middle.isDown() {
		refused := nats.NewMsg("")
		refused.Header.Set(events.HeaderCode, "503")
		_ = m.RespondMsg(refused)
		return
	}
	if n.silent(m) {
		return
	}
	if m.Reply == "" {
		_ = inner.Publish(m.Subject, m.Data)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	answer, err := inner.RequestWithContext(ctx, m.Subject, m.Data)
	if err != nil {
		return
	}
	out := nats.NewMsg("")
	out.Header, out.Data = answer.Header, answer.Data
	switch m.Subject[strings.LastIndexByte(m.Subject, '.')+1:] {
	case events.HubAttach:
		out.Data = n.pass(answer.Data)
	case events.HubReport:
		if out.Data = n.w.middle.passAnswer(answer.Data); out.Data == nil {
			return // held back
		}
	}
	_ = m.RespondMsg(out)
}

// silent reports whether a message is to or from a hub that is killed.
func (n *overNATS) silent(m *nats.Msg) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id := range n.killed {
		if strings.Contains(m.Subject, "."+id+".") || strings.Contains(string(m.Data), `"hub":"`+id+`"`) {
			return true
		}
	}
	return false
}

func (n *overNATS) kill(h *hub) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.killed[h.id] = true
}

func (n *overNATS) serve(h *hub) func() {
	b, err := h.feed.ServeNATS(h.nc, h.id)
	n.w.must(err)
	return b.Close
}

func (n *overNATS) follow(c *subscriber.Config, credential bool) {
	u, err := url.Parse(n.outer.ClientURL())
	n.w.must(err)
	u.User = url.UserPassword("orders", "secret")
	if !credential {
		u.User = url.UserPassword("orders", "wrong")
	}
	t, err := natsfeed.New(natsfeed.Config{URLs: []string{u.String()}, Options: []nats.Option{
		nats.CustomInboxPrefix("_INBOX_orders"), nats.ReconnectWait(50 * time.Millisecond)}})
	n.w.must(err)
	n.w.Cleanup(t.Close) // after the subscriber
	c.Transport = t
}

func (n *overNATS) sever() {
	conns, err := n.outer.Connz(&server.ConnzOptions{Username: true})
	n.w.must(err)
	for _, c := range conns.Conns {
		if strings.HasPrefix(c.Name, "revocast") {
			n.w.must(n.outer.DisconnectClientByID(c.Cid))
		}
	}
}

// flood repeats the latest frame, which is no news to anybody.
func (n *overNATS) flood() {
	n.mu.Lock()
	m := n.last
	n.mu.Unlock()
	nc := n.w.connect(n.outer, nats.UserInfo("middle", "m"))
	for range 20_000 {
		n.w.must(nc.PublishMsg(m))
	}
	n.w.must(nc.Flush())
}
