package subscriber

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/revocast/revocast/events"
)

const testIssuer = "https://issuer.example"

var discard = slog.New(slog.DiscardHandler)

// world is a hub and a subscriber that follows it over a real socket. It is
// hasty where nothing is lost by it: with proofs, and with trying again. What
// gives up on a hub or on a token is patient, so that a machine that stands still
// for a moment is not what a test sees; tests that are about that are hurried.
type world struct {
	t   *testing.T
	hub *fakeHub
	sub *Subscriber
	// step is added to the wall clock of the subscriber, in milliseconds.
	step atomic.Int64
}

const testStaleness = 300 * time.Millisecond

var testTuning = tuning{
	idle:         30 * time.Second,
	backoffFirst: 2 * time.Millisecond,
	backoffMost:  30 * time.Millisecond,
	steward:      10 * time.Millisecond,
	save:         time.Hour,
}

// newWorld starts a hub with an empty feed and a subscriber. The functions may
// change the subscriber's configuration, and the hub before it is followed.
func newWorld(t *testing.T, with ...func(*world, *Config)) *world {
	t.Helper()
	t.Parallel() // they wait more than they work
	w := &world{t: t, hub: newFakeHub(t, "e1")}
	w.start(with...)
	return w
}

// soonClosed is for who waits until the policy closes.
func soonClosed(_ *world, c *Config) { c.Policy = GraceThenClosed(time.Second) }

