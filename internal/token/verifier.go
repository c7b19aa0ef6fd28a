package token

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/revocast/revocast/events"
)

// Options are rarely needed: the zero value is right for production.
type Options struct {
	// Transport is used to fetch key sets; nil is one that uses the proxy of
	// the environment. It is cloned, and its ways of dialing are replaced by one that checks
	// addresses unless DangerouslyAllowPrivateJWKS is set. With a proxy, the
	// proxy's address is what is checked: the proxy resolves the rest.
	Transport *http.Transport

	// Now is the clock that tokens are judged by; nil is time.Now.
	Now func() time.Time

	// Claims says where in a token to find what has no registered claim.
	Claims events.ClaimNames

	// Logger is told of key sets that can't be fetched, never of tokens; nil
	// is slog.Default.
	Logger *slog.Logger

	// DangerouslyAllowPrivateJWKS lets the host of a JWKSURI have any address.
	// Otherwise private, link-local and the like are refused, and loopback is
	// for hosts that are loopback by name. Set it for an issuer inside the
	// own network, if nobody else has a say in where its name points.
	DangerouslyAllowPrivateJWKS bool
}

// Verifier verifies the tokens of its issuers. Many goroutines may use one.
type Verifier struct {
	now     func() time.Time
	names   events.ClaimNames
	issuers map[string]*issuer // by iss
	client  *http.Client
	stop    context.CancelFunc
	running sync.WaitGroup // a remote's run each
}

// keySource is where an issuer's keys come from.
type keySource interface {
	// keySet returns the keys at hand. It doesn't wait.
	keySet() keySet
	// newer is called when the keys at hand lack one. It may fetch, within
	// bounds of its own. An error means that the keys returned with it may be
	// out of date.
	newer(context.Context) (keySet, error)
}

