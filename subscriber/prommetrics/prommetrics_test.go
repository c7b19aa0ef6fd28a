package prommetrics_test

import (
	"log"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/goleak"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/subscriber"
	"github.com/revocast/revocast/subscriber/prommetrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func Example() {
	sub, err := subscriber.New(subscriber.Config{
		Hubs:       []string{"https://hub.example"},
		Credential: "rvk_…",
		Metrics:    prommetrics.New(prometheus.DefaultRegisterer),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer sub.Close()
	prommetrics.Watch(prometheus.DefaultRegisterer, sub)
	http.Handle("/metrics", promhttp.Handler())
}

// Each method counts where its name says, once.
func TestCounts(t *testing.T) {
	for _, c := range []struct {
		tell func(m *prommetrics.Metrics)
		want string // what a scrape has afterwards and had not before
	}{
		{func(m *prommetrics.Metrics) { m.State(subscriber.Stale) }, `state{state="stale"} 1`},
		{func(m *prommetrics.Metrics) { m.State(subscriber.Fresh) }, `state{state="starting"} 0`},
		{func(m *prommetrics.Metrics) { m.Verdict(subscriber.Revoked) }, `verdicts_total{outcome="revoked"} 1`},
		{func(m *prommetrics.Metrics) { m.Verdict(subscriber.Unknown) }, `verdicts_total{outcome="unknown"} 1`},
		{func(m *prommetrics.Metrics) { m.Verdict(subscriber.Allowed) }, `verdicts_total{outcome="allowed"} 1`},
		{func(m *prommetrics.Metrics) { m.Refused(subscriber.CodeRevoked) }, `refused_total{code="revoked"} 1`},
		{func(m *prommetrics.Metrics) { m.Decision("closed", false) }, `policy_decisions_total{decision="refused",policy="closed"} 1`},
		{func(m *prommetrics.Metrics) { m.Decision("open", true) }, `policy_decisions_total{decision="allowed",policy="open"} 1`},
		{func(m *prommetrics.Metrics) { m.Applied(7) }, `records_applied_total 1`},
		{func(m *prommetrics.Metrics) { m.Applied(7) }, `operations_applied_total 7`},
		{func(m *prommetrics.Metrics) { m.Resync("reset") }, `resyncs_total{reason="reset"} 1`},
		{func(m *prommetrics.Metrics) { m.Invalid("gap") }, `invalid_total{reason="gap"} 1`},
		{func(m *prommetrics.Metrics) { m.Reported(true) }, `reports_total{result="answered"} 1`},
		{func(m *prommetrics.Metrics) { m.Reported(false) }, `reports_total{result="failed"} 1`},
		{func(m *prommetrics.Metrics) { m.Disconnected() }, `disconnects_total 1`},
		{func(m *prommetrics.Metrics) { m.Exchange("inactive") }, `exchanges_total{outcome="inactive"} 1`},
	} {
		reg := prometheus.NewRegistry()
		m := prommetrics.New(reg)
		want := "revocast_subscriber_" + c.want + "\n"
		if before := scrape(t, reg); strings.Contains(before, want) {
			t.Errorf("%s is there before", c.want)
		}
		c.tell(m)
		if after := scrape(t, reg); !strings.Contains(after, want) {
			t.Errorf("no %s in\n%s", c.want, after)
		}
	}
}

// What a subscriber tells and shows has help, sound names, and no label but
// those that are bounded.
func TestScrape(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := prommetrics.New(reg)
	sub, err := subscriber.New(subscriber.Config{
		Hubs: []string{"http://127.0.0.1:1"}, Credential: "rvk_secret", Name: "orders-7", Metrics: m, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	prommetrics.Watch(reg, sub)
	sub.Check(events.Claims{})
	m.Refused(subscriber.CodeStale)
	m.Decision("closed", false)
	m.Resync("reset")
	m.Invalid("gap")

	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		name, help := f.GetName(), f.GetHelp()
		if !strings.HasPrefix(name, "revocast_subscriber_") || !strings.HasSuffix(help, ".") {
			t.Errorf("%s: %q", name, help)
		}
		if strings.HasSuffix(name, "_total") != (f.GetType().String() == "COUNTER") {
			t.Errorf("%s is a %v", name, f.GetType())
		}
	}
	text := scrape(t, reg)
	for _, want := range []string{"staleness_seconds ", "ready 0", "position_seq 0", `live{kind="subject"} 0`, "hub_behind 0", `verdicts_total{outcome="unknown"} 1`} {
		if !strings.Contains(text, "revocast_subscriber_"+want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	labels := make(map[string]bool)
	for _, l := range regexp.MustCompile(`[{,](\w+)="`).FindAllStringSubmatch(text, -1) {
		labels[l[1]] = true
	}
	want := []string{"code", "decision", "kind", "outcome", "policy", "reason", "result", "state"}
	if got := slices.Sorted(maps.Keys(labels)); !slices.Equal(got, want) {
		t.Errorf("labels %q, want %q", got, want)
	}
	for _, secret := range []string{"rvk_", "orders-7", "127.0.0.1"} {
		if strings.Contains(text, secret) {
			t.Errorf("%s in the metrics", secret)
		}
	}
}

func scrape(t *testing.T, reg *prometheus.Registry) string {
	t.Helper()
	w := httptest.NewRecorder()
	promhttp.HandlerFor(reg, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != http.StatusOK {
		t.Fatal(w.Body)
	}
	return w.Body.String()
}
