package subscriber

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/internal/token"
)

// PhantomConfig is what a Gateway needs. Issuer and Exchange are required; the
// zero value of everything else is a good default.
type PhantomConfig struct {
	// Issuer is the iss of the opaque tokens, below which their handles are
	// revoked, and of the JWTs that they stand for. It is one of those of the
	// Config.
	Issuer string

	// Exchange asks the issuer for the JWT that an opaque token stands for, for
	// instance by introspection (RFC 7662). An error that wraps ErrInactive
	// says that there is none, and is answered with 401; any other says that
	// the issuer could not be asked, and is answered with 503.
	//
	// It is called on the goroutine of a request, for different tokens at the
	// same time. Its context has the values of that request but not its end,
	// since other requests may wait for the same answer: it ends after Timeout,
	// or when the subscriber is closed, and Exchange must return then. What it
	// is given must not be logged, and goes into the body of what it sends.
	Exchange func(ctx context.Context, opaque string) (Exchanged, error)

	// SameIssueTime says that a JWT's iat is when the OPAQUE token was issued:
	// the two are made together, or the issuer copies the time. It must not be
	// set if the issuer makes a JWT whenever it is asked for one, or who was
	// logged out everywhere would be let in by his old opaque token.
	SameIssueTime bool

	// Cookie, if not empty, names a cookie that may hold the opaque token in
	// place of the Authorization header. Browsers send cookies whoever made
	// them ask, so a request that changes something is then taken only from
	// pages of the same origin (http.CrossOriginProtection).
	Cookie string

	// Timeout is how long an exchange may take. Default: 2 s.
	Timeout time.Duration

	// MaxExchanges is how many exchanges may be under way at once; a request
	// that would begin another one is answered with 503. It keeps those who
	// make up tokens from using up the issuer. Default: 64.
	MaxExchanges int

	// MaxTokens and MaxBytes bound the cache: how many opaque tokens' JWTs are
	// remembered, and about how many bytes they take, at twice the length of a
	// JWT and 3 KiB each. Default: 16,384 and 128 MiB.
	MaxTokens int
	MaxBytes  int64
}

// Defaults of a PhantomConfig.
const (
	DefaultExchangeTimeout = 2 * time.Second
	DefaultMaxExchanges    = 64
	DefaultMaxTokens       = 16384
	DefaultMaxBytes        = 128 << 20
)

// Exchanged is what an opaque token stands for.
type Exchanged struct {
	JWT string

	// IssuedAt is when the OPAQUE token was issued: iat in an answer to
	// introspection (RFC 7662 section 2.2). It is what a cutoff is compared
	// with. If it is zero, and without SameIssueTime, a matching cutoff revokes
	// the opaque token whenever it was issued, as it does a JWT without iat.
	IssuedAt time.Time
}

// ErrInactive is what Exchange wraps to say that the issuer gives no JWT for an
// opaque token: it has expired, was revoked, or never was one.
var ErrInactive = errors.New("subscriber: the opaque token is not active")

// Gateway is the edge of a system whose clients hold opaque tokens and whose
// services are shown JWTs: the phantom token pattern. It asks the issuer once
// for a token that it has not seen, and remembers the JWT until the JWT
// expires or a revocation says otherwise. Its methods may be called by many
// goroutines at once. It needs no Close; after that of its Subscriber it
// remembers nothing new.
type Gateway struct {
	sub    *Subscriber
	config PhantomConfig // checked
	cache  *exchanges
	origin *http.CrossOriginProtection
}

// Phantom makes a Gateway, or returns all mistakes in the configuration, a
// join of *ConfigError.
func (s *Subscriber) Phantom(config PhantomConfig) (*Gateway, error) {
	config, err := config.checked(s)
	if err != nil {
		return nil, err
	}
	return &Gateway{
		sub:    s,
		config: config,
		cache:  newExchanges(s, config.MaxTokens, config.MaxBytes, config.MaxExchanges),
		origin: http.NewCrossOriginProtection(),
	}, nil
}

