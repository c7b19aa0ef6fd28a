package subscriber

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/internal/token"
)

// Issuer is one whose tokens Authenticate and Protect accept, and on what
// terms.
type Issuer = token.Issuer

// Config is what New needs. Hubs and a credential are required, or a Transport
// in their place; Issuers too for Authenticate and Protect. The zero value of
// everything else is a good default. New copies what it keeps.
type Config struct {
	// Hubs are the base URLs of the hubs of one feed, such as
	// "https://hub-1.example". One is followed at a time; they are tried in
	// turn. http is for loopback hosts, see DangerouslyAllowPlainHTTP.
	Hubs []string

	// Credential is the API key that is sent to the hubs; or CredentialFunc
	// returns one for each request, so that it can be rotated. The function is
	// called on goroutines of the subscriber and may block until ctx ends.
	Credential     string
	CredentialFunc func(ctx context.Context) (string, error)

	// Transport, if not nil, is another way to the hubs than HTTP, and takes
	// the place of Hubs and Credential. It stays the caller's, who closes it
	// after the subscriber.
	Transport Transport

	// Name is what people call this subscriber when they look at who is
	// connected. 1 to 128 bytes. Default: host name, process and a few random
	// characters.
	Name string

	// Issuers are those whose tokens are accepted. Without any, only Check and
	// Guard of prepared claims are of use.
	Issuers []Issuer

	// Claims says where in a token to find what has no registered claim. It
	// has to be what the hubs are configured with, or what they send could not
	// be enforced: the subscriber says so and is not fresh.
	Claims events.ClaimNames

	// HubKeys are the only keys that may sign for the hubs. If empty, the keys
	// in a hub's hello are believed, because TLS, or the Transport, vouches for
	// the hub.
	HubKeys []events.PublicKey

	// MaxStaleness is how old the proof may be that the set is complete. A
	// revocation that was acknowledged longer ago than this is enforced, or
	// the subscriber says that it is not fresh. Default: 6 s.
	MaxStaleness time.Duration

	// Policy decides about tokens that are not revoked as far as is known
	// while the set is not fresh. Default: GraceThenClosed(30 s).
	Policy Policy

	// SnapshotFile, if not empty, is where the set is kept for a start while
	// no hub can be reached. Its directory must exist. Whoever can write the
	// file decides what is revoked until the next snapshot from a hub; it is
	// created for its owner alone, and refused if others may write it.
	SnapshotFile string

	// MaxSnapshotAge is the age beyond which SnapshotFile is not used.
	// Default: 1 h.
	MaxSnapshotAge time.Duration

	// MaxSnapshotSize bounds, in bytes, what a hub may send as a snapshot and
	// what is read from SnapshotFile. Default: 1 GiB.
	MaxSnapshotSize int64

	// MemoryBudget bounds the memory of the set in bytes, by an estimate of
	// some 32 bytes for a token and 56 for a cutoff. What does not fit is not
	// applied, and the subscriber is not fresh until it fits; nothing is ever
	// dropped to make room. While a snapshot takes the place of the set, there
	// are two for a moment, each within the bound. 0: no bound.
	MemoryBudget int64

	// VerifiedTokens is for how many tokens it is remembered that their
	// signature was checked. Each takes about 1.5 KiB and twice its length;
	// tokens above 4 KiB are not remembered. Default: 65,536; negative: none.
	VerifiedTokens int

	// Details is for how many revocations their id and time are remembered,
	// to explain a verdict. Default: 4,096. What is forgotten here is enforced
	// all the same.
	Details int

	// HTTPTransport is used to reach the hubs and the issuers' key sets; nil is
	// one that uses the proxy of the environment. It is cloned.
	HTTPTransport *http.Transport

	// Logger is told what an operator should know, never a token or a
	// credential. Default: slog.Default().
	Logger *slog.Logger

	// Metrics, if not nil, is told what to count.
	Metrics Metrics

	// OnRevoked, if not nil, is called for each token that this process knows
	// (one remembered as verified, or guarded) when a revocation of it
	// arrives: to close what hangs on it, to drop a session. Calls come one
	// after the other on one goroutine of the subscriber; while one blocks, up
	// to 1,024 wait and the rest are counted in Status and lost.
	OnRevoked func(Revocation)

	// DangerouslyAllowPlainHTTP lets http be used with hosts that are not
	// loopback. Whoever is on the way then reads the credential, and can keep
	// revocations from arriving without being noticed unless HubKeys is set.
	DangerouslyAllowPlainHTTP bool

	// DangerouslyAllowPrivateJWKS lets the JWKSURI of an issuer name a host
	// with a private address.
	DangerouslyAllowPrivateJWKS bool
}

// Defaults of a Config.
const (
	DefaultMaxStaleness    = 6 * time.Second
	DefaultGrace           = 30 * time.Second
	DefaultMaxSnapshotAge  = time.Hour
	DefaultMaxSnapshotSize = 1 << 30
	DefaultVerifiedTokens  = 65536
	DefaultDetails         = 4096
)

// ConfigError is one mistake in a Config.
type ConfigError struct {
	Field   string
	Problem string // never contains a credential
}

func (e *ConfigError) Error() string { return "subscriber: " + e.Field + ": " + e.Problem }

