package main

import (
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/revocast/revocast/hub/api"
)

func TestTheFirstStartShowsTheKeyAndTheNextOneDoesNot(t *testing.T) {
	w := newWorld(t)
	first := w.serve()
	out := first.out.String()
	mustShow(t, out, "shown this once", "export REVOCAST_KEY="+w.key, "export REVOCAST_HUB="+w.url,
		"revoke subject alice --iss https://issuer.example --reason logout", "\n  ops  http://127.0.0.1:")
	if strings.Contains(first.err.String(), w.key) {
		t.Error("the key is in the log")
	}
	// What it says to try works.
	w.do("revoke", "subject", "alice", "--iss", iss, "--reason", "logout")
	if code := first.end(syscall.SIGTERM); code != 0 {
		t.Fatalf("exit code %d", code)
	}

	key := w.key
	second := w.serve()
	out = second.out.String()
	mustShow(t, out, "The admin key was made at the first start", "hub key create", "REVOCAST_ADMIN_KEY")
	if strings.Contains(out+second.err.String(), "rvk_") {
		t.Errorf("a key is shown again:\n%s", out)
	}
	if w.key = key; !strings.Contains(w.do("list"), "alice") {
		t.Error("the key or the revocation of the first start is gone")
	}
	if code := second.end(syscall.SIGINT); code != 0 {
		t.Fatalf("exit code %d", code)
	}
}

func TestAnAdminKeyFromTheEnvironmentIsNotShown(t *testing.T) {
	w := newWorld(t)
	key := "rvk_0123456789abcdefghijklmnopqrstuvwxyz"
	hub := w.with("REVOCAST_ADMIN_KEY=" + key)
	p := hub.serve()
	mustShow(t, p.out.String(), "The admin key is the one in REVOCAST_ADMIN_KEY")
	if strings.Contains(p.out.String()+p.err.String(), key) {
		t.Error("the key is shown")
	}
	w.url = hub.url
	w.as(key).do("status")

	w.with("REVOCAST_ADMIN_KEY=short").run("", "--data", "other", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0").
		exits(1).says("admin key: want rvk_ and 32 to 256").keeps("short\n")
	w.with("REVOCAST_ADMIN_KEY=").run("", "--data", "other").exits(2).says("REVOCAST_ADMIN_KEY is set but empty")
}

func TestStoppingSendsSubscribersAway(t *testing.T) {
	w := newWorld(t)
	p := w.serve()
	gone := w.subscribe("orders-1")
	if code := p.end(syscall.SIGTERM); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, p.err.String())
	}
	<-gone
	mustShow(t, p.err.String(), "draining")
}

func TestASecondSignalStopsAtOnce(t *testing.T) {
	w := newWorld(t)
	p := w.serve("--drain", "10m")
	w.subscribe("orders-1")
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	w.until(p, "it drains", func() bool { return strings.Contains(p.err.String(), "draining") })
	// It says so before it stops to listen to signals.
	w.until(nil, "another signal ends it", func() bool {
		_ = p.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.done:
			return true
		case <-time.After(100 * time.Millisecond):
			return false
		}
	})
	if code := p.ProcessState.ExitCode(); code != -1 {
		t.Fatalf("exit code %d, want the signal to have killed it", code)
	}
}

func TestKillingTheHubLosesNothing(t *testing.T) {
	w := newWorld(t)
	p := w.serve()
	made := parse[api.RevokeAnswer](t, w.do("revoke", "session", "s-9", "--iss", iss, "--json"))
	p.end(syscall.SIGKILL)

	key := w.key
	w.serve()
	w.key = key
	list := parse[api.RevocationList](t, w.do("list", "--json"))
	if len(list.Revocations) != 1 || list.Revocations[0].ID != made.Revocations[0].ID {
		t.Fatalf("after the kill: %+v, want %s", list, made.Revocations[0].ID)
	}
}

