package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/tmaxmax/go-sse"
)

// These tests drive the program that users get, as processes.

// binary is where TestMain built it.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "revocast-hub-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "hub")
		build := exec.Command("go", "build", "-o", binary, ".")
		build.Stdout, build.Stderr = os.Stdout, os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build the hub:", err)
			return 1
		}
		return m.Run()
	}())
}

const (
	iss = "https://issuer.example"
	// patience is how long anything may take on a machine that is busy.
	patience = 20 * time.Second
)

// world is a data directory, the hub on it, and somebody with a key.
type world struct {
	*testing.T
	dir string
	url string // of the hub that was started last
	key string // the admin key, once it was shown
	env []string

	files int // how many a hub may have open, if not as many as this process
}

func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	return &world{T: t, dir: t.TempDir()}
}

// with returns the same world with more in the environment.
func (w *world) with(env ...string) *world {
	other := *w
	other.env = append(append([]string(nil), w.env...), env...)
	return &other
}

// as returns the same world for the holder of another key.
func (w *world) as(key string) *world {
	other := *w
	other.key = key
	return &other
}

// environ has nothing of this process's but what a program needs to run.
func (w *world) environ() []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.dir}
	if w.key != "" {
		env = append(env, "REVOCAST_KEY="+w.key)
	}
	if w.url != "" {
		env = append(env, "REVOCAST_HUB="+w.url)
	}
	return append(env, w.env...)
}

// result is what became of a command.
type result struct {
	t        *testing.T
	args     []string
	code     int
	out, err string
}

// run runs the program to its end.
func (w *world) run(stdin string, args ...string) result {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env, cmd.Dir = w.environ(), w.dir
	cmd.Stdin = strings.NewReader(stdin)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		w.Fatal(err)
	}
	return result{w.T, args, cmd.ProcessState.ExitCode(), out.String(), errOut.String()}
}

// do runs a command that has to succeed and returns what it printed.
func (w *world) do(args ...string) string {
	w.Helper()
	return w.run("", args...).exits(0).out
}

func (r result) exits(code int) result {
	r.t.Helper()
	if r.code != code {
		r.t.Fatalf("hub %s: exit code %d, want %d\n%s%s", strings.Join(r.args, " "), r.code, code, r.out, r.err)
	}
	return r
}

// says checks what is on stderr.
func (r result) says(texts ...string) result {
	r.t.Helper()
	for _, text := range texts {
		if !strings.Contains(r.err, text) {
			r.t.Errorf("hub %s: stderr does not say %q:\n%s", strings.Join(r.args, " "), text, r.err)
		}
	}
	return r
}

// keeps checks that something is nowhere in what was printed.
func (r result) keeps(secrets ...string) result {
	r.t.Helper()
	for _, s := range secrets {
		if strings.Contains(r.out+r.err, s) {
			r.t.Errorf("hub %s: prints %q:\n%s%s", strings.Join(r.args, " "), s, r.out, r.err)
		}
	}
	return r
}

// mustShow checks that a text has all of these.
func mustShow(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("want %q in:\n%s", want, text)
		}
	}
}

// field finds the value of a line of a table without a head.
func field(t *testing.T, text, name string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` +(.*)$`).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("want a line %q in:\n%s", name, text)
	}
	return m[1]
}

func parse[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

// process is a program that goes on running.
type process struct {
	*exec.Cmd
	t        *testing.T
	out, err output
	done     chan struct{} // closed when it has ended
}

// output is what a process has printed so far.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func (w *world) launch(args ...string) *process {
	w.Helper()
	program := append([]string{binary}, args...)
	if w.files > 0 {
		program = append([]string{"sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, w.files)}, program...)
	}
	p := &process{Cmd: exec.Command(program[0], program[1:]...), t: w.T, done: make(chan struct{})}
	p.Env, p.Dir = w.environ(), w.dir
	p.Stdout, p.Stderr = &p.out, &p.err
	if err := p.Start(); err != nil {
		w.Fatal(err)
	}
	go func() {
		_ = p.Wait()
		close(p.done)
	}()
	w.Cleanup(func() {
		_ = p.Process.Kill()
		<-p.done
	})
	return p
}

var (
	shownKey = regexp.MustCompile(`(?m)^ +(rvk_\S+)$`)
	shownURL = regexp.MustCompile(`(?m)^  API  (\S+)$`)
)

// serve starts a hub on free ports and waits until it is there.
func (w *world) serve(args ...string) *process {
	w.Helper()
	w.url = "" // the hub would take it for its own
	p := w.launch(append([]string{"--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--drain", "1s"}, args...)...)
	w.until(p, "the hub is there", func() bool { return strings.Contains(p.out.String(), "\n  ops  ") })
	w.url = shownURL.FindStringSubmatch(p.out.String())[1]
	if m := shownKey.FindStringSubmatch(p.out.String()); m != nil {
		w.key = m[1]
	}
	return p
}

// addr is the host and port of the hub, to start another at the same place.
func (w *world) addr() string { return strings.TrimPrefix(w.url, "http://") }

// until waits until a condition holds; p, unless nil, has to live until then.
func (w *world) until(p *process, what string, cond func() bool) {
	w.Helper()
	deadline := time.Now().Add(patience)
	for !cond() {
		ended := false
		if p != nil {
			select {
			case <-p.done:
				ended = !cond()
			default:
			}
		}
		if ended || time.Now().After(deadline) {
			text := ""
			if p != nil {
				text = p.out.String() + p.err.String()
			}
			w.Fatalf("never: %s\n%s", what, text)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// end sends a signal and returns the exit code, -1 if the signal killed.
func (p *process) end(sig syscall.Signal) int {
	p.t.Helper()
	if err := p.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("does not end on %v:\n%s", sig, p.err.String())
	}
	return p.ProcessState.ExitCode()
}

// subscribe connects a subscriber, as small as one can be: it reports what it
// got when it is asked to. The channel is closed when its stream ends.
func (w *world) subscribe(name string) <-chan struct{} {
	w.Helper()
	ask := func(method, path string, body io.Reader) *http.Response {
		req, err := http.NewRequestWithContext(w.Context(), method, w.url+path, body)
		if err != nil {
			w.Error(err)
			return nil
		}
		req.Header.Set("Authorization", "Bearer "+w.key)
		req.Header.Set("Revocast-Subscriber", name)
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return nil
		}
		return resp
	}
	resp := ask(http.MethodGet, "/v1/feed", nil)
	if resp == nil || resp.StatusCode != http.StatusOK {
		w.Fatal("subscribing failed")
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer resp.Body.Close()
		for event, err := range sse.Read(resp.Body, nil) {
			if err != nil {
				return
			}
			epoch, seq, ok := strings.Cut(event.LastEventID, ":")
			if event.Type != "record" || !ok {
				continue
			}
			answer := ask(http.MethodPost, "/v1/feed/report",
				strings.NewReader(fmt.Sprintf(`{"subscriber":%q,"epoch":%q,"applied":%s,"state":"fresh","nonce":"n"}`, name, epoch, seq)))
			if answer != nil {
				answer.Body.Close()
			}
		}
	}()
	return ended
}