func (c PhantomConfig) checked(s *Subscriber) (PhantomConfig, error) {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, &ConfigError{"PhantomConfig." + field, fmt.Sprintf(format, args...)})
	}
	if _, ok := s.verifier.Issuer(c.Issuer); !ok {
		bad("Issuer", "is %q, which is none of the Issuers of the Config", c.Issuer)
	}
	if c.Exchange == nil {
		bad("Exchange", "is nil")
	}
	if c.Cookie != "" && (&http.Cookie{Name: c.Cookie}).Valid() != nil {
		bad("Cookie", "is %q, which can't be the name of a cookie", c.Cookie)
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultExchangeTimeout
	} else if c.Timeout < 0 {
		bad("Timeout", "is negative")
	}
	positive := func(field string, n *int, fallback int) {
		if *n == 0 {
			*n = fallback
		} else if *n < 0 {
			bad(field, "is negative")
		}
	}
	positive("MaxExchanges", &c.MaxExchanges, DefaultMaxExchanges)
	positive("MaxTokens", &c.MaxTokens, DefaultMaxTokens)
	if c.MaxBytes == 0 {
		c.MaxBytes = DefaultMaxBytes
	} else if c.MaxBytes < 0 {
		bad("MaxBytes", "is negative")
	}
	return c, errors.Join(errs...)
}

// Protect lets only requests through to next whose opaque token stands for a
// JWT that Authenticate would accept. next gets the request with the JWT in
// place of the opaque token, which it never sees (neither in the Authorization
// header nor in the cookie), and the JWT's Token with FromContext. A Guard of
// that Token ends also when the opaque token is revoked.
//
// A token is refused, at once and without asking the issuer, while its handle
// is revoked; events.HandleOf the whole opaque token is the value. If the JWT
// is revoked in any way, it is dropped, and the issuer asked anew: a new JWT
// for the same opaque token is as good as the issuer says, except that a cutoff
// that is not before the opaque token's own issue time refuses that one too.
//
// Answers are those of Subscriber.Protect; and 401 if the issuer gives no JWT,
// 503 with Retry-After if it can't be asked. That it gave none is not
// remembered: those who make tokens up never send one twice and would only push
// good ones out of the cache, and a good one may be asked about a moment before
// all of the issuer knows it.
//
// A token that was seen before costs a hash, a look-up under a lock held for an
// instant, and a check of two lineages, its own and its JWT's. Protect panics if WithPolicy is given a policy that can't
// decide.
func (g *Gateway) Protect(next http.Handler, opts ...Option) http.Handler {
	r := g.sub.route(opts)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		e, err := g.admit(req, r)
		if err != nil {
			g.sub.refuse(err).write(w, r.scope)
			return
		}
		next.ServeHTTP(w, g.inward(req, e))
	})
}

// admit returns what the request's token stands for, or why it is refused.
func (g *Gateway) admit(req *http.Request, r *route) (*exchange, *Error) {
	opaque, err := g.credential(req)
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256([]byte(opaque))
	e, known, err := g.cache.get(req.Context(), hash, func() (*exchange, *Error) { return g.ask(req.Context(), opaque) })
	if err != nil {
		return nil, err
	}
	err = g.judge(req.Context(), e, r, known)
	if err != nil && known && obsolete(err) {
		// What came of an earlier exchange is dead, and the news of it may not
		// have reached the cache yet.
		g.cache.drop(e)
		e, _, err = g.cache.get(req.Context(), hash, func() (*exchange, *Error) { return g.ask(req.Context(), opaque) })
		if err != nil {
			return nil, err
		}
		err = g.judge(req.Context(), e, r, false)
	}
	if err != nil {
		return nil, err
	}
	return e, r.checkScope(e.token)
}

// judge says why a JWT is refused, if it is. One that was known before is not
// used up to the last moment of what the issuer's skew allows: whoever it is
// forwarded to may have none.
func (g *Gateway) judge(ctx context.Context, e *exchange, r *route, known bool) *Error {
	s, now := g.sub, g.sub.clock.now()
	if known && now.wall >= e.token.Claims.Expires {
		return &Error{CodeExpired, "the token has expired", ErrExpired}
	}
	if e.token.verifyAgain(now) {
		again, err := s.read(ctx, e.jwt)
		if err != nil {
			return err
		}
		e.token.checkedAt.Store(again.checkedAt.Load())
	}
	return s.judge(ctx, e.token, now, r.audience, r.policy)
}

// obsolete reports whether another exchange may bring a JWT that is not refused
// for the same reason.
func obsolete(err *Error) bool {
	switch err.Code {
	case CodeStale, CodeKeysUnavailable, CodeAudience, CodeNotYetValid:
		return false
	}
	return true
}

