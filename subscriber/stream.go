package subscriber

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/r3labs/sse/v2"
	cenkalti "gopkg.in/cenkalti/backoff.v1"

	"github.com/revocast/revocast/events"
)

// maxEvent bounds one event of the stream: several times the largest record.
const maxEvent = 4 << 20

// stream makes one attempt to read a hub's feed, and returns when it is over:
// nil at the end of the body, else why. handle is called for each event on
// this goroutine. It may get an event that was cut off by the end of the
// body, and events that came before ctx ended.
//
// The library does one request and takes the body apart, no more: its
// reconnecting, its idea of the last event and its defaults are not used. A
// client is good for one attempt.
func (h *hubClient) stream(ctx context.Context, hub string, after events.Position, resume bool, alive *watchdog, handle func(*sse.Event)) error {
	c := sse.NewClient(hub+"/v1/feed", sse.ClientMaxBufferSize(maxEvent))
	c.ReconnectStrategy = &cenkalti.StopBackOff{}
	c.Connection = &http.Client{Transport: heard{h, alive}, CheckRedirect: noRedirect}
	if resume {
		c.LastEventID.Store([]byte(after.String()))
	}
	c.ResponseValidator = func(_ *sse.Client, resp *http.Response) error {
		err := checkStatus(resp)
		if err == nil {
			if t, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); t != "text/event-stream" {
				err = fmt.Errorf("the answer is %.64q, not an event stream", t)
			}
		}
		if err != nil {
			resp.Body.Close()
		}
		return err
	}
	return c.SubscribeRawWithContext(ctx, handle)
}

// hubClient sends requests to hubs. Many goroutines may use one.
type hubClient struct {
	transport  *http.Transport
	credential func(context.Context) (string, error)
	name       string
}

func newHubClient(config Config) *hubClient {
	t := config.Transport
	if t == nil {
		t = &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: time.Minute}
	}
	t = t.Clone()
	// A compressing proxy would hold events back to fill its blocks.
	t.DisableCompression = true
	return &hubClient{t, config.CredentialFunc, config.Name}
}

// RoundTrip implements http.RoundTripper. It adds who is asking.
func (h *hubClient) RoundTrip(req *http.Request) (*http.Response, error) {
	key, err := h.credential(req.Context())
	if err == nil {
		err = checkCredential(key)
	}
	if err != nil {
		if req.Body != nil {
			req.Body.Close() // as every RoundTripper has to
		}
		return nil, fmt.Errorf("credential: %w", err)
	}
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Revocast-Subscriber", h.name)
	return h.transport.RoundTrip(req)
}

// noRedirect keeps the credential from travelling to where a redirect points.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// statusError is an answer other than 200.
type statusError struct {
	status     int
	retryAfter time.Duration
}

func (e *statusError) Error() string {
	switch e.status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Sprintf("the hub refuses the credential: status %d", e.status)
	}
	return fmt.Sprintf("the hub answers with status %d", e.status)
}

func checkStatus(resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	return &statusError{resp.StatusCode, retryAfter(resp.Header, time.Now())}
}

// errIdle ends an attempt on which nothing arrives any more.
var errIdle = errors.New("nothing has arrived for too long")

// watchdog ends an attempt when nothing arrives for a time, be it that the
// connection is half open or that something between holds everything back.
type watchdog struct {
	limit atomic.Int64
	timer *time.Timer
	ended atomic.Bool // the body has ended: what comes after may be half an event
}

func newWatchdog(limit time.Duration, cancel context.CancelCauseFunc) *watchdog {
	w := &watchdog{timer: time.AfterFunc(limit, func() { cancel(errIdle) })}
	w.limit.Store(int64(limit))
	return w
}

func (w *watchdog) allow(limit time.Duration) {
	w.limit.Store(int64(limit))
	w.alive()
}

func (w *watchdog) alive() { w.timer.Reset(time.Duration(w.limit.Load())) }

func (w *watchdog) stop() { w.timer.Stop() }

// heard is a hubClient whose answers tell a watchdog what arrives.
type heard struct {
	client *hubClient
	alive  *watchdog
}

func (w heard) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := w.client.RoundTrip(req)
	if err == nil {
		w.alive.alive()
		resp.Body = &watchedBody{resp.Body, w.alive}
	}
	return resp, err
}

type watchedBody struct {
	io.ReadCloser
	alive *watchdog
}

// Read returns little at a time: the library searches all that it has
// buffered for the end of each event, which would take quadratic time with
// the megabytes that its buffer may grow to.
func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:min(len(p), 16<<10)])
	if n > 0 {
		b.alive.alive()
	}
	if err != nil {
		b.alive.ended.Store(true)
	}
	return n, err
}
