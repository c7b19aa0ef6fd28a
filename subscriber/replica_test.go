package subscriber

import (
	"crypto/rand"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
)

// TestStanding is the definition of fresh, as a table. now is 100 s; both
// clocks agree unless wall says otherwise.
func TestStanding(t *testing.T) {
	at := func(sec float64) moment {
		d := time.Duration(sec * float64(time.Second))
		return moment{d, d.Milliseconds()}
	}
	some := &holdings{}
	for name, c := range map[string]struct {
		view     view
		now      moment
		fresh    bool
		staleFor time.Duration
	}{
		"proven":                  {view{held: some, proven: at(95)}, at(100), true, 0},
		"at the limit":            {view{held: some, proven: at(94)}, at(100), true, 0},
		"beyond the limit":        {view{held: some, proven: at(93)}, at(100), false, time.Second},
		"in trouble":              {view{held: some, proven: at(99), trouble: broken, troubleSince: at(98)}, at(100), false, 2 * time.Second},
		"in trouble just now":     {view{held: some, proven: at(100), trouble: behind, troubleSince: at(100)}, at(100), false, 0},
		"in trouble and old":      {view{held: some, proven: at(90), trouble: broken, troubleSince: at(99)}, at(100), false, 4 * time.Second},
		"an answer ahead":         {view{held: some, proven: at(99), late: true, lateSince: at(99)}, at(100), true, 0},
		"an answer ahead, long":   {view{held: some, proven: at(99), late: true, lateSince: at(97)}, at(100), false, 2 * time.Second},
		"machine was suspended":   {view{held: some, proven: at(99)}, moment{at(100).mono, at(100).wall + 30_000}, false, 25 * time.Second},
		"wall clock was set back": {view{held: some, proven: at(99)}, moment{at(100).mono, 5}, true, 0},
		"and the proof is old":    {view{held: some, proven: at(90)}, moment{at(100).mono, 5}, false, 4 * time.Second},
	} {
		st := c.view.standing(c.now, 6*time.Second)
		if st.fresh != c.fresh || st.staleFor != c.staleFor || !st.holds {
			t.Errorf("%s: %+v, want fresh %v, stale for %v", name, st, c.fresh, c.staleFor)
		}
	}
}

func TestPolicies(t *testing.T) {
	fresh := standing{fresh: true, holds: true}
	lately := standing{holds: true, staleFor: 5 * time.Second}
	long := standing{holds: true, staleFor: time.Hour}
	never := standing{staleFor: time.Second} // and nothing is held
	for _, c := range []struct {
		policy                     Policy
		fresh, lately, long, never bool // closes
	}{
		{GraceThenClosed(10 * time.Second), false, false, true, true},
		{Closed(), false, true, true, true},
		{DangerouslyOpen(), false, false, false, false},
	} {
		for _, row := range []struct {
			st   standing
			want bool
		}{{fresh, c.fresh}, {lately, c.lately}, {long, c.long}, {never, c.never}} {
			if got := c.policy.closes(row.st); got != row.want {
				t.Errorf("%v closes %+v: %v, want %v", c.policy, row.st, got, row.want)
			}
		}
	}
}

