// Package compose tries docker-compose.yml: it brings the file up as it is,
// breaks one thing after the other, and looks whether the promises hold.
package compose

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/revocast/revocast/hub/feed"
	"github.com/revocast/revocast/subscriber/prommetrics"
)

const adminKey = "rvk_known-to-all-the-world-for-a-try-only"

// The server that stands in for the image is the one that go.mod pins, so the
// file has to name the same release.
func TestTheFileNamesTheServerThatIsTested(t *testing.T) {
	if got := image(t, "docker-compose.yml", `image: nats:([0-9.]+)`); got != server.VERSION {
		t.Errorf("docker-compose.yml has nats %s, go.mod %s", got, server.VERSION)
	}
}

func TestTheFileUnderFaults(t *testing.T) {
	e := newEngine(t)
	e.provideImages()
	w := &world{project: e.up()}
	w.healthy("nats-1", "nats-2", "nats-3", "hub-1", "hub-2", "demo-1", "demo-2")

	step(t, "revoked at one hub, refused on the other", func() {
		token := w.login("alice")
		w.accepted(token)
		w.revoke("HUB_1_PORT", token)
		w.refused(token)
		w.applied("HUB_1_PORT", token)
	})
	step(t, "a NATS server is killed", func() {
		token := w.login("bob")
		w.kill("nats-1")
		w.revoke("HUB_2_PORT", token)
		w.refused(token)
		w.start("nats-1")
		w.healthy("nats-1")
	})
	step(t, "a NATS server is paused", func() {
		token := w.login("carol")
		w.pause("nats-2")
		w.revoke("HUB_1_PORT", token)
		w.refused(token)
		w.unpause("nats-2")
		w.healthy("nats-2")
	})
	step(t, "a NATS server is cut off", func() {
		token := w.login("dave")
		w.cutOff("nats-3", "log")
		w.revoke("HUB_2_PORT", token)
		w.refused(token)
		w.rejoin("nats-3", "log")
		w.healthy("nats-3")
	})
	step(t, "a hub is killed", func() {
		token := w.login("erin")
		w.kill("hub-1")
		w.revoke("HUB_2_PORT", token)
		w.refused(token) // demo-1 has moved to hub-2
		w.start("hub-1")
		w.healthy("hub-1")
	})
	step(t, "a hub is cut off from the log", func() {
		token := w.login("frank")
		w.cutOff("hub-2", "log")
		w.revoke("HUB_1_PORT", token)
		w.refused(token) // demo-2 hears no ticks any more, and moves to hub-1
		w.eventually("hub-2 says that it is not ready", func() error {
			if state := w.docker("inspect", "-f", "{{.State.Health.Status}}", w.container("hub-2")); state == "healthy" {
				return errors.New("healthy")
			}
			return nil
		})
		w.rejoin("hub-2", "log")
		w.healthy("hub-2")
	})
	step(t, "two of three NATS servers are killed", func() {
		token := w.login("grace")
		w.kill("nats-1")
		w.kill("nats-2")
		w.notTaken("HUB_1_PORT", token)
		w.eventually("the resource servers say that they are not fresh", func() error {
			return errors.Join(w.notFresh("DEMO_1_PORT"), w.notFresh("DEMO_2_PORT"))
		})
		w.start("nats-1")
		w.start("nats-2")
		w.healthy("nats-1", "nats-2", "hub-1", "hub-2")
		w.revoke("HUB_1_PORT", token)
		w.refused(token)
	})
	step(t, "all that was acknowledged is in force at both hubs", func() {
		w.eventually("both hubs list the same", func() error {
			one, two := w.list("HUB_1_PORT"), w.list("HUB_2_PORT")
			for _, id := range w.acknowledged {
				if !slices.Contains(one, id) || !slices.Contains(two, id) {
					return fmt.Errorf("%s is missing", id)
				}
			}
			if !slices.Equal(one, two) {
				return fmt.Errorf("%v and %v", one, two)
			}
			return nil
		})
		for _, token := range w.revoked {
			w.refused(token)
		}
		w.accepted(w.login("heidi")) // and nothing else is
	})
	step(t, "what Prometheus and Grafana show is there", func() {
		w.eventually("every target is up", w.targetsUp)
		w.eventually("the dashboard is provisioned", w.dashboards)
		w.eventually("every metric of the dashboard and the alerts exists", w.metricsExist)
	})
}

