package subscriber

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/revocast/revocast/events"
)

// edge is a world with a gateway at its edge, the issuer that it asks, and a
// service inside.
type edge struct {
	*world
	gateway *Gateway
	handler http.Handler

	mu     sync.Mutex // guards the rest
	gives  map[string]func(ctx context.Context) (Exchanged, error)
	asked  map[string]int
	inside []*http.Request // what the service was sent
}

// newEdge makes a gateway that asks for the audience orders and the scope read.
func newEdge(t *testing.T, change func(*PhantomConfig), with ...func(*world, *Config)) *edge {
	t.Helper()
	// Freshness is not what these tests are about, but for one.
	patient := func(w *world, c *Config) {
		c.MaxStaleness = 10 * time.Second
		w.hub.with(func() { w.hub.helloWith = func(h *events.Hello) { h.HeartbeatMS = 10_000 } })
	}
	e := &edge{world: newWorld(t, append([]func(*world, *Config){patient}, with...)...), gives: make(map[string]func(context.Context) (Exchanged, error)), asked: make(map[string]int)}
	config := PhantomConfig{Issuer: testIssuer, Exchange: e.exchange, Timeout: 10 * time.Second}
	if change != nil {
		change(&config)
	}
	var err error
	if e.gateway, err = e.sub.Phantom(config); err != nil {
		t.Fatal(err)
	}
	e.handler = e.gateway.Protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.inside = append(e.inside, r)
	}), Audience("orders"), Scope("read"))
	waitReady(t, e.sub)
	return e
}

func (e *edge) exchange(ctx context.Context, opaque string) (Exchanged, error) {
	e.mu.Lock()
	give := e.gives[opaque]
	e.asked[opaque]++
	e.mu.Unlock()
	if give == nil {
		return Exchanged{}, fmt.Errorf("introspection: %w", ErrInactive)
	}
	return give(ctx)
}

// issues makes the issuer answer with the same JWT each time.
func (e *edge) issues(opaque string, change map[string]any) (jwt string) {
	jwt = sign(e.t, change)
	e.does(opaque, func(context.Context) (Exchanged, error) { return Exchanged{JWT: jwt}, nil })
	return jwt
}

// mints makes it answer with another JWT each time, for a token that was
// issued at a time.
func (e *edge) mints(opaque string, issuedAt time.Time, change map[string]any) {
	n := 0
	e.does(opaque, func(context.Context) (Exchanged, error) {
		n++ // one at a time: exchanges of one token are shared
		all := map[string]any{"jti": fmt.Sprintf("%s-%d", opaque, n), "iat": float64(time.Now().UnixMilli()) / 1000}
		for k, v := range change {
			all[k] = v
		}
		return Exchanged{JWT: sign(e.t, all), IssuedAt: issuedAt}, nil
	})
}

func (e *edge) does(opaque string, f func(context.Context) (Exchanged, error)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gives[opaque] = f
}

func (e *edge) askedFor(opaque string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.asked[opaque]
}

func request(opaque string) *http.Request {
	req := httptest.NewRequest("GET", "/orders", nil)
	req.Header.Set("Authorization", "Bearer "+opaque)
	return req
}

func (e *edge) send(req *http.Request) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	e.handler.ServeHTTP(rec, req)
	return rec
}

func (e *edge) get(opaque string) int { return e.send(request(opaque)).Code }

// must sends requests until now, each of which has to come to the status.
func (e *edge) must(opaque string, status, asked int) {
	e.t.Helper()
	if got := e.get(opaque); got != status {
		e.t.Errorf("%s: %d, want %d", opaque, got, status)
	}
	if n := e.askedFor(opaque); n != asked {
		e.t.Errorf("%s: the issuer was asked %d times, want %d", opaque, n, asked)
	}
}

// mustForget waits until nothing is remembered any more: without any request,
// since the push does it.
func (e *edge) mustForget() {
	e.t.Helper()
	eventually(e.t, "dropped", func() bool { return e.sub.Status().Exchanged == 0 })
	e.sub.watch.mu.Lock()
	defer e.sub.watch.mu.Unlock()
	if n := len(e.sub.watch.all); n != 0 {
		e.t.Errorf("%d tokens are still watched", n)
	}
}

func (e *edge) revokeHandle(opaque string) { e.revoke(events.KindHandle, events.HandleOf(opaque)) }

