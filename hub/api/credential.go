package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/feed"
	"github.com/revocast/revocast/internal/token"
)

// caller is who makes a request, and what it may do. It is read-only.
type caller struct {
	actor   string // the audit's name for it
	roles   []Role
	issuers []string      // empty: every issuer
	kinds   []events.Kind // empty: every kind
	valid   func() bool   // whether the credential is good now, too
}

// scopePrefix and a role make the scope of a token that has the role.
const scopePrefix = "revocast:"

// authenticate finds out who makes a request. What is wrong with a credential
// is nobody's business but its owner's, so all that are wrong get the same
// answer.
func (a *API) authenticate(r *http.Request) (*caller, error) {
	headers := r.Header.Values("Authorization")
	if len(headers) == 0 {
		return nil, &Problem{Code: Unauthorized, Detail: "Want Authorization: Bearer and an API key.", challenge: `Bearer realm="revocast"`}
	}
	from := addressOf(r)
	scheme, credential, _ := strings.Cut(headers[0], " ")
	if len(headers) == 1 && strings.EqualFold(scheme, "Bearer") {
		c, err := a.identify(r.Context(), credential, from)
		if c != nil || err != nil {
			return c, err
		}
	}
	return nil, a.refuse(from)
}

// refuse counts a wrong credential and says how it is answered.
func (a *API) refuse(from address) *Problem {
	a.metrics.refused.Inc()
	if wait, ok := a.failures.add(from, a.now()); !ok {
		return &Problem{Code: TooManyFailures, Detail: "Too many wrong credentials came from this address.", retryAfter: wait}
	}
	return &Problem{Code: Unauthorized, Detail: "The credential is not valid.", challenge: `Bearer realm="revocast", error="invalid_token"`}
}

// identify returns the caller with a credential; nil if it is wrong; an error
// if that can't be said.
func (a *API) identify(ctx context.Context, credential string, from address) (*caller, error) {
	if strings.HasPrefix(credential, keyPrefix) {
		key, ok := a.ring.find(credential)
		if !ok {
			return nil, nil
		}
		return a.holderOf(key), nil
	}
	// Verifying costs, so who has failed often has to wait. A key does not:
	// others may share the address, and a wrong one costs next to nothing.
	if wait, ok := a.failures.free(from, a.now()); a.tokens == nil || !ok {
		if a.tokens == nil {
			return nil, nil
		}
		return nil, &Problem{Code: TooManyFailures, Detail: "Too many wrong credentials came from this address.", retryAfter: wait}
	}
	return a.bearerOf(ctx, credential)
}

// holderOf is the caller with a key.
func (a *API) holderOf(key Key) *caller {
	return &caller{
		actor: key.Name, roles: key.Roles, issuers: key.Issuers, kinds: key.Kinds,
		valid: func() bool { return a.ring.has(key.ID) },
	}
}

// bearerOf is identify for a token.
func (a *API) bearerOf(ctx context.Context, raw string) (*caller, error) {
	t, err := a.tokens.Verify(ctx, raw, a.audience)
	if e := (*token.Error)(nil); errors.As(err, &e) && e.Code == token.CodeKeysUnavailable {
		return nil, err
	}
	if err != nil {
		return nil, nil
	}
	// The revocations of tokens hold for those that come here, too, and where
	// the set of them may be old, a token can't be relied on.
	if err := a.feed.Ready(); errors.Is(err, feed.ErrNoTick) {
		return nil, err
	}
	claims := t.Claims
	valid := func() bool {
		_, revoked := a.feed.Match(claims)
		return !revoked && a.now().UnixMilli() < claims.Expires
	}
	actor := claims.Issuer + " " + claims.Subject
	if claims.Subject == "" || events.CheckText("", actor, events.MaxIssuerLen+1+events.MaxValueLen) != nil || !valid() {
		return nil, nil
	}
	c := &caller{actor: actor, issuers: []string{claims.Issuer}, valid: valid}
	for _, role := range Roles() {
		if slices.Contains(t.Scope, scopePrefix+string(role)) {
			c.roles = append(c.roles, role)
		}
	}
	return c, nil
}

// may reports, as an error, whether the caller lacks a role.
func (c *caller) may(role Role) error {
	if slices.Contains(c.roles, role) || slices.Contains(c.roles, RoleAdmin) {
		return nil
	}
	return &Problem{Code: Forbidden, Detail: fmt.Sprintf("This needs the role %s.", role), challenge: insufficient(role)}
}

func insufficient(role Role) string {
	return fmt.Sprintf(`Bearer realm="revocast", error="insufficient_scope", scope="%s%s"`, scopePrefix, role)
}

// mayChange reports whether the caller may revoke, or restore, a target.
func (c *caller) mayChange(t events.Target) *Problem {
	if len(c.kinds) > 0 && !slices.Contains(c.kinds, t.Kind) {
		return &Problem{Code: Forbidden, Field: "target.kind", Detail: fmt.Sprintf("This credential is limited to the kinds %v.", c.kinds),
			challenge: `Bearer realm="revocast", error="insufficient_scope"`}
	}
	if err := c.mayAsk(t.Iss); err != nil {
		return err
	}
	// Either one locks out all the users of an issuer.
	if t.Kind == events.KindIssuer || t.Kind == events.KindKey {
		if !slices.Contains(c.roles, RoleAdmin) {
			return &Problem{Code: Forbidden, Field: "target.kind", Detail: fmt.Sprintf("Kind %s needs the role %s.", t.Kind, RoleAdmin),
				challenge: insufficient(RoleAdmin)}
		}
	}
	return nil
}

// mayAsk reports whether the caller may ask about the tokens of an issuer.
func (c *caller) mayAsk(iss string) *Problem {
	if len(c.issuers) > 0 && !slices.Contains(c.issuers, iss) {
		return &Problem{Code: Forbidden, Field: "target.iss", Detail: fmt.Sprintf("This credential is limited to the issuers %q.", c.issuers),
			challenge: `Bearer realm="revocast", error="insufficient_scope"`}
	}
	return nil
}

// mayManageKeys reports whether the caller is unlimited: a limited one could
// make itself a key without limits.
func (c *caller) mayManageKeys() error {
	if len(c.issuers) > 0 || len(c.kinds) > 0 {
		return &Problem{Code: Forbidden, Detail: "Keys are managed with a credential that is not limited to issuers or kinds.",
			challenge: `Bearer realm="revocast", error="insufficient_scope"`}
	}
	return nil
}

// sees reports whether a target is within the caller's limits.
func (c *caller) sees(t events.Target) bool {
	return (len(c.issuers) == 0 || slices.Contains(c.issuers, t.Iss)) && (len(c.kinds) == 0 || slices.Contains(c.kinds, t.Kind))
}

// recheckEvery is how soon a stream ends after its credential.
const recheckEvery = time.Second

// whileValid returns a context that ends with ctx, with stop, or when the
// credential is no longer good.
func (c *caller) whileValid(ctx context.Context) (_ context.Context, stop context.CancelFunc) {
	ctx, stop = context.WithCancel(ctx)
	var recheck func()
	recheck = func() {
		if ctx.Err() != nil {
			return
		}
		if !c.valid() {
			stop()
			return
		}
		time.AfterFunc(recheckEvery, recheck) // no goroutine waits meanwhile
	}
	time.AfterFunc(recheckEvery, recheck)
	return ctx, stop
}