// TestReplica lets a replica and the history that it follows do what they like
// in any order, and compares it with one that is too simple to be wrong: the
// fold of all operations up to a position.
func TestReplica(t *testing.T) {
	key, err := events.NewSigningKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		const limit = 6 * time.Second
		type entry struct {
			rec   events.Record
			chain events.Chain
			op    events.Op
			at    moment
		}
		var (
			log     []entry
			epochs  = 1
			salt    = events.Salt{1}
			now     = moment{time.Second, 1_800_000_000_000}
			r       = newReplica(Config{}, now)
			online  bool // a hello in mode delta was the last
			hello   *events.Hello
			stream  []any  // what is on its way: seqs of records, and ticks
			sent    uint64 // the last record that came out of it, or was lost
			tickAt  events.Time
			asked   *moment // of the report that has not been answered yet
			answer  events.ReportAnswer
			revoked = make(map[events.Key]moment) // of all histories and never restored, with when
			reset   moment                        // the present history began
		)
		epoch := func() string { return fmt.Sprint("e", epochs) }
		head := func() uint64 { return uint64(len(log)) }
		chainAt := func(seq uint64) (c events.Chain) {
			if seq > 0 {
				c = log[seq-1].chain
			}
			return c
		}
		fold := func(seq uint64) *events.LiveSet {
			s := events.NewLiveSet()
			for _, e := range log[:seq] {
				s.Apply(e.op, 0)
			}
			return s
		}
		snapshot := func() *events.Snapshot {
			return &events.Snapshot{SnapshotHeader: events.SnapshotHeader{Feed: "f", Epoch: epoch(), Seq: head(), Chain: chainAt(head()), Salt: salt}, Set: fold(head())}
		}
		connect := func(t *rapid.T) {
			pos := r.resumeAt()
			h := &events.Hello{V: 1, Feed: "f", Epoch: epoch(), Head: head(), Mode: events.ModeDelta, Salt: salt, Keys: []events.PublicKey{key.Public()}}
			sent, asked = 0, nil
			if pos != (events.Position{}) {
				sent = pos.Seq
				if pos.Epoch != epoch() || pos.Seq > head() {
					h.Mode = events.ModeReset
				} else if rapid.Bool().Draw(t, "too far behind") {
					h.Mode = events.ModeSnapshot
				}
			}
			snap, union, err := r.hello(h, now)
			if err != nil {
				t.Fatalf("hello: %v", err)
			}
			online, hello, stream = !snap, h, nil
			for seq := sent + 1; seq <= head(); seq++ {
				stream = append(stream, seq)
			}
			if snap {
				if err := r.install(snapshot(), hello, union, now); err != nil {
					t.Fatalf("install: %v", err)
				}
			}
		}
		key16 := rapid.Custom(func(t *rapid.T) events.Key {
			return events.Key{byte(rapid.IntRange(1, 6).Draw(t, "key"))}
		})
		record := func(t *rapid.T, seq uint64, wrong bool) {
			e := log[seq-1]
			f := events.RecordFrame{Seq: seq, Chain: e.chain, Audit: events.HashPart(e.rec.Audit), Feed: e.rec.Feed}
			if wrong {
				f.Audit[3] ^= 1
			}
			data, _ := json.Marshal(f)
			before := r.pos
			_, applied, err := r.record(data, events.Position{Epoch: epoch(), Seq: seq}.String(), now)
			switch {
			case seq <= before.Seq && (applied || err != nil):
				t.Fatalf("a duplicate was applied, or an error: %v", err)
			case seq == before.Seq+1 && !wrong && (!applied || err != nil):
				t.Fatalf("the next record was not applied: %v", err)
			case seq > before.Seq && (wrong || seq > before.Seq+1) && (applied || err == nil):
				t.Fatal("a wrong record was applied")
			}
			if err != nil {
				r.fault(err, now)
				online = false
			}
		}
		push := func(f any) {
			if online {
				stream = append(stream, f)
			}
		}
		next := func() any {
			if !online || len(stream) == 0 {
				return nil
			}
			f := stream[0]
			stream = stream[1:]
			if seq, ok := f.(uint64); ok {
				sent = seq
			}
			return f
		}
		actions := map[string]func(*rapid.T){
			"revoke": func(t *rapid.T) {
				op := events.Op{Verb: events.Revoke, Kind: events.KindToken, Key: key16.Draw(t, "k"), Term: events.Term{Exp: 2_000_000_000}, ID: "rev_01ARZ3NDEKTSV4RRFFQ69G5FAV"}
				if rapid.Bool().Draw(t, "subject") {
					op.Kind, op.Cutoff = events.KindSubject, int64(rapid.IntRange(1, 1e6).Draw(t, "cutoff"))
				}
				var d events.Draft
				if err := d.Add(op, events.AuditOp{Verb: op.Verb, ID: op.ID, Target: events.Target{Kind: op.Kind, Iss: "i"}}); err != nil {
					t.Fatal(err)
				}
				rec := d.Record(1)
				log = append(log, entry{rec, chainAt(head()).Next(events.HashPart(rec.Feed), events.HashPart(rec.Audit)), op, now})
				push(head())
				if op.Kind == events.KindToken {
					if _, ok := revoked[op.Key]; !ok {
						revoked[op.Key] = now
					}
				}
			},
			"restore": func(t *rapid.T) {
				op := events.Op{Verb: events.Restore, Kind: events.KindToken, Key: key16.Draw(t, "k"), ID: "rev_01ARZ3NDEKTSV4RRFFQ69G5FAV"}
				var d events.Draft
				if err := d.Add(op, events.AuditOp{Verb: op.Verb, ID: op.ID, Target: events.Target{Kind: op.Kind, Iss: "i"}}); err != nil {
					t.Fatal(err)
				}
				rec := d.Record(1)
				log = append(log, entry{rec, chainAt(head()).Next(events.HashPart(rec.Feed), events.HashPart(rec.Audit)), op, now})
				push(head())
				delete(revoked, op.Key)
			},
			"connect": connect,
			"deliver": func(t *rapid.T) {
				switch f := next().(type) {
				case uint64:
					record(t, f, false)
				case events.Tick:
					data, _ := json.Marshal(f)
					if _, err := r.proveTick(data, now); err != nil {
						// All that can be wrong with it is that records before
						// it were lost, and that is not noticed by their seqs.
						if err.reason != "held_back" {
							t.Fatalf("tick: %v", err)
						}
						r.fault(err, now)
						online = false
					}
				}
			},
			"lose": func(*rapid.T) { next() },
			"repeat": func(t *rapid.T) {
				if online && sent > 0 {
					record(t, uint64(rapid.IntRange(1, int(sent)).Draw(t, "seq")), false)
				}
			},
			"tamper": func(t *rapid.T) {
				if f, ok := next().(uint64); ok {
					record(t, f, true)
				}
			},
			"tick": func(t *rapid.T) {
				tickAt = max(tickAt+1, events.Time(now.wall))
				tick := events.Tick{Seq: head(), At: tickAt, Chain: chainAt(head())}
				tick.Sign("f", epoch(), key)
				push(tick)
			},
			"ask": func(t *rapid.T) {
				if online {
					at := now
					asked, answer = &at, events.ReportAnswer{Epoch: epoch(), Head: head(), Nonce: "n", At: 1}
					answer.Sign("f", key)
				}
			},
			"answer": func(t *rapid.T) {
				if online && asked != nil {
					data, _ := json.Marshal(answer)
					if err := r.proveAnswer(data, "n", *asked, now); err != nil {
						t.Fatalf("answer: %v", err)
					}
					asked = nil
				}
			},
			"wait": func(t *rapid.T) {
				d := rapid.IntRange(1, 4000).Draw(t, "ms")
				now.mono += time.Duration(d) * time.Millisecond
				now.wall += int64(d)
			},
			"another history": func(t *rapid.T) {
				epochs++
				log, online, reset = nil, false, now
			},
			"": func(t *rapid.T) {
				v := r.view()
				if v.held == nil {
					return
				}
				fresh := v.standing(now, limit).fresh
				set := v.held.sets[0].set
				if v.position.Epoch == epoch() {
					want := fold(v.position.Seq)
					for _, kind := range events.Kinds() {
						ours := maps.Collect(set.All(kind))
						for k, term := range want.All(kind) {
							if ours[k].Join(term) != ours[k] {
								t.Fatalf("at %v %v lacks %v", v.position, kind, term)
							}
						}
						if v.kept == 0 && epochs == 1 && len(ours) != want.LenKind(kind) {
							t.Fatalf("at %v there are %d of %v, want %d", v.position, len(ours), kind, want.LenKind(kind))
						}
					}
				} else if fresh && now.mono-reset.mono > limit {
					t.Fatal("fresh in a history that has ended")
				}
				if !fresh {
					return
				}
				// Promise 2: whatever was revoked longer ago than the limit,
				// and not restored, is enforced by who is fresh.
				for k, at := range revoked {
					if now.mono-at.mono > limit && at.mono > reset.mono {
						if _, ok := set.Lookup(events.KindToken, k); !ok {
							t.Fatalf("fresh at %v and %v is not enforced", v.position, k)
						}
					}
				}
			},
		}
		t.Repeat(actions)
	})
}