// An opaque token is exchanged once; services inside see the JWT, and nothing
// of the opaque token.
func TestPhantom(t *testing.T) {
	e := newEdge(t, func(c *PhantomConfig) { c.Cookie = "session" })
	jwt := e.issues("opaque-1", nil)
	for range 3 {
		e.must("opaque-1", 200, 1)
	}
	cookie := httptest.NewRequest("POST", "/orders", nil)
	cookie.Header["Cookie"] = []string{"a=1; session=opaque-1; b=x=y", " session = opaque-1", "c=3"}
	if got := e.send(cookie).Code; got != 400 {
		t.Errorf("two cookies: %d", got)
	}
	cookie.Header["Cookie"] = []string{"a=1; session=opaque-1; b=x=y", "c=3"}
	if got := e.send(cookie).Code; got != 200 {
		t.Errorf("cookie: %d", got)
	}
	if s := e.sub.Status(); s.Exchanged != 1 || s.Exchanges["done"] != 1 {
		t.Errorf("%d remembered, exchanges %v", s.Exchanged, s.Exchanges)
	}
	for _, r := range e.inside {
		if got := r.Header["Authorization"]; len(got) != 1 || got[0] != "Bearer "+jwt {
			t.Error("the service got another Authorization")
		}
		if tok, ok := FromContext(r.Context()); !ok || tok.Claims.Subject != "alice" {
			t.Error("the service got no token")
		}
		if strings.Contains(fmt.Sprint(r.Header), "opaque-1") {
			t.Errorf("the opaque token went inside: %v", r.Header)
		}
	}
	if got := e.inside[3].Header["Cookie"]; strings.Join(got, "|") != "a=1; b=x=y|c=3" {
		t.Errorf("cookies %q", got)
	}
	if got := cookie.Header["Cookie"]; len(got) != 2 || !strings.Contains(got[0], "session") {
		t.Error("the caller's request was changed")
	}
	// Nothing in the cache is the token.
	for hash := range e.gateway.cache.known.Keys() {
		if strings.Contains(fmt.Sprint(hash), "opaque") {
			t.Error("keyed by the token")
		}
	}
}

// Whatever is wrong is refused, for the right reason, and holds no token.
func TestPhantomRefuses(t *testing.T) {
	e := newEdge(t, func(c *PhantomConfig) { c.Cookie = "session" })
	now := time.Now().Unix()
	for opaque, change := range map[string]map[string]any{
		"audience": {"aud": "other"},
		"scope":    {"scope": "write"},
		"issuer":   {"iss": "https://nobody.example"},
		"expired":  {"exp": now - 60},
		"early":    {"nbf": now + 600},
		"lifetime": {"exp": now + 3*3600},
		"good":     nil,
	} {
		e.issues(opaque, change)
	}
	forged := sign(t, nil)
	forged = forged[:strings.LastIndex(forged, ".")+1] + base64.RawURLEncoding.EncodeToString(make([]byte, 256))
	e.does("forged", func(context.Context) (Exchanged, error) { return Exchanged{JWT: forged}, nil })
	e.does("garbage", func(context.Context) (Exchanged, error) { return Exchanged{JWT: "garbage"}, nil })
	e.does("nothing", func(context.Context) (Exchanged, error) { return Exchanged{}, nil })
	e.does("down", func(context.Context) (Exchanged, error) { return Exchanged{}, errors.New("connection refused") })

	for opaque, want := range map[string]struct {
		status int
		code   Code
	}{
		"audience": {401, CodeAudience}, "scope": {403, CodeScope}, "issuer": {401, CodeUnknownIssuer},
		"expired": {401, CodeExpired}, "early": {401, CodeNotYetValid}, "lifetime": {401, CodeLifetime},
		"forged": {401, CodeSignature}, "garbage": {401, CodeMalformed}, "nothing": {401, CodeMalformed},
		"unknown": {401, CodeInactive}, "down": {503, CodeExchange},
		sign(t, nil): {401, CodeMalformed}, // a JWT, even a good one, is not for the edge
		"a b":        {401, CodeMalformed}, "a\x7f": {401, CodeMalformed}, "": {401, CodeMalformed},
		strings.Repeat("a", maxOpaque+1): {401, CodeMalformed},
	} {
		for range 2 { // the second time must be no better than the first
			before := e.sub.Status().Refused[string(want.code)]
			rec := e.send(request(opaque))
			if rec.Code != want.status || e.sub.Status().Refused[string(want.code)] != before+1 {
				t.Errorf("%.20q: %d %v, want %v", opaque, rec.Code, rec.Header(), want)
			}
			if retry := rec.Header().Get("Retry-After"); (retry != "") != (want.status == 503) {
				t.Errorf("%.20q: Retry-After %q", opaque, retry)
			}
			if auth := rec.Header().Get("WWW-Authenticate"); (auth != "") != (want.status != 503) {
				t.Errorf("%.20q: WWW-Authenticate %q", opaque, auth)
			}
		}
	}
	header := func(name string, values ...string) *http.Request {
		req := httptest.NewRequest("POST", "https://api.example/orders", nil)
		req.Header[name] = values
		return req
	}
	both := header("Cookie", "session=good")
	both.Header.Set("Authorization", "Bearer good")
	foreign := header("Cookie", "session=good")
	foreign.Header.Set("Sec-Fetch-Site", "cross-site")
	for name, c := range map[string]struct {
		req    *http.Request
		status int
	}{
		"none":            {httptest.NewRequest("GET", "/", nil), 401},
		"in the query":    {httptest.NewRequest("GET", "/?access_token=good", nil), 401},
		"another cookie":  {header("Cookie", "sessions=good"), 401},
		"several headers": {header("Authorization", "Bearer good", "Bearer good"), 400},
		"both":            {both, 400},
		"another origin":  {foreign, 400},
		"cookie":          {header("Cookie", "session=good"), 200},
	} {
		if got := e.send(c.req).Code; got != c.status {
			t.Errorf("%s: %d, want %d", name, got, c.status)
		}
	}
	if len(e.inside) != 1 {
		t.Errorf("%d requests went inside", len(e.inside))
	}
}

