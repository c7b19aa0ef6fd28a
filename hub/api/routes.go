package api

import (
	"log/slog"
	"maps"
	"net/http"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// route is what one method does at one address, and what it needs.
type route struct {
	role   Role
	open   bool     // needs no credential: there is no caller
	client bool     // takes the credential as OAuth clients have it, too
	oauth  bool     // has the errors of OAuth
	set    bool     // has the errors of RFC 8935
	params []string // the query parameters it may have
	stream bool     // lasts as long as reader and credential do
	serve  func(http.ResponseWriter, *request) error
}

// request is a request of a caller who may make it. What a route returns is
// the error to answer with; nil if it has answered.
type request struct {
	*http.Request
	caller *caller
	query  query
}

// methods are the routes at one address.
type methods map[string]route

func (a *API) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for pattern, m := range map[string]methods{
		"/v1/revocations": {
			"POST": {role: RoleRevoke, params: []string{"wait", "timeout"}, serve: a.revoke},
			"GET":  {role: RoleAudit, params: []string{"kind", "iss", "value", "claim", "client", "reason", "actor", "limit", "cursor"}, serve: a.listRevocations},
		},
		"/v1/revocations/{id}": {
			"GET":    {role: RoleAudit, serve: a.getRevocation},
			"DELETE": {role: RoleRestore, serve: a.restore},
		},
		"/v1/check":        {"POST": {role: RoleIntrospect, serve: a.check}},
		"/v1/feed":         {"GET": {role: RoleSubscribe, stream: true, serve: a.serveFeed}},
		"/v1/snapshot":     {"GET": {role: RoleSubscribe, serve: a.serveSnapshot}},
		"/v1/feed/report":  {"POST": {role: RoleSubscribe, serve: a.takeReport}},
		"/v1/audit":        {"GET": {role: RoleAudit, stream: true, params: []string{"after", "limit"}, serve: a.exportAudit}},
		"/v1/audit/stream": {"GET": {role: RoleAudit, stream: true, params: []string{"after"}, serve: a.streamAudit}},
		"/v1/status":       {"GET": {role: RoleAudit, serve: a.status}},
		"/v1/subscribers":  {"GET": {role: RoleAudit, serve: a.subscribers}},
		"/v1/keys": {
			"POST": {role: RoleAdmin, serve: a.makeKey},
			"GET":  {role: RoleAdmin, serve: a.listKeys},
		},
		"/v1/keys/{id}":                   {"DELETE": {role: RoleAdmin, serve: a.deleteKey}},
		"/oauth2/revoke":                  {"POST": {role: RoleRevoke, client: true, oauth: true, serve: a.revokeToken}},
		"/oauth2/introspect":              {"POST": {role: RoleIntrospect, client: true, oauth: true, serve: a.introspect}},
		"/oauth2/global-token-revocation": {"POST": {role: RoleRevoke, client: true, serve: a.revokeSubject}},
		"/.well-known/jwks.json":          {"GET": {open: true, serve: a.serveJWKS}},
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { a.dispatch(w.(*response), r, m) })
	}
	if a.tokens != nil { // without issuers nobody's word can be taken, and nothing is there
		for pattern, m := range map[string]methods{
			"/oidc/backchannel-logout": {"POST": {open: true, oauth: true, serve: a.logOut}},
			"/ssf/events":              {"POST": {role: RoleRevoke, set: true, serve: a.takeEvent}},
		} {
			mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { a.dispatch(w.(*response), r, m) })
		}
	}
	if discoverable(a.iss) {
		m := methods{"GET": {open: true, serve: a.serveMetadata}}
		mux.HandleFunc("/.well-known/oauth-authorization-server", func(w http.ResponseWriter, r *http.Request) { a.dispatch(w.(*response), r, m) })
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { a.fail(w.(*response), noSuchAddress) })
	return mux
}

var noSuchAddress = &Problem{Code: NotFound, Detail: "Nothing is at this address."}

// requestTimeout bounds the writing of an answer; it is longer than the
// longest wait. Streams set deadlines of their own, one for each write.
const requestTimeout = maxWait + 30*time.Second

