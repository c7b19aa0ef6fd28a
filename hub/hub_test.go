package hub_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/golang-jwt/jwt/v5"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/hub"
	"github.com/revocast/revocast/hub/api"
	"github.com/revocast/revocast/hub/log"
	"github.com/revocast/revocast/internal/token"
)

// The first start makes an admin key, the second does not, and both have the
// same keys, revocations and audit.
func TestRestart(t *testing.T) {
	w := newWorld(t, func(c *hub.Config) { c.AdminKey = "" })
	w.start(nil)
	key := w.hub.NewAdminKey()
	if !strings.HasPrefix(key, "rvk_") {
		t.Fatalf("admin key %q", key)
	}
	ask := func(method, path, body string) string {
		t.Helper()
		status, b := w.send(method, w.url+path, body, key)
		if status >= 300 {
			t.Fatalf("%s %s: %d %s", method, path, status, b)
		}
		return b
	}
	ask("POST", "/v1/revocations", subject)
	ask("POST", "/v1/keys", `{"name":"ci","roles":["audit"]}`)
	var before []string
	pages := []string{"/v1/revocations", "/v1/audit", "/v1/keys"}
	for _, page := range pages {
		before = append(before, ask("GET", page, ""))
	}
	kid := w.statusAs(key).HubKeys[0]
	if err := w.mustStop(); err != nil {
		t.Fatal(err)
	}

	w.start(nil)
	if again := w.hub.NewAdminKey(); again != "" {
		t.Error("another admin key")
	}
	for i, page := range pages {
		if after := ask("GET", page, ""); after != before[i] {
			t.Errorf("%s:\nbefore %s\nafter  %s", page, before[i], after)
		}
	}
	if again := w.statusAs(key).HubKeys[0]; again != kid {
		t.Errorf("hub key %s, was %s", again, kid)
	}
	if strings.Contains(w.log.String(), key) {
		t.Error("the admin key is in the log")
	}
	for _, name := range []string{"keys.json", "signing.key"} {
		info, err := os.Stat(filepath.Join(w.cfg.DataDir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
	if info, err := os.Stat(w.cfg.DataDir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("data directory: %v %v", info.Mode(), err)
	}

	// A key that is given takes the place of the one that was made.
	if err := w.mustStop(); err != nil {
		t.Fatal(err)
	}
	w.cfg.AdminKey = adminKey
	w.start(nil)
	if made := w.hub.NewAdminKey(); made != "" {
		t.Error("another admin key")
	}
	if status, _ := w.send("GET", w.url+"/v1/keys", "", key); status != 401 {
		t.Errorf("the old key: %d", status)
	}
	if status, _ := w.ask("GET", "/v1/keys", ""); status != 200 {
		t.Errorf("the new key: %d", status)
	}
}

func (w *world) statusAs(key string) (s api.Status) {
	w.Helper()
	_, b := w.send("GET", w.url+"/v1/status", "", key)
	if err := json.Unmarshal([]byte(b), &s); err != nil {
		w.Fatal(err)
	}
	return s
}

// The end: the hub says that it is not ready, sends its subscribers away, and
// answers others meanwhile; then Serve returns nil.
func TestDrain(t *testing.T) {
	overEach(t, func(t *testing.T, start func(*world)) {
		w := newWorld(t, func(c *hub.Config) { c.DrainWindow = 500 * time.Millisecond })
		start(w)
		if status, body := w.send("GET", w.ops+"/readyz", "", ""); status != 200 || body != "ok\n" {
			t.Errorf("readyz: %d %s", status, body)
		}
		streams := []<-chan string{w.stream(), w.stream(), w.stream()}
		for _, s := range streams {
			if line := <-s; line != "event: hello" {
				t.Fatal(line)
			}
		}
		letGo := w.hold()
		w.stop()
		for w.hub.Ready() == nil {
			time.Sleep(time.Millisecond)
		}
		if status, body := w.send("GET", w.ops+"/readyz", "", ""); status != 503 || body != "draining\n" {
			t.Errorf("readyz: %d %s", status, body)
		}
		if status, _ := w.send("GET", w.ops+"/livez", "", ""); status != 200 {
			t.Errorf("livez: %d", status)
		}
		letGo()
		for _, s := range streams {
			bye := false
			for line := range s {
				bye = bye || line == "event: bye"
			}
			if !bye {
				t.Error("a stream ended without a bye")
			}
		}
		if err := w.ended(); err != nil {
			t.Error(err)
		}
		if _, err := net.Dial("tcp", w.url[strings.LastIndex(w.url, "/")+1:]); err == nil {
			t.Error("somebody listens still")
		}
		w.hub.Close() // does nothing
		if w.hub.Ready() == nil {
			t.Error("ready when it is closed")
		}
	})
}

// While the last subscribers leave, the hub still takes revocations, and no
// new streams.
// The hub signs with the key of its ticks, under the name that it is given.
func TestSignedAnswers(t *testing.T) {
	w := newWorld(t, func(c *hub.Config) { c.Iss = "https://hub.example" })
	w.start(nil)
	set := must[api.JWKSet](w, "GET", "/.well-known/jwks.json", "", 200)
	status := must[api.Status](w, "GET", "/v1/status", "", 200)
	if len(set.Keys) != 1 || set.Keys[0].KeyID != status.HubKeys[0] || set.Keys[0].Validate() != nil {
		t.Errorf("%+v, and %v", set, status.HubKeys)
	}
	req, _ := http.NewRequestWithContext(t.Context(), "POST", w.url+"/oauth2/introspect", strings.NewReader("token=x"))
	req.SetBasicAuth("admin", adminKey)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", api.IntrospectionType)
	resp, err := w.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	var claims jwt.MapClaims
	if _, _, err := jwt.NewParser().ParseUnverified(string(b), &claims); err != nil || claims["iss"] != "https://hub.example" {
		t.Errorf("%d %s: %v", resp.StatusCode, b, err)
	}
}

func TestDrainAnswers(t *testing.T) {
	overEach(t, func(t *testing.T, start func(*world)) {
		t.Parallel()
		w := newWorld(t, func(c *hub.Config) { c.DrainWindow = 6 * time.Second })
		start(w)
		for range 20 {
			<-w.stream()
		}
		w.stop()
		for w.hub.Ready() == nil {
			time.Sleep(time.Millisecond)
		}
		must[api.RevokeAnswer](w, "POST", "/v1/revocations", subject, 201)
		if status, body := w.ask("GET", "/v1/feed", ""); status != 503 || !strings.Contains(body, `"draining"`) {
			t.Errorf("%d %s", status, body)
		}
		if err := w.ended(); err != nil {
			t.Error(err)
		}
	})
}

// When the log is not the history that it was, the hub says so and ends; it
// never goes on as if nothing had happened.
func TestLogFails(t *testing.T) {
	overEach(t, func(t *testing.T, start func(*world)) {
		w := newWorld(t)
		start(w)
		must[api.RevokeAnswer](w, "POST", "/v1/revocations", subject, 201)
		lines := w.stream()
		nc, err := w.hub.LogServer().Connect()
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		letGo := w.hold()
		if err := js.DeleteStream(t.Context(), "REVOCAST_default"); err != nil {
			t.Fatal(err)
		}
		<-w.hub.Failed()
		if status, body := w.send("GET", w.ops+"/readyz", "", ""); status != 503 || !strings.Contains(body, "recreated") {
			t.Errorf("readyz: %d %s", status, body)
		}
		letGo()
		// Its listener may be closed by now; what it would say is the same.
		req := httptest.NewRequest("POST", "/v1/revocations", strings.NewReader(subject))
		req.Header.Set("Authorization", "Bearer "+adminKey)
		req.Header.Set("Content-Type", "application/json")
		answer := httptest.NewRecorder()
		if w.hub.Handler().ServeHTTP(answer, req); answer.Code < 500 {
			t.Errorf("%d %s", answer.Code, answer.Body)
		}
		for range lines { // ends
		}
		if h := (*log.HistoryError)(nil); !errors.As(w.ended(), &h) || h.Fault != log.Recreated || !errors.As(w.hub.Err(), &h) {
			t.Errorf("Serve ended with another reason: %v", w.hub.Err())
		}
	})
}

func TestServeFails(t *testing.T) {
	w := newWorld(t)
	h, err := hub.Open(t.Context(), w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	l := w.listen()
	l.Close()
	if err := h.Serve(t.Context(), l, nil, nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve: %v", err)
	}
	w.start(nil) // the directory is free again
}

func TestOps(t *testing.T) {
	w := newWorld(t)
	w.start(nil)
	must[api.RevokeAnswer](w, "POST", "/v1/revocations", subject, 201)
	status, body := w.send("GET", w.ops+"/metrics", "", "")
	for _, want := range []string{
		`revocast_build_info{version="test"} 1`, "revocast_ready 1", "revocast_insecure_mode 1", "revocast_log_head_seq 1",
		`revocast_http_requests_total{method="POST",route="/v1/revocations",status="201"} 1`, "go_goroutines", "revocast_last_tick_timestamp_seconds",
	} {
		if status != 200 || !strings.Contains(body, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if strings.Contains(body, "alice") {
		t.Error("an identifier is in the metrics")
	}
	for _, path := range []string{"/", "/v1/status", "/debug/pprof/"} {
		if status, _ := w.send("GET", w.ops+path, "", adminKey); status != 404 {
			t.Errorf("ops %s: %d", path, status)
		}
	}
	for _, path := range []string{"/livez", "/readyz", "/metrics"} {
		if status, _ := w.ask("GET", path, ""); status != 404 {
			t.Errorf("API %s: %d", path, status)
		}
	}
}

// Streams and requests work over each protocol, side by side.
func TestProtocols(t *testing.T) {
	overEach(t, func(t *testing.T, start func(*world)) {
		w := newWorld(t)
		start(w)
		lines := w.stream()
		must[api.RevokeAnswer](w, "POST", "/v1/revocations?wait=applied", subject, 201)
		for line := range lines {
			if line == "event: record" {
				break
			}
		}
		status, body := w.ask("POST", "/v1/revocations", strings.Repeat(" ", api.MaxBody+1))
		if status != 413 {
			t.Errorf("%d %s", status, body)
		}
		w.stop()
		bye := false
		for line := range lines {
			bye = bye || line == "event: bye"
		}
		if err := w.ended(); err != nil || !bye {
			t.Errorf("%v, bye %v", err, bye)
		}
	})
}

// More connections than allowed wait until there is room, and a stream that
// ends makes some.
func TestMaxConnections(t *testing.T) {
	overEach(t, func(t *testing.T, start func(*world)) {
		w := newWorld(t, func(c *hub.Config) { c.MaxConnections, c.MaxConnectionsPerAddress = 2, 2 })
		start(w)
		one, leave := w.open()
		<-one
		if strings.HasSuffix(t.Name(), "/HTTP/2") {
			for range 3 { // there all streams are on one connection
				<-w.stream()
			}
			return
		}
		<-w.stream()
		w.client.Timeout = 200 * time.Millisecond
		req, _ := http.NewRequestWithContext(t.Context(), "GET", w.url+"/v1/status", nil)
		if resp, err := w.client.Do(req); err == nil {
			resp.Body.Close()
			t.Error("a third connection was served")
		}
		w.client.Timeout = 0
		leave()
		<-w.stream()
	})
}

func TestOpenRefuses(t *testing.T) {
	hs := func(life time.Duration) token.Issuer {
		return token.Issuer{Iss: "https://issuer.example", Algorithms: []string{"HS256"}, MaxTokenLifetime: life,
			Keys: []byte(`{"keys":[{"kty":"oct","kid":"k1","k":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]}`)}
	}
	for name, c := range map[string]struct {
		change func(*hub.Config)
		want   string
	}{
		"no directory":        {func(c *hub.Config) { c.DataDir = "" }, "data directory"},
		"a weak admin key":    {func(c *hub.Config) { c.AdminKey = "hunter2" }, "admin key"},
		"iss with a LF":       {func(c *hub.Config) { c.Iss = "https://hub\n" }, "the hub's own iss"},
		"a short retention":   {func(c *hub.Config) { c.Retention = time.Hour }, "retention is 1h0m0s"},
		"shorter than token":  {func(c *hub.Config) { c.Retention = 40 * time.Hour; c.Issuers = []token.Issuer{hs(41 * time.Hour)} }, "live up to 41h"},
		"an issuer's mistake": {func(c *hub.Config) { c.Issuers = []token.Issuer{{Iss: "https://x", JWKSURI: "ftp://x"}} }, "JWKSURI"},
		"an issuer's name":    {func(c *hub.Config) { c.Issuers = []token.Issuer{{Iss: "a b", JWKSURI: "https://x"}} }, "spaces"},
		"a negative time":     {func(c *hub.Config) { c.DrainWindow = -1 }, "drain window"},
		"a file in its place": {func(c *hub.Config) { os.WriteFile(c.DataDir, nil, 0o600) }, "data"},
		"a damaged key": {func(c *hub.Config) {
			os.Mkdir(c.DataDir, 0o700)
			os.WriteFile(c.DataDir+"/signing.key", []byte("x"), 0o600)
		}, "not a signing key"},
		"a damaged keyring": {func(c *hub.Config) {
			os.Mkdir(c.DataDir, 0o700)
			os.WriteFile(c.DataDir+"/keys.json", []byte("{"), 0o600)
		}, "keyring"},
		"an empty keyring": {func(c *hub.Config) { os.Mkdir(c.DataDir, 0o700); os.WriteFile(c.DataDir+"/keys.json", nil, 0o600) }, "keyring"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c.change(&w.cfg)
			h, err := hub.Open(t.Context(), w.cfg)
			if err == nil {
				h.Close()
				t.Fatal("it opens")
			}
			if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v, want something about %q", err, c.want)
			}
		})
	}
}

func TestOneProcess(t *testing.T) {
	w := newWorld(t)
	w.start(nil)
	if _, err := hub.Open(t.Context(), w.cfg); !errors.Is(err, log.ErrLocked) {
		t.Errorf("%v", err)
	}
	os.Chmod(w.cfg.DataDir, 0o755)
	if err := w.mustStop(); err != nil {
		t.Fatal(err)
	}
	w.start(nil)
	if !strings.Contains(w.log.String(), "others may look into the data directory") {
		t.Error("it says nothing about a directory that others may read")
	}
}