func step(t *testing.T, what string, f func()) {
	t.Helper()
	begun := time.Now()
	f()
	if t.Failed() {
		t.FailNow()
	}
	t.Logf("%-60s %6.1f s", what, time.Since(begun).Seconds())
}

// world is the project, and somebody who logs users in and revokes.
type world struct {
	*project
	acknowledged []string // ids of revocations
	revoked      []string // tokens
}

func freePort(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

var client = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// call makes a request to a published port. The body is JSON, or a form.
func (w *world) call(method, port, path, bearer string, body any) (int, []byte, error) {
	var data []byte
	kind := "application/json"
	switch b := body.(type) {
	case nil:
	case url.Values:
		data, kind = []byte(b.Encode()), "application/x-www-form-urlencoded"
	default:
		data, _ = json.Marshal(b) // maps of strings
	}
	req, err := http.NewRequest(method, "http://127.0.0.1:"+w.ports[port]+path, bytes.NewReader(data))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", kind)
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	return resp.StatusCode, answer, err
}

func (w *world) login(user string) string {
	w.Helper()
	var tokens struct {
		AccessToken string `json:"access_token"`
	}
	w.eventually(user+" logs in", func() error {
		_, answer, err := w.call("POST", "DEMO_1_PORT", "/login", "", url.Values{"user": {user}})
		if err == nil {
			err = json.Unmarshal(answer, &tokens)
		}
		return err
	})
	return tokens.AccessToken
}

// accepted waits until both resource servers take a token.
func (w *world) accepted(token string) {
	w.Helper()
	w.both(token, http.StatusOK)
}

// refused waits until both say that it is revoked; that is 401, not the 503
// of one that does not know.
func (w *world) refused(token string) {
	w.Helper()
	w.both(token, http.StatusUnauthorized)
}

func (w *world) both(token string, want int) {
	w.Helper()
	for _, demo := range []string{"DEMO_1_PORT", "DEMO_2_PORT"} {
		w.eventually(fmt.Sprintf("%s answers %d", demo, want), func() error {
			status, answer, err := w.call("GET", demo, "/orders", token, nil)
			if err == nil && status != want {
				err = fmt.Errorf("%d %s", status, answer)
			}
			return err
		})
	}
}

type reach struct{ Applied, Connected int }

// revoke revokes a token at a hub. While the cluster has no leader it asks
// again, with the same idempotency key, as its users are told to.
func (w *world) revoke(hub, token string) {
	w.Helper()
	var done struct{ Revocations []struct{ ID string } }
	key := fmt.Sprintf("test-%d", len(w.acknowledged))
	w.eventually("revoked at "+hub, func() error {
		status, answer, err := w.post(hub, "/v1/revocations?wait=applied&timeout=5s", key, token)
		if err == nil && status != http.StatusCreated {
			err = fmt.Errorf("%d %s", status, answer)
		}
		if err != nil {
			return err
		}
		return json.Unmarshal(answer, &done)
	})
	w.acknowledged = append(w.acknowledged, done.Revocations[0].ID)
	w.revoked = append(w.revoked, token)
}

// applied waits until a hub says that the subscribers of both have applied a
// revocation. Done again it is another one, of the same token.
func (w *world) applied(hub, token string) {
	w.Helper()
	n := 0
	w.eventually("applied by the subscribers of both hubs", func() error {
		n++
		status, answer, err := w.post(hub, "/v1/revocations?wait=applied&timeout=5s", fmt.Sprint("applied-", n), token)
		if err == nil && status != http.StatusCreated {
			err = fmt.Errorf("%d %s", status, answer)
		}
		var done struct{ Reach reach }
		if err == nil {
			err = json.Unmarshal(answer, &done)
		}
		if err == nil && (done.Reach.Applied != 2 || done.Reach.Connected != 2) {
			err = fmt.Errorf("reach %+v", done.Reach)
		}
		return err
	})
}

func (w *world) post(hub, path, key, token string) (int, []byte, error) {
	body := map[string]any{
		"target":     map[string]string{"kind": "token", "iss": "https://issuer.example", "value": claim(w, token, "jti")},
		"expires_at": time.Now().Add(time.Hour).UTC().Format(time.RFC3339), "reason": "admin",
	}
	data, _ := json.Marshal(body) // strings
	req, err := http.NewRequest("POST", "http://127.0.0.1:"+w.ports[hub]+path, bytes.NewReader(data))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+adminKey)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, answer, err
}

