package hub_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/revocast/revocast/hub"
)

const (
	adminKey = "rvk_the-admin-key-of-the-tests-0123456789"
	subject  = `{"target":{"kind":"subject","iss":"https://issuer.example","value":"alice"},"reason":"logout"}`
)

// world is a hub that serves on listeners of its own.
type world struct {
	testing.TB
	cfg      hub.Config
	hub      *hub.Hub
	url, ops string
	client   *http.Client
	stop     context.CancelFunc
	served   chan error // what Serve returned
	log      *logged
}

func newWorld(t testing.TB, change ...func(*hub.Config)) *world {
	t.Helper()
	w := &world{TB: t, log: new(logged)}
	w.cfg = hub.Config{
		DataDir: t.TempDir() + "/data", AdminKey: adminKey, DangerouslySkipSync: true, Version: "test", MaxStore: 1 << 30,
		TickEvery: 50 * time.Millisecond, Heartbeat: 10 * time.Second, DrainWindow: 100 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&w.cfg)
	}
	w.client = &http.Client{Transport: &http.Transport{}}
	t.Cleanup(w.client.CloseIdleConnections)
	return w
}

// overEach runs a test over each protocol that a hub speaks; streams are
// carried differently over each. start opens a hub and serves it.
func overEach(t *testing.T, test func(t *testing.T, start func(*world))) {
	cert := httptest.NewUnstartedServer(nil)
	cert.StartTLS()
	defer cert.Close()
	roots := cert.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	secure := func(h2 bool) func(*world) {
		return func(w *world) {
			w.start(&tls.Config{Certificates: cert.TLS.Certificates})
			w.client.Transport = &http.Transport{ForceAttemptHTTP2: h2, TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "example.com"}}
			w.Cleanup(w.client.CloseIdleConnections)
		}
	}
	for name, start := range map[string]func(*world){
		"HTTP/1.1": func(w *world) { w.start(nil) }, "TLS": secure(false), "HTTP/2": secure(true),
	} {
		t.Run(name, func(t *testing.T) { test(t, start) })
	}
}

// start opens the hub and serves it.
func (w *world) start(secure *tls.Config) {
	w.Helper()
	h, err := hub.Open(w.Context(), w.cfg)
	if err != nil {
		w.Fatal(err)
	}
	w.serve(h, secure)
}

// serve serves a hub that is open.
func (w *world) serve(h *hub.Hub, secure *tls.Config) {
	w.Helper()
	w.hub = h
	api, ops := w.listen(), w.listen()
	w.url, w.ops = "http://"+api.Addr().String(), "http://"+ops.Addr().String()
	if secure != nil {
		w.url = "https://" + api.Addr().String()
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.stop, w.served = cancel, make(chan error, 1)
	done := make(chan struct{})
	served := w.served
	go func() {
		defer close(done)
		served <- h.Serve(ctx, api, ops, secure)
	}()
	w.Cleanup(func() {
		cancel()
		<-done
	})
	for h.Ready() != nil {
		time.Sleep(time.Millisecond)
	}
}

func (w *world) listen() net.Listener {
	w.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	return l
}

// mustStop ends Serve and returns what it says.
func (w *world) mustStop() error {
	w.Helper()
	w.stop()
	return w.ended()
}

func (w *world) ended() error {
	w.Helper()
	select {
	case err := <-w.served:
		return err
	case <-time.After(30 * time.Second):
		w.Fatal("Serve does not end")
		return nil
	}
}

// ask asks the API as an admin.
func (w *world) ask(method, path, body string) (int, string) {
	w.Helper()
	return w.send(method, w.url+path, body, adminKey)
}

func (w *world) send(method, url, body, key string) (int, string) {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), method, url, strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := w.client.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// must returns the decoded answer of the API.
func must[T any](w *world, method, path, body string, status int) (v T) {
	w.Helper()
	got, b := w.ask(method, path, body)
	if got != status {
		w.Fatalf("%s %s: %d %s", method, path, got, b)
	}
	if err := json.Unmarshal([]byte(b), &v); err != nil {
		w.Fatal(err)
	}
	return v
}

// hold begins a request and does not end it, so that a hub that is told to stop
// goes on serving, for as long as it waits for requests, until it is let go.
func (w *world) hold() (letGo func()) {
	w.Helper()
	body, rest := io.Pipe()
	req, err := http.NewRequestWithContext(w.Context(), "POST", w.url+"/v1/revocations", body)
	if err != nil {
		w.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminKey)
	req.Header.Set("Content-Type", "application/json")
	done := make(chan struct{})
	go func() {
		defer close(done)
		if resp, err := w.client.Do(req); err == nil { // whatever it answers
			resp.Body.Close()
		}
	}()
	if _, err := rest.Write([]byte(" ")); err != nil { // it is on its way
		w.Fatal(err)
	}
	letGo = sync.OnceFunc(func() { rest.Close(); <-done })
	w.Cleanup(letGo)
	return letGo
}

// stream opens the feed and returns its lines.
func (w *world) stream() <-chan string {
	w.Helper()
	lines, _ := w.open()
	return lines
}

// open is stream, and returns how to leave it.
func (w *world) open() (_ <-chan string, leave func()) {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, "GET", w.url+"/v1/feed", nil)
	if err != nil {
		w.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminKey)
	resp, err := w.client.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	lines := make(chan string, 10_000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(lines)
		for sc := bufio.NewScanner(resp.Body); sc.Scan(); {
			lines <- sc.Text()
		}
	}()
	leave = func() {
		cancel()
		resp.Body.Close()
		<-done
	}
	w.Cleanup(leave)
	return lines, leave
}

// logged is all that was logged.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
