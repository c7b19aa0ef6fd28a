package test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/internal/natstest"
	"github.com/revocast/revocast/subscriber"
)

// bin is where the programs under test are built, once.
var bin string

func TestMain(m *testing.M) {
	flag.Parse()
	playRole() // returns unless this is the child of a test
	dir, err := os.MkdirTemp("", "revocast-test-")
	if err != nil {
		panic(err)
	}
	bin = dir
	build := exec.Command("go", "build", "-o", dir, "../cmd/...")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the programs: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	http.DefaultClient.CloseIdleConnections()
	if err := natstest.Leaks(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

const (
	adminKey = "rvk_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
	issuer   = "https://issuer.example"
)

// world is a hub as a process of its own, an issuer, and subscribers in this
// process.
type world struct {
	testing.TB
	dir    string
	listen string
	ops    string
	args   []string    // more of the hub's
	trust  *tls.Config // if not nil, the hub is spoken to in TLS
	own    *ownHub     // if not nil, hubs are processes of this test binary
	hub    *exec.Cmd
	ended  chan struct{} // closed when that hub has ended
	exit   error         // how; set before ended is closed
	log    *output       // of the hub that runs now, or ran last
	signer ed25519.PrivateKey
	from   string // where raw readers begin to read; set before they are dialled
}

// output is what a process has written so far.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

func newWorld(t testing.TB) *world {
	w := &world{TB: t, dir: filepath.Join(t.TempDir(), "data"), listen: freeAddr(t), ops: freeAddr(t)}
	var err error
	_, w.signer, err = ed25519.GenerateKey(rand.Reader)
	w.must(err)
	t.Cleanup(w.stopHub)
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func freeAddr(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (w *world) url() string {
	if w.trust != nil {
		return "https://" + w.listen
	}
	return "http://" + w.listen
}

// client speaks to the hub.
func (w *world) client() *http.Client {
	if w.trust == nil {
		return http.DefaultClient
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: w.trust, DisableKeepAlives: true}}
}

// startHub starts the hub on the world's directory, with more flags if any are
// given, and waits until it serves.
func (w *world) startHub(flags ...string) {
	w.Helper()
	w.launchHub(flags...)
	w.eventually("the hub serves", func() bool {
		resp, err := w.call("GET", "/v1/status", "")
		return err == nil && resp.status == http.StatusOK
	})
}

// launchHub starts the hub and does not wait.
func (w *world) launchHub(flags ...string) {
	w.Helper()
	hub, ended := w.hubCommand(flags...), make(chan struct{})
	w.must(hub.Start())
	w.hub, w.ended = hub, ended
	go func() { // ends with the hub
		w.exit = hub.Wait()
		close(ended)
	}()
}

func (w *world) hubCommand(flags ...string) *exec.Cmd {
	w.log = new(output)
	cmd := exec.Command(filepath.Join(bin, "hub"), "--data", w.dir, "--listen", w.listen, "--ops-listen", w.ops)
	cmd.Args = slices.Concat(cmd.Args, w.args, flags)
	cmd.Env = append(os.Environ(), "REVOCAST_ADMIN_KEY="+adminKey)
	if w.own != nil {
		cmd = w.ownHubCommand()
	}
	cmd.Stdout, cmd.Stderr = w.log, w.log
	return cmd
}

// killHub is what a power cut is to a process.
func (w *world) killHub() {
	w.Helper()
	if err := w.hub.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		w.Fatal(err)
	}
	<-w.ended
	w.hub = nil
}

// stopHub stops the hub in good order.
func (w *world) stopHub() {
	if w.hub == nil {
		return
	}
	_ = w.hub.Process.Signal(os.Interrupt)
	select {
	case <-w.ended:
		if w.exit != nil {
			w.Errorf("the hub ended with %v\n%s", w.exit, w.log)
		}
	case <-time.After(30 * time.Second):
		w.killHub()
		w.Errorf("the hub did not stop\n%s", w.log)
	}
	w.hub = nil
}

// eventually waits for something that has no event to wait for.
func (w *world) eventually(what string, ok func() bool) {
	w.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("not within 30 s: %s", what)
		}
	}
}

type answer struct {
	status int
	body   []byte
}

// call sends one request to the hub as admin.
func (w *world) call(method, path, body string) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, w.url()+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+adminKey)
	req.Header.Set("Content-Type", "application/json")
	resp, err := w.client().Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, got}, err
}

// revoke revokes one target and returns the revocation's id.
func (w *world) revoke(kind events.Kind, value string) events.ID {
	w.Helper()
	a, err := w.call("POST", "/v1/revocations", order(kind, value))
	w.must(err)
	if a.status != http.StatusCreated {
		w.Fatalf("revoke: %d: %s", a.status, a.body)
	}
	return idOf(w, a.body)
}

func order(kind events.Kind, value string) string {
	return fmt.Sprintf(`{"target":{"kind":%q,"iss":%q,"value":%q},"reason":"logout"}`, kind, issuer, value)
}

func idOf(w *world, body []byte) events.ID {
	w.Helper()
	var res struct{ Revocations []struct{ ID events.ID } }
	w.must(json.Unmarshal(body, &res))
	return res.Revocations[0].ID
}

// audited returns how often each revocation's value stands in the audit.
func (w *world) audited() map[string]int {
	w.Helper()
	a, err := w.call("GET", "/v1/audit", "")
	w.must(err)
	if a.status != http.StatusOK {
		w.Fatalf("audit: %d: %s", a.status, a.body)
	}
	seen := make(map[string]int)
	for line := range bytes.Lines(a.body) {
		var op struct{ Target events.Target }
		w.must(json.Unmarshal(line, &op))
		seen[op.Target.Value]++
	}
	return seen
}

// position is where the hub is.
func (w *world) position() events.Position {
	w.Helper()
	a, err := w.call("GET", "/v1/status", "")
	w.must(err)
	var s struct {
		Epoch string
		Head  uint64
	}
	w.must(json.Unmarshal(a.body, &s))
	return events.Position{Epoch: s.Epoch, Seq: s.Head}
}

// subscribe starts a subscriber that trusts the world's issuer.
func (w *world) subscribe(change ...func(*subscriber.Config)) *subscriber.Subscriber {
	w.Helper()
	c := subscriber.Config{
		Hubs: []string{w.url()}, Credential: adminKey, Issuers: []subscriber.Issuer{w.issuer()},
		Logger: slog.New(slog.NewTextHandler(w.Output(), nil)),
	}
	for _, f := range change {
		f(&c)
	}
	s, err := subscriber.New(c)
	w.must(err)
	w.Cleanup(func() { s.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	w.must(s.WaitReady(ctx))
	return s
}

func (w *world) issuer() subscriber.Issuer {
	x := base64.RawURLEncoding.EncodeToString(w.signer.Public().(ed25519.PublicKey))
	return subscriber.Issuer{
		Iss: issuer, Algorithms: []string{"EdDSA"},
		Keys: fmt.Appendf(nil, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k1","x":%q}]}`, x),
	}
}

// token mints a token.
func (w *world) token(jti string) string {
	w.Helper()
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
		"iss": issuer, "sub": "alice", "jti": jti, "aud": "orders",
		"iat": time.Now().Add(-time.Minute).Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	})
	t.Header["kid"] = "k1"
	signed, err := t.SignedString(w.signer)
	w.must(err)
	return signed
}

// revokedIn asks a subscriber about a jti.
func revokedIn(s *subscriber.Subscriber, jti string) subscriber.Verdict {
	return s.Check(events.Claims{Issuer: issuer, ID: jti, IssuedAt: time.Now().UnixMilli()})
}