// That the issuer knows no such token is not remembered: it may in a moment.
func TestPhantomRemembersNoRefusal(t *testing.T) {
	e := newEdge(t, nil)
	e.must("opaque-1", 401, 1)
	e.issues("opaque-1", nil)
	e.must("opaque-1", 200, 2)
}

// The moment that a push says so the entry is gone. What the next request
// comes to depends on what was revoked.
func TestPhantomRevoked(t *testing.T) {
	t.Run("opaque token", func(t *testing.T) {
		e := newEdge(t, nil)
		e.mints("opaque-1", time.Now(), nil)
		e.must("opaque-1", 200, 1)
		e.revokeHandle("opaque-1")
		e.mustForget()
		e.must("opaque-1", 401, 1) // without a question
		if s := e.sub.Status(); s.Exchanges["dropped"] != 1 || s.Refused[string(CodeRevoked)] != 1 {
			t.Errorf("exchanges %v, refused %v", s.Exchanges, s.Refused)
		}
		e.restore(events.KindHandle, events.HandleOf("opaque-1"))
		e.mustReach()
		e.must("opaque-1", 200, 2)
	})
	t.Run("opaque token in an earlier history", func(t *testing.T) {
		e := newEdge(t, nil)
		e.mints("opaque-1", time.Now(), nil)
		e.revokeHandle("opaque-1")
		e.mustReach()
		e.hub.newEpoch("e2", false)
		e.mustReach()
		e.must("opaque-1", 401, 0)
	})
	t.Run("opaque token of another issuer", func(t *testing.T) {
		e := newEdge(t, nil)
		e.mints("opaque-1", time.Now(), nil)
		op := e.op(events.Revoke, events.KindHandle, "x")
		op.Key = e.hub.salt.Key(events.Target{Kind: events.KindHandle, Iss: "https://other.example", Value: events.HandleOf("opaque-1")})
		e.hub.append(false, op)
		e.mustReach()
		e.must("opaque-1", 200, 1)
	})
	t.Run("only the JWT, and the issuer makes another", func(t *testing.T) {
		e := newEdge(t, nil)
		e.mints("opaque-1", time.Now(), nil)
		e.must("opaque-1", 200, 1)
		e.revoke(events.KindToken, "opaque-1-1")
		e.mustForget()
		e.must("opaque-1", 200, 2)
		e.must("opaque-1", 200, 2)
	})
	t.Run("only the JWT, and the issuer has no other", func(t *testing.T) {
		e := newEdge(t, nil)
		e.issues("opaque-1", nil)
		e.must("opaque-1", 200, 1)
		e.revoke(events.KindToken, "t1")
		e.mustForget()
		e.must("opaque-1", 401, 2)
		e.mustForget()
		e.must("opaque-1", 401, 3)
	})
	t.Run("only the JWT, by its handle", func(t *testing.T) {
		e := newEdge(t, nil)
		raw := e.issues("opaque-1", map[string]any{"jti": nil})
		e.must("opaque-1", 200, 1)
		e.revoke(events.KindHandle, events.HandleOf(raw[:strings.LastIndex(raw, ".")]))
		e.mustForget()
		e.must("opaque-1", 401, 2)
	})
	for kind, value := range map[events.Kind]string{events.KindSubject: "alice", events.KindGrant: "g1", events.KindActor: "shop"} {
		t.Run(kind.String(), func(t *testing.T) {
			long := time.Now().Add(-time.Minute)
			e := newEdge(t, nil)
			all := map[string]any{"grant_id": "g1", "act": map[string]any{"sub": "shop"}}
			e.mints("dated", long, all)
			e.mints("undated", time.Time{}, all)
			e.mints("other", long, map[string]any{"sub": "bob", "grant_id": "g2"})
			for _, opaque := range []string{"dated", "undated", "other"} {
				e.must(opaque, 200, 1)
			}
			e.revoke(kind, value)
			eventually(t, "dropped", func() bool { return e.sub.Status().Exchanged == 1 })
			time.Sleep(2 * time.Millisecond) // the cutoff has its own millisecond
			// The issuer would give new JWTs, issued after the cutoff: but not
			// the tokens that ask for them.
			e.must("dated", 401, 2)
			e.must("undated", 401, 2)
			e.must("other", 200, 1)
			e.mints("after", time.Now(), all)
			e.must("after", 200, 1)
		})
	}
	t.Run("made together", func(t *testing.T) {
		e := newEdge(t, func(c *PhantomConfig) { c.SameIssueTime = true })
		e.issues("before", nil) // iat: ten seconds ago
		e.must("before", 200, 1)
		e.revoke(events.KindSubject, "alice")
		e.mustForget()
		e.must("before", 401, 2)
		e.issues("after", map[string]any{"iat": float64(time.Now().Add(time.Second).UnixMilli()) / 1000})
		e.must("after", 200, 1)
	})
	t.Run("who is spared", func(t *testing.T) {
		e := newEdge(t, nil)
		e.mints("laptop", time.Time{}, map[string]any{"sid": "s1"})
		e.mints("phone", time.Time{}, map[string]any{"sid": "s2"})
		op := e.op(events.Revoke, events.KindSubject, "alice")
		op.Term.SparingCutoff, op.Term.Cutoff = op.Term.Cutoff, 0
		op.Term.Spared = e.hub.salt.Key(targetOf(events.KindSession, "s1"))
		e.hub.append(false, op)
		e.mustReach()
		e.must("laptop", 200, 1)
		e.must("phone", 401, 1)
	})
}

