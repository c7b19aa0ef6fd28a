package api_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/api"
	"github.com/revocast/revocast/hub/feed"
	"github.com/revocast/revocast/hub/log"
	"github.com/revocast/revocast/internal/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// quiet is for what complains because a test makes it.
var quiet = slog.New(slog.DiscardHandler)

const (
	adminKey = "rvk_the-admin-key-of-the-tests-0123456789"
	ours     = "https://issuer.example"
	theirs   = "https://other.example"
)

// world is a log, a feed and the interface, served over HTTP. All of it ends
// with the test, and all but the API is on disk.
type world struct {
	testing.TB
	dir     string
	setup   setup
	log     *log.Log
	feed    *feed.Feed
	url     string
	server  *httptest.Server
	stop    func()
	ring    []byte // what the keyring saved last
	clients http.Client
	logged  *logged
}

// setup is what a test may want otherwise.
type setup struct {
	issuers   []token.Issuer
	retention time.Duration
	api       api.Config
	feed      feed.Config
}

func newWorld(t testing.TB, change ...func(*setup)) *world {
	t.Helper()
	s := setup{retention: 90 * 24 * time.Hour}
	s.api.Heartbeat = 50 * time.Millisecond
	// A hub is not ready some time after a tick was due, and the heartbeat is a
	// part of that: long, so that no stall of the machine comes into it.
	s.feed.TickEvery, s.feed.Heartbeat = 100*time.Millisecond, 10*time.Second
	for _, f := range change {
		f(&s)
	}
	w := &world{TB: t, dir: t.TempDir(), setup: s, logged: new(logged)}
	w.clients.Transport = &http.Transport{}
	w.start()
	t.Cleanup(func() { w.stop() })
	return w
}

// withIssuers configures two issuers who sign with HS256.
func withIssuers(s *setup) {
	for _, iss := range []string{ours, theirs} {
		s.issuers = append(s.issuers, token.Issuer{Iss: iss, Algorithms: []string{"HS256"}, Keys: jwks(iss)})
	}
}

func secretOf(iss string) []byte { return fmt.Appendf(nil, "%-32s", "the secret of "+iss) }

func jwks(iss string) []byte {
	return fmt.Appendf(nil, `{"keys":[{"kty":"oct","kid":"k1","k":%q}]}`, base64.RawURLEncoding.EncodeToString(secretOf(iss)))
}