// everyAnswer has these headers, unless its handler says otherwise. The values
// are shared: they are replaced, never changed.
var everyAnswer = http.Header{
	"X-Content-Type-Options":  {"nosniff"},
	"Cache-Control":           {"no-store"},
	"Content-Security-Policy": {"default-src 'none'; frame-ancestors 'none'"},
	"Referrer-Policy":         {"no-referrer"},
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begun := time.Now()
	rec := &response{ResponseWriter: w}
	maps.Copy(w.Header(), everyAnswer)
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(begun.Add(requestTimeout))
	if r.ContentLength != 0 {
		_ = rc.SetReadDeadline(begun.Add(a.bodyTimeout)) // the server takes it away when the body has been read
	}
	defer a.finish(rec, r, begun)
	// The mux would redirect what is not clean, with a page.
	if p := r.URL.EscapedPath(); path.Clean(p) != p || !strings.HasPrefix(p, "/") {
		a.fail(rec, noSuchAddress)
		return
	}
	a.mux.ServeHTTP(rec, r)
}

// finish accounts for a request, and ends the panic of a handler with it.
func (a *API) finish(w *response, r *http.Request, begun time.Time) {
	cause := recover()
	if cause != nil && cause != http.ErrAbortHandler {
		a.metrics.panics.Inc()
		a.logger.Error("a request failed by a bug", "route", r.Pattern, "panic", cause, "stack", string(debug.Stack()))
		if w.status == 0 {
			w.problem(problemOf(errPanic))
			cause = nil
		} else {
			cause = http.ErrAbortHandler
		}
	}
	method, pattern := r.Method, r.Pattern
	if pattern == "" {
		pattern = "/"
	}
	if !slices.Contains(knownMethods, method) {
		method = "other" // anybody can make up methods
	}
	if w.status == 0 {
		w.status = http.StatusOK // what the server sends for a handler that says nothing
	}
	took := time.Since(begun)
	a.metrics.answered(pattern, method, w.status, took, w.stream)
	if a.logger.Enabled(r.Context(), slog.LevelDebug) { // rarely; the list alone takes memory
		a.logger.Debug("request", "method", method, "route", pattern, "status", w.status, "took", took, "actor", w.actor)
	}
	if cause != nil {
		panic(cause)
	}
}

var knownMethods = []string{"GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"}

var errPanic = &Problem{Code: Internal}

// dispatch lets a route serve a request whose caller may use it.
func (a *API) dispatch(w *response, r *http.Request, m methods) {
	for _, rt := range m {
		w.oauth = w.oauth || rt.oauth
		w.set = w.set || rt.set
	}
	rt, ok := m[r.Method]
	if !ok {
		allow := strings.Join(slices.Sorted(maps.Keys(m)), ", ")
		a.fail(w, &Problem{Code: MethodUnknown, Detail: "Allowed are: " + allow + ".", allow: allow})
		return
	}
	w.stream = rt.stream
	if err := a.serve(w, r, rt); err != nil {
		a.fail(w, err)
	}
}

func (a *API) serve(w *response, r *http.Request, rt route) error {
	c, err := a.callerOf(r, rt)
	if c != nil {
		w.actor = c.actor
	}
	if err != nil {
		return err
	}
	q, err := parseQuery(r, rt.params)
	if err != nil {
		return err
	}
	if rt.stream {
		ctx, stop := c.whileValid(r.Context())
		defer stop()
		r = r.WithContext(ctx)
	}
	return rt.serve(w, &request{r, c, q})
}

// callerOf returns who makes a request, with an error if they may not; nobody
// if anybody may.
func (a *API) callerOf(r *http.Request, rt route) (*caller, error) {
	authenticate := a.authenticate
	switch {
	case rt.open:
		return nil, nil
	case rt.client:
		authenticate = a.authenticateClient
	}
	c, err := authenticate(r)
	if err != nil {
		return nil, err
	}
	return c, c.may(rt.role)
}

// fail answers with what went wrong. If the answer has begun, the connection
// is cut, so that nobody takes half of it for the whole.
func (a *API) fail(w *response, err error) {
	p := problemOf(err)
	if p.Code == Internal || p.Code == OutcomeUnknown || p.Code == StorageFull {
		a.logger.Error("request not done", "code", p.Code, "err", err)
	}
	if w.status != 0 {
		panic(http.ErrAbortHandler)
	}
	w.problem(p)
}

// response remembers what became of a request.
type response struct {
	http.ResponseWriter
	status int // 0 until the answer has begun
	actor  string
	stream bool
	oauth  bool // errors are those of OAuth
	set    bool // errors are those of RFC 8935
}

// problem sends a problem as the whole of the answer.
func (w *response) problem(p *Problem) {
	switch {
	case w.oauth:
		p.writeOAuth(w)
	case w.set:
		p.writeSET(w)
	default:
		p.write(w)
	}
}

func (w *response) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }
