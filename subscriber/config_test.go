package subscriber

import (
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
)

func TestConfigMistakes(t *testing.T) {
	_, err := New(Config{
		Hubs:           []string{"http://hub.example", "https://u:p@hub.example", "hub", "https://hub.example/?a", "ftp://hub"},
		Credential:     "rvk_secret\n",
		Name:           "a\nb",
		HubKeys:        make([]events.PublicKey, 1),
		MaxStaleness:   time.Millisecond,
		MaxSnapshotAge: -1,
		Policy:         GraceThenClosed(-1),
		MemoryBudget:   -1,
		Details:        -1,
		Issuers:        []Issuer{{}},
	})
	if err == nil {
		t.Fatal("accepted")
	}
	text := err.Error()
	for _, want := range []string{"Hubs: number 1 is http", "number 2 has a user", "number 3", "number 4 has a query", "number 5",
		"Credential:", "Name:", "HubKeys:", "MaxStaleness:", "MaxSnapshotAge:", "Policy:", "MemoryBudget:", "Details:", "Iss"} {
		if !strings.Contains(text, want) {
			t.Errorf("nothing about %s in:\n%s", want, text)
		}
	}
	if strings.Contains(text, "rvk_") || strings.Contains(text, "u:p") {
		t.Errorf("a secret in:\n%s", text)
	}
	if _, err := New(Config{}); err == nil || !strings.Contains(err.Error(), "Hubs") || !strings.Contains(err.Error(), "Credential") {
		t.Errorf("empty: %v", err)
	}
	another := Config{Transport: newHubClient(Config{}), Hubs: []string{"https://hub.example"}, Credential: "k"}
	if _, err := New(another); err == nil || !strings.Contains(err.Error(), "Hubs") || !strings.Contains(err.Error(), "Credential") {
		t.Errorf("two ways to the hubs: %v", err)
	}
	for _, hub := range []string{"http://localhost:1", "http://127.0.0.1:1/", "http://[::1]:1", "http://a.localhost"} {
		if _, err := hubURL(hub, false); err != nil {
			t.Errorf("%s: %v", hub, err)
		}
	}
	if _, err := hubURL("http://hub.example", true); err != nil {
		t.Error(err)
	}
}

func TestBackoff(t *testing.T) {
	for _, c := range []struct {
		failures int
		random   float64
		want     time.Duration
	}{
		{0, 0.5, 125 * time.Millisecond},
		{1, 0.5, 125 * time.Millisecond},
		{2, 0.5, 250 * time.Millisecond},
		{6, 0.5, 4 * time.Second},
		{7, 0.5, 7500 * time.Millisecond},
		{1000, 0.5, 7500 * time.Millisecond},
		{1000, 0, 0},
	} {
		if got := backoff(250*time.Millisecond, 15*time.Second, c.failures, c.random); got != c.want {
			t.Errorf("after %d failures: %v, want %v", c.failures, got, c.want)
		}
	}
}

func TestNextHub(t *testing.T) {
	s := time.Second
	for _, c := range []struct {
		times hubTimes
		hubs  string
		last  string
		hub   string
		wait  time.Duration
	}{
		{hubTimes{}, "a", "a", "a", 0},
		{hubTimes{"a": 20 * s}, "a", "a", "a", 10 * s},
		{hubTimes{}, "a b c", "b", "c", 0},
		{hubTimes{"c": 20 * s}, "a b c", "b", "a", 0},
		{hubTimes{"c": 10 * s}, "a b c", "b", "c", 0},
		{hubTimes{"a": 30 * s, "b": 20 * s, "c": 25 * s}, "a b c", "b", "b", 10 * s},
		{hubTimes{"a": 20 * s}, "b c", "a", "b", 0}, // the last is gone
		{hubTimes{"a": 20 * s}, "", "a", "", 0},
	} {
		if hub, wait := c.times.next(strings.Fields(c.hubs), c.last, 10*s); hub != c.hub || wait != c.wait {
			t.Errorf("%v of %s after %s: %s in %v, want %s in %v", c.times, c.hubs, c.last, hub, wait, c.hub, c.wait)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for v, want := range map[string]time.Duration{
		"": 0, "3": 3 * time.Second, "-3": 0, "x": 0, "999999999999": maxRetryAfter, "9999999999999999999999": 0,
		"Fri, 02 Jan 2026 03:04:15 GMT": 10 * time.Second, "Fri, 02 Jan 2026 03:04:00 GMT": 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {v}}, now); got != want {
			t.Errorf("%q: %v, want %v", v, got, want)
		}
	}
}

// TestDependencies: this package is linked into other people's servers, and so
// is what is below it where it is used.
func TestDependencies(t *testing.T) {
	type forbidden struct{ prefix, why string }
	everywhere := []forbidden{
		{"github.com/revocast/revocast/hub", "hub and subscriber only share events and internal/token"},
		{"github.com/revocast/revocast/cmd", "commands are wiring"},
		{"github.com/nats-io/nats-server", "servers are the hub's"},
		{"github.com/nats-io/nats.go/jetstream", "a subscriber never has a consumer"},
		{"go.opentelemetry.io", "as Prometheus"},
		{"expvar", "it adds handlers to everybody's DefaultServeMux"},
		{"net/http/pprof", "as expvar"},
		{"testing", "it adds flags to everybody's program"},
	}
	nats := forbidden{"github.com/nats-io", "following over NATS is subscriber/natsfeed"}
	prometheus := forbidden{"github.com/prometheus", "metrics are an interface; the adapter is subscriber/prommetrics"}
	for pkg, too := range map[string][]forbidden{
		".":             {nats, prometheus},
		"./natsfeed":    {prometheus},
		"./prommetrics": {nats},
	} {
		out, err := exec.Command("go", "list", "-deps", pkg).Output()
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		list := append(slices.Clone(everywhere), too...)
		if pkg == "./prommetrics" {
			// Prometheus' client has it, and so has everybody who uses that.
			list = slices.DeleteFunc(list, func(f forbidden) bool { return f.prefix == "expvar" })
		}
		for dep := range strings.Lines(string(out)) {
			dep = strings.TrimSpace(dep)
			for _, f := range list {
				if dep == f.prefix || strings.HasPrefix(dep, f.prefix+"/") || strings.HasPrefix(f.prefix, "github.com/") && strings.HasPrefix(dep, f.prefix) {
					t.Errorf("%s depends on %s: %s", pkg, dep, f.why)
				}
			}
		}
		if !strings.Contains(string(out), "github.com/revocast/revocast/events\n") {
			t.Errorf("the list of %s is not one: %.200s", pkg, out)
		}
	}
}