// A revocation that arrives while the exchange is under way counts, and leaves
// nothing behind.
func TestPhantomRevokedDuringTheExchange(t *testing.T) {
	for name, revoke := range map[string]func(*edge){
		"JWT":          func(e *edge) { e.revoke(events.KindToken, "t1") },
		"opaque token": func(e *edge) { e.revokeHandle("opaque-1") },
		"subject":      func(e *edge) { e.revoke(events.KindSubject, "alice") },
	} {
		t.Run(name, func(t *testing.T) {
			e := newEdge(t, nil)
			raw := sign(t, nil)
			begun, goOn := make(chan struct{}), make(chan struct{})
			e.does("opaque-1", func(context.Context) (Exchanged, error) {
				close(begun)
				<-goOn
				return Exchanged{JWT: raw, IssuedAt: time.Now().Add(-time.Minute)}, nil
			})
			status := make(chan int, 1)
			go func() { status <- e.get("opaque-1") }()
			<-begun
			revoke(e)
			e.mustReach()
			close(goOn)
			if got := <-status; got != 401 {
				t.Errorf("%d", got)
			}
			e.mustForget()
		})
	}
}

// The cache is dropped by the watch; that it is too late, or never comes, lets
// nobody in.
func TestPhantomAsksTheLiveSet(t *testing.T) {
	e := newEdge(t, nil)
	e.issues("opaque-1", nil)
	e.must("opaque-1", 200, 1)
	for x := range e.sub.watch.all {
		e.sub.watch.remove(x) // nobody will tell
	}
	e.revokeHandle("opaque-1")
	e.mustReach()
	e.must("opaque-1", 401, 1)
	e.mustForget()
}

