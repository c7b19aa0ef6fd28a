package hub

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/api"
	"github.com/revocast/revocast/hub/feed"
	"github.com/revocast/revocast/hub/log"
	"github.com/revocast/revocast/internal/token"
)

// Config is what Open needs. Zero fields have the defaults named.
type Config struct {
	// DataDir is made if it does not exist; required.
	DataDir string
	// Name is what other hubs and the status call this one: 1 to 64 of A-Z,
	// a-z, 0-9, "-" and "_". Each hub of a feed needs its own. Default: the
	// host's name, and a few characters that are kept in DataDir.
	Name string
	// NATS is where the log is, if it names servers: any number of hubs may
	// share it. Otherwise the log is in DataDir, and this hub's alone. Its Name
	// and Logger are filled in.
	NATS log.NATS
	// NATSHome is the JetStream domain that has the log, if the servers of NATS
	// are leaf nodes of it in another region, with a domain of their own. The
	// hub then reads a mirror there; see log.Config.Home.
	NATSHome string
	// Replicas is how many of the servers have to have a copy of the log, or of
	// the mirror: 3. Only with NATS.
	Replicas int
	// Retention is how long the log holds a record: 90 days. It has to be
	// longer than tokens live.
	Retention time.Duration
	// MaxStore bounds the size of the log in bytes; see log.ServerConfig.
	MaxStore int64

	// Issuers are those whose tokens can be revoked, and may be credentials.
	// None: tokens of every issuer can be revoked, and keys are the only
	// credentials.
	Issuers []token.Issuer
	// Claims says where in a token to find what has no registered claim, and
	// by which claims tokens can be revoked. Subscribers have to be configured
	// alike; one that is not says that it can't enforce what it is sent.
	Claims events.ClaimNames
	// Audience has to be in the aud of a token that is a credential. Default:
	// "revocast".
	Audience string
	// Iss is the iss of the JWTs that the hub signs, such as signed answers to
	// introspection (RFC 9701): the hub's own address as its clients know it,
	// an https URL. Default: "urn:revocast:hub:" and the id of its key.
	Iss string
	// SigningKey signs ticks and report answers. The zero key: one is made when
	// the hub starts for the first time, and kept in DataDir.
	SigningKey events.SigningKey
	// HubKeys are the keys of the other hubs, which subscribers are told beside
	// this one's, so that they can follow either.
	HubKeys []events.PublicKey
	// Keys are API keys that can be used from the start, by their SHA-256.
	Keys []api.FixedKey
	// AdminKey, "rvk_" and at least 32 characters, becomes the key called
	// admin. Empty: one is made when the hub starts for the first time.
	AdminKey string

	TickEvery   time.Duration // 1 s: how often the hub proves that the log takes writes
	Heartbeat   time.Duration // 2 s: how often each stream gets something
	DrainWindow time.Duration // 5 s: over which subscribers are sent away at the end
	// MaxConnections bounds those to the API; those beyond wait. Default: 25,000.
	// Serve takes fewer if the process may not open so many files, and warns.
	MaxConnections int
	// MaxConnectionsPerAddress bounds those of one IPv4 address, or one IPv6
	// /64; those beyond are closed at once. Default: 4/5 of MaxConnections, so
	// that nobody takes the last place. Behind a proxy all are of its address.
	MaxConnectionsPerAddress int
	// MaxStreamsPerCredential bounds the feed streams of one credential; those
	// beyond are refused with 429. Default: 4/5 of MaxSubscribers.
	MaxStreamsPerCredential int
	// MaxSubscribers bounds the feed streams of all; those beyond are sent away
	// for a while with 503. Default: 20,000.
	MaxSubscribers int

	Version string // for the status and the metrics
	Logger  *slog.Logger

	// DangerouslySkipSync acknowledges revocations before they are synced to
	// disk: a power cut then loses what was acknowledged. For tests and demos.
	DangerouslySkipSync bool
	// DangerouslyAllowPrivateJWKS lets an issuer's jwks_uri have an address
	// inside the own network; see token.Options.
	DangerouslyAllowPrivateJWKS bool
}

func (c Config) withDefaults() (Config, error) {
	orElse(&c.Retention, 90*24*time.Hour)
	orElse(&c.TickEvery, time.Second)
	orElse(&c.Heartbeat, 2*time.Second)
	orElse(&c.DrainWindow, 5*time.Second)
	orElse(&c.MaxConnections, 25_000)
	orElse(&c.MaxConnectionsPerAddress, max(1, c.MaxConnections/5*4))
	orElse(&c.Version, "unknown")
	orElse(&c.Replicas, 3)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	var errs []error
	if c.DataDir == "" {
		errs = append(errs, errors.New("no data directory"))
	}
	for name, n := range map[string]int{
		"connections": c.MaxConnections, "connections of one address": c.MaxConnectionsPerAddress,
		"subscribers": c.MaxSubscribers, "streams of one credential": c.MaxStreamsPerCredential,
	} {
		if n < 0 {
			errs = append(errs, fmt.Errorf("the most %s are %d, want more than zero", name, n))
		}
	}
	for name, d := range map[string]time.Duration{"tick interval": c.TickEvery, "heartbeat": c.Heartbeat, "drain window": c.DrainWindow} {
		if d < 0 {
			errs = append(errs, fmt.Errorf("the %s is %v, want more than zero", name, d))
		}
	}
	if c.Name != "" && !events.ValidHub(c.Name) {
		errs = append(errs, fmt.Errorf("the hub's name %q: want 1 to 64 of A-Z, a-z, 0-9, - and _", c.Name))
	}
	if len(c.NATS.Servers) > 0 {
		if err := c.NATS.Check(); err != nil {
			errs = append(errs, fmt.Errorf("NATS: %w", err))
		}
	} else if c.NATSHome != "" {
		errs = append(errs, errors.New("the domain of the log is set, but no NATS servers"))
	}
	if err := log.CheckDomain(c.NATSHome); err != nil {
		errs = append(errs, err)
	}
	if c.Replicas < 1 || c.Replicas > 5 {
		errs = append(errs, fmt.Errorf("the log's replicas are %d, want 1 to 5", c.Replicas))
	}
	for i, k := range c.HubKeys {
		if err := k.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("hub key number %d: %w", i+1, err))
		}
	}
	if events.CheckText("", c.Iss, events.MaxIssuerLen) != nil {
		errs = append(errs, fmt.Errorf("the hub's own iss %q: want at most %d bytes without control characters", c.Iss, events.MaxIssuerLen))
	}
	for _, i := range c.Issuers {
		// An actor is an issuer, a space, and a subject.
		if strings.Contains(i.Iss, " ") || events.CheckText("", i.Iss, events.MaxIssuerLen) != nil {
			errs = append(errs, fmt.Errorf("issuer %q: want at most %d bytes without spaces and control characters", i.Iss, events.MaxIssuerLen))
		}
	}
	return c, errors.Join(errs...)
}

func orElse[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// terms are what the feed has to know of an issuer.
type terms struct{ lifetime, skew time.Duration }

// checkRetention refuses a log that would forget a revocation before the
// last token that it revokes has expired.
func checkRetention(retention time.Duration, issuers map[string]terms) error {
	if len(issuers) == 0 {
		issuers = map[string]terms{"any": {feed.DefaultLifetime, feed.DefaultSkew}}
	}
	var errs []error
	for iss, t := range issuers {
		// Terms are kept in whole seconds, rounded up.
		if need := t.lifetime + t.skew + time.Second; retention < need {
			errs = append(errs, fmt.Errorf("the retention is %v, want at least %v: tokens of issuer %q live up to %v", retention, need, iss, t.lifetime))
		}
	}
	return errors.Join(errs...)
}
