package transport_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/feed"
	"github.com/revocast/revocast/subscriber"
)

// A revocation is enforced, the hub knows that it is, and who is allowed stays
// allowed.
func TestRevoke(t *testing.T) {
	t.Parallel()
	overEach(t, func(w *world) {
		h := w.openHub()
		w.revoke(h, "before")
		w.subscribe()
		w.mustReach(h)
		seq := w.revoke(h, "after")
		w.mustEnforce("before", "after")
		w.mustReach(h)
		if o := w.check("other"); o != subscriber.Allowed {
			t.Errorf("another token is %v", o)
		}
		w.mustResync(never)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if reach := h.feed.WaitReach(ctx, seq); reach.Applied != 1 || reach.Connected != 1 {
			t.Errorf("reach is %+v", reach)
		}
		if list, _ := h.feed.Subscribers(ctx); len(list) != 1 || list[0].Name != "orders" || list[0].Applied != seq {
			t.Errorf("the hub knows %+v", list)
		}
		// And when it has gone, the hub does not wait for it.
		w.must(w.sub.Close())
		w.eventually("gone", func(subscriber.Status) bool {
			list, _ := h.feed.Subscribers(ctx)
			return len(list) == 0
		})
	})
}

// After a cut the missing records follow; no snapshot is needed.
func TestResume(t *testing.T) {
	t.Parallel()
	overEach(t, func(w *world) {
		h := w.openHub()
		w.subscribe()
		w.mustReach(h)
		w.middle.with(func() { w.middle.down = true })
		w.wire.sever()
		for i := range 20 {
			w.revoke(h, fmt.Sprint("t", i))
		}
		w.mustGoStale()
		if o := w.check("t0"); o == subscriber.Revoked {
			t.Fatal("nothing was down") // the control
		}
		w.middle.with(func() { w.middle.down = false })
		w.mustReach(h)
		w.mustEnforce("t0", "t19")
		w.mustResync(never)
	})
}

// Who is further behind than the hub's frames reach gets a snapshot, of
// several pieces where a message holds only one; who is not, does not.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	for _, keep := range []int{1, 64 << 20} {
		t.Run(fmt.Sprint("keep ", keep), func(t *testing.T) {
			t.Parallel()
			overEach(t, func(w *world) {
				w.tweak = func(c *feed.Config) { c.KeepFrames = keep }
				h := w.openHub()
				for r := range 16 {
					var jtis []string
					for i := range 1000 {
						jtis = append(jtis, fmt.Sprint("t", r, "-", i))
					}
					w.revoke(h, jtis...)
				}
				w.subscribe()
				w.mustReach(h)
				w.mustEnforce("t0-0", "t7-500", "t15-999")
				if n := w.sub.Status().Live["token"]; n != 16_000 {
					w.Errorf("%d are held", n)
				}
				want := never
				if keep == 1 {
					want = map[string]uint64{"snapshot": 1}
				}
				w.mustResync(want)
			})
		})
	}
}