// Requests for one unknown token wait for one exchange, and the one that began
// it is free to go.
func TestPhantomSharesExchanges(t *testing.T) {
	e := newEdge(t, nil)
	raw := sign(t, nil)
	begun, goOn := make(chan struct{}), make(chan struct{})
	e.does("opaque-1", func(ctx context.Context) (Exchanged, error) {
		close(begun)
		<-goOn
		return Exchanged{JWT: raw}, context.Cause(ctx)
	})
	type key struct{}
	first, leave := context.WithCancel(context.WithValue(t.Context(), key{}, "first"))
	const n = 20
	status := make(chan int, n+2)
	go func() { status <- e.send(request("opaque-1").WithContext(first)).Code }()
	<-begun
	leave() // which does not end the exchange that others wait for
	for range n {
		go func() { status <- e.get("opaque-1") }()
	}
	shared := func() uint64 { return e.sub.Status().Exchanges["shared"] }
	eventually(t, "waiting", func() bool { return shared() == n })
	impatient, leave2 := context.WithCancel(t.Context())
	gone := make(chan int)
	go func() { gone <- e.send(request("opaque-1").WithContext(impatient)).Code }()
	eventually(t, "waiting", func() bool { return shared() == n+1 })
	leave2()
	if got := <-gone; got != 503 {
		t.Errorf("who does not wait: %d", got)
	}
	close(goOn)
	for range n + 1 {
		if got := <-status; got != 200 {
			t.Errorf("%d", got)
		}
	}
	e.must("opaque-1", 200, 1)
}

