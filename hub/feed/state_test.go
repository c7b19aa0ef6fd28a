package feed

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/log"
)

// stateOnDisk is a state file much as the hub keeps it, which a test may break.
type stateOnDisk struct {
	path string

	mu   sync.Mutex
	fail error // guarded by mu: what Replace returns, in the middle of the file
	n    int   // guarded by mu: files written
}

func newStateOnDisk(dir string) *stateOnDisk {
	return &stateOnDisk{path: filepath.Join(dir, "state.snap")}
}

func (s *stateOnDisk) Read() ([]byte, error) {
	data, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

func (s *stateOnDisk) Replace(write func(io.Writer) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := os.Create(s.path + ".tmp")
	if err != nil {
		return err
	}
	if err = write(f); err == nil {
		err = s.fail
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	s.n++
	return os.Rename(s.path+".tmp", s.path)
}

func (s *stateOnDisk) written() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

// keepsState gives a feed a state file, which is written at the end only, or
// when the test says so.
func keepsState(_ *world, c *Config, _ *log.Config) {
	c.StateEvery, c.StateOps = time.Hour, 1<<30
}

func newStateWorld(t *testing.T, opts ...option) (*world, *stateOnDisk) {
	file := newStateOnDisk(t.TempDir())
	opts = append([]option{keepsState, func(_ *world, c *Config, _ *log.Config) { c.State = file }}, opts...)
	return newWorld(t, opts...), file
}

// store writes a state down, with changes to it if the test wants some.
func (w *world) store(file *stateOnDisk, key events.SigningKey, change func(*state)) {
	w.Helper()
	s := w.feed.state()
	if s.Seq == 0 {
		return // as the hub does
	}
	if change != nil {
		change(&s)
	}
	w.must(file.Replace(func(out io.Writer) error {
		_, err := s.write(out, key)
		return err
	}))
}

// another opens one more feed on the same log, as another hub would, and says
// whether it has used the state file.
func (w *world) another(file StateFile) (f *Feed, resumed bool) {
	w.Helper()
	nc, err := w.server.Connect()
	w.must(err)
	l, err := log.Open(context.Background(), nc, log.Config{Feed: "default", Now: w.time, Retention: w.log.Retention()})
	w.must(err)
	cfg := w.cfg
	cfg.Log, cfg.State, cfg.Metrics = l, file, nil
	cfg.TickEvery = time.Hour // it is there to be looked at
	said := new(logLines)
	cfg.Logger = slog.New(slog.NewTextHandler(said, nil))
	f, err = Open(context.Background(), cfg)
	w.must(err)
	var once sync.Once
	end := func() { once.Do(func() { f.Close(); l.Close(); nc.Close() }) }
	w.Cleanup(end)
	earlier := w.close
	w.close = func() { end(); earlier() }
	took, refused := said.has("took up the state file"), said.has("state file is not used")
	if took && refused {
		w.Fatal("a state file was used and refused")
	}
	return f, took
}

type logLines struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logLines) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Contains(l.buf.Bytes(), []byte(text))
}

// differ says in what two feeds differ that follow one log, or "".
func (w *world) differ(a, b *Feed) string {
	w.Helper()
	now := w.time().Unix()
	a.advance() // as the tick does
	b.advance()
	sa, sb := a.Status(), b.Status()
	if sa.Head != sb.Head || sa.Chain != sb.Chain || sa.Epoch != sb.Epoch || sa.Revocations != sb.Revocations {
		return fmt.Sprintf("status %+v and %+v", sa, sb)
	}
	ka, kb := knows(a, now), knows(b, now)
	if !maps.Equal(ka.live, kb.live) {
		return fmt.Sprintf("live %+v and %+v", ka.live, kb.live)
	}
	if !slices.Equal(ka.scheduled, kb.scheduled) {
		return fmt.Sprintf("scheduled %+v and %+v", ka.scheduled, kb.scheduled)
	}
	if !slices.Equal(ka.requests, kb.requests) {
		return fmt.Sprintf("requests %+v and %+v", ka.requests, kb.requests)
	}
	for _, by := range []Filter{{}, {Actor: "tester"}, {Actor: "nobody"}, {Iss: iss, Value: "1"}, {Reason: events.Logout}, {Kind: events.KindSession}} {
		la, _, err := a.List(context.Background(), by, Cursor{}, 1_000_000)
		w.must(err)
		lb, _, err := b.List(context.Background(), by, Cursor{}, 1_000_000)
		w.must(err)
		if !reflect.DeepEqual(la, lb) {
			return fmt.Sprintf("lists of %+v: %+v and %+v", by, la, lb)
		}
		for _, r := range la {
			da, erra := a.draftRestore(Caller{}, RestoreOrder{ID: r.ID, Reason: events.Admin}, r.Target)
			db, errb := b.draftRestore(Caller{}, RestoreOrder{ID: r.ID, Reason: events.Admin}, r.Target)
			w.must(errors.Join(erra, errb))
			if !bytes.Equal(da.Record(1).Encode(), db.Record(1).Encode()) {
				return fmt.Sprintf("restores of %s: %s and %s", r.ID, da.Record(1).Feed, db.Record(1).Feed)
			}
		}
	}
	return ""
}

