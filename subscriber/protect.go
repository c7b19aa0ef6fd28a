package subscriber

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Option is how a route differs from others.
type Option func(*route)

// route is what Protect does for one handler.
type route struct {
	audience []string
	scope    []string
	policy   Policy
}

// Audience asks for tokens that are for one of these audiences (RFC 7519
// section 4.1.3). Without it, the audience is NOT checked.
func Audience(names ...string) Option {
	return func(r *route) { r.audience = append(r.audience, names...) }
}

// Scope asks for tokens that have all of these scopes (RFC 6750 section 3.1).
func Scope(names ...string) Option {
	return func(r *route) { r.scope = append(r.scope, names...) }
}

// WithPolicy makes another policy decide for this route while the set is not
// fresh: a strict one where much is at stake.
func WithPolicy(p Policy) Option {
	return func(r *route) { r.policy = p }
}

// Protect lets only requests through to next whose bearer token Authenticate
// accepts. next gets it with FromContext.
//
// The token is read from the Authorization header and nowhere else (RFC 6750
// section 2.1): one in the query or the body is not looked at. Refusals are
// answered with 401 and a challenge that says why (section 3), with 400 if the
// request has several Authorization headers, with 403 if a scope is missing,
// and with 503 and Retry-After if it is not known whether the token is good.
//
// Protect panics if WithPolicy is given a policy that can't decide.
func (s *Subscriber) Protect(next http.Handler, opts ...Option) http.Handler {
	r := s.route(opts)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		t, err := s.admit(req, r)
		if err != nil {
			err.write(w, r.scope)
			return
		}
		next.ServeHTTP(w, req.WithContext(context.WithValue(req.Context(), contextKey{}, t)))
	})
}

func (s *Subscriber) route(opts []Option) *route {
	r := &route{policy: s.config.Policy}
	for _, opt := range opts {
		opt(r)
	}
	if r.policy.name == "" {
		r.policy = s.config.Policy
	}
	if err := r.policy.check(); err != nil {
		panic(fmt.Sprintf("subscriber: WithPolicy: %v", err))
	}
	return r
}

func (s *Subscriber) admit(req *http.Request, r *route) (*Token, *Error) {
	raw, err := bearer(req.Header)
	if err != nil {
		return nil, s.refuse(err)
	}
	t, err := s.authenticate(req.Context(), raw, r.audience, r.policy)
	if err != nil {
		return nil, err
	}
	if err := r.checkScope(t); err != nil {
		return nil, s.refuse(err)
	}
	return t, nil
}

func (r *route) checkScope(t *Token) *Error {
	for _, scope := range r.scope {
		if !slices.Contains(t.Scope, scope) {
			return &Error{CodeScope, "the token lacks a scope that is needed here", nil}
		}
	}
	return nil
}

// bearer returns the credentials of the Bearer scheme (RFC 6750 section 2.1).
func bearer(h http.Header) (string, *Error) {
	values := h["Authorization"]
	switch {
	case len(values) == 0:
		return "", &Error{CodeNoToken, "a bearer token is needed", nil}
	case len(values) > 1:
		return "", &Error{CodeInvalidRequest, "there are several Authorization headers", nil}
	}
	scheme, raw, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") { // RFC 9110 section 11.1
		return "", &Error{CodeNoToken, "a bearer token is needed", nil}
	}
	return strings.TrimLeft(raw, " "), nil
}

// write answers a request with the error. All texts are ours and fit for a
// quoted string.
func (e *Error) write(w http.ResponseWriter, scope []string) {
	h := w.Header()
	status := e.Status()
	switch {
	case status == http.StatusServiceUnavailable:
		h.Set("Retry-After", "2") // about as long as it takes to find another hub
	case e.Code == CodeNoToken:
		h.Set("WWW-Authenticate", "Bearer") // who sends nothing has made no error
	default:
		code := "invalid_token"
		if e.Code == CodeInvalidRequest || e.Code == CodeScope {
			code = string(e.Code)
		}
		challenge := fmt.Sprintf(`Bearer error=%q, error_description=%q`, code, e.Detail)
		if e.Code == CodeScope {
			challenge += fmt.Sprintf(`, scope=%q`, strings.Join(scope, " "))
		}
		h.Set("WWW-Authenticate", challenge)
	}
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	fmt.Fprintln(w, e.Detail)
}

type contextKey struct{}

// FromContext returns the token that Protect, that of a Subscriber or of a
// Gateway, has let through.
func FromContext(ctx context.Context) (*Token, bool) {
	t, ok := ctx.Value(contextKey{}).(*Token)
	return t, ok
}
