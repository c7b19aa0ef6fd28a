package test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/subscriber"
)

// configure writes a configuration in which the world's issuer has these
// settings, and returns the path of it.
func (w *world) configure(settings string) string {
	w.Helper()
	keys, err := json.Marshal(string(w.issuer().Keys))
	w.must(err)
	file := filepath.Join(w.TempDir(), "hub.yaml")
	w.must(os.WriteFile(file, fmt.Appendf(nil, "issuers:\n  - iss: %s\n    algorithms: [EdDSA]\n    keys: %s\n%s", issuer, keys, settings), 0o600))
	return file
}

// Where tokens live for seconds, revocations are remembered for seconds; and
// a token that lives longer than its issuer's may is refused, because it
// would outlive what is said about it.
func TestShortLivedTokens(t *testing.T) {
	w := newWorld(t)
	w.startHub("--config", w.configure("    max_token_lifetime: 2s\n    skew: 1s\n"), "--retention", "1h")
	sub := w.subscribe(func(c *subscriber.Config) {
		c.Issuers[0].MaxTokenLifetime, c.Issuers[0].Skew = 2*time.Second, time.Second
	})
	api := w.serve(sub)

	if got := w.status("GET", api.URL, w.token("for an hour")); got != http.StatusUnauthorized {
		t.Errorf("a token that lives for an hour gets %d", got)
	}
	begun := time.Now()
	a, err := w.call("POST", "/v1/revocations", order(events.KindSubject, "alice"))
	w.must(err)
	var res struct {
		Revocations []struct {
			RetainUntil time.Time `json:"retain_until"`
		}
	}
	w.must(json.Unmarshal(a.body, &res))
	until := res.Revocations[0].RetainUntil
	// The lifetime and the skew, rounded up to a whole second.
	if most := time.Now().Add(4 * time.Second); until.Before(begun.Add(3*time.Second)) || until.After(most) {
		t.Errorf("remembered until %v, revoked at %v", until, begun)
	}
	listed := func() int {
		a, err := w.call("GET", "/v1/revocations", "")
		w.must(err)
		var list struct{ Revocations []json.RawMessage }
		w.must(json.Unmarshal(a.body, &list))
		return len(list.Revocations)
	}
	w.eventually("the hub forgets", func() bool { return listed() == 0 })
	if time.Now().Before(until.Add(-time.Second)) {
		t.Error("the hub forgot too early")
	}
	if n := w.audited()["alice"]; n != 1 {
		t.Errorf("%d in the audit, which is kept for as long as the log", n)
	}
}

// A log that is kept for less long than tokens live would forget revocations
// that matter, and a hub does not start with one.
func TestRetentionIsLongerThanTokensLive(t *testing.T) {
	w := newWorld(t)
	file := w.configure("    max_token_lifetime: 5m\n    skew: 1s\n")
	for retention, ok := range map[string]bool{"5m": false, "5m1s": false, "5m2s": true} {
		out, err := exec.Command(filepath.Join(bin, "hub"), "config", "check", "--config", file, "--retention", retention).CombinedOutput()
		if ok != (err == nil) || !ok && !strings.Contains(string(out), "retention") {
			t.Errorf("%s: %v\n%s", retention, err, out)
		}
	}
}

// BenchmarkAuditSize reports how large the log's directory grows by a
// revocation of a token: of one that is sent alone, and of a thousand that
// are sent together.
func BenchmarkAuditSize(b *testing.B) {
	for _, together := range []int{1, 1000} {
		b.Run(fmt.Sprint(together), func(b *testing.B) {
			w := newWorld(b)
			w.startHub()
			before, n := sizeOf(b, w.dir), 0
			for b.Loop() {
				var orders []string
				for range together {
					orders = append(orders, order(events.KindToken, fmt.Sprintf("%08d-6f1c-4b7e-9a57-2f0c1d9e8b3a", n)))
					n++
				}
				a, err := w.call("POST", "/v1/revocations", `{"revocations":[`+strings.Join(orders, ",")+`]}`)
				if err != nil || a.status != http.StatusCreated {
					b.Fatal(err, a.status, string(a.body))
				}
			}
			b.ReportMetric(float64(sizeOf(b, w.dir)-before)/float64(n), "B/revocation")
		})
	}
}

func sizeOf(t testing.TB, dir string) (size int64) {
	err := filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return size
}
