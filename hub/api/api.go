package api

import (
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/feed"
	"github.com/revocast/revocast/internal/token"
)

// Config is what New needs. Zero fields have the defaults named.
type Config struct {
	Feed *feed.Feed // required
	Keys *Keyring   // required

	// Tokens verifies the tokens of the configured issuers, as credentials and
	// for checks. Nil: no issuer is configured, and only keys are credentials.
	Tokens *token.Verifier
	// Audience has to be in the aud of a token that is a credential, so that a
	// token meant for another service opens nothing here (RFC 9068 section 4).
	// Default: "revocast".
	Audience string

	// Signing signs what is asked for as a JWT, and its public half is
	// published. The zero key: there are JSON answers only.
	Signing events.SigningKey
	// Iss is the iss of what is signed: the hub's own address as its clients
	// know it, an https URL. Default: "urn:revocast:hub:" and the key's id.
	Iss string

	HubKeys      []string      // the kids of the hub's signing keys, for the status
	Version      string        // likewise
	Heartbeat    time.Duration // 2 s: something is sent to each reader of the audit stream at least this often
	WriteTimeout time.Duration // 10 s: how long one write to a reader of the audit may block
	BodyTimeout  time.Duration // 15 s: how long a body may take, so that who trickles holds no connection
	Now          func() time.Time
	Logger       *slog.Logger
	Metrics      prometheus.Registerer // nil: none
}

// API answers the requests to one hub. It has nothing to close: what it does
// ends with the requests, and audit streams with the feed's Drain.
type API struct {
	feed         *feed.Feed
	ring         *Keyring
	tokens       *token.Verifier // nil if no issuer is configured
	audience     string
	signing      events.SigningKey
	iss          string
	hubKeys      []string
	version      string
	heartbeat    time.Duration
	writeTimeout time.Duration
	bodyTimeout  time.Duration
	now          func() time.Time
	startedAt    time.Time
	logger       *slog.Logger
	metrics      *metrics
	failures     *failures
	logouts      *logouts
	readers      readers
	mux          *http.ServeMux
}

// New makes the handler of the interface.
func New(cfg Config) *API {
	a := &API{
		feed: cfg.Feed, ring: cfg.Keys, tokens: cfg.Tokens, audience: cfg.Audience, signing: cfg.Signing, iss: cfg.Iss,
		hubKeys: cfg.HubKeys, version: cfg.Version, heartbeat: cfg.Heartbeat, writeTimeout: cfg.WriteTimeout, bodyTimeout: cfg.BodyTimeout,
		now: cfg.Now, logger: cfg.Logger, metrics: newMetrics(cfg.Metrics),
		failures: newFailures(), logouts: newLogouts(), readers: make(readers, maxReaders),
	}
	if a.audience == "" {
		a.audience = "revocast"
	}
	if a.iss == "" {
		a.iss = "urn:revocast:hub:" + a.signing.ID()
	}
	if a.heartbeat == 0 {
		a.heartbeat = 2 * time.Second
	}
	if a.writeTimeout == 0 {
		a.writeTimeout = 10 * time.Second
	}
	if a.bodyTimeout == 0 {
		a.bodyTimeout = 15 * time.Second
	}
	if a.now == nil {
		a.now = time.Now
	}
	if a.logger == nil {
		a.logger = slog.New(slog.DiscardHandler)
	}
	a.startedAt = a.now()
	a.mux = a.routes()
	return a
}

// answer sends v as JSON.
func answer(w http.ResponseWriter, status int, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	send(w, status, data)
	return nil
}

// send sends JSON.
func send(w http.ResponseWriter, status int, data []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(data)+1)) // or a long answer would go out in chunks
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // an error is the reader's loss
}
