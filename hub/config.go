package hub

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/feed"
	"github.com/revocast/revocast/internal/token"
)

// Config is what Open needs. Zero fields have the defaults named.
type Config struct {
	// DataDir is made if it does not exist; required.
	DataDir string
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
	// AdminKey, "rvk_" and at least 32 characters, becomes the key called
	// admin. Empty: one is made when the hub starts for the first time.
	AdminKey string

	TickEvery      time.Duration // 1 s: how often the hub proves that the log takes writes
	Heartbeat      time.Duration // 2 s: how often each stream gets something
	DrainWindow    time.Duration // 5 s: over which subscribers are sent away at the end
	MaxConnections int           // 25,000, to the API

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
	orElse(&c.Version, "unknown")
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	var errs []error
	if c.DataDir == "" {
		errs = append(errs, errors.New("no data directory"))
	}
	for name, d := range map[string]time.Duration{"tick interval": c.TickEvery, "heartbeat": c.Heartbeat, "drain window": c.DrainWindow} {
		if d < 0 {
			errs = append(errs, fmt.Errorf("the %s is %v, want more than zero", name, d))
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
