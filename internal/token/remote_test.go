package token

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// endpoint serves an issuer's key set and counts how often.
type endpoint struct {
	*httptest.Server
	fetches atomic.Int32
	handler atomic.Pointer[http.HandlerFunc]
}

func newEndpoint(t *testing.T, h http.HandlerFunc) *endpoint {
	e := &endpoint{}
	e.become(h)
	e.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.fetches.Add(1)
		(*e.handler.Load())(w, r)
	}))
	t.Cleanup(e.Server.Close)
	return e
}

func (e *endpoint) become(h http.HandlerFunc) { e.handler.Store(&h) }

// transport trusts the endpoint's certificate.
func (e *endpoint) transport() *http.Transport {
	return e.Client().Transport.(*http.Transport)
}

func (e *endpoint) issuer() Issuer {
	return Issuer{Iss: ours, JWKSURI: e.URL + "/jwks", Algorithms: everyAlg[:10]}
}

func (e *endpoint) verifier(t *testing.T) *Verifier {
	return newVerifierWith(t, Options{Transport: e.transport()}, e.issuer())
}

func serve(set []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(set) }
}

func down(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }

// stuck answers nothing until the client gives up.
func stuck(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// nobodyWaits is a context with which Verify fails if it has to wait.
func nobodyWaits() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func mustVerifyAtOnce(t *testing.T, v *Verifier, raw string) {
	t.Helper()
	if _, err := v.Verify(nobodyWaits(), raw); err != nil {
		t.Fatalf("had to wait: %v", err)
	}
}

// unknownKid makes a token of a key that nobody has.
func unknownKid(n int) string {
	return forge(fmt.Sprintf(`{"alg":"EdDSA","kid":"unknown-%d"}`, n), "{"+good+"}", "", nil)
}

func TestFirstTokenWaitsForTheKeys(t *testing.T) {
	e := newEndpoint(t, serve(ourKeys().set("rsa", "p256", "ed")))
	v := e.verifier(t)
	mustVerify(t, v, sign("RS256", good))
	mustVerifyAtOnce(t, v, sign("ES256", good))
	mustVerifyAtOnce(t, v, sign("EdDSA", good))
	if n := e.fetches.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

func TestEndpointThatIsDownAtTheStart(t *testing.T) {
	e := newEndpoint(t, down)
	v := e.verifier(t) // New doesn't mind
	mustRefuse(t, v, CodeKeysUnavailable, sign("EdDSA", good))
	e.become(serve(ourKeys().set("ed")))
	mustVerify(t, v, sign("EdDSA", good)) // fetched on demand
}

func TestEndpointsThatMustNotBeBelieved(t *testing.T) {
	set := ourKeys().set("ed")
	for name, h := range map[string]http.HandlerFunc{
		"not found": http.NotFound,
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/jwks" {
				http.Redirect(w, r, "/elsewhere", http.StatusFound)
				return
			}
			t.Error("redirect followed")
			_, _ = w.Write(set)
		},
		"redirect with a body": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(http.StatusTemporaryRedirect)
			_, _ = w.Write(set)
		},
		"created": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated); _, _ = w.Write(set) },
		"huge": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(append(set[:len(set):len(set)], bytes.Repeat([]byte(" "), maxBody)...))
		},
		"endless":             func(w http.ResponseWriter, r *http.Request) { endless(w, r) },
		"truncated":           serve(set[:len(set)-1]),
		"HTML":                serve([]byte("<!doctype html>")),
		"an error in JSON":    serve([]byte(`{"error":"temporarily_unavailable"}`)),
		"duplicate name":      serve([]byte(`{"keys":[],` + string(set[1:]))),
		"name of other case":  serve([]byte(`{"KEYS":[]}`)),
		"something after it":  serve(append(set[:len(set):len(set)], "{}"...)),
		"too many keys":       serve([]byte(`{"keys":[` + strings.Repeat("{},", maxKeys) + firstOf(set) + `]}`)),
		"keys not an array":   serve([]byte(`{"keys":` + firstOf(set) + `}`)),
		"hangs up in between": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			e := newEndpoint(t, h)
			v := e.verifier(t)
			mustRefuse(t, v, CodeKeysUnavailable, sign("EdDSA", good))
		})
	}
}

func endless(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		if _, err := w.Write(bytes.Repeat([]byte(" "), 64<<10)); err != nil {
			return
		}
	}
}