// known is what a feed keeps and no call tells in full.
type known struct {
	live      map[events.Key]events.Term
	scheduled []events.Scheduled
	requests  []request
}

func knows(f *Feed, now int64) known {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := known{make(map[events.Key]events.Term), slices.Clone(f.live.Scheduled()), slices.Clone(f.requests.list)}
	for _, kind := range events.Kinds() {
		for key, t := range f.live.All(kind) {
			if t.Live(now) {
				k.live[key] = t
			}
		}
	}
	return k
}

// Whatever has happened, and whenever the state was written down: a feed that
// begins with it is the feed that has read the whole log, in all it can be
// asked, and goes on as that.
func TestStateAndTailAreTheWholeLog(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w, file := newStateWorld(t, func(_ *world, c *Config, _ *log.Config) { c.TickEvery = time.Hour })
		defer func() {
			w.close()
			w.close = func() {}
		}()
		w.eventfulHistory(rt, func() { w.store(file, w.cfg.Keys, nil) })
		whole, _ := w.another(nil)
		resumed, used := w.another(file)
		if data, _ := file.Read(); used != (data != nil) {
			rt.Fatalf("used the state file: %v", used)
		}
		if d := w.differ(whole, resumed); d != "" {
			rt.Fatalf("after a replay and from the state file: %s", d)
		}
		for key, before := range w.asked {
			again, err := resumed.Revoke(context.Background(), Caller{Actor: "tester", IdempotencyKey: key, Body: []byte(key)},
				[]Order{{Target: target(events.KindSubject, "again"), Reason: events.Other}}, false)
			if err != nil || !again.Replayed || !slices.Equal(again.Revocations, before.Revocations) {
				rt.Fatalf("request %s sent again: %+v, %v; it was %+v", key, again, err, before)
			}
		}
		list, _, err := resumed.List(context.Background(), Filter{}, Cursor{}, 1000)
		w.must(err)
		for _, r := range list {
			pos, err := resumed.Restore(context.Background(), Caller{Actor: "tester"}, RestoreOrder{ID: r.ID, Reason: events.Admin})
			w.must(err)
			w.must(whole.log.WaitFollowed(context.Background(), pos.Seq))
			if d := w.differ(whole, resumed); d != "" {
				rt.Fatalf("after a restore: %s", d)
			}
		}
	})
}

// eventfulHistory has all happen that the fold keeps anything of: what expires,
// what is scheduled, requests with a key, renewals; and the clock goes on.
func (w *world) eventfulHistory(t *rapid.T, store func()) {
	w.asked = make(map[string]Result)
	var ids []events.ID
	for n := range rapid.IntRange(1, 15).Draw(t, "steps") {
		value := fmt.Sprint(rapid.IntRange(0, 2).Draw(t, "value"))
		o := Order{Target: target(events.KindSubject, value), Reason: events.Logout}
		by := Caller{Actor: rapid.SampledFrom([]string{"tester", "somebody"}).Draw(t, "actor"), Source: "test"}
		switch step := rapid.IntRange(0, 9).Draw(t, "step"); step {
		case 0, 1, 2, 3, 4:
			switch step {
			case 1:
				o.Target.Kind, o.ExpiresAt = events.KindToken, events.At(w.time().Add(time.Minute))
			case 2:
				o.EffectiveAt = events.At(w.time().Add(time.Duration(rapid.IntRange(1, 90).Draw(t, "margin")) * time.Minute))
			case 3:
				o.Suspend = true
			case 4:
				by = Caller{Actor: "tester", IdempotencyKey: fmt.Sprint("key-", n), Body: fmt.Append(nil, "key-", n)}
				o.Target.Kind = events.KindSession
				if rapid.Bool().Draw(t, "short") { // the request is remembered for longer
					o.Target.Kind, o.ExpiresAt = events.KindToken, events.At(w.time().Add(time.Minute))
				}
			}
			res, err := w.feed.Revoke(context.Background(), by, []Order{o}, false)
			w.must(err)
			ids = append(ids, res.Revocations[0].ID)
			if by.IdempotencyKey != "" {
				w.asked[by.IdempotencyKey] = res
			}
		case 5:
			if len(ids) > 0 {
				i := rapid.IntRange(0, len(ids)-1).Draw(t, "which")
				_, err := w.feed.Restore(context.Background(), by, RestoreOrder{ID: ids[i], Reason: events.Admin})
				if err != nil {
					w.mustRefuse(err, NotFound) // expired
				}
				ids = slices.Delete(ids, i, i+1)
			}
		case 6:
			w.advance(time.Duration(rapid.IntRange(1, 60).Draw(t, "minutes")) * time.Minute)
			w.feed.sweepLive()
		case 7:
			w.feed.sweepIndex(w.time())
		case 8:
			w.feed.renew(context.Background(), w.time().Add(50*24*time.Hour))
		case 9:
			store()
		}
	}
}

