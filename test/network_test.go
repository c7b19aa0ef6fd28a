package test

import (
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/subscriber"
)

// Promises 2, 3 and 4 over a bad network, with times that are scaled down: a
// subscriber that may rely on a proof for a second, and a minute that is three
// of them. Whatever the way between does, no verdict says more than it knows.
func TestNetworkFaults(t *testing.T) {
	const within = time.Second
	for _, f := range []struct {
		name   string
		bytes  byteFault
		frames func() frameFault // a new one for each time: what one holds back is not the next one's
		blinds bool              // nothing can be proven while it lasts
		cut    bool              // the sessions that are open are cut first
	}{
		{name: "resets", bytes: resets},
		{name: "half-open", bytes: halfOpen, blinds: true},
		{name: "one byte at a time", bytes: slicesOf},
		{name: "stalls", bytes: stalls(2 * within)},
		{name: "all is late", bytes: delays(3 * within), blinds: true},
		{name: "buffered", frames: func() frameFault { return buffering(1 << 20) }, blinds: true},
		{name: "no records", frames: func() frameFault { return dropping("record") }, blinds: true},
		{name: "no ticks", frames: func() frameFault { return dropping("tick") }, blinds: true},
		{name: "an old session again", frames: replaying, blinds: true},
		{name: "an old session again, from its hello", frames: replaying, blinds: true, cut: true},
	} {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.own = &ownHub{TickEvery: 200 * time.Millisecond, Heartbeat: 400 * time.Millisecond}
			w.startHub()
			p := newProxy(t, w.url(), dice(t))
			tr := newTrial(w)
			tr.pace = 10 * time.Millisecond
			sub := w.subscribe(func(c *subscriber.Config) {
				c.Hubs, c.MaxStaleness = []string{p.server.URL}, within
			})
			tr.observe("subscriber", sub, within)
			tr.produce(2)
			w.eventually("there is load", func() bool { return tr.acknowledged() > 20 })

			for range quickOr(1, 50) {
				enough := tr.acknowledged() + 100
				bitten := p.bitten()
				var frames frameFault
				if f.frames != nil {
					frames = f.frames()
				}
				p.fail(f.bytes, frames)
				if f.cut {
					p.server.CloseClientConnections()
				}
				w.eventually("the fault has struck", func() bool { return p.bitten() > bitten })
				if f.blinds {
					w.eventually("the subscriber says that it is not fresh", func() bool { return sub.Status().State != subscriber.Fresh })
				}
				w.eventually("it has lasted", func() bool { return tr.acknowledged() > enough })
				if f.blinds && sub.Status().State == subscriber.Fresh {
					t.Error("it is fresh while the fault lasts")
				}
				p.heal()
				w.eventually("it is fresh again", func() bool { return sub.Status().State == subscriber.Fresh })
			}
			tr.verdict()
		})
	}
}

// The negative control: a subscriber that relies on itself for too long is
// found out.
func TestNetworkFaultsWouldBeNoticed(t *testing.T) {
	w := newWorld(t)
	w.startHub()
	p := newProxy(t, w.url(), dice(t))
	tr := newTrial(w)
	sub := w.subscribe(func(c *subscriber.Config) {
		c.Hubs, c.MaxStaleness = []string{p.server.URL}, time.Minute
	})
	tr.observe("overconfident", sub, 200*time.Millisecond)
	p.fail(halfOpen, nil)
	tr.produce(1)
	w.eventually("there is load", func() bool { return tr.acknowledged() > 20 })
	tr.rest()
	time.Sleep(300 * time.Millisecond) // what is allowed now is allowed for too long
	o := tr.observers[0]
	o.leave()
	o.look(0)
	found := broken(judge(history{claims: tr.claims, log: tr.readLog(), heard: []testimony{o.heard}}))
	if !strings.Contains(found, string(unexposed)) {
		t.Errorf("nothing is noticed: %s", found)
	}
	p.heal()
}
