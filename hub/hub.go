package hub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/api"
	"github.com/revocast/revocast/hub/feed"
	"github.com/revocast/revocast/hub/log"
	"github.com/revocast/revocast/internal/token"
)

// feedName is the only feed there is.
const feedName = "default"

// Hub is a hub that is open. Its methods may be called by any goroutine.
type Hub struct {
	// Set once by Open.
	cfg      Config
	srv      *log.Server // nil if the log is elsewhere
	feed     *feed.Feed
	api      *api.API
	registry *prometheus.Registry
	refused  prometheus.Counter // connections beyond what one address may have
	adminKey string
	closers  []func() // what Close does, last first

	closed   chan struct{} // closed by Close
	once     sync.Once     // Close
	watching sync.WaitGroup
	failed   chan struct{} // closed after err is set
	err      error
}

// Open opens the data directory and everything in it, and returns when all
// revocations that are there are in force again. ctx bounds the opening only.
// The caller has to Close the hub; Serve does, too.
func Open(ctx context.Context, cfg Config) (_ *Hub, err error) {
	if cfg, err = cfg.withDefaults(); err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	h := &Hub{
		cfg: cfg, registry: prometheus.NewRegistry(),
		closed: make(chan struct{}), failed: make(chan struct{}),
	}
	defer func() {
		if err != nil {
			h.Close()
		}
	}()
	if err := h.open(ctx); err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	return h, nil
}

func (h *Hub) open(ctx context.Context) error {
	cfg := h.cfg
	tokens, issuers, err := h.openIssuers()
	if err != nil {
		return err
	}
	dir, err := openDataDir(cfg.DataDir, cfg.Logger)
	if err != nil {
		return err
	}
	if cfg.Name == "" {
		if cfg.Name, err = dir.name(); err != nil {
			return err
		}
	}
	l, nc, err := h.openLog(ctx, dir, cfg.Name)
	if err != nil {
		return err
	}
	signing := cfg.SigningKey
	if signing.ID() == "" {
		if signing, err = dir.signingKey(); err != nil {
			return err
		}
	}
	h.cfg.SigningKey = events.SigningKey{} // needed no more
	h.register()
	h.feed, err = feed.Open(ctx, feed.Config{
		Log: l, Name: cfg.Name, Keys: signing, HubKeys: cfg.HubKeys, State: stateFile{dir}, Issuer: issuers, Claims: cfg.Claims,
		TickEvery: cfg.TickEvery, Heartbeat: cfg.Heartbeat,
		MaxSubscribers: cfg.MaxSubscribers, MaxPerActor: cfg.MaxStreamsPerCredential, Logger: cfg.Logger, Metrics: feed.NewMetrics(h.registry),
	})
	if err != nil {
		return err
	}
	h.closers = append(h.closers, h.feed.Close)

	// Last of what can fail: a key that is made now is stored, and has to be
	// shown, which a hub that does not open never does.
	keys, err := h.openKeys(ctx, dir, l)
	if err != nil {
		return err
	}
	hubKeys := []string{signing.ID()}
	for _, k := range cfg.HubKeys {
		if k.KeyID != signing.ID() {
			hubKeys = append(hubKeys, k.KeyID)
		}
	}
	h.api = api.New(api.Config{
		Feed: h.feed, Keys: keys, Tokens: tokens, Audience: cfg.Audience, HubKeys: hubKeys, Signing: signing, Iss: cfg.Iss,
		Version: cfg.Version, Heartbeat: cfg.Heartbeat, Logger: cfg.Logger, Metrics: h.registry,
	})
	if h.srv == nil {
		// The embedded server has no listener for anybody to follow the feed at.
		broadcast, err := h.feed.ServeNATS(nc, cfg.Name)
		if err != nil {
			return err
		}
		h.closers = append(h.closers, broadcast.Close)
	}
	h.watching.Go(h.watch)
	return nil
}

// openLog opens the log where it is: with the servers of a cluster, here or in
// another region, or in the data directory. Either way the directory is this process's alone from then
// on.
func (h *Hub) openLog(ctx context.Context, dir dataDir, name string) (*log.Log, *nats.Conn, error) {
	cfg := h.cfg
	lc := log.Config{Feed: feedName, Retention: cfg.Retention, Logger: cfg.Logger}
	var nc *nats.Conn
	var err error
	if len(cfg.NATS.Servers) > 0 {
		unlock, err := log.LockDir(string(dir))
		if err != nil {
			return nil, nil, err
		}
		h.closers = append(h.closers, unlock)
		cfg.NATS.Name, cfg.NATS.Logger = "revocast hub "+name, cfg.Logger
		if nc, err = cfg.NATS.Connect(ctx); err != nil {
			return nil, nil, err
		}
		lc.Replicas, lc.Home, lc.Wait = cfg.Replicas, cfg.NATSHome, true
	} else {
		h.srv, err = log.StartServer(log.ServerConfig{
			Dir: dir.path(logDir), MaxStore: cfg.MaxStore, Logger: cfg.Logger, DangerouslySkipSync: cfg.DangerouslySkipSync,
		})
		if err != nil {
			return nil, nil, err
		}
		h.closers = append(h.closers, h.srv.Shutdown)
		if nc, err = h.srv.Connect(); err != nil {
			return nil, nil, err
		}
		lc.Dir = h.srv.Dir()
	}
	h.closers = append(h.closers, nc.Close)
	l, err := log.Open(ctx, nc, lc)
	if err != nil {
		return nil, nil, err
	}
	h.closers = append(h.closers, l.Close)
	return l, nc, nil
}

