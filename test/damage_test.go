package test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/subscriber"
)

// A disk that lies: whatever becomes of the hub's files while it is stopped,
// the hub serves all of its history, or refuses to serve. What it must never
// do is to serve a shorter one.
func TestDamagedStore(t *testing.T) {
	random := dice(t)
	w := newWorld(t)
	w.fillStore(25) // more than one block of the store
	before := w.standing()
	w.awaitTick()
	killed := w.copyOf(w.dir) // nothing is being written but ticks
	w.stopHub()
	stopped := w.dir

	came := make(map[string]int)
	for n := range quickOr(24, 1000) {
		how, from := "stopped", stopped
		if n%4 >= 2 {
			how, from = "killed", killed
		}
		w.dir = w.copyOf(from)
		// Half of them in the newest block, where a shorter history would look
		// like a good one.
		file := newestBlock(w)
		switch {
		case n == 1: // which no log is lost with
			file = filepath.Join(w.dir, "state.snap")
		case n%2 == 1:
			file = anyFile(w, random)
		}
		what := how + ": " + damages[random.IntN(len(damages))].to(w, file, random)
		if w.comesUp() {
			if now := w.standing(); now != before {
				t.Errorf("%s: the hub serves %+v, it had %+v\n%s", what, now, before, w.log)
			}
			came["served whole"]++
			w.stopHub()
			continue
		}
		came["refused"]++
		t.Logf("%s: %s", what, lastLine(w.log.String()))
	}
	t.Log(came)
	if came["refused"] == 0 || came["served whole"] == 0 {
		t.Errorf("%v: one of the two never happened", came)
	}
}

// standing is what a hub says of its history. The chain covers every byte of
// every record.
type standing struct {
	Epoch, Chain string
	Head         uint64
	Revocations  int
}

func (w *world) standing() (s standing) {
	w.Helper()
	a, err := w.call("GET", "/v1/status", "")
	w.must(err)
	if a.status != http.StatusOK {
		w.Fatalf("status: %d: %s", a.status, a.body)
	}
	w.must(json.Unmarshal(a.body, &s))
	return s
}

// fillStore starts a hub and gives it records of 400 KiB each.
func (w *world) fillStore(records int) {
	w.Helper()
	w.startHub()
	note := strings.Repeat("n", 400)
	for r := range records {
		var list []string
		for n := range 600 {
			list = append(list, fmt.Sprintf(`{"target":{"kind":%q,"iss":%q,"value":"t%d-%d"},"reason":"logout","note":%q}`, events.KindToken, issuer, r, n, note))
		}
		a, err := w.call("POST", "/v1/revocations", `{"revocations":[`+strings.Join(list, ",")+`]}`)
		w.must(err)
		if a.status != http.StatusCreated {
			w.Fatalf("%d: %s", a.status, a.body)
		}
	}
}

// comesUp starts the hub; false if it has ended by itself. A hub that neither
// serves nor ends fails the test.
func (w *world) comesUp() bool {
	w.Helper()
	w.launchHub()
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		select {
		case <-w.ended:
			w.hub = nil
			return false
		default:
		}
		if a, err := w.call("GET", "/v1/status", ""); err == nil && a.status == http.StatusOK {
			return true
		}
	}
	w.killHub()
	w.Fatalf("the hub neither serves nor ends\n%s", w.log)
	return false
}

type damage struct {
	name string
	to   func(w *world, file string, random *rand.Rand) string
}

var damages = []damage{
	{"flip", func(w *world, file string, random *rand.Rand) string {
		return alter(w, file, "one bit flipped at %d", random, func(b []byte, at int) []byte {
			b[at] ^= 1 << random.IntN(8)
			return b
		})
	}},
	{"zero", func(w *world, file string, random *rand.Rand) string {
		return alter(w, file, "512 bytes of zeroes at %d", random, func(b []byte, at int) []byte {
			clear(b[at:min(at+512, len(b))])
			return b
		})
	}},
	{"truncate", func(w *world, file string, random *rand.Rand) string {
		return alter(w, file, "cut off at %d", random, func(b []byte, at int) []byte { return b[:at] })
	}},
	{"shorten", func(w *world, file string, random *rand.Rand) string {
		return alter(w, file, "a few bytes cut off at the end (at %d)", random, func(b []byte, _ int) []byte {
			return b[:len(b)-min(len(b), 1+random.IntN(64))]
		})
	}},
	{"remove", func(w *world, file string, _ *rand.Rand) string {
		w.must(os.Remove(file))
		return within(w, file) + ": removed"
	}},
}