// snapshotLimit is how many bytes of a snapshot are read. An entry takes less
// in a snapshot than in memory, so what exceeds the budget there can't fit.
func (c *Config) snapshotLimit() int64 {
	if c.MemoryBudget > 0 {
		return min(c.MaxSnapshotSize, c.MemoryBudget+128<<10) // header and checksum beside the entries
	}
	return c.MaxSnapshotSize
}

// minStaleness keeps the reports, of which there are three in MaxStaleness,
// from becoming a load.
const minStaleness = 100 * time.Millisecond

// checked fills in the defaults and reports every mistake.
func (c Config) checked() (Config, error) {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, &ConfigError{field, fmt.Sprintf(format, args...)})
	}

	c.Hubs = slices.Clone(c.Hubs)
	switch {
	case c.Transport != nil && len(c.Hubs) > 0:
		bad("Hubs", "can't be given together with Transport")
	case c.Transport == nil && len(c.Hubs) == 0:
		bad("Hubs", "is empty")
	}
	for i, hub := range c.Hubs {
		clean, err := hubURL(hub, c.DangerouslyAllowPlainHTTP)
		if err != nil {
			bad("Hubs", "number %d %v", i+1, err)
		}
		c.Hubs[i] = clean
	}

	switch {
	case c.Transport != nil:
		if c.Credential != "" || c.CredentialFunc != nil {
			bad("Credential", "can't be given together with Transport")
		}
	case c.Credential == "" && c.CredentialFunc == nil:
		bad("Credential", "is empty, and CredentialFunc is nil")
	case c.Credential != "" && c.CredentialFunc != nil:
		bad("Credential", "can't be given together with CredentialFunc")
	case c.CredentialFunc == nil:
		if err := checkCredential(c.Credential); err != nil {
			bad("Credential", "%v", err)
		}
		key := c.Credential
		c.CredentialFunc = func(context.Context) (string, error) { return key, nil }
	}

	if c.Name == "" {
		c.Name = defaultName()
	} else if err := events.CheckText("Name", c.Name, 128); err != nil {
		var field *events.FieldError
		errors.As(err, &field)
		bad("Name", "%s", field.Problem)
	}

	c.HubKeys = slices.Clone(c.HubKeys)
	for i, k := range c.HubKeys {
		if err := k.Validate(); err != nil {
			bad("HubKeys", "number %d: %v", i+1, err)
		}
	}

	positive := func(field string, d *time.Duration, fallback, least time.Duration) {
		if *d == 0 {
			*d = fallback
		} else if *d < least {
			bad(field, "is %v, want at least %v", *d, least)
		}
	}
	positive("MaxStaleness", &c.MaxStaleness, DefaultMaxStaleness, minStaleness)
	positive("MaxSnapshotAge", &c.MaxSnapshotAge, DefaultMaxSnapshotAge, time.Second)

	if c.Policy.name == "" {
		c.Policy = GraceThenClosed(DefaultGrace)
	} else if err := c.Policy.check(); err != nil {
		bad("Policy", "%v", err)
	}

	if c.MaxSnapshotSize == 0 {
		c.MaxSnapshotSize = DefaultMaxSnapshotSize
	} else if c.MaxSnapshotSize < 0 {
		bad("MaxSnapshotSize", "is negative")
	}
	if c.MemoryBudget < 0 {
		bad("MemoryBudget", "is negative")
	}
	if c.VerifiedTokens == 0 {
		c.VerifiedTokens = DefaultVerifiedTokens
	}
	if c.Details == 0 {
		c.Details = DefaultDetails
	} else if c.Details < 0 {
		bad("Details", "is negative")
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Metrics == nil {
		c.Metrics = noMetrics{}
	}
	return c, errors.Join(errs...)
}

// hubURL returns the base of a hub's addresses, without a slash at its end.
func hubURL(s string, plain bool) (string, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return "", errors.New("is not a URL") // the parser's error would repeat it, with a password if it has one
	case u.User != nil:
		return "", errors.New("has a user or password in it: use Credential")
	case u.Hostname() == "":
		return "", errors.New("is not an absolute URL with a host")
	case u.RawQuery != "" || u.Fragment != "":
		return "", errors.New("has a query or fragment")
	case u.Scheme == "http" && !plain && !loopback(u.Hostname()):
		return "", errors.New("is http, which only a loopback host may be: use https")
	case u.Scheme != "https" && u.Scheme != "http":
		return "", fmt.Errorf("has the scheme %q, want https", u.Scheme)
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// loopback reports whether a host is this machine by its name alone.
func loopback(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().IsLoopback()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost") // RFC 6761 section 6.3
}

// checkCredential refuses what can't be sent in a header (RFC 6750 section
// 2.1), without repeating any of it.
func checkCredential(s string) error {
	if s == "" {
		return errors.New("is empty")
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return errors.New("has a character that can't be part of a credential, such as a space or line break")
		}
	}
	return nil
}

func defaultName() string {
	host, err := os.Hostname()
	if err != nil || host == "" || len(host) > 64 || events.CheckText("Name", host, 64) != nil {
		host = "subscriber"
	}
	return fmt.Sprintf("%s-%d-%s", host, os.Getpid(), strings.ToLower(rand.Text()[:6]))
}