// An exchange that goes wrong in any way releases those who wait for it.
func TestPhantomExchangeGoesWrong(t *testing.T) {
	t.Run("takes too long", func(t *testing.T) {
		e := newEdge(t, func(c *PhantomConfig) { c.Timeout = 20 * time.Millisecond })
		e.does("opaque-1", func(ctx context.Context) (Exchanged, error) {
			<-ctx.Done()
			return Exchanged{}, ctx.Err()
		})
		e.must("opaque-1", 503, 1)
	})
	t.Run("the subscriber is closed", func(t *testing.T) {
		e := newEdge(t, func(c *PhantomConfig) { c.Timeout = time.Minute })
		begun := make(chan struct{})
		e.does("opaque-1", func(ctx context.Context) (Exchanged, error) {
			close(begun)
			<-ctx.Done()
			return Exchanged{}, ctx.Err()
		})
		status := make(chan int, 1)
		go func() { status <- e.get("opaque-1") }()
		<-begun
		e.sub.Close()
		select {
		case got := <-status:
			if got != 503 {
				t.Errorf("%d", got)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("the exchange goes on")
		}
		e.issues("opaque-2", nil)
		e.get("opaque-2")
		e.mustForget()
	})
	t.Run("panics", func(t *testing.T) {
		e := newEdge(t, nil)
		begun, goOn := make(chan struct{}), make(chan struct{})
		e.does("opaque-1", func(context.Context) (Exchanged, error) {
			close(begun)
			<-goOn
			panic("a mistake")
		})
		panicked, status := make(chan any, 1), make(chan int, 1)
		go func() {
			defer func() { panicked <- recover() }()
			e.get("opaque-1")
		}()
		<-begun
		go func() { status <- e.get("opaque-1") }()
		eventually(t, "waiting", func() bool { return e.sub.Status().Exchanges["shared"] == 1 })
		close(goOn)
		if got := <-panicked; got != "a mistake" {
			t.Errorf("recovered %v", got)
		}
		if got := <-status; got != 503 {
			t.Errorf("%d", got)
		}
		e.issues("opaque-1", nil)
		e.must("opaque-1", 200, 2)
	})
	t.Run("too many", func(t *testing.T) {
		e := newEdge(t, func(c *PhantomConfig) { c.MaxExchanges = 1 })
		e.issues("known", nil)
		e.must("known", 200, 1)
		begun, goOn := make(chan struct{}), make(chan struct{})
		e.does("slow", func(context.Context) (Exchanged, error) {
			close(begun)
			<-goOn
			return Exchanged{}, ErrInactive
		})
		status := make(chan int, 1)
		go func() { status <- e.get("slow") }()
		<-begun
		e.must("unknown", 503, 0)
		e.must("known", 200, 1) // what is remembered needs nobody
		close(goOn)
		if got := <-status; got != 401 {
			t.Errorf("%d", got)
		}
		e.must("unknown", 401, 1)
	})
}

func TestPhantomIsBounded(t *testing.T) {
	for name, change := range map[string]func(*PhantomConfig){
		"tokens": func(c *PhantomConfig) { c.MaxTokens = 4 },
		"bytes":  func(c *PhantomConfig) { c.MaxBytes = 4*(entrySize+2*1024) - 1 }, // the JWTs are shorter
	} {
		t.Run(name, func(t *testing.T) {
			e := newEdge(t, change)
			for i := range 20 {
				e.issues(fmt.Sprint("opaque-", i), map[string]any{"jti": fmt.Sprint(i)})
				e.must(fmt.Sprint("opaque-", i), 200, 1)
			}
			if n := e.sub.Status().Exchanged; n != 4 {
				t.Errorf("%d are remembered", n)
			}
			e.must("opaque-19", 200, 1)
			e.must("opaque-0", 200, 2)
			e.sub.watch.mu.Lock()
			n := len(e.sub.watch.all)
			e.sub.watch.mu.Unlock()
			if n != 4 {
				t.Errorf("%d are watched", n)
			}
			x := e.gateway.cache
			x.mu.Lock()
			defer x.mu.Unlock()
			sum := int64(0)
			for _, known := range x.known.Values() {
				sum += known.size()
			}
			if sum != x.bytes {
				t.Errorf("%d bytes are counted, want %d", x.bytes, sum)
			}
		})
	}
	t.Run("one that is too large", func(t *testing.T) {
		e := newEdge(t, func(c *PhantomConfig) { c.MaxBytes = entrySize })
		e.issues("opaque-1", nil)
		e.must("opaque-1", 200, 1)
		e.must("opaque-1", 200, 2)
		e.mustForget()
	})
}

// A JWT that has expired, or whose key the issuer has withdrawn, is exchanged
// anew: the opaque token may be good for longer.
func TestPhantomOutlivesItsJWT(t *testing.T) {
	t.Run("expired", func(t *testing.T) {
		e := newEdge(t, nil)
		end := time.Now().Add(30 * time.Minute).Unix()
		e.issues("opaque-1", map[string]any{"exp": end})
		e.must("opaque-1", 200, 1)
		e.step.Store((end+1)*1000 - time.Now().UnixMilli()) // expired, and within the skew
		e.mustReach()
		e.issues("opaque-1", map[string]any{"iat": end, "exp": end + 600})
		e.must("opaque-1", 200, 2)
	})
	t.Run("verified again", func(t *testing.T) {
		e := newEdge(t, nil)
		e.issues("opaque-1", nil)
		e.must("opaque-1", 200, 1)
		known := e.gateway.cache.known.Values()[0]
		known.token.checkedAt.Add(-int64(2 * reverify))
		before := known.token.checkedAt.Load()
		e.must("opaque-1", 200, 1)
		if known.token.checkedAt.Load() == before {
			t.Error("not verified again")
		}
		known.token.checkedAt.Add(-int64(2 * reverify))
		known.jwt = signWith(t, jwt.SigningMethodRS256, testRSA, `{"alg":"RS256","kid":"gone"}`, string(known.token.Payload))
		e.must("opaque-1", 200, 2)
	})
}

// While the set is not fresh the policy decides, as it does for Protect; and
// what is known to be revoked is refused under every policy.
func TestPhantomWhileStale(t *testing.T) {
	e := newEdge(t, nil, soonClosed, func(_ *world, c *Config) { c.MaxStaleness = 2 * time.Second })
	e.issues("good", nil)
	e.issues("dead", map[string]any{"jti": "t2"})
	e.revokeHandle("dead")
	eventually(t, "good while it is fresh", func() bool { return e.get("good") == 200 })
	e.mustReach()
	// What the policy ends are guards, and not what is remembered.
	guarded, _ := e.guard(claims("other", ""))
	e.hub.with(func() { e.hub.noTicks = true })
	e.mustBecome(Expired)
	if err := mustEnd(t, guarded); err != ErrStale {
		t.Errorf("cause %v", err)
	}
	inside := e.handler
	for name, c := range map[string]struct {
		opts   []Option
		status int
	}{
		"default": {nil, 503},
		"closed":  {[]Option{WithPolicy(Closed())}, 503},
		"open":    {[]Option{WithPolicy(DangerouslyOpen())}, 200},
	} {
		e.handler = e.gateway.Protect(http.NotFoundHandler(), c.opts...)
		if c.status == 200 {
			e.handler = e.gateway.Protect(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), c.opts...)
		}
		rec := e.send(request("good"))
		if rec.Code != c.status || (rec.Header().Get("Retry-After") != "") != (c.status == 503) {
			t.Errorf("%s: %d", name, rec.Code)
		}
		e.must("dead", 401, 0)
	}
	e.handler = inside
	if n := e.askedFor("good"); n != 1 {
		t.Errorf("the issuer was asked %d times", n)
	}
}