// What other defences would make good is refused all the same.
func TestReplicaRefuses(t *testing.T) {
	key, _ := events.NewSigningKey(rand.Reader)
	r := newReplica(Config{}, moment{})
	h := &events.Hello{V: 1, Feed: "f", Epoch: "e1", Head: 9, Mode: events.ModeSnapshot, Keys: []events.PublicKey{key.Public()}}
	snapshot := func(seq uint64) *events.Snapshot {
		return &events.Snapshot{SnapshotHeader: events.SnapshotHeader{Feed: "f", Epoch: "e1", Seq: seq}, Set: events.NewLiveSet()}
	}
	if snap, union, err := r.hello(h, moment{}); !snap || union || err != nil {
		t.Fatal(snap, union, err)
	}
	first := snapshot(9)
	first.Set.Join(events.KindToken, events.Key{1}, events.Term{Exp: events.Never})
	if err := r.install(first, h, false, moment{}); err != nil {
		t.Fatal(err)
	}
	if err := r.install(snapshot(8), h, false, moment{}); err == nil || r.set() != first.Set || !r.hubBehind {
		t.Errorf("a snapshot from before: %v", err)
	}
	if err := r.install(snapshot(8), h, true, moment{}); err != nil || r.set().Len() != 1 || r.kept != 1 {
		t.Errorf("the union with one from before: %v", err)
	}

	var d events.Draft
	op := events.Op{Verb: events.Revoke, Kind: events.KindToken, Key: events.Key{2}, Term: events.Term{Exp: events.Never}, ID: "rev_01ARZ3NDEKTSV4RRFFQ69G5FAV"}
	d.Add(op, events.AuditOp{Verb: op.Verb, ID: op.ID, Target: events.Target{Kind: op.Kind, Iss: "i"}})
	rec := d.Record(1)
	audit := events.HashPart(rec.Audit)
	data, _ := json.Marshal(events.RecordFrame{Seq: 9, Chain: events.Chain{}.Next(events.HashPart(rec.Feed), audit), Audit: audit, Feed: rec.Feed})
	for _, id := range []string{"", "e1:", "e1:8", "e1:99", "e2:9", "9"} {
		if _, applied, err := r.record(data, id, moment{}); applied || err == nil {
			t.Errorf("with the id %q: %v", id, err)
		}
	}
	if _, applied, err := r.record(data, "e1:9", moment{}); !applied || err != nil {
		t.Errorf("with its own id: %v", err)
	}
}