// The control of the test above: a feed that takes the state for all there is
// differs from the log.
func TestStateWithoutItsTailIsNotTheLog(t *testing.T) {
	w, file := newStateWorld(t)
	w.revoke(events.KindSubject, "alice")
	early := w.feed.state()
	w.revoke(events.KindSubject, "bob")
	w.store(file, w.cfg.Keys, func(s *state) {
		head, chain := s.Seq, s.Chain
		*s = early
		s.Seq, s.Chain = head, chain
	})
	liar, used := w.another(file)
	whole, _ := w.another(nil)
	if d := w.differ(whole, liar); !used || d == "" {
		t.Fatalf("used %v: what differs is not noticed", used)
	}
}

// A file that does not fit is refused, whatever is wrong with it, and the feed
// is what the log says.
func TestStateFileIsRefused(t *testing.T) {
	other, err := events.NewSigningKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	file := func(f func([]byte) []byte) func(*world, *stateOnDisk) {
		return func(w *world, on *stateOnDisk) {
			w.store(on, w.cfg.Keys, nil)
			data, err := on.Read()
			w.must(err)
			w.must(os.WriteFile(on.path, f(data), 0o600))
		}
	}
	says := func(f func(*state)) func(*world, *stateOnDisk) {
		return func(w *world, on *stateOnDisk) { w.store(on, w.cfg.Keys, f) }
	}
	tests := map[string]func(*world, *stateOnDisk){
		"empty":               file(func([]byte) []byte { return []byte{} }),
		"cut in its header":   file(func(b []byte) []byte { return b[:30] }),
		"cut in the middle":   file(func(b []byte) []byte { return b[:len(b)/2] }),
		"cut by a byte":       file(func(b []byte) []byte { return b[:len(b)-1] }),
		"longer by a byte":    file(func(b []byte) []byte { return append(b, 0) }),
		"a bit of the magic":  file(func(b []byte) []byte { b[2] ^= 1; return b }),
		"a bit of the header": file(func(b []byte) []byte { b[20] ^= 1; return b }),
		"a bit of the middle": file(func(b []byte) []byte { b[len(b)/2] ^= 0x80; return b }),
		"a bit of the seal":   file(func(b []byte) []byte { b[len(b)-1] ^= 1; return b }),
		"zeros":               file(func(b []byte) []byte { clear(b); return b }),
		"another hub's":       func(w *world, on *stateOnDisk) { w.store(on, other, nil) },
		"another feed's":      says(func(s *state) { s.Feed = "other" }),
		"another epoch's":     says(func(s *state) { s.Epoch = "abcdefghijkl" }),
		"another chain's":     says(func(s *state) { s.Chain[5] ^= 1 }),
		"newer than the log":  says(func(s *state) { s.Seq++ }),
		"much newer":          says(func(s *state) { s.Seq += 1000 }),
		"of record 0":         says(func(s *state) { s.Seq = 0 }),
		"of a clock ahead":    says(func(s *state) { s.Forgotten += 7200 }),
		"too many":            says(func(s *state) { s.Revocations++ }),
		"too few":             says(func(s *state) { s.Revocations-- }),
		"far too many":        says(func(s *state) { s.Requests = 1 << 40 }),
		"no issuers":          says(func(s *state) { s.Issuers = 0 }),
		"can't be read":       func(w *world, on *stateOnDisk) { w.must(os.Mkdir(on.path, 0o700)) },
	}
	w, _ := newStateWorld(t)
	id := w.revoke(events.KindSubject, "alice")
	w.revoke(events.KindToken, "token")
	w.restore(id)
	w.revoke(events.KindSession, "session")
	w.feed.sweepIndex(w.time())
	whole, _ := w.another(nil)
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			on := newStateOnDisk(t.TempDir())
			spoil(w, on)
			f, used := w.another(on)
			if used {
				t.Error("it was used")
			}
			if d := w.differ(whole, f); d != "" {
				t.Error(d)
			}
		})
	}
	t.Run("control: untouched", func(t *testing.T) {
		on := newStateOnDisk(t.TempDir())
		w.store(on, w.cfg.Keys, nil)
		f, used := w.another(on)
		if !used {
			t.Error("it was not used")
		}
		if d := w.differ(whole, f); d != "" {
			t.Error(d)
		}
	})
	t.Run("control: none", func(t *testing.T) {
		if _, used := w.another(newStateOnDisk(t.TempDir())); used {
			t.Error("it was used")
		}
	})
}