// openKeys opens the API keys where they are: hubs that share a log share them.
func (h *Hub) openKeys(ctx context.Context, dir dataDir, l *log.Log) (*api.Keyring, error) {
	store := ownKeys(dir)
	var shared *log.Shared
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	h.closers = append(h.closers, stop)
	if h.srv == nil {
		var err error
		if shared, err = l.OpenShared(ctx, "KEYS"); err != nil {
			return nil, err
		}
		h.closers = append(h.closers, shared.Close)
		store = sharedKeys(run, shared)
	}
	keys, made, err := api.NewKeyring(store, h.cfg.Keys, h.cfg.AdminKey)
	if err != nil {
		return nil, err
	}
	h.adminKey, h.cfg.AdminKey = made, "" // needed no more
	if shared != nil {
		var watching sync.WaitGroup
		watching.Go(func() { watchKeys(run, shared, keys, h.cfg.Logger) })
		h.closers = append(h.closers, func() { stop(); watching.Wait() })
	}
	return keys, nil
}

// openIssuers returns nil twice if no issuer is configured.
func (h *Hub) openIssuers() (*token.Verifier, func(string) (time.Duration, time.Duration, bool), error) {
	byIss := make(map[string]terms)
	if len(h.cfg.Issuers) == 0 {
		return nil, nil, checkRetention(h.cfg.Retention, byIss)
	}
	v, err := token.New(h.cfg.Issuers, token.Options{
		Logger: h.cfg.Logger, Claims: h.cfg.Claims, DangerouslyAllowPrivateJWKS: h.cfg.DangerouslyAllowPrivateJWKS})
	if err != nil {
		return nil, nil, err
	}
	h.closers = append(h.closers, v.Close)
	for _, i := range h.cfg.Issuers {
		conf, _ := v.Issuer(i.Iss)
		byIss[i.Iss] = terms{conf.MaxTokenLifetime, conf.Skew}
	}
	h.cfg.Issuers = nil // keys among them; needed no more
	return v, func(iss string) (time.Duration, time.Duration, bool) {
		t, ok := byIss[iss]
		return t.lifetime, t.skew, ok
	}, checkRetention(h.cfg.Retention, byIss)
}

func (h *Hub) register() {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "revocast_build_info", Help: "1, with the release as a label.", ConstLabels: prometheus.Labels{"version": h.cfg.Version}})
	info.Set(1)
	insecure := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "revocast_insecure_mode", Help: "1 if a setting whose name says that it is dangerous is on."})
	if h.cfg.DangerouslySkipSync || h.cfg.DangerouslyAllowPrivateJWKS {
		insecure.Set(1)
		h.cfg.Logger.Warn("a dangerous setting is on", "skip_sync", h.cfg.DangerouslySkipSync, "private_jwks", h.cfg.DangerouslyAllowPrivateJWKS)
	}
	ready := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "revocast_ready", Help: "1 if the hub takes work."}, func() float64 {
		if h.Ready() != nil {
			return 0
		}
		return 1
	})
	h.refused = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "revocast_connections_refused_total", Help: "Connections closed at once because their address has too many."})
	h.registry.MustRegister(info, insecure, ready, h.refused, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
}

// watch waits for the first failure.
func (h *Hub) watch() {
	var serverFailed <-chan struct{} // never, if the server is not ours
	if h.srv != nil {
		serverFailed = h.srv.Failed()
	}
	select {
	case <-serverFailed:
		h.err = h.srv.Err()
	case <-h.feed.Failed():
		h.err = h.feed.Err()
	case <-h.closed:
		return
	}
	h.cfg.Logger.Error("the hub can't go on", "err", h.err)
	close(h.failed)
}

// NewAdminKey is the admin key if this start made one, which is then to be
// shown to the operator, and to nobody else; "" otherwise.
func (h *Hub) NewAdminKey() string { return h.adminKey }

// Handler is the HTTP interface.
func (h *Hub) Handler() http.Handler { return h.api }

// Failed is closed when the hub can't go on; Err then says why. Only a
// restart helps.
func (h *Hub) Failed() <-chan struct{} { return h.failed }

// Err is nil until Failed is closed.
func (h *Hub) Err() error {
	select {
	case <-h.failed:
		return h.err
	default:
		return nil
	}
}

// Ready reports why the hub should not be given work now, or nil.
func (h *Hub) Ready() error {
	select {
	case <-h.closed:
		return errClosed
	default:
	}
	if err := h.Err(); err != nil {
		return err
	}
	return h.feed.Ready()
}

var errClosed = errors.New("closed")

// Close closes everything, the log last, and waits. What is acknowledged is
// on disk. Requests that are still under way fail. Closing again waits for
// the first to be done.
func (h *Hub) Close() {
	h.once.Do(func() {
		close(h.closed)
		h.watching.Wait()
		for _, closer := range slices.Backward(h.closers) {
			closer()
		}
	})
}