func (w *world) start() {
	w.Helper()
	must := func(err error) {
		w.Helper()
		if err != nil {
			w.Fatal(err)
		}
	}
	srv, err := log.StartServer(log.ServerConfig{Dir: w.dir, MaxStore: 1 << 30, Logger: quiet, DangerouslySkipSync: true})
	must(err)
	nc, err := srv.Connect()
	must(err)
	l, err := log.Open(w.Context(), nc, log.Config{Feed: "default", Retention: w.setup.retention, Logger: quiet})
	must(err)
	w.log = l
	signing, err := events.NewSigningKey(rand.Reader)
	must(err)
	fc := w.setup.feed
	fc.Log, fc.Keys, fc.Logger = l, signing, quiet
	ac := w.setup.api
	ac.Logger = slog.New(slog.NewTextHandler(w.logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if len(w.setup.issuers) > 0 {
		ac.Tokens, err = token.New(w.setup.issuers, token.Options{Logger: quiet})
		must(err)
		fc.Issuer = func(iss string) (time.Duration, time.Duration, bool) {
			i, ok := ac.Tokens.Issuer(iss)
			return i.MaxTokenLifetime, i.Skew, ok
		}
	}
	w.feed, err = feed.Open(w.Context(), fc)
	must(err)
	for w.feed.Ready() != nil { // the first tick is on its way
		time.Sleep(time.Millisecond)
	}
	ac.Keys, _, err = api.NewKeyring(func(change func([]byte) ([]byte, error)) error {
		next, err := change(w.ring)
		if err == nil {
			w.ring = next
		}
		return err
	}, nil, adminKey)
	must(err)
	ac.Feed, ac.Version, ac.HubKeys, ac.Signing = w.feed, "test", []string{signing.ID()}, signing
	w.server = httptest.NewServer(api.New(ac))
	w.url = w.server.URL
	w.stop = sync.OnceFunc(func() {
		w.clients.CloseIdleConnections()
		w.server.CloseClientConnections()
		w.server.Close()
		w.feed.Close()
		if ac.Tokens != nil {
			ac.Tokens.Close()
		}
		l.Close()
		nc.Close()
		srv.Shutdown()
	})
}

// restart stops everything and starts it on the same directory.
func (w *world) restart() {
	w.Helper()
	w.stop()
	w.start()
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

// got is an answer.
type got struct {
	testing.TB
	what   string // was asked
	status int
	header http.Header
	body   []byte
}

// ask makes a request with headers "Name: value"; the admin key is the
// credential unless one of them is another.
func (w *world) ask(method, path, body string, headers ...string) *got {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminKey)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if value == "" {
			req.Header.Del(name)
		} else {
			req.Header.Set(name, value)
		}
	}
	return w.do(req)
}

func (w *world) do(req *http.Request) *got {
	w.Helper()
	resp, err := w.clients.Do(req)
	if err != nil {
		w.Fatalf("%s %s: %v", req.Method, req.URL.Path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.Fatalf("%s %s: %v", req.Method, req.URL.Path, err)
	}
	return &got{w, req.Method + " " + req.URL.RequestURI(), resp.StatusCode, resp.Header, b}
}

func with(key string) string { return "Authorization: Bearer " + key }

// must returns the decoded body of an answer with a status.
func must[T any](g *got, status int) (v T) {
	g.Helper()
	if g.status != status {
		g.Fatalf("%s: status %d, want %d: %s", g.what, g.status, status, g.body)
	}
	if err := json.Unmarshal(g.body, &v, json.RejectUnknownMembers(true)); err != nil {
		g.Fatalf("%s: %v: %s", g.what, err, g.body)
	}
	return v
}

// problem checks that an answer is a problem, whole and as promised.
func (g *got) problem(status int, code api.Code, field string) api.Problem {
	g.Helper()
	if t := g.header.Get("Content-Type"); t != api.ProblemType {
		g.Fatalf("%s: %d of type %q, want a problem: %.200s", g.what, g.status, t, g.body)
	}
	p := must[api.Problem](g, g.status)
	if g.status != status || p.Status != status || p.Code != code || p.Field != field {
		g.Errorf("%s:\n got %d %s field %q: %s\nwant %d %s field %q", g.what, g.status, p.Code, p.Field, p.Detail, status, code, field)
	}
	if p.Type != "urn:revocast:problem:"+string(p.Code) || p.Title == "" {
		g.Errorf("%s: %s", g.what, g.body)
	}
	if g.header.Get("X-Content-Type-Options") != "nosniff" || g.header.Get("Cache-Control") != "no-store" {
		g.Errorf("%s: headers %v", g.what, g.header)
	}
	return p
}

// revocation writes a request for one revocation.
func revocation(kind, iss, value, more string) string {
	t := fmt.Sprintf(`"kind":%q,"iss":%q`, kind, iss)
	if value != "" {
		t += fmt.Sprintf(`,"value":%q`, value)
	}
	if !strings.Contains(more, `"reason"`) {
		more += `,"reason":"logout"`
	}
	return `{"target":{` + t + `}` + more + `}`
}

// mustRevoke revokes and returns the ids.
func (w *world) mustRevoke(body string, headers ...string) api.RevokeAnswer {
	w.Helper()
	return must[api.RevokeAnswer](w.ask("POST", "/v1/revocations", body, headers...), 201)
}

func (w *world) revokeOne(kind, iss, value string) events.ID {
	w.Helper()
	return w.mustRevoke(revocation(kind, iss, value, "")).Revocations[0].ID
}

// newKey makes a key. more is JSON after the name, such as "roles".
func (w *world) newKey(name, more string) api.NewKey {
	w.Helper()
	return must[api.NewKey](w.ask("POST", "/v1/keys", fmt.Sprintf(`{"name":%q,%s}`, name, more)), 201)
}

// audit returns the whole audit.
func (w *world) audit(headers ...string) []api.AuditLine {
	w.Helper()
	return lines(w.ask("GET", "/v1/audit", "", headers...))
}

func lines(g *got) []api.AuditLine {
	g.Helper()
	if g.status != 200 || g.header.Get("Content-Type") != api.AuditType {
		g.Fatalf("%s: %d %s", g.what, g.status, g.body)
	}
	var list []api.AuditLine
	for line := range bytes.Lines(g.body) {
		var l api.AuditLine
		if err := json.Unmarshal(line, &l, json.RejectUnknownMembers(true)); err != nil {
			g.Fatalf("%v: %s", err, line)
		}
		list = append(list, l)
	}
	return list
}

// sign makes a token of an issuer, valid for ten minutes from now.
func sign(iss string, more map[string]any) string {
	now := time.Now()
	c := jwt.MapClaims{"iss": iss, "sub": "alice", "jti": rand.Text(), "iat": now.Unix() - 1, "exp": now.Add(10 * time.Minute).Unix()}
	for k, v := range more {
		c[k] = v
	}
	t := jwt.NewWithClaims(jwt.SigningMethodHS256, c)
	t.Header["kid"] = "k1"
	raw, err := t.SignedString(secretOf(iss))
	if err != nil {
		panic(err)
	}
	return raw
}

// event is a server-sent event; a comment has no name.
type event struct{ name, data, id string }

// stream is an open stream of server-sent events.
type stream struct {
	testing.TB
	events chan event // closed at the end
	resp   *http.Response
}

// open opens a stream, which is closed when the test ends.
func (w *world) open(path string, headers ...string) *stream {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, "GET", w.url+path, nil)
	if err != nil {
		w.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminKey)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := w.clients.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		b, _ := io.ReadAll(resp.Body)
		w.Fatalf("%s: %s: %s", path, resp.Status, b)
	}
	s := &stream{w, make(chan event), resp}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.read(ctx)
	}()
	w.Cleanup(func() {
		cancel()
		resp.Body.Close()
		<-done
	})
	return s
}

func (s *stream) read(ctx context.Context) {
	defer close(s.events)
	var e event
	sc := bufio.NewScanner(s.resp.Body)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		name, value, _ := strings.Cut(sc.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case sc.Text() == "":
			select {
			case s.events <- e:
			case <-ctx.Done():
				return
			}
			e = event{}
		case name == "event":
			e.name = value
		case name == "data":
			e.data = value
		case name == "id":
			e.id = value
		}
	}
}

// next returns the next event of a name; "" takes a comment.
func (s *stream) next(name string) event {
	s.Helper()
	late := time.After(10 * time.Second)
	for {
		select {
		case e, ok := <-s.events:
			if !ok {
				s.Fatalf("the stream ended before an event %q", name)
			}
			if e.name == name {
				return e
			}
		case <-late:
			s.Fatalf("no event %q", name)
		}
	}
}

// mustEnd waits for the end of the stream.
func (s *stream) mustEnd() {
	s.Helper()
	late := time.After(20 * time.Second)
	for {
		select {
		case _, ok := <-s.events:
			if !ok {
				return
			}
		case <-late:
			s.Fatal("the stream does not end")
		}
	}
}