// FuzzFrames: no bytes from a hub make a replica panic, or move it to a place
// that its chain does not vouch for.
func FuzzFrames(f *testing.F) {
	f.Add([]byte(`{"seq":1,"chain":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","audit":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","feed":{"at":"2026-01-02T03:04:05Z","ops":[]}}`), "e1:1")
	f.Add([]byte(`{}`), "")
	key, _ := events.NewSigningKey(rand.Reader)
	f.Fuzz(func(t *testing.T, data []byte, id string) {
		r := newReplica(Config{}, moment{})
		h := &events.Hello{V: 1, Feed: "f", Epoch: "e1", Mode: events.ModeDelta, Keys: []events.PublicKey{key.Public()}}
		if _, _, err := r.hello(h, moment{}); err != nil {
			t.Fatal(err)
		}
		_, applied, err := r.record(data, id, moment{})
		if applied != (r.pos.Seq == 1) || applied && (err != nil || r.chain == events.Chain{}) {
			t.Fatalf("%v at %v: %v", applied, r.pos, err)
		}
		if proof, _ := r.proveTick(data, moment{}); proof {
			t.Fatal("a tick that nobody signed")
		}
		if r.proveAnswer(data, "n", moment{}, moment{}) == nil {
			t.Fatal("an answer that nobody signed")
		}
		if _, _, err := r.hello(new(events.Hello), moment{}); err == nil {
			t.Fatal("an empty hello")
		}
	})
}

// A proof is as old as the question that it answers, and a tick alone proves
// nothing: who delays both, together with the records, gains no time.
func TestDelayedProofs(t *testing.T) {
	key, _ := events.NewSigningKey(rand.Reader)
	at := func(sec int) moment {
		return moment{time.Duration(sec) * time.Second, int64(sec) * 1000}
	}
	r := newReplica(Config{}, at(0))
	if _, _, err := r.hello(&events.Hello{V: 1, Feed: "f", Epoch: "e1", Mode: events.ModeDelta, Keys: []events.PublicKey{key.Public()}}, at(0)); err != nil {
		t.Fatal(err)
	}
	a := events.ReportAnswer{Epoch: "e1", Nonce: "n", At: 1}
	a.Sign("f", key)
	answer, _ := json.Marshal(a)
	tick := events.Tick{At: 1}
	tick.Sign("f", "e1", key)
	ticked, _ := json.Marshal(tick)

	// Asked at 1 s; tick and answer arrive at 5 s.
	if _, err := r.proveTick(ticked, at(5)); err != nil {
		t.Fatal(err)
	}
	if r.view().standing(at(5), 6*time.Second).fresh {
		t.Error("fresh by a tick alone")
	}
	if err := r.proveAnswer(answer, "n", at(1), at(5)); err != nil {
		t.Fatal(err)
	}
	for sec, want := range map[int]bool{5: true, 7: true, 8: false, 11: false} {
		if got := r.view().standing(at(sec), 6*time.Second).fresh; got != want {
			t.Errorf("at %d s fresh is %v", sec, got)
		}
	}
	// An older answer that comes late does not make it older again.
	if err := r.proveAnswer(answer, "n", at(0), at(6)); err != nil || !r.view().standing(at(7), 6*time.Second).fresh {
		t.Error(err)
	}
}