// What a service inside hangs on the token ends with the opaque token, too.
func TestPhantomGuard(t *testing.T) {
	told := make(chan Revocation, 10)
	e := newEdge(t, nil, func(_ *world, c *Config) { c.OnRevoked = func(r Revocation) { told <- r } })
	e.issues("opaque-1", nil)
	e.must("opaque-1", 200, 1)
	tok, _ := FromContext(e.inside[0].Context())
	ctx, stop := e.sub.Guard(t.Context(), tok)
	defer stop()
	e.revokeHandle("opaque-1")
	var revoked *RevokedError
	if err := mustEnd(t, ctx); !errors.As(err, &revoked) || revoked.Verdict.Kind != events.KindHandle || revoked.Verdict.Lineage != 1 {
		t.Errorf("cause %v", err)
	}
	if r := <-told; r.Token != tok || r.Verdict.Lineage != 1 {
		t.Errorf("told %+v", r)
	}
	e.mustReach()
	if len(told) > 0 {
		t.Errorf("told again: %+v", <-told)
	}
}

// Requests, exchanges and revocations all at once: once a revocation has
// arrived nothing of its token passes, and nothing is left.
func TestPhantomRace(t *testing.T) {
	e := newEdge(t, func(c *PhantomConfig) { c.MaxTokens = 16; c.MaxExchanges = 1000 }, func(_ *world, c *Config) {
		c.Policy = DangerouslyOpen() // what is known to be revoked is all that counts here
	})
	const n = 24
	var clients sync.WaitGroup
	stop := make(chan struct{})
	opaque := func(i int) string { return fmt.Sprint("opaque-", i) }
	for i := range n {
		e.mints(opaque(i), time.Now().Add(-time.Minute), map[string]any{"sub": opaque(i), "grant_id": opaque(i)})
		for range 2 {
			clients.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						if got := e.get(opaque(i)); got != 200 && got != 401 {
							t.Errorf("%d", got)
						}
						time.Sleep(time.Millisecond) // the others want to get on, too
					}
				}
			})
		}
	}
	for i := range n {
		kind := []events.Kind{events.KindHandle, events.KindSubject, events.KindGrant}[i%3]
		value := opaque(i)
		if kind == events.KindHandle {
			value = events.HandleOf(value)
		}
		e.revoke(kind, value)
		if i%4 == 0 {
			e.mustReach()
			if got := e.get(opaque(i)); got != 401 {
				t.Errorf("%s: %d after the revocation arrived", opaque(i), got)
			}
		}
	}
	e.mustReach()
	close(stop)
	clients.Wait()
	for i := range n {
		if got := e.get(opaque(i)); got != 401 {
			t.Errorf("%s: %d", opaque(i), got)
		}
	}
	e.mustForget()
}

func TestPhantomConfig(t *testing.T) {
	w := newWorld(t)
	_, err := w.sub.Phantom(PhantomConfig{Issuer: "https://other.example", Cookie: "a b", Timeout: -1, MaxExchanges: -1, MaxTokens: -1, MaxBytes: -1})
	for _, field := range []string{"Issuer", "Exchange", "Cookie", "Timeout", "MaxExchanges", "MaxTokens", "MaxBytes"} {
		if err == nil || !strings.Contains(err.Error(), "PhantomConfig."+field+":") {
			t.Errorf("nothing is said about %s: %v", field, err)
		}
	}
	var one *ConfigError
	if !errors.As(err, &one) {
		t.Errorf("%T", err)
	}
}
