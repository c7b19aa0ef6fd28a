package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/revocast/revocast/hub"
	hublog "github.com/revocast/revocast/hub/log"
	"github.com/revocast/revocast/internal/token"
)

// hubFlags are what a hub is configured with.
type hubFlags struct {
	Config    string `setting:"" placeholder:"FILE" help:"A YAML file with the settings below, by the same names, and issuers."`
	Data      string `setting:"file" default:"./revocast-data" help:"Directory of the log and the keys; it is made if it does not exist."`
	Name      string `setting:"file" placeholder:"NAME" help:"What other hubs and hub status call this one. Default: the host's name, and some characters that are kept in the directory."`
	Listen    string `setting:"file" default:"127.0.0.1:8080" help:"Address of the API. Port 0 takes a free one."`
	OpsListen string `setting:"file" default:"127.0.0.1:9090" help:"Address of /livez, /readyz and /metrics, which ask for no key."`
	PublicURL string `setting:"file" name:"public-url" placeholder:"URL" help:"By which name the hub signs answers to introspection (their iss). Default: one made of its signing key."`
	TLSCert   string `setting:"file" name:"tls-cert" placeholder:"FILE" help:"Certificate chain of the API, PEM."`
	TLSKey    string `setting:"file" name:"tls-key" placeholder:"FILE" help:"Its private key, PEM."`
	NATS      string `setting:"file" name:"nats" placeholder:"URL,…" help:"Servers of a NATS cluster that has the log, such as nats://a,nats://b. Default: the log is in the directory."`
	NATSCreds string `setting:"file" name:"nats-creds" placeholder:"FILE" help:"Credentials for it: a user's JWT and seed."`
	NATSNKey  string `setting:"file" name:"nats-nkey" placeholder:"FILE" help:"Or a user's seed alone."`
	NATSCA    string `setting:"file" name:"nats-tls-ca" placeholder:"FILE" help:"Authorities that may have signed its certificates, PEM."`
	NATSCert  string `setting:"file" name:"nats-tls-cert" placeholder:"FILE" help:"The hub's own certificate for it, PEM."`
	NATSKey   string `setting:"file" name:"nats-tls-key" placeholder:"FILE" help:"Its private key, PEM."`
	NATSHome  string `setting:"file" name:"nats-home" placeholder:"DOMAIN" help:"The JetStream domain that has the log, if these servers are leaf nodes of it in another region. The hub then reads a mirror in theirs."`
	Replicas  int    `setting:"file" name:"nats-replicas" default:"3" help:"How many of these servers have a copy of the log, or of the mirror."`

	SigningKey string `setting:"file" name:"signing-key" placeholder:"FILE" help:"The key that signs ticks, if hubs share one. Default: one of this hub's own, kept in the directory."`

	Retention period `setting:"file" default:"90d" help:"How long the log, which is the audit, keeps a record, such as 90d."`
	Drain     period `setting:"file" default:"5s" help:"Over which time subscribers are sent away when the hub stops."`

	MaxConnections           int `setting:"file" name:"max-connections" default:"25000" help:"How many connections to the API are open at once; those beyond wait."`
	MaxConnectionsPerAddress int `setting:"file" name:"max-connections-per-address" placeholder:"N" help:"How many of them one address may have, or one IPv6 /64; those beyond are closed. Default: four fifths."`
	MaxSubscribers           int `setting:"file" name:"max-subscribers" default:"20000" help:"How many feed streams there are at once; those beyond are sent away for a while."`
	MaxStreamsPerCredential  int `setting:"file" name:"max-streams-per-credential" placeholder:"N" help:"How many of them one credential may have; those beyond are refused. Default: four fifths."`

	LogLevel  string `setting:"file" default:"info" enum:"debug,info,warn,error" help:"debug, info, warn or error."`
	LogFormat string `setting:"file" default:"text" enum:"text,json" help:"text or json; logs go to stderr."`
}

type serveCmd struct{ hubFlags }