// New returns a Verifier, or all mistakes in issuers: a join of *ConfigError.
// It doesn't wait for key sets to be fetched and doesn't fail if they can't.
// The caller has to Close it.
func New(issuers []Issuer, opts Options) (*Verifier, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	v := &Verifier{
		now:     opts.Now,
		names:   opts.Claims,
		issuers: make(map[string]*issuer, len(issuers)),
		client:  newClient(opts.Transport, opts.DangerouslyAllowPrivateJWKS),
	}

	var errs []error
	var remotes []*remote
	for n, conf := range issuers {
		name := conf.Iss
		if name == "" {
			name = fmt.Sprintf("#%d", n+1)
		}
		i, static, err := conf.checked(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if v.issuers[i.Iss] != nil {
			errs = append(errs, &ConfigError{name, "Iss", "is configured twice"})
			continue
		}
		if i.JWKSURI == "" {
			i.keys = static
		} else {
			r := newRemote(i.Issuer, v.client, opts.Logger)
			remotes = append(remotes, r)
			i.keys = r
		}
		v.issuers[i.Iss] = i
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}

	ctx, cancel := context.WithCancel(context.Background())
	v.stop = cancel
	for _, r := range remotes {
		v.running.Go(func() { r.run(ctx) })
	}
	return v, nil
}

// Close ends the fetching of key sets and waits for it. Tokens can still be
// verified with the keys at hand. Closing again does nothing.
func (v *Verifier) Close() {
	v.stop()
	v.running.Wait()
	v.client.CloseIdleConnections()
}

// Issuer returns the configuration of an issuer with the defaults filled in,
// and whether there is one. The caller owns the result.
func (v *Verifier) Issuer(iss string) (Issuer, bool) {
	i, ok := v.issuers[iss]
	if !ok {
		return Issuer{}, false
	}
	conf := i.Issuer
	conf.Keys = slices.Clone(conf.Keys)
	conf.Algorithms = slices.Clone(conf.Algorithms)
	conf.Types = slices.Clone(conf.Types)
	conf.Audience = slices.Clone(conf.Audience)
	return conf, true
}

// Verify returns what a token says if all of it is to be believed now, or an
// *Error. It says nothing about revocation.
//
// If audiences are given, the token's aud has to have at least one of them.
// If none is given, aud is NOT checked: a token meant for another service of
// the same issuer is accepted.
//
// Verify is computation only, except when the keys at hand lack the one that
// the token names: then the issuer may be asked for newer ones, which takes at
// most 200 ms of this call, and less if ctx ends.
func (v *Verifier) Verify(ctx context.Context, raw string, audience ...string) (*Token, error) {
	t, i, err := v.forAccess(ctx, raw)
	if err != nil {
		return nil, err
	}
	if err := i.checkTimes(t, v.now().UnixMilli()); err != nil {
		return nil, err
	}
	if len(audience) > 0 && !t.isFor(audience) {
		return nil, &Error{CodeAudience, "the token is for another audience", nil}
	}
	return t, nil
}

// isFor reports whether the token is meant for one of these audiences.
func (t *Token) isFor(audience []string) bool {
	return slices.ContainsFunc(t.Audience, func(a string) bool { return slices.Contains(audience, a) })
}

// forAccess returns a token that its issuer has signed to give access, and
// that issuer. When and where it does so is the caller's to check.
func (v *Verifier) forAccess(ctx context.Context, raw string) (*Token, *issuer, error) {
	t, i, err := v.authentic(ctx, raw, func(i *issuer) []string { return i.types })
	if err != nil {
		return nil, nil, err
	}
	if t.reportsEvent {
		return nil, nil, &Error{CodeType, "the token reports an event and gives no access", nil}
	}
	return t, i, nil
}

// authentic returns a token that its issuer has signed, and that issuer, if
// the token is of one of the types that the issuer has for what it is wanted
// for. What it claims is the caller's to check.
func (v *Verifier) authentic(ctx context.Context, raw string, types func(*issuer) []string) (*Token, *issuer, error) {
	r, err := read(raw, v.names)
	if err != nil {
		return nil, nil, err
	}
	i := v.issuers[r.token.Claims.Issuer]
	if i == nil {
		return nil, nil, &Error{CodeUnknownIssuer, "the token's issuer is not configured", nil}
	}
	if err := i.verifySignature(ctx, r, types(i)); err != nil {
		return nil, nil, err
	}
	return r.token, i, nil
}

// verifySignature checks that one of the issuer's keys made the signature, in
// a way that the issuer is configured for, on a token of one of these types.
// A token that names no key gets the name of the one that signed it: leaving
// the kid out must not escape what is revoked about that key.
//
// golang-jwt's methods do the cryptography. Its parser is not used: it would
// read header and claims a second time, by laxer rules, and verify by what it
// has read.
func (i *issuer) verifySignature(ctx context.Context, r *reading, types []string) error {
	t := r.token
	if !slices.Contains(i.Algorithms, t.Algorithm) {
		return &Error{CodeAlgorithm, "the token's algorithm is not one that its issuer uses", nil}
	}
	if !slices.Contains(types, mediaType(t.Type)) {
		return &Error{CodeType, "the token is of another type", nil}
	}
	keys, err := i.find(ctx, t.Algorithm, t.Claims.KeyID)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if err = algorithms[t.Algorithm].Verify(r.signingInput, r.signature, k.public); err == nil {
			t.Claims.KeyID = k.id
			return nil
		}
	}
	return &Error{CodeSignature, "the signature does not match", err}
}

// find returns the keys that may have signed a token, at least one.
func (i *issuer) find(ctx context.Context, alg, kid string) ([]key, error) {
	keys, again, refusal := i.keys.keySet().find(alg, kid)
	if again {
		set, err := i.keys.newer(ctx)
		keys, again, refusal = set.find(alg, kid)
		if again && err != nil {
			return nil, &Error{CodeKeysUnavailable, "the issuer's keys can't be had at the moment", err}
		}
	}
	if refusal != nil {
		return nil, refusal
	}
	return keys, nil
}

// checkTimes judges a token at a moment in unix milliseconds. A token is
// valid from nbf (RFC 7519 section 4.1.5) until before exp (section 4.1.4),
// each with the issuer's skew.
func (i *issuer) checkTimes(t *Token, now int64) error {
	skew := i.Skew.Milliseconds()
	c := &t.Claims
	if c.Expires == 0 {
		return &Error{CodeNoExpiry, "the token never expires", nil}
	}
	if now >= c.Expires+skew {
		return &Error{CodeExpired, "the token has expired", nil}
	}
	if c.IssuedAt > now+skew || t.NotBefore > now+skew {
		return &Error{CodeNotYetValid, "the token is not valid yet", nil}
	}
	from := c.IssuedAt
	if from == 0 {
		from = now
	}
	if c.Expires-from > i.MaxTokenLifetime.Milliseconds() {
		return &Error{CodeLifetime, "the token lives longer than its issuer's tokens may", nil}
	}
	return nil
}
