package test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/revocast/revocast/events"
)

// The README's program is built as it stands there, but for its addresses, and
// run: it serves a token, and after a revocation refuses it.
func TestReadmeProgram(t *testing.T) {
	blocks := fenced(t, "../README.md", "go")
	if len(blocks) != 1 {
		t.Fatalf("the README has %d Go programs, want 1", len(blocks))
	}
	w := newWorld(t)
	w.startHub()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	w.must(err)
	jwks := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(rw, `{"keys":[{"kty":"RSA","kid":"k1","n":%q,"e":"AQAB"}]}`, base64.RawURLEncoding.EncodeToString(key.N.Bytes()))
	}))
	defer jwks.Close()
	listen := freeAddr(t)
	program := blocks[0]
	for from, to := range map[string]string{
		`"http://127.0.0.1:8080"`:            fmt.Sprintf("%q", w.url()),
		`"127.0.0.1:8000"`:                   fmt.Sprintf("%q", listen),
		`"https://issuer.example/jwks.json"`: fmt.Sprintf("%q", jwks.URL),
	} {
		if strings.Count(program, from) != 1 {
			t.Fatalf("the README's program has no %s to replace", from)
		}
		program = strings.Replace(program, from, to, 1)
	}
	cmd := exec.Command(w.build(program))
	cmd.Env = append(os.Environ(), "REVOCAST_KEY="+adminKey)
	w.must(cmd.Start())
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()

	token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"iss": issuer, "sub": "alice", "jti": "t1", "aud": "orders", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	})
	token.Header["kid"] = "k1"
	signed, err := token.SignedString(key)
	w.must(err)
	get := func() (int, string) {
		req, _ := http.NewRequest("GET", "http://"+listen+"/orders", nil)
		req.Header.Set("Authorization", "Bearer "+signed)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	var body string
	w.eventually("a good token is served", func() bool {
		code, b := get()
		body = b
		return code == 200
	})
	if body != "orders of alice" {
		t.Errorf("got %q", body)
	}
	w.revoke(events.KindToken, "t1")
	w.eventually("the revoked token is refused", func() bool { code, _ := get(); return code == 401 })
}

// The README's hub commands are ones that the hub has.
func TestReadmeCommandsExist(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)(?:\./cmd/hub|\bhub) (revoke|restore|list|tail|status|key create|[a-z]+)(?: |$|`+"`"+`)`).FindAllStringSubmatch(string(text), -1)
	known := map[string]bool{"revoke": true, "restore": true, "list": true, "tail": true, "status": true, "key create": true}
	seen := 0
	for _, m := range found {
		if !known[m[1]] {
			continue // a word of prose
		}
		seen++
		args := append(strings.Fields(m[1]), "--help")
		if out, err := exec.Command(filepath.Join(bin, "hub"), args...).CombinedOutput(); err != nil {
			t.Errorf("hub %s: %v\n%s", m[1], err, out)
		}
	}
	if seen < 6 {
		t.Errorf("found %d commands in the README, want at least 6: the test no longer sees them", seen)
	}
}

// build builds a program and returns the path of it.
func (w *world) build(program string) (exe string) {
	w.Helper()
	dir, err := os.MkdirTemp(".", "_program-") // in the module, and passed over by ./...
	w.must(err)
	defer os.RemoveAll(dir)
	w.must(os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o600))
	exe = filepath.Join(w.TempDir(), "program")
	if out, err := exec.Command("go", "build", "-o", exe, "./"+dir).CombinedOutput(); err != nil {
		w.Fatalf("%v\n%s", err, out)
	}
	return exe
}

// fenced returns the blocks of a page that are in a language.
func fenced(t *testing.T, page, language string) []string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}