func (serveCmd) Help() string {
	return `Settings come from the flags, else the environment, else the file. The first
start makes an admin key and prints it, once; REVOCAST_ADMIN_KEY sets it
instead ("rvk_" and at least 32 characters). SIGTERM stops the hub in good
order, a second one at once.

Examples:

    hub
    hub serve --data /var/lib/revocast --listen :8443 --tls-cert tls.crt --tls-key tls.key
    hub serve --config hub.yaml --log-format json
    hub serve --nats nats://n1,nats://n2,nats://n3 --nats-creds hub.creds
    hub serve --nats nats://edge1,nats://edge2,nats://edge3 --nats-home home

A file:

    listen: 127.0.0.1:8080
    retention: 90d
    issuers:
      - iss: https://issuer.example
        jwks_uri: https://issuer.example/jwks.json
        algorithms: [RS256]
        max_token_lifetime: 12h
        audience: [https://hub.example]   # of logout tokens and security events
    keys:                                 # API keys that every hub has from the start
      - name: orders
        sha256: 5d41…                     # printf %s rvk_… | sha256sum
        roles: [subscribe]
    hub_keys:                             # of other hubs: their /.well-known/jwks.json
      - {kty: OKP, crv: Ed25519, kid: …, x: …}
    claims:                               # names of what has no registered claim
      grant: [grant_id, origin_jti, txn]
      extra: [department]`
}

func (c serveCmd) Run(ctx context.Context, std streams, where *settings) error {
	cfg, secure, err := c.hubConfig(where)
	if err != nil {
		return err
	}
	cfg.Logger = slog.New(c.logHandler(std.err))

	// Before the hub is opened: an address in use must not cost the first
	// start its only chance to show the admin key.
	api, err := listen("--listen", c.Listen)
	if err != nil {
		return err
	}
	ops, err := listen("--ops-listen", c.OpsListen)
	if err != nil {
		return errors.Join(err, api.Close())
	}
	h, err := hub.Open(ctx, cfg)
	if ctx.Err() != nil && err != nil {
		std.note("stopped before it had started")
		return errors.Join(api.Close(), ops.Close())
	}
	if err != nil {
		return errors.Join(c.openError(err), api.Close(), ops.Close())
	}
	at := addresses{api: addressOf(api, secure != nil), ops: addressOf(ops, false)}
	if err := at.announce(std.out, h.NewAdminKey(), cfg.AdminKey != ""); err != nil {
		h.Close()
		return errors.Join(fmt.Errorf("print the addresses and the admin key: %w; if the key is lost, start with another in %s", err, adminKeyEnv),
			api.Close(), ops.Close())
	}
	if secure == nil && !loopback(api.Addr()) {
		cfg.Logger.Warn("NO TLS: keys and tokens cross the network in the clear. Set --tls-cert and --tls-key, "+
			"or let a proxy end TLS and make sure that nothing else reaches this address", "listen", api.Addr())
	}
	cfg.Logger.Info("serving", "api", at.api, "ops", at.ops, "data", c.Data, "version", cfg.Version)
	return h.Serve(ctx, api, ops, secure)
}

// hubConfig is what the flags, the file and the environment add up to. Its
// errors are the configuration's.
func (f hubFlags) hubConfig(where *settings) (hub.Config, *tls.Config, error) {
	cfg := hub.Config{
		// Zero would be the default, which is not what 0s says.
		DataDir: f.Data, Retention: max(time.Duration(f.Retention), 1), DrainWindow: max(time.Duration(f.Drain), 1),
		AdminKey: where.env[adminKeyEnv], Iss: f.PublicURL, Version: version(),
	}
	var errs []error
	if where.file != nil {
		issuers, err := where.file.tokenIssuers()
		cfg.Issuers, cfg.Claims = issuers, where.file.claims
		errs = append(errs, err)
	}
	errs = append(errs, f.clusterConfig(&cfg, where.file), f.limits(&cfg))
	secure, err := f.tls()
	if err := errors.Join(append(errs, err)...); err != nil {
		return cfg, nil, usageError{err}
	}
	return cfg, secure, nil
}