func TestSlowEndpointHoldsUpNobodyForLong(t *testing.T) {
	e := newEndpoint(t, stuck)
	v := e.verifier(t)
	start := time.Now()
	mustRefuse(t, v, CodeKeysUnavailable, sign("EdDSA", good))
	if took := time.Since(start); took < maxWait || took > 20*maxWait {
		t.Errorf("took %v", took)
	}
	atOnce := func(what string, f func()) { // well before the endpoint is given up
		t.Helper()
		start := time.Now()
		f()
		if took := time.Since(start); took >= fetchTimeout-time.Second {
			t.Errorf("%s took %v", what, took)
		}
	}
	raw := sign("EdDSA", good)
	atOnce("Verify without time", func() {
		tok, err := v.Verify(nobodyWaits(), raw)
		mustBe(t, CodeKeysUnavailable, tok, err, raw)
	})
	// Close doesn't wait for the endpoint, but for what has been waiting.
	atOnce("Close", v.Close)
	select {
	case <-v.issuers[ours].keys.(*remote).stopped:
	default:
		t.Error("still fetching after Close")
	}
	v.Close()
	atOnce("Verify after Close", func() { mustRefuse(t, v, CodeKeysUnavailable, raw) })
}

func TestKeysOutliveCloseAndFailures(t *testing.T) {
	e := newEndpoint(t, serve(ourKeys().set("ed")))
	v := e.verifier(t)
	mustVerify(t, v, sign("EdDSA", good))
	e.become(down)
	mustRefuse(t, v, CodeKeysUnavailable, unknownKid(1)) // it may have been made since
	mustVerifyAtOnce(t, v, sign("EdDSA", good))
	v.Close()
	mustVerifyAtOnce(t, v, sign("EdDSA", good))
}

func TestRotation(t *testing.T) {
	e := newEndpoint(t, serve(ourKeys().set("rsa", "ed")))
	v := e.verifier(t)
	mustVerify(t, v, sign("RS256", good))

	e.become(serve(ourKeys().set("ed", "p256")))
	mustVerifyAtOnce(t, v, sign("RS256", good)) // no reason to look yet
	mustVerify(t, v, sign("ES256", good))       // the new key's first token
	mustVerifyAtOnce(t, v, sign("EdDSA", good)) // the key that stayed
	mustRefuse(t, v, CodeUnknownKey, sign("RS256", good))
	if n := e.fetches.Load(); n != 1+demandBurst {
		t.Errorf("%d fetches", n)
	}
}

// A key that is there, but not for the token's algorithm, won't change by
// looking again; nor will a token that names none of several.
func TestOnlyMissingKeysAreFetched(t *testing.T) {
	e := newEndpoint(t, serve(ourKeys().set("rsa", "p256", "ed")))
	v := e.verifier(t)
	mustVerify(t, v, sign("RS256", good))
	mustRefuse(t, v, CodeAlgorithm, forge(`{"alg":"ES256","kid":"rsa"}`, "{"+good+"}", "", nil))
	mustRefuse(t, v, CodeSignature, forge(`{"alg":"EdDSA"}`, "{"+good+"}", "", nil))
	mustRefuse(t, v, CodeUnknownIssuer, forge(`{"alg":"EdDSA","kid":"x"}`, "{"+goodFor(theirs)+"}", "", nil))
	mustRefuse(t, v, CodeAlgorithm, forge(`{"alg":"HS256","kid":"x"}`, "{"+good+"}", "", nil))
	mustRefuse(t, v, CodeType, forge(`{"alg":"EdDSA","kid":"x","typ":"x"}`, "{"+good+"}", "", nil))
	if n := e.fetches.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

func TestFloodOfUnknownKids(t *testing.T) {
	e := newEndpoint(t, serve(ourKeys().set("ed")))
	v := e.verifier(t)
	valid := sign("EdDSA", good)
	mustVerify(t, v, valid)

	// The worst case: what the flood has asked for never arrives.
	e.become(stuck)
	ctx, stop := context.WithCancel(context.Background())
	var flood sync.WaitGroup
	for n := range 100 {
		flood.Go(func() {
			for ctx.Err() == nil {
				_, _ = v.Verify(ctx, unknownKid(n))
			}
		})
	}
	for e.fetches.Load() < 2 {
		time.Sleep(time.Millisecond)
	}
	for range 100 {
		mustVerifyAtOnce(t, v, valid)
	}
	stop()
	flood.Wait()

	// And the ordinary one: the endpoint answers, but the flood doesn't end.
	e = newEndpoint(t, serve(ourKeys().set("ed")))
	v = e.verifier(t)
	mustVerify(t, v, valid)
	for n := range 100 {
		flood.Go(func() {
			for range 20 {
				if _, err := v.Verify(context.Background(), unknownKid(n)); err == nil {
					t.Error("accepted")
				}
				mustVerifyAtOnce(t, v, valid)
			}
		})
	}
	flood.Wait()
	if n := e.fetches.Load(); n > 1+demandBurst {
		t.Errorf("2,000 unknown kids caused %d fetches", n)
	}
	before := e.fetches.Load()
	mustRefuse(t, v, CodeUnknownKey, unknownKid(0)) // refused unasked
	if n := e.fetches.Load() - before; n != 0 {
		t.Errorf("asked %d times", n)
	}
}

func TestKeysAreRefreshed(t *testing.T) {
	e := newEndpoint(t, serve(ourKeys().set("rsa", "ed")))
	r := newRemote(e.issuer(), newClient(e.transport(), false), slog.New(slog.DiscardHandler))
	r.every = 20 * time.Millisecond
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { r.run(ctx) })
	defer running.Wait()
	defer stop()

	holds := func(kid string) bool {
		for _, k := range r.keySet() {
			if k.id == kid {
				return true
			}
		}
		return false
	}
	wait := func(what string, cond func() bool) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); !cond(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
		}
	}
	wait("not fetched", func() bool { return holds("rsa") })
	e.become(serve(ourKeys().set("ed")))
	wait("a withdrawn key stays", func() bool { return !holds("rsa") })
	e.become(down)
	wait("failure not seen", func() bool { return r.last.Load().err != nil })
	if !holds("ed") {
		t.Error("a failure took the keys away")
	}
	e.become(serve(ourKeys().set("rsa", "ed")))
	wait("not fetched after a failure", func() bool { return holds("rsa") && r.last.Load().err == nil })
}