func alter(w *world, file, how string, random *rand.Rand, change func(b []byte, at int) []byte) string {
	b, err := os.ReadFile(file)
	w.must(err)
	at := 0
	if len(b) > 0 {
		at = random.IntN(len(b))
		b = change(b, at)
	}
	w.must(os.WriteFile(file, b, 0o600))
	return fmt.Sprintf("%s: "+how, within(w, file), at)
}

func within(w *world, file string) string {
	rel, err := filepath.Rel(w.dir, file)
	w.must(err)
	return rel
}

// copyOf copies a data directory.
func (w *world) copyOf(dir string) string {
	to := filepath.Join(w.TempDir(), "data")
	w.must(os.CopyFS(to, os.DirFS(dir)))
	w.must(os.Chmod(to, 0o700))
	return to
}

// awaitTick waits until the log has a tick that was begun after now.
func (w *world) awaitTick() {
	w.Helper()
	begun := time.Now()
	w.eventually("a tick", func() bool {
		a, err := w.call("GET", "/v1/status", "")
		var s struct {
			Age int64 `json:"tick_age_ms"`
		}
		return err == nil && json.Unmarshal(a.body, &s) == nil && s.Age >= 0 && time.Duration(s.Age+1)*time.Millisecond < time.Since(begun)
	})
}

func files(w *world) (list []string) {
	w.must(filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			list = append(list, path)
		}
		return err
	}))
	return list
}

func anyFile(w *world, random *rand.Rand) string {
	list := files(w)
	return list[random.IntN(len(list))]
}

// newestBlock is the file that has the last records of the log.
func newestBlock(w *world) string {
	list, err := filepath.Glob(filepath.Join(w.dir, "log/jetstream/*/streams/REVOCAST_default/msgs/*.blk"))
	w.must(err)
	if len(list) < 2 {
		w.Fatalf("the store has the blocks %v, want several", list)
	}
	return slices.MaxFunc(list, func(a, b string) int {
		if d := len(a) - len(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

// The same for the file in which a subscriber keeps its set: a damaged one is
// not used, and the subscriber says so. A part of the set is never taken for
// the whole.
func TestDamagedSnapshotFile(t *testing.T) {
	random := dice(t)
	w := newWorld(t)
	w.startHub()
	file := filepath.Join(t.TempDir(), "set")
	kept := func(c *subscriber.Config) { c.SnapshotFile = file }
	sub := w.subscribe(kept)
	for n := range 100 {
		w.revoke(events.KindToken, fmt.Sprint("t", n))
	}
	w.eventually("all is enforced", func() bool { return sub.Status().Live["token"] == 100 })
	w.must(sub.Close())
	w.stopHub()
	whole, err := os.ReadFile(file)
	w.must(err)

	start := func() subscriber.Status {
		s, err := subscriber.New(subscriber.Config{
			Hubs: []string{w.url()}, Credential: adminKey, SnapshotFile: file, Logger: slog.New(slog.DiscardHandler),
		})
		w.must(err)
		status := s.Status()
		w.must(s.Close())
		w.must(os.WriteFile(file, whole, 0o600))
		return status
	}
	if s := start(); s.Live["token"] != 100 {
		t.Fatalf("of the whole file it takes %v", s.Live)
	}
	for range quickOr(100, 5000) {
		b := slices.Clone(whole)
		at := random.IntN(len(b))
		what := fmt.Sprintf("bit flipped at %d of %d", at, len(b))
		if random.IntN(2) == 0 {
			b[at] ^= 1 << random.IntN(8)
		} else {
			what, b = fmt.Sprintf("cut off at %d of %d", at, len(b)), b[:at]
		}
		w.must(os.WriteFile(file, b, 0o600))
		if s := start(); s.Live["token"] != 0 || s.Invalid["file"] != 1 || s.State == subscriber.Fresh {
			t.Errorf("%s: %s, with %v, having refused %v", what, s.State, s.Live, s.Invalid)
		}
	}
}