// ask makes an exchange.
func (g *Gateway) ask(ctx context.Context, opaque string) (*exchange, *Error) {
	s := g.sub
	origin := events.Claims{Issuer: g.config.Issuer, Handle: events.HandleOf(opaque)}
	if err := s.refuseHandle(origin); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.config.Timeout)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	got, xerr := g.config.Exchange(ctx, opaque)
	switch {
	case errors.Is(xerr, ErrInactive):
		s.exchangeEnded("inactive")
		return nil, &Error{CodeInactive, "the token is not active", xerr}
	case xerr != nil:
		s.exchangeEnded("failed")
		return nil, &Error{CodeExchange, "what the token stands for can't be found out at the moment", xerr}
	}
	s.exchangeEnded("done")
	t, err := s.read(ctx, got.JWT)
	if err != nil {
		return nil, err
	}
	if t.Claims.Issuer != g.config.Issuer {
		return nil, &Error{CodeUnknownIssuer, "the token stands for one of another issuer", nil}
	}
	// The opaque token is about the same things, but has a handle and a time of
	// its own.
	handle := origin.Handle
	origin = t.Claims
	origin.Handle = handle
	switch {
	case !got.IssuedAt.IsZero():
		origin.IssuedAt = got.IssuedAt.UnixMilli()
	case !g.config.SameIssueTime:
		origin.IssuedAt = 0
	}
	t.from = []events.Claims{origin}
	return &exchange{jwt: got.JWT, token: t}, nil
}

// refuseHandle says whether a handle is revoked before it is known what the
// token is about.
func (s *Subscriber) refuseHandle(c events.Claims) *Error {
	v, now := s.view.Load(), s.clock.now()
	if v.held == nil {
		return nil // what that means is for the policy to say
	}
	for _, held := range v.held.sets {
		key := held.salt.Key(events.Target{Kind: events.KindHandle, Iss: c.Issuer, Value: c.Handle})
		if term, ok := held.set.Lookup(events.KindHandle, key); ok && term.Live(horizon(now)) {
			h := hit{events.Verdict{Kind: events.KindHandle, Key: key, Term: term}, 1}
			verdict := s.verdict(&h, true, v.standing(now, s.config.MaxStaleness))
			return &Error{CodeRevoked, "the token has been revoked", &RevokedError{verdict}}
		}
	}
	return nil
}

func (s *Subscriber) exchangeEnded(outcome string) {
	s.tally.exchanges.add(outcome)
	s.config.Metrics.Exchange(outcome)
}

// maxOpaque is the length in bytes above which an opaque token is refused
// unasked. Those of authorization servers have some tens.
const maxOpaque = 4 << 10

// credential returns the opaque token of a request.
func (g *Gateway) credential(req *http.Request) (string, *Error) {
	opaque, err := bearer(req.Header)
	if g.config.Cookie != "" {
		cookies := req.CookiesNamed(g.config.Cookie)
		switch {
		case len(cookies) > 1 || len(cookies) == 1 && (err == nil || err.Code != CodeNoToken):
			return "", &Error{CodeInvalidRequest, "there are several tokens", nil}
		case len(cookies) == 1 && g.origin.Check(req) != nil:
			return "", &Error{CodeInvalidRequest, "a cookie allows nothing to pages of other origins", nil}
		case len(cookies) == 1:
			opaque, err = cookies[0].Value, nil
		}
	}
	switch {
	case err != nil:
		return "", err
	case !sendable(opaque):
		return "", &Error{CodeMalformed, "the token is empty, too long, or has a character that no token has", nil}
	case token.IsJWT(opaque):
		// One that has leaked from inside is of no use at the edge.
		return "", &Error{CodeMalformed, "an opaque token is needed, and this is none", nil}
	}
	return opaque, nil
}

// sendable reports whether a text can be an opaque token: visible characters
// (RFC 6749 appendix A.12), but for the space that ends it in a header.
func sendable(opaque string) bool {
	for i := range len(opaque) {
		if opaque[i] <= ' ' || opaque[i] > '~' {
			return false
		}
	}
	return opaque != "" && len(opaque) <= maxOpaque
}

// inward is the request as the services inside see it.
func (g *Gateway) inward(req *http.Request, e *exchange) *http.Request {
	in := req.WithContext(context.WithValue(req.Context(), contextKey{}, e.token))
	in.Header = req.Header.Clone()
	in.Header["Authorization"] = []string{"Bearer " + e.jwt}
	if g.config.Cookie != "" {
		stripCookie(in.Header, g.config.Cookie)
	}
	return in
}

// stripCookie takes a cookie out of a request's header and leaves the others
// as they were written.
func stripCookie(h http.Header, name string) {
	var lines []string
	for _, line := range h["Cookie"] {
		var kept []string
		for pair := range strings.SplitSeq(line, ";") {
			if key, _, _ := strings.Cut(pair, "="); strings.TrimSpace(key) != name {
				kept = append(kept, strings.TrimSpace(pair))
			}
		}
		if rest := strings.Join(kept, "; "); rest != "" {
			lines = append(lines, rest)
		}
	}
	if delete(h, "Cookie"); len(lines) > 0 {
		h["Cookie"] = lines
	}
}