// clusterConfig fills in what hubs that share a log need: where it is, and the
// keys that they share or know of each other.
func (f hubFlags) clusterConfig(cfg *hub.Config, file *configFile) error {
	var errs []error
	cfg.Name, cfg.NATSHome, cfg.Replicas = f.Name, f.NATSHome, f.Replicas
	cfg.NATS = hublog.NATS{Creds: f.NATSCreds, NKey: f.NATSNKey, CA: f.NATSCA, Cert: f.NATSCert, Key: f.NATSKey}
	if f.NATS != "" {
		cfg.NATS.Servers = strings.Split(f.NATS, ",")
		if err := cfg.NATS.Check(); err != nil {
			errs = append(errs, fmt.Errorf("--nats: %w", err))
		}
	} else if f.NATSCreds+f.NATSNKey+f.NATSCA+f.NATSCert+f.NATSKey+f.NATSHome != "" {
		errs = append(errs, errors.New("--nats-… is set without --nats, which says where the servers are"))
	}
	if err := hublog.CheckDomain(f.NATSHome); err != nil {
		errs = append(errs, fmt.Errorf("--nats-home: %w", err))
	}
	if f.Replicas < 1 || f.Replicas > 5 {
		errs = append(errs, fmt.Errorf("--nats-replicas %d: want 1 to 5", f.Replicas))
	}
	if f.SigningKey != "" {
		text, err := os.ReadFile(f.SigningKey)
		if err == nil {
			if cfg.SigningKey, err = hub.ParseSigningKey(text); err != nil {
				err = fmt.Errorf("%s: %w", f.SigningKey, err)
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("--signing-key: %w", err))
		}
	}
	if file != nil {
		var err error
		cfg.Keys, err = file.apiKeys()
		errs = append(errs, err)
		cfg.HubKeys, err = file.publicKeys()
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// limits fills in how much the hub takes on at once.
func (f hubFlags) limits(cfg *hub.Config) error {
	cfg.MaxConnections, cfg.MaxConnectionsPerAddress = f.MaxConnections, f.MaxConnectionsPerAddress
	cfg.MaxSubscribers, cfg.MaxStreamsPerCredential = f.MaxSubscribers, f.MaxStreamsPerCredential
	var errs []error
	for _, l := range []struct {
		flag     string
		n, least int
	}{
		{"--max-connections", f.MaxConnections, 1},
		{"--max-connections-per-address", f.MaxConnectionsPerAddress, 0}, // 0: four fifths
		{"--max-subscribers", f.MaxSubscribers, 1},
		{"--max-streams-per-credential", f.MaxStreamsPerCredential, 0},
	} {
		if l.n < l.least {
			errs = append(errs, fmt.Errorf("%s %d: want at least 1", l.flag, l.n))
		}
	}
	return errors.Join(errs...)
}

func (f hubFlags) tls() (*tls.Config, error) {
	switch {
	case f.TLSCert == "" && f.TLSKey == "":
		return nil, nil
	case f.TLSCert == "" || f.TLSKey == "":
		return nil, errors.New("--tls-cert and --tls-key go together: one of them is missing")
	}
	cert, err := tls.LoadX509KeyPair(f.TLSCert, f.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert, --tls-key: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}}, nil
}

func (f hubFlags) logHandler(w io.Writer) slog.Handler {
	var opts slog.HandlerOptions
	level := new(slog.Level)
	_ = level.UnmarshalText([]byte(f.LogLevel)) // one of the enum
	opts.Level = level
	if f.LogFormat == "json" {
		return slog.NewJSONHandler(w, &opts)
	}
	return slog.NewTextHandler(w, &opts)
}

func listen(flag, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s %s: something listens there already, perhaps another hub: stop it, or choose another address", flag, addr)
	}
	if bad := (*net.AddrError)(nil); errors.As(err, &bad) || addr == "" {
		if err == nil {
			l.Close()
		}
		return nil, usagef("%s %q: want host and port, such as 127.0.0.1:8080", flag, addr)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return l, nil
}

// openError adds what to do to what went wrong.
func (f hubFlags) openError(err error) error {
	if errors.Is(err, hublog.ErrLocked) {
		return fmt.Errorf("the data directory %s is in use by another hub: stop that one, or choose another with --data", f.Data)
	}
	if bad := (*token.ConfigError)(nil); errors.As(err, &bad) {
		return usageError{inFileTerms(err)}
	}
	return err
}

func loopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