// A fetch for which the time had come just when somebody asked for one is the
// one asked for. A question left over would block the next.
func TestFetchAnswersThoseWhoAskedBeforeIt(t *testing.T) {
	e := newEndpoint(t, serve(ourKeys().set("ed")))
	r := newRemote(e.issuer(), newClient(e.transport(), false), slog.New(slog.DiscardHandler))
	r.asked <- struct{}{}
	if err := r.update(context.Background()); err != nil || len(r.asked) != 0 {
		t.Errorf("%d left, %v", len(r.asked), err)
	}
}

// everywhere dials the endpoint whatever the address, as a name that resolves
// to the inside would.
func (e *endpoint) everywhere() *http.Transport {
	return &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // the certificate is for another address
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, e.Listener.Addr().String())
		},
	}
}

func TestPrivateAddressesAreRefused(t *testing.T) {
	e := newEndpoint(t, serve(ourKeys().set("ed")))
	for _, host := range []string{"10.0.0.1", "169.254.169.254", "[fd00::1]", "[::ffff:192.168.0.1]"} {
		inside := Issuer{Iss: ours, JWKSURI: "https://" + host + "/jwks", Algorithms: []string{"EdDSA"}}
		v := newVerifierWith(t, Options{Transport: e.everywhere()}, inside)
		err := mustRefuse(t, v, CodeKeysUnavailable, sign("EdDSA", good))
		for end := time.Now().Add(20 * time.Second); errors.Is(err, errNoAnswer) && time.Now().Before(end); {
			err = mustRefuse(t, v, CodeKeysUnavailable, sign("EdDSA", good))
		}
		if !strings.Contains(fmt.Sprint(err.Err), "private") {
			t.Errorf("%s: %v", host, err.Err)
		}
		if n := e.fetches.Load(); n != 0 {
			t.Fatalf("%d fetches from %s", n, host)
		}
	}
	inside := Issuer{Iss: ours, JWKSURI: "https://10.0.0.1/jwks", Algorithms: []string{"EdDSA"}}
	v := newVerifierWith(t, Options{Transport: e.everywhere(), DangerouslyAllowPrivateJWKS: true}, inside)
	mustVerify(t, v, sign("EdDSA", good))
}

func TestCertificateIsChecked(t *testing.T) {
	e := newEndpoint(t, serve(ourKeys().set("ed")))
	e.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	v := newVerifier(t, e.issuer()) // the default transport doesn't know the endpoint's
	mustRefuse(t, v, CodeKeysUnavailable, sign("EdDSA", good))
}

func TestPublishedPrivateKeyIsNotUsed(t *testing.T) {
	private := strings.TrimSuffix(firstOf(ourKeys().set("ed")), "}") + `,"d":"` + b64(string(ourKeys().ed.Seed())) + `"}`
	e := newEndpoint(t, serve([]byte(`{"keys":[`+private+`,`+firstOf(ourKeys().set("rsa"))+`]}`)))
	v := e.verifier(t)
	mustVerify(t, v, sign("RS256", good))
	mustRefuse(t, v, CodeUnknownKey, sign("EdDSA", good))
}

// A library panics at the first of these keys; the others it takes.
func TestKeysThatAreNone(t *testing.T) {
	full, zero := b64(strings.Repeat("\xff", 32)), b64(strings.Repeat("\x00", 32))
	ec := func(x, y string) string {
		return `{"kty":"EC","crv":"P-256","kid":"p256","x":"` + x + `","y":"` + y + `"},`
	}
	for name, broken := range map[string]string{
		"longer than the curve's":  ec(full+"AAAA", full),
		"shorter than the curve's": ec("AQ", "AQ"),
		"no point of the curve":    ec(full, zero),
		"the point at infinity":    ec(zero, zero),
	} {
		t.Run(name, func(t *testing.T) {
			e := newEndpoint(t, serve([]byte(`{"keys":[`+broken+firstOf(ourKeys().set("rsa"))+`]}`)))
			v := e.verifier(t)
			mustVerify(t, v, sign("RS256", good))
			mustRefuse(t, v, CodeUnknownKey, sign("ES256", good))
		})
	}
}
