package test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/revocast/revocast/subscriber"
)

const patterns = "../docs/patterns"

// What the pages about patterns show is what the tests run: their Go is part
// of a file here, their requests and commands are accepted by a hub, their
// configuration by its check.
func TestPatternPages(t *testing.T) {
	w := newWorld(t)
	w.startHub()
	pages, err := filepath.Glob(patterns + "/*.md")
	w.must(err)
	index, err := os.ReadFile(patterns + "/README.md")
	w.must(err)
	sources := sourcesHere(t)
	for _, page := range pages {
		name := filepath.Base(page)
		if name != "README.md" && !strings.Contains(string(index), "("+name+")") {
			t.Errorf("%s: not in the index", name)
		}
		for _, code := range fenced(t, page, "go") {
			if strings.HasPrefix(code, "package ") {
				w.build(code)
			} else if !strings.Contains(sources, flat(code)) {
				t.Errorf("%s: this is in no Go file of the tests:\n%s", name, code)
			}
		}
		for _, body := range fenced(t, page, "json") {
			w.postAll(name, body)
		}
		for _, script := range fenced(t, page, "sh") {
			w.runAll(name, script)
		}
		for _, config := range fenced(t, page, "yaml") {
			file := filepath.Join(t.TempDir(), "hub.yaml")
			w.must(os.WriteFile(file, []byte(config), 0o600))
			if out, err := exec.Command(filepath.Join(bin, "hub"), "config", "check", "--config", file).CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", name, err, out)
			}
		}
	}
}

// A page that shows anything else is found out.
func TestPatternPagesAreCompared(t *testing.T) {
	sources := sourcesHere(t)
	if len(sources) < 10_000 || strings.Contains(sources, flat("func no"+"where() {}\n")) {
		t.Error("anything is found in the sources")
	}
	if strings.Contains(flat("if a {\n\tb()\n}"), flat("if a {\n\tc()\n}")) || !strings.Contains(flat("\tif a {\n\t\tb()\n\t}\n"), flat("if a {\n\tb()\n}\n")) {
		t.Error("lines are not compared")
	}
}

// sourcesHere are the Go files of this package and of the examples, without
// their indentation.
func sourcesHere(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, glob := range []string{"*.go", "../subscriber/*_test.go", "../cmd/demo-resource/*.go"} {
		files, err := filepath.Glob(glob)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			all.WriteString(flat(string(text)))
		}
	}
	return all.String()
}

// flat is a text without the indentation of its lines.
func flat(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		out.WriteString(strings.TrimSpace(line) + "\n")
	}
	return out.String()
}

// postAll posts each of the JSON values that is a revocation.
func (w *world) postAll(page, values string) {
	w.Helper()
	for d := json.NewDecoder(strings.NewReader(values)); ; {
		var body json.RawMessage
		if err := d.Decode(&body); err == io.EOF {
			return
		} else if err != nil {
			w.Errorf("%s: %v in\n%s", page, err, values)
			return
		}
		if !bytes.Contains(body, []byte(`"target"`)) {
			continue
		}
		if a, err := w.call("POST", "/v1/revocations", string(body)); err != nil || a.status != http.StatusCreated {
			w.Errorf("%s: %s\n%d %s %v", page, body, a.status, a.body, err)
		}
	}
}

// runAll runs each line that revokes something.
func (w *world) runAll(page, script string) {
	w.Helper()
	for line := range strings.Lines(script) {
		args := strings.Fields(line)
		if len(args) < 2 || args[0] != "hub" || args[1] != "revoke" {
			continue
		}
		cmd := exec.Command(filepath.Join(bin, "hub"), args[1:]...)
		cmd.Env = append(os.Environ(), "REVOCAST_HUB="+w.url(), "REVOCAST_KEY="+adminKey)
		if out, err := cmd.CombinedOutput(); err != nil {
			w.Errorf("%s: %s%v\n%s", page, line, err, out)
		}
	}
}

// serve serves an API that says who calls it, for tokens that are for orders.
func (w *world) serve(sub *subscriber.Subscriber) *httptest.Server {
	s := httptest.NewServer(sub.Protect(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		t, _ := subscriber.FromContext(r.Context())
		io.WriteString(rw, t.Claims.Subject)
	}), subscriber.Audience("orders")))
	w.Cleanup(s.Close)
	return s
}

// status is what an address answers to a token.
func (w *world) status(method, address, token string) int {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), method, address, nil)
	w.must(err)
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	w.must(err)
	resp.Body.Close()
	return resp.StatusCode
}

// served and refused say what an API has to do about tokens; a refusal may
// still be on its way.
func (w *world) served(api *httptest.Server, tokens ...string) {
	w.Helper()
	for _, t := range tokens {
		if got := w.status("GET", api.URL, t); got != http.StatusOK {
			w.Fatalf("a good token gets %d", got)
		}
	}
}

func (w *world) refused(api *httptest.Server, tokens ...string) {
	w.Helper()
	for _, t := range tokens {
		w.eventually("a revoked token is refused", func() bool { return w.status("GET", api.URL, t) == http.StatusUnauthorized })
	}
}

// mint makes a token of alice's for orders, for an hour, with more claims.
func (w *world) mint(more jwt.MapClaims) string {
	w.Helper()
	claims := jwt.MapClaims{
		"iss": issuer, "sub": "alice", "aud": "orders", "iat": time.Now().Add(-time.Minute).Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	}
	for name, v := range more {
		claims[name] = v
	}
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
	t.Header["kid"] = "k1"
	signed, err := t.SignedString(w.signer)
	w.must(err)
	return signed
}

// post sends the hub one revocation, as an issuer does it: again until it is
// acknowledged, under one key, so that it takes effect once.
func (w *world) post(key string, revocation map[string]any) {
	w.Helper()
	body, err := json.Marshal(revocation)
	w.must(err)
	w.eventually("the hub acknowledges", func() bool {
		req, err := http.NewRequestWithContext(w.Context(), "POST", w.url()+"/v1/revocations", bytes.NewReader(body))
		w.must(err)
		req.Header.Set("Authorization", "Bearer "+adminKey)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", key)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		if resp.StatusCode/100 == 4 {
			w.Fatalf("%s: %s %s", body, resp.Status, text)
		}
		return resp.StatusCode == http.StatusCreated
	})
}