// What was sealed is parsed with care all the same: a file of any bytes, with
// the right seal, is an error or a state, never a panic.
func FuzzReadState(f *testing.F) {
	key, err := events.NewSigningKey(fixedSeed{})
	if err != nil {
		f.Fatal(err)
	}
	x := newIndex()
	x.add(events.Op{Verb: events.Revoke, Kind: events.KindToken, Key: events.Key{1}, Term: events.Term{Exp: events.Never}, ID: events.IDFrom([16]byte{1})}, &auditOp{Actor: "a"}, 1, place{1, 0})
	x.add(events.Op{Verb: events.Revoke, Kind: events.KindSubject, Key: events.Key{2}, Term: events.Term{Exp: events.Never, Cutoff: 5}, ID: events.IDFrom([16]byte{2})}, &auditOp{Actor: "b"}, 1, place{2, 0})
	s := state{stateHeader{Feed: "default", Epoch: "abcdefghijkl", Seq: 2, At: 1, Issuers: 1, Actors: 2, Revocations: 2, Requests: 1}, x.frozen(), []request{{ops: 1}}}
	var buf bytes.Buffer
	if _, err := s.write(&buf, key); err != nil {
		f.Fatal(err)
	}
	if s, err := readState(buf.Bytes(), key.Public(), 0); err != nil || s.revs.len() != 2 || len(s.requests) != 1 {
		f.Fatalf("%+v, %v", s, err)
	}
	f.Add(buf.Bytes()[:buf.Len()-64])
	f.Add([]byte(stateMagic + "\x7f\xff\xff\xff{}"))
	f.Fuzz(func(t *testing.T, body []byte) {
		seal := key.SignState(events.Hash(sha256.Sum256(body)))
		s, err := readState(append(slices.Clip(body), seal[:]...), key.Public(), 0)
		if err != nil {
			return
		}
		if s.revs.len() > s.Revocations || len(s.requests) != s.Requests {
			t.Errorf("%d revocations and %d requests from a file of %d and %d", s.revs.len(), len(s.requests), s.Revocations, s.Requests)
		}
		liveOf(&s.revs, 0)
		indexOf(s.contents)
	})
}

// A subscriber that was a little behind when its hub was restarted gets what
// it lacks, not a snapshot.
func TestStartWithStateHasTheTail(t *testing.T) {
	const tail = 16
	w, file := newStateWorld(t, func(_ *world, c *Config, _ *log.Config) { c.StateTail = tail })
	for i := range tail + 3 {
		w.revoke(events.KindSubject, fmt.Sprint("user", i))
	}
	w.store(file, w.cfg.Keys, nil)
	w.revoke(events.KindSubject, "after")
	f, used := w.another(file)
	if !used {
		t.Fatal("the state file is not used")
	}
	head := f.Position()
	for _, c := range []struct {
		behind uint64
		mode   string
	}{{0, events.ModeDelta}, {1, events.ModeDelta}, {2, events.ModeDelta}, {tail + 1, events.ModeDelta}, {tail + 2, events.ModeSnapshot}} {
		hello, _, err := f.attach(t.Context(), events.Position{Epoch: head.Epoch, Seq: head.Seq - c.behind})
		w.must(err)
		if hello.Mode != c.mode {
			t.Errorf("%d records behind: mode %s, want %s", c.behind, hello.Mode, c.mode)
		}
	}
	if f.index.live() != tail+4 || f.live.Len() != tail+4 {
		t.Errorf("%d revocations, %d targets; the tail was folded twice", f.index.live(), f.live.Len())
	}
}

// Records of many operations are not read again by the thousand, for which
// there would be no room anyway.
func TestStartWithStateReadsNoMoreThanItKeeps(t *testing.T) {
	const records = 20
	w, file := newStateWorld(t, func(_ *world, c *Config, _ *log.Config) { c.KeepFrames = 5 << 10 })
	for i := range records {
		w.revoke(events.KindSubject, fmt.Sprint("user", i))
	}
	size, err := w.log.RecordSize(t.Context())
	w.must(err)
	room := uint64(5<<10) / size
	if room < 2 || room > records-5 {
		t.Fatalf("%d bytes a record: this shows nothing", size)
	}
	w.store(file, w.cfg.Keys, nil)
	f, used := w.another(file)
	if !used {
		t.Fatal("the state file is not used")
	}
	seq, _, err := f.beforeState(t.Context())
	w.must(err)
	if want := f.Position().Seq - room; seq != want {
		t.Errorf("it is read from %d, want %d", seq, want)
	}
}