// Another history takes nothing away.
func TestReset(t *testing.T) {
	t.Parallel()
	overEach(t, func(w *world) {
		h := w.openHub()
		w.revoke(h, "old")
		w.subscribe()
		w.mustReach(h)
		w.middle.with(func() { w.middle.down = true }) // until the new hub is there
		w.wire.sever()
		w.forget()
		fresh := w.reopen()
		w.middle.with(func() { w.middle.down = false })
		w.revoke(fresh, "new")
		w.mustReach(fresh)
		w.mustEnforce("old", "new")
		w.mustResync(map[string]uint64{"reset": 1})
		if s := w.sub.Status(); !s.HubBehind || s.Kept != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// A record that gets lost on the way is missed at once, and comes.
func TestGap(t *testing.T) {
	t.Parallel()
	overEach(t, func(w *world) {
		h := w.openHub()
		w.subscribe()
		w.mustReach(h)
		failed := w.sub.Status().Sessions["failed"] // the control
		lost := 0
		w.middle.with(func() {
			w.middle.event = func(name, text string) string {
				if name == events.EventRecord && lost == 0 {
					lost++
					return ""
				}
				return text
			}
		})
		w.revoke(h, "lost")
		w.revoke(h, "next")
		w.mustEnforce("lost", "next")
		w.mustReach(h)
		if s := w.sub.Status(); s.Sessions["failed"] == failed {
			t.Errorf("nobody has noticed: %+v", s)
		}
		w.mustResync(never)
	})
}

// Records that are held back, while all else passes, leave nobody fresh for
// longer than MaxStaleness after the revocation.
func TestHeldBack(t *testing.T) {
	t.Parallel()
	overEach(t, func(w *world) {
		h := w.openHub()
		w.subscribe()
		w.mustReach(h)
		w.middle.with(func() {
			w.middle.event = func(name, text string) string {
				if name == events.EventRecord {
					return ""
				}
				return text
			}
		})
		w.revoke(h, "t")
		revoked := time.Now()
		for time.Since(revoked) < 2*staleness {
			begun := time.Now()
			if o := w.check("t"); o == subscriber.Allowed && begun.Sub(revoked) > staleness {
				t.Fatalf("allowed %v after it was revoked", begun.Sub(revoked))
			}
			time.Sleep(time.Millisecond)
		}
		w.middle.with(func() { w.middle.event = nil })
		w.mustEnforce("t")
		w.mustReach(h)
	})
}

// Without ticks that are signed, new, and there, nobody is fresh.
func TestTicks(t *testing.T) {
	t.Parallel()
	for name, tamper := range map[string]func() func(string) string{
		"withheld": func() func(string) string { return func(string) string { return "" } },
		"forged": func() func(string) string {
			return func(text string) string {
				i := strings.Index(text, `"sig":"`) + len(`"sig":"`)
				return text[:i] + "AAAA" + text[i+4:]
			}
		},
		"replayed": func() func(string) string {
			first := ""
			return func(text string) string {
				if first == "" {
					first = text
				}
				return first
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			overEach(t, func(w *world) {
				h := w.openHub()
				w.revoke(h, "t")
				w.subscribe()
				w.mustReach(h)
				tampered := tamper()
				w.middle.with(func() {
					w.middle.event = func(name, text string) string {
						if name == events.EventTick {
							return tampered(text)
						}
						return text
					}
				})
				w.mustGoStale()
				w.mustEnforce("t")
				w.middle.with(func() { w.middle.event = nil })
				w.mustReach(h)
			})
		})
	}
}

// Without an answer to its own question, nobody is fresh, whatever the stream
// says.
func TestAnswers(t *testing.T) {
	t.Parallel()
	for name, tamper := range map[string]func() func([]byte) []byte{
		"withheld": func() func([]byte) []byte { return func([]byte) []byte { return nil } },
		"replayed": func() func([]byte) []byte {
			var first []byte
			return func(body []byte) []byte {
				if first == nil {
					first = body
				}
				return first
			}
		},
		"forged": func() func([]byte) []byte {
			return func(body []byte) []byte { return []byte(strings.Replace(string(body), `"head":`, `"head":1`, 1)) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			overEach(t, func(w *world) {
				h := w.openHub()
				w.subscribe()
				w.mustReach(h)
				tampered := tamper()
				w.middle.with(func() { w.middle.answer = tampered })
				w.mustGoStale()
				w.middle.with(func() { w.middle.answer = nil })
				w.mustReach(h)
			})
		})
	}
}

// A hub that stops says so; its subscriber goes to another one, from its
// position.
func TestBye(t *testing.T) {
	t.Parallel()
	overEach(t, func(w *world) {
		w.tweak = func(c *feed.Config) { c.Heartbeat = 15 * time.Second } // who is left for silence hears no bye
		w.openHub()
		w.openHub()
		w.subscribe()
		w.mustReach(w.hubs[0])
		from, to := w.followed()
		w.revoke(to, "before")
		w.mustEnforce("before")
		from.feed.Drain(100 * time.Millisecond)
		w.eventually("bye", func(s subscriber.Status) bool { return s.Sessions["bye"] > 0 })
		w.revoke(to, "after")
		w.mustEnforce("after")
		w.mustReach(to)
		w.eventually("at the other hub", func(subscriber.Status) bool { now, _ := w.followed(); return now == to })
		from.close()
		w.mustReach(to)
		w.mustResync(never)
	})
}

// A hub that is gone without a word is left for another one.
func TestHubGone(t *testing.T) {
	t.Parallel()
	overEach(t, func(w *world) {
		w.openHub()
		w.openHub()
		w.subscribe()
		w.mustReach(w.hubs[0])
		from, to := w.followed()
		w.wire.kill(from)
		w.revoke(to, "after")
		w.mustEnforce("after")
		w.mustReach(to)
		w.mustResync(never)
	})
}

// Who is refused says so, and stays as it is: not ready.
func TestRefused(t *testing.T) {
	t.Parallel()
	overEach(t, func(w *world) {
		w.openHub()
		w.subscribeWith(false)
		w.eventually("refused", func(s subscriber.Status) bool { return strings.Contains(s.LastError, "refuses the credential") })
		s := w.sub.Status()
		if s.Ready || strings.Contains(fmt.Sprintf("%+v", s), "wrong") {
			t.Errorf("%+v", s)
		}
	})
}

// A reader that has stopped reading loses its session, not its place, and
// delays nobody.
func TestStalled(t *testing.T) {
	t.Parallel()
	overEach(t, func(w *world) {
		h := w.openHub()
		w.stall = make(chan struct{})
		w.subscribe()
		w.mustReach(h)
		w.revoke(h, "first")
		w.mustEnforce("first") // and the session waits
		before := w.sub.Status().Sessions["failed"]
		w.wire.flood()
		for i := range 5 {
			begun := time.Now()
			w.revoke(h, fmt.Sprint("t", i))
			if d := time.Since(begun); d > 30*time.Second {
				t.Errorf("a revocation took %v", d)
			}
		}
		// Checks know that the session is stuck, long before it is free to.
		w.eventually("stale meanwhile", func(s subscriber.Status) bool { return s.Staleness > staleness+staleness/2 })
		close(w.stall)
		w.mustEnforce("t0", "t4")
		w.mustReach(h)
		w.eventually("counted", func(s subscriber.Status) bool { return s.Sessions["failed"] > before })
		w.mustResync(never)
	})
}

// Two closes are one, and leave nothing: TestMain looks.
func TestClose(t *testing.T) {
	t.Parallel()
	overEach(t, func(w *world) {
		h := w.openHub()
		w.subscribe()
		w.mustReach(h)
		w.must(w.sub.Close())
		w.must(w.sub.Close())
		h.close()
		h.close()
	})
}

// followed is the hub that is followed, and the other one.
func (w *world) followed() (this, other *hub) {
	w.Helper()
	name := w.sub.Status().Hub
	if s, ok := w.wire.(*sse); ok && name == s.sites["hub-1"].URL || name == "hub-1" {
		return w.hubs[0], w.hubs[1]
	}
	return w.hubs[1], w.hubs[0]
}

// reopen opens a hub in the place of the first.
func (w *world) reopen() *hub {
	w.Helper()
	w.hubs = nil
	return w.openHub()
}