func TestTwoHubsDoNotShareADirectoryOrAnAddress(t *testing.T) {
	w := newWorld(t)
	w.serve()
	other := newestOf(w)
	other.run("", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0").exits(1).
		says("the data directory ./revocast-data is in use by another hub", "--data")
	other.run("", "--data", "elsewhere", "--listen", w.addr(), "--ops-listen", "127.0.0.1:0").exits(1).
		says("--listen "+w.addr(), "something listens there already")
	if _, err := os.Stat(w.dir + "/elsewhere"); err == nil {
		t.Error("a hub that could not listen has made its directory, and so its admin key")
	}
}

// newestOf is the world for one who starts a hub, and does not ask one.
func newestOf(w *world) *world {
	other := *w
	other.url, other.key = "", ""
	return &other
}

func TestWithoutTLSAnOpenAddressIsWarnedOf(t *testing.T) {
	w := newWorld(t)
	p := w.serve("--listen", "0.0.0.0:0")
	w.until(p, "the warning", func() bool { return strings.Contains(p.err.String(), "NO TLS") })
	mustShow(t, p.err.String(), "in the clear", "--tls-cert")
	mustShow(t, w.url, "http://localhost:")
	w.do("status")
}

func TestTLS(t *testing.T) {
	w := newWorld(t)
	cert, key := makeCertificate(t, w.dir)
	w.run("", "--tls-cert", cert).exits(2).says("--tls-cert and --tls-key go together")
	p := w.serve("--tls-cert", cert, "--tls-key", key, "--listen", "0.0.0.0:0")
	mustShow(t, w.url, "https://localhost:")
	w.with("SSL_CERT_FILE="+cert).do("revoke", "subject", "alice", "--iss", iss)
	if strings.Contains(p.err.String(), "NO TLS") {
		t.Errorf("warns although TLS is on:\n%s", p.err.String())
	}
	w.run("", "status").exits(1).says("the certificate of https://localhost:", "is not trusted here", "SSL_CERT_FILE")

	plain := &world{T: t, dir: t.TempDir()}
	plain.serve()
	plain.url = strings.Replace(plain.url, "http:", "https:", 1)
	plain.run("", "status").exits(1).says("does not speak TLS: try http://")
}

func TestLoopback(t *testing.T) {
	for addr, want := range map[string]bool{"127.0.0.1": true, "127.8.0.1": true, "::1": true, "0.0.0.0": false, "::": false, "10.0.0.1": false} {
		if got := loopback(&net.TCPAddr{IP: net.ParseIP(addr)}); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
}

func TestLimitsAreSet(t *testing.T) {
	w := newWorld(t)
	w.serve("--max-subscribers", "2", "--max-streams-per-credential", "1")
	feed := func(key string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/v1/feed", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+key)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp.StatusCode
	}
	other := func(name string) string {
		return parse[api.NewKey](t, w.do("key", "create", name, "--role", "subscribe", "--json")).Secret
	}
	if code := feed(w.key); code != http.StatusOK {
		t.Fatalf("the first stream: %d", code)
	}
	if code := feed(w.key); code != http.StatusTooManyRequests {
		t.Errorf("a second stream of one credential: %d", code)
	}
	if code := feed(other("second")); code != http.StatusOK {
		t.Errorf("a stream of another credential: %d", code)
	}
	if code := feed(other("third")); code != http.StatusServiceUnavailable {
		t.Errorf("a third stream: %d", code)
	}

	w.run("", "--max-connections=0", "--max-subscribers=-1", "--max-streams-per-credential=-2").exits(2).
		says("--max-connections 0: want at least 1", "--max-subscribers -1", "--max-streams-per-credential -2")
}

func TestConnectionsAreLimited(t *testing.T) {
	w := newWorld(t)
	p := w.serve("--max-connections-per-address", "2")
	// refused reports whether a connection is closed before it has said a word.
	refused := func() bool {
		c, err := net.Dial("tcp", w.addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		_, err = c.Read(make([]byte, 1))
		return !errors.Is(err, os.ErrDeadlineExceeded)
	}
	for range 2 {
		if refused() {
			t.Error("a connection below the limit is refused")
		}
	}
	w.until(p, "one beyond it is refused", refused)
}

// A hub that may open few files keeps some of them for its log.
func TestFewFilesAreFewConnections(t *testing.T) {
	w := newWorld(t)
	w.files = 300
	p := w.serve()
	w.until(p, "it warns", func() bool { return strings.Contains(p.err.String(), "may open few files") })
	mustShow(t, p.err.String(), "connections=150")
	w.do("revoke", "subject", "alice", "--iss", iss)
}
