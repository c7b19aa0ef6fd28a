package log

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
)

// NATS says how to reach the servers of a NATS cluster, and as whom. Files are
// read again for each connection, so what is in them can be rotated; but the
// public half of an NKey is taken from its file once, so that a hub has to be
// started again with another seed.
type NATS struct {
	// Servers are the URLs of some of the servers, nats:// or tls://, without
	// user and password: URLs end up in logs. The others are learned.
	Servers []string
	// Name is what the servers call the connection: the hub's name.
	Name string
	// Creds is a file with a user's JWT and seed; NKey is one with a seed
	// alone. At most one of them.
	Creds, NKey string
	// CA is a PEM file with the authorities that may have signed the servers'
	// certificates; by default those of the system. Cert and Key are the hub's
	// own, in PEM. Each of them makes TLS a must, as a tls:// URL does.
	CA, Cert, Key string
	// Logger is told of every loss of the connection. Nil means slog.Default.
	Logger *slog.Logger
}

// The times of a connection. A server that has gone without a word is noticed
// within pingEvery·(pings+1), when subscribers are about to go stale; and a
// hub comes back within a second, though not in step with the others.
const (
	dialTimeout   = 2 * time.Second
	pingEvery     = 2 * time.Second
	pings         = 2
	reconnectWait = 250 * time.Millisecond
	reconnectMore = 750 * time.Millisecond // at most, by chance
)

// Check reports everything that is wrong with the settings and with the files
// that they name. It connects to nothing.
func (c NATS) Check() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(c.Servers) == 0 {
		bad("servers: none")
	}
	for i, s := range c.Servers {
		u, err := url.Parse(s)
		switch {
		case err != nil: // which would repeat the URL, with a password if it has one
			bad("server number %d is not a URL", i+1)
		case u.User != nil:
			bad("server number %d has a user or password in its URL: use a credentials file", i+1)
		case u.Scheme != "nats" && u.Scheme != "tls" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
			bad("server number %d: want nats://host:port or tls://host:port", i+1)
		}
	}
	if c.Creds != "" && c.NKey != "" {
		bad("creds and nkey: want one of them")
	}
	if (c.Cert == "") != (c.Key == "") {
		bad("cert and key go together: one of them is missing")
	}
	if c.Creds != "" {
		if err := checkCreds(c.Creds); err != nil {
			bad("creds: %w", err)
		}
	}
	if len(errs) == 0 {
		if _, err := c.options(); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// checkCreds makes sure that a file has what a connection will need of it. Its
// errors repeat nothing of the file.
func checkCreds(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if _, err := nkeys.ParseDecoratedJWT(data); err != nil {
		return fmt.Errorf("%s: has no JWT of a user", path)
	}
	if _, err := nkeys.ParseDecoratedUserNKey(data); err != nil {
		return fmt.Errorf("%s: has no seed of a user", path)
	}
	return nil
}

func (c NATS) options() ([]nats.Option, error) {
	log := c.Logger
	if log == nil {
		log = slog.Default()
	}
	log = log.With("component", "nats")
	opts := []nats.Option{
		nats.Name(c.Name),
		nats.Timeout(dialTimeout),
		nats.PingInterval(pingEvery),
		nats.MaxPingsOutstanding(pings),
		nats.MaxReconnects(-1), // the default gives up for good after a minute or two
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectMore, reconnectMore),
		// A publish without a connection fails at once: nothing that was
		// answered with an error may be written later.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(nc *nats.Conn, err error) {
			if err != nil {
				log.Warn("the connection to NATS is lost", "server", nc.ConnectedUrlRedacted(), "err", err)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			log.Info("connected to NATS again", "server", nc.ConnectedUrlRedacted())
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			log.Warn("NATS can't be reached", "err", err)
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			subject := ""
			if sub != nil {
				subject = sub.Subject
			}
			log.Error("NATS reports an error", "err", err, "subject", subject)
		}),
	}
	if c.Creds != "" {
		opts = append(opts, nats.UserCredentials(c.Creds))
	}
	if c.NKey != "" {
		o, err := nats.NkeyOptionFromSeed(c.NKey)
		if err != nil {
			return nil, fmt.Errorf("nkey: %s: %w", c.NKey, err)
		}
		opts = append(opts, o)
	}
	for _, tls := range []struct {
		name string
		is   bool
		make func() nats.Option
	}{
		{"ca", c.CA != "", func() nats.Option { return nats.RootCAs(c.CA) }},
		{"cert, key", c.Cert != "", func() nats.Option { return nats.ClientCert(c.Cert, c.Key) }},
	} {
		if !tls.is {
			continue
		}
		o := tls.make()
		if err := o(new(nats.Options)); err != nil {
			return nil, fmt.Errorf("%s: %w", tls.name, err)
		}
		opts = append(opts, o)
	}
	return opts, nil
}

