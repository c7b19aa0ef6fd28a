package token

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	// refreshInterval is how long a key that the issuer has withdrawn may
	// still verify, while its endpoint answers.
	refreshInterval = 10 * time.Minute

	// After a failure the next attempt comes sooner: after retryFirst, then
	// twice as long each time up to retryMax.
	retryFirst = time.Second
	retryMax   = time.Minute

	// Tokens can ask for a fetch by naming a key that isn't there. Anybody can
	// make such tokens, so the issuer sees at most demandBurst fetches at once
	// and one each demandInterval because of them, however many there are.
	demandInterval = 30 * time.Second
	demandBurst    = 2

	// maxWait is how long a token may wait for the fetch it asked for. A slow
	// endpoint must not pile up requests; the fetch goes on without them.
	maxWait = 200 * time.Millisecond

	fetchTimeout = 5 * time.Second // for a whole fetch, from the dial to the last byte
	maxBody      = 1 << 20         // bytes of a key set, decompressed
	maxHeader    = 64 << 10        // bytes of its response's header
)

var (
	errNotFetched = errors.New("the key set has not been fetched yet")
	errNoAnswer   = fmt.Errorf("no key set within %v, but it is being fetched", maxWait)
	errClosed     = errors.New("the verifier is closed")
)

// remote is an issuer's key set behind an address. The last set that could be
// fetched stays in use when later fetches fail: an endpoint that is down must
// not lock everybody out. A withdrawn key can be refused before that by
// revoking it.
//
// One goroutine, run, does all fetching; everybody else asks it. (That is why
// keyfunc and jwkset's storage are not used for it: they fetch in the
// constructor and on the caller's time, their refresh goroutine can't be
// waited for, one bad key costs them the whole set, and they don't tell "no
// such key" from "no keys yet".)
type remote struct {
	// Set once.
	uri     string
	allowed []string
	client  *http.Client
	log     *slog.Logger
	limiter *rate.Limiter // for fetches that tokens ask for
	every   time.Duration // refreshInterval
	asked   chan struct{} // tells run to fetch now; holds one
	stopped chan struct{} // closed when run has ended

	last atomic.Pointer[fetched] // written by run

	mu       sync.Mutex
	fetching bool          // a fetch is under way or about to be
	done     chan struct{} // closed when it has ended, then replaced
}

// fetched is how the last fetch ended. It is never modified.
type fetched struct {
	keys keySet // of the last fetch that succeeded
	err  error  // of the last fetch
}

func newRemote(i Issuer, client *http.Client, log *slog.Logger) *remote {
	r := &remote{
		uri:      i.JWKSURI,
		allowed:  i.Algorithms,
		client:   client,
		log:      log.With("issuer", i.Iss),
		limiter:  rate.NewLimiter(rate.Every(demandInterval), demandBurst),
		every:    refreshInterval,
		asked:    make(chan struct{}, 1),
		stopped:  make(chan struct{}),
		fetching: true, // run begins with one
		done:     make(chan struct{}),
	}
	r.last.Store(&fetched{err: errNotFetched})
	return r
}

// run fetches the key set now, then from time to time and when asked, until
// ctx ends.
func (r *remote) run(ctx context.Context) {
	defer close(r.stopped)
	retry := retryFirst
	for {
		err := r.update(ctx)
		if ctx.Err() != nil {
			return
		}
		pause := r.every
		if err != nil {
			pause = min(retry, pause)
			retry = min(2*retry, retryMax)
		} else {
			retry = retryFirst
		}
		// Many of us start at the same moment; they needn't fetch at it.
		timer := time.NewTimer(pause - time.Duration(rand.Int64N(int64(pause)/5+1)))
		select {
		case <-timer.C:
		case <-r.asked:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// update fetches once and lets those who wait for it go on.
func (r *remote) update(ctx context.Context) error {
	r.mu.Lock()
	r.fetching = true
	select {
	case <-r.asked: // whoever asked gets this fetch
	default:
	}
	r.mu.Unlock()

	before := r.last.Load()
	keys, err := r.fetch(ctx)
	if err != nil {
		keys = before.keys
		if ctx.Err() == nil {
			r.log.Warn("key set not fetched", "jwks_uri", r.uri, "keys_in_use", len(keys), "error", err)
		}
	} else if before.err != nil {
		r.log.Info("key set fetched", "jwks_uri", r.uri, "keys", len(keys))
	}
	r.last.Store(&fetched{keys, err})

	r.mu.Lock()
	r.fetching = false
	close(r.done)
	r.done = make(chan struct{})
	r.mu.Unlock()
	return err
}

func (r *remote) fetch(ctx context.Context) (keySet, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.uri, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d", resp.StatusCode) // a redirect among them
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, err
	}
	if len(body) > maxBody {
		return nil, fmt.Errorf("longer than %d bytes", maxBody)
	}
	keys, skipped, err := parseKeySet(body, r.allowed)
	for _, err := range skipped {
		r.log.Debug("key of the key set not used", "jwks_uri", r.uri, "error", err)
	}
	return keys, err
}

// keySet returns the keys at hand. It doesn't wait.
func (r *remote) keySet() keySet { return r.last.Load().keys }

// newer returns the keys after a fetch, which it joins or, if the limiter
// lets it, asks for. It waits at most maxWait. The error says that these keys
// are not known to be the issuer's present ones.
func (r *remote) newer(ctx context.Context) (keySet, error) {
	if done := r.ask(); done != nil {
		timer := time.NewTimer(maxWait)
		defer timer.Stop()
		select {
		case <-done:
		case <-timer.C:
			return r.keySet(), errNoAnswer
		case <-ctx.Done():
			return r.keySet(), ctx.Err()
		case <-r.stopped:
			return r.keySet(), errClosed
		}
	}
	last := r.last.Load()
	return last.keys, last.err
}

// ask makes sure that a fetch is under way and returns the channel that is
// closed at its end, or nil if there may be none now.
func (r *remote) ask() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.fetching {
		if !r.limiter.Allow() {
			return nil
		}
		r.fetching = true
		r.asked <- struct{}{} // has room: nobody asks while fetching is set
	}
	return r.done
}

// newClient returns the client that fetches key sets: no redirects, nothing
// kept open between requests, and unless allowPrivate no connection to private
// addresses.
func newClient(base *http.Transport, allowPrivate bool) *http.Client {
	if base == nil {
		base = &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	}
	t := base.Clone()
	t.DisableKeepAlives = true
	t.MaxResponseHeaderBytes = maxHeader
	if !allowPrivate {
		t.DialContext = dialPublic
		t.DialTLSContext = nil
		t.DialTLS = nil //lint:ignore SA1019 it would be used although it is deprecated
	}
	return &http.Client{
		Transport: t,
		// Who may answer for the issuer is configured, not told by a server.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