func (w *world) start(with ...func(*world, *Config)) {
	w.t.Helper()
	c := Config{
		Hubs:         []string{w.hub.server.URL},
		Credential:   testKey,
		Name:         "sub",
		Issuers:      []Issuer{{Iss: testIssuer, Keys: testJWKS(), MaxTokenLifetime: 2 * time.Hour}},
		MaxStaleness: testStaleness,
		Policy:       GraceThenClosed(time.Minute),
		Logger:       slog.New(slog.NewTextHandler(logWriter(w.t), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range with {
		f(w, &c)
	}
	real := newClock()
	sub, err := start(c, testTuning, clock{
		now: func() moment {
			now := real.now()
			now.wall += w.step.Load()
			return now
		},
		mono: real.mono,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.sub = sub
	w.t.Cleanup(func() { sub.Close() })
}

func logWriter(t *testing.T) io.Writer {
	if testing.Verbose() {
		return t.Output()
	}
	return io.Discard
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func claims(jti, sub string) events.Claims {
	now := time.Now().UnixMilli()
	return events.Claims{Issuer: testIssuer, ID: jti, Subject: sub, IssuedAt: now - 10_000, Expires: now + 3600_000}
}

func (w *world) state() State { return w.sub.Status().State }

func (w *world) mustBecome(state State) {
	w.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for w.state() != state {
		if time.Now().After(deadline) {
			w.t.Fatalf("want state %s: %+v", state, w.sub.Status())
		}
		time.Sleep(2 * time.Millisecond)
	}
	w.check()
}

// mustReach waits until the subscriber is fresh at the hub's head.
func (w *world) mustReach() {
	w.t.Helper()
	eventually(w.t, "fresh at the head", func() bool {
		w.hub.mu.Lock()
		want := events.Position{Epoch: w.hub.epoch, Seq: w.hub.head()}.String()
		w.hub.mu.Unlock()
		s := w.sub.Status()
		return s.State == Fresh && s.Position == want
	})
	w.check()
}

// mustStayUnfresh watches for a while in which it would have become fresh.
func (w *world) mustStayUnfresh() {
	w.t.Helper()
	for end := time.Now().Add(testStaleness * 2); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if s := w.sub.Status(); s.State == Fresh {
			w.t.Fatalf("fresh: %+v", s)
		}
	}
}

func (w *world) mustBeRevoked(c events.Claims) Verdict {
	w.t.Helper()
	var v Verdict
	eventually(w.t, "revoked", func() bool { v = w.sub.Check(c); return v.Outcome == Revoked })
	if p := w.sub.CheckPrepared(w.sub.Prepare(c)); p.Outcome != Revoked {
		w.t.Fatalf("Check says revoked, CheckPrepared %v", p.Outcome)
	}
	w.check()
	return v
}

func (w *world) mustBeAllowed(c events.Claims) {
	w.t.Helper()
	eventually(w.t, "allowed", func() bool { return w.sub.Check(c).Outcome == Allowed })
	w.check()
}

// check is the invariant: at its position the subscriber has what the hub's
// operations fold to, or it is not fresh; and if it was asked to keep what
// another history does not have, it has no less.
func (w *world) check() {
	w.t.Helper()
	w.sub.mu.Lock()
	defer w.sub.mu.Unlock()
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	v, now := w.sub.view.Load(), w.sub.clock.now()
	if v.held == nil || !v.standing(now, testStaleness).fresh {
		return
	}
	if v.position.Epoch != w.hub.epoch || v.position.Seq > w.hub.head() {
		return // the hub has changed a moment ago
	}
	want := w.hub.fold(v.position.Seq)
	for _, kind := range events.Kinds() {
		theirs, ours := maps.Collect(want.All(kind)), maps.Collect(v.held.sets[0].set.All(kind))
		for key, term := range theirs {
			if ours[key] != term && ours[key].Join(term) != ours[key] {
				w.t.Fatalf("fresh at %v with %v %v: want %v", v.position, kind, ours[key], term)
			}
		}
		if len(ours) != len(theirs) && v.kept == 0 {
			w.t.Fatalf("fresh at %v with %d of %v: want %d", v.position, len(ours), kind, len(theirs))
		}
	}
}

func (w *world) op(verb events.Verb, kind events.Kind, value string) events.Op {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	op := events.Op{Verb: verb, Kind: kind, Key: w.hub.salt.Key(targetOf(kind, value))}
	if verb == events.Revoke {
		op.Term.Exp = uint32(time.Now().Unix() + 7200)
		if !kind.Outright() {
			op.Term.Cutoff = time.Now().UnixMilli()
		}
	}
	return op
}

// testClaim is the claim by whose values the tests revoke.
const testClaim = "role"

func targetOf(kind events.Kind, value string) events.Target {
	t := events.Target{Kind: kind, Iss: testIssuer, Value: value}
	switch kind {
	case events.KindClaim:
		t.Claim = testClaim
	case events.KindSubjectClient:
		t.Client = "c"
	}
	return t
}

func (w *world) revoke(kind events.Kind, value string) {
	w.hub.append(false, w.op(events.Revoke, kind, value))
}

func (w *world) restore(kind events.Kind, value string) {
	w.hub.append(false, w.op(events.Restore, kind, value))
}

func (w *world) cutStream() { w.hub.with(func() { w.hub.cut++ }) }

func (w *world) mustCount(counts func(Status) map[string]uint64, name string) {
	w.t.Helper()
	eventually(w.t, "counted: "+name, func() bool { return counts(w.sub.Status())[name] > 0 })
}

func invalids(s Status) map[string]uint64 { return s.Invalid }
func resyncs(s Status) map[string]uint64  { return s.Resyncs }

// testRSA signs the tokens of the tests.
var testRSA = func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
}()

func testJWKS() []byte {
	n := base64.RawURLEncoding.EncodeToString(testRSA.N.Bytes())
	e := base64.RawURLEncoding.EncodeToString(big.NewInt(int64(testRSA.E)).Bytes())
	return fmt.Appendf(nil, `{"keys":[{"kty":"RSA","kid":"k1","alg":"RS256","use":"sig","n":%q,"e":%q}]}`, n, e)
}

// sign makes a token with these claims beside the usual ones; a nil value
// takes one away.
func sign(t testing.TB, change map[string]any) string {
	now := time.Now().Unix()
	m := jwt.MapClaims{"iss": testIssuer, "sub": "alice", "aud": "orders", "jti": "t1", "iat": now - 10, "exp": now + 3600, "scope": "read write"}
	for k, v := range change {
		if m[k] = v; v == nil {
			delete(m, k)
		}
	}
	tok := jwt.NewWithClaims(jwt.SigningMethodRS256, m)
	tok.Header["kid"] = "k1"
	raw, err := tok.SignedString(testRSA)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func waitReady(t testing.TB, s *Subscriber) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.WaitReady(ctx); err != nil {
		t.Fatalf("%v: %+v", err, s.Status())
	}
}