// Connect connects to the cluster. While none of its servers can be reached,
// it tries again, for as long as ctx allows, and tells the Logger every few
// seconds what it waits for. The caller closes the connection, which from then
// on is made again whenever it is lost.
func (c NATS) Connect(ctx context.Context) (*nats.Conn, error) {
	if err := c.Check(); err != nil {
		return nil, fmt.Errorf("NATS: %w", err)
	}
	opts, err := c.options()
	if err != nil {
		return nil, fmt.Errorf("NATS: %w", err)
	}
	urls := strings.Join(c.Servers, ",")
	var nc *nats.Conn
	err = patiently(ctx, c.Logger, "waiting for NATS: "+urls, func() (passing bool, err error) {
		nc, err = nats.Connect(urls, opts...)
		return true, err
	})
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	if _, err := nc.TLSConnectionState(); err != nil && c.Logger != nil {
		c.Logger.Warn("NO TLS to NATS: revocations, and whom they are about, cross that network in the clear", "server", nc.ConnectedUrlRedacted())
	}
	return nc, nil
}

const (
	tryFirst = 100 * time.Millisecond
	tryMost  = 2 * time.Second
	sayEvery = 3 * time.Second
)

// patiently tries until it works, or fails in a way that will not pass, or ctx
// ends. It says at once, and then every few seconds, what is waited for.
func patiently(ctx context.Context, log *slog.Logger, what string, try func() (passing bool, err error)) error {
	if log == nil {
		log = slog.Default()
	}
	var said time.Time
	for wait := tryFirst; ; wait = min(2*wait, tryMost) {
		passing, err := try()
		if err == nil || !passing {
			return err
		}
		if time.Since(said) >= sayEvery {
			said = time.Now()
			log.Warn(what, "err", err)
		}
		// Hubs that were started together don't ask together.
		if stopped := sleep(ctx, wait/2+rand.N(wait)); stopped != nil {
			return fmt.Errorf("%w, while %s: %w", stopped, what, err)
		}
	}
}

// passes reports whether what failed may work a little later: servers that are
// starting, or electing a leader, and a cluster that is not complete yet.
func passes(err error) bool {
	var answer *jetstream.APIError
	if errors.As(err, &answer) {
		switch answer.ErrorCode {
		case codeNoPeers:
			return true
		case jetstream.JSErrCodeStreamNotFound:
			return true // another hub is making it
		case jetstream.JSErrCodeJetStreamNotEnabledForAccount, codeNoReplicas:
			return false
		}
		return answer.Code >= 500
	}
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) ||
		errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrDisconnected) ||
		errors.Is(err, nats.ErrConnectionReconnecting) || errors.Is(err, nats.ErrReconnectBufExceeded) ||
		errors.Is(err, jetstream.ErrBucketNotFound) || errors.Is(err, errNoLease)
}

// forbidden is what the servers have refused to let the log's user do, or nil.
// They don't answer that, they say so beside.
func (l *Log) forbidden() error {
	if err := l.nc.LastError(); errors.Is(err, nats.ErrPermissionViolation) {
		return err
	}
	return nil
}

// passing says of an error whether it may pass, and adds what is forbidden,
// which does not pass.
func (l *Log) passing(err error) (bool, error) {
	if forbidden := l.forbidden(); err != nil && forbidden != nil {
		return false, fmt.Errorf("%w: %w", forbidden, err)
	}
	return passes(err), err
}

const (
	codeNoPeers    = 10005 // no suitable peers for placement
	codeNoReplicas = 10074 // not a cluster
)
