package log

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
)

// TestAnyHistoryIsKept lets two hubs append in any order, over a network that
// loses messages and answers, with a writer that is no hub in between. After
// each step both have followed the same records, the server gives the same
// ones back, their chain holds, and every request that was acknowledged is
// there once.
func TestAnyHistoryIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var feeds atomic.Int32
	rapid.Check(t, func(rt *rapid.T) {
		feed := func(c *Config) { c.Feed = fmt.Sprint("feed-", feeds.Load()) }
		feeds.Add(1)
		var hubs [2]*network
		var readers [2]*reader
		for i := range hubs {
			hubs[i] = w.network(w.open(feed))
			readers[i] = w.follow(hubs[i].Log)
		}
		defer func() {
			for _, h := range hubs {
				h.Close()
				h.nc.Close()
			}
		}()
		var written, open []string // acknowledged; and those nobody knows about
		var checked int            // records; a record never changes
		var at events.Time
		names := 0
		name := func() string { names++; return fmt.Sprint("n", names) }
		hub := rapid.IntRange(0, 1)

		send := func(i int, name string) {
			switch _, err := hubs[i].Append(w.ctx(), readers[i].once(name)); {
			case err == nil:
				written = append(written, name)
			case errors.Is(err, ErrUnknown):
				open = append(open, name)
			default:
				rt.Fatalf("append %s: %v", name, err)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(rt *rapid.T) { send(hub.Draw(rt, "hub"), name()) },
			"append on a bad network": func(rt *rapid.T) {
				i := hub.Draw(rt, "hub")
				hubs[i].fate.Store(rapid.Int32Range(answerLost, late).Draw(rt, "fate"))
				send(i, name())
			},
			"try again, at either hub": func(rt *rapid.T) {
				if len(open) == 0 {
					rt.Skip("nothing is unknown")
				}
				again := open[0]
				open = open[1:]
				send(hub.Draw(rt, "hub"), again)
			},
			"append many at once, at both": func(rt *rapid.T) {
				var wg sync.WaitGroup
				for range rapid.IntRange(2, 10).Draw(rt, "requests") {
					name := name()
					written = append(written, name)
					i := hub.Draw(rt, "hub")
					wg.Go(func() {
						p := Proposal{Draft: draftOf(w, name)}
						if len(name)%2 == 0 {
							p = readers[i].once(name)
						}
						if _, err := hubs[i].Append(w.ctx(), p); err != nil {
							w.Errorf("append %s: %v", name, err)
						}
					})
				}
				wg.Wait()
			},
			"be refused": func(rt *rapid.T) {
				refusal := errors.New("refused")
				p := Proposal{Draft: draftOf(w, "refused"), Settle: func() (events.Draft, *Receipt, error) {
					return events.Draft{}, nil, refusal
				}}
				if _, err := hubs[hub.Draw(rt, "hub")].Append(w.ctx(), p); err != refusal {
					rt.Fatalf("refused: %v", err)
				}
			},
			"write from outside": func(rt *rapid.T) {
				name := name()
				w.intrude(hubs[0].Log, draftOf(w, name), nil)
				written = append(written, name)
			},
			"": func(rt *rapid.T) {
				entries := readers[0].catchUp()
				mustAgree(w, entries, readers[1].catchUp())
				mustChain(w, entries)
				for _, e := range entries[checked:] {
					read, err := hubs[e.Seq%2].Read(w.ctx(), e.Seq)
					if err != nil {
						rt.Fatal(err)
					}
					mustAgree(w, []Entry{read}, []Entry{e})
					part, err := events.ParseFeed(e.Feed)
					if err != nil || part.At < at {
						rt.Fatalf("record %d: at %v after %v, %v", e.Seq, part.At, at, err)
					}
					at = part.At
				}
				checked = len(entries)
				for _, name := range written {
					if got := readers[0].where(name); len(got) != 1 {
						rt.Fatalf("%s was acknowledged, and is in records %v", name, got)
					}
				}
				for _, name := range open {
					if got := readers[0].where(name); len(got) > 1 {
						rt.Fatalf("%s is in records %v", name, got)
					}
				}
				if readers[0].where("refused") != nil {
					rt.Fatal("what was refused is in the log")
				}
			},
		})
	})
	if err := w.srv.Load().Err(); err != nil {
		t.Errorf("streams that come and go are taken for a failure: %v", err)
	}
}