// notTaken checks that a revocation is refused cleanly: 503, nothing else.
func (w *world) notTaken(hub, token string) {
	w.Helper()
	status, answer, err := w.post(hub, "/v1/revocations", "never-taken", token)
	if err != nil || status != http.StatusServiceUnavailable {
		w.Errorf("without a quorum: %d %s %v, want 503", status, answer, err)
	}
}

func (w *world) notFresh(demo string) error {
	_, answer, err := w.call("GET", demo, "/status", "", nil)
	if err != nil {
		return err
	}
	var status struct{ State string }
	if err := json.Unmarshal(answer, &status); err != nil {
		return err
	}
	if status.State == "fresh" || status.State == "" {
		return fmt.Errorf("%s is %q", demo, status.State)
	}
	return nil
}

// list returns the ids of the live revocations, sorted.
func (w *world) list(hub string) []string {
	w.Helper()
	var page struct{ Revocations []struct{ ID string } }
	_, answer, err := w.call("GET", hub, "/v1/revocations?limit=1000", adminKey, nil)
	if err == nil {
		err = json.Unmarshal(answer, &page)
	}
	if err != nil {
		w.Fatal(err)
	}
	var ids []string
	for _, r := range page.Revocations {
		ids = append(ids, r.ID)
	}
	slices.Sort(ids)
	return ids
}

func claim(t testing.TB, token, name string) string {
	t.Helper()
	var claims map[string]any
	if err := json.Unmarshal(payload(token), &claims); err != nil {
		t.Fatalf("a token without claims: %v", err)
	}
	return claims[name].(string)
}

func (w *world) targetsUp() error {
	var answer struct {
		Data struct {
			ActiveTargets []struct{ ScrapeURL, Health, LastError string }
		}
	}
	_, body, err := w.call("GET", "PROMETHEUS_PORT", "/api/v1/targets", "", nil)
	if err == nil {
		err = json.Unmarshal(body, &answer)
	}
	if err != nil {
		return err
	}
	if len(answer.Data.ActiveTargets) != 4 {
		return fmt.Errorf("%d targets, want two hubs and two resource servers", len(answer.Data.ActiveTargets))
	}
	for _, t := range answer.Data.ActiveTargets {
		if t.Health != "up" {
			return fmt.Errorf("%s is %s: %s", t.ScrapeURL, t.Health, t.LastError)
		}
	}
	return nil
}

func (w *world) dashboards() error {
	status, body, err := w.call("GET", "GRAFANA_PORT", "/api/search", "", nil)
	if err == nil && (status != http.StatusOK || !strings.Contains(string(body), `"Revocast"`)) {
		err = fmt.Errorf("%d %s", status, body)
	}
	return err
}

// declared are the metrics that come with their first event, if not before.
func declared() []string {
	reg := prometheus.NewRegistry()
	prommetrics.New(reg)
	feed.NewMetrics(reg)
	descs := make(chan *prometheus.Desc)
	go func() { reg.Describe(descs); close(descs) }()
	var names []string
	for d := range descs {
		if m := regexp.MustCompile(`fqName: "([^"]+)"`).FindStringSubmatch(d.String()); m != nil {
			names = append(names, m[1], m[1]+"_bucket")
		}
	}
	return names
}

// ours are the metrics of our own programs.
var ours = regexp.MustCompile(`\brevocast_[a-z0-9_]+`)

func (w *world) metricsExist() error {
	var answer struct{ Data []string }
	_, body, err := w.call("GET", "PROMETHEUS_PORT", "/api/v1/label/__name__/values", "", nil)
	if err == nil {
		err = json.Unmarshal(body, &answer)
	}
	if err != nil {
		return err
	}
	known := append(declared(), answer.Data...)
	for _, file := range []string{"docs/compose/grafana/dashboards/revocast.json", "docs/compose/alerts.yml"} {
		data, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			return err
		}
		names := ours.FindAllString(string(data), -1)
		if len(names) == 0 {
			return fmt.Errorf("%s asks for nothing of ours", file)
		}
		for _, name := range names {
			if !slices.Contains(known, name) {
				return fmt.Errorf("%s asks for %s, which nobody exports", file, name)
			}
		}
	}
	return nil
}

// payload is the middle part of a token, decoded.
func payload(token string) []byte {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil
	}
	data, _ := base64.RawURLEncoding.DecodeString(parts[1])
	return data
}
