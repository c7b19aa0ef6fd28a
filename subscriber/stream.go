package subscriber

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/r3labs/sse/v2"
	cenkalti "gopkg.in/cenkalti/backoff.v1"

	"github.com/revocast/revocast/events"
)

// Follow implements Transport by server-sent events.
//
// The library does one request and takes the body apart, no more: its
// reconnecting, its idea of the last event and its defaults are not used. A
// client is good for one attempt. It may hand over an event that was cut off
// by the end of the body.
func (h *hubClient) Follow(ctx context.Context, hub string, from Start, r Receiver) error {
	body := &heardBody{r: r}
	c := sse.NewClient(hub+"/v1/feed", sse.ClientMaxBufferSize(MaxEvent))
	c.ReconnectStrategy = &cenkalti.StopBackOff{}
	c.Connection = &http.Client{Transport: heard{h, body}, CheckRedirect: noRedirect}
	if from.After != (events.Position{}) {
		c.LastEventID.Store([]byte(from.After.String()))
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
	return c.SubscribeRawWithContext(ctx, func(e *sse.Event) {
		r.Event(Event{Name: string(e.Event), Data: e.Data, ID: string(e.ID), Cut: body.ended.Load()})
	})
}

// hubClient is the Transport over HTTP. Many goroutines may use one.
type hubClient struct {
	transport  *http.Transport
	hubs       []string
	credential func(context.Context) (string, error)
	name       string
}

func newHubClient(config Config) *hubClient {
	t := config.HTTPTransport
	if t == nil {
		t = &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: time.Minute}
	}
	t = t.Clone()
	// A compressing proxy would hold events back to fill its blocks.
	t.DisableCompression = true
	h := &hubClient{transport: t, credential: config.CredentialFunc, name: config.Name}
	for _, hub := range config.Hubs {
		if !slices.Contains(h.hubs, hub) { // twice, and who comes after it would never have its turn
			h.hubs = append(h.hubs, hub)
		}
	}
	return h
}

// Hubs implements Transport.
func (h *hubClient) Hubs(context.Context) ([]string, error) { return slices.Clone(h.hubs), nil }

// CloseIdleConnections is for the end of a session that has failed: a
// connection that has gone silent must not be used for the next attempt, as
// HTTP/2 would.
func (h *hubClient) CloseIdleConnections() { h.transport.CloseIdleConnections() }

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

// checkStatus refuses an answer other than 200.
func checkStatus(resp *http.Response) error {
	switch status := resp.StatusCode; status {
	case http.StatusOK:
		return nil
	case http.StatusUnauthorized, http.StatusForbidden:
		return &RefusedError{Reason: fmt.Sprintf("the hub refuses the credential: status %d", status), Credential: true}
	default:
		return &RefusedError{Reason: fmt.Sprintf("the hub answers with status %d", status), RetryAfter: retryAfter(resp.Header, time.Now())}
	}
}

// errIdle ends an attempt on which nothing arrives any more.
var errIdle = errors.New("nothing has arrived for too long")

// watchdog ends an attempt when nothing arrives for a time, be it that the
// connection is half open or that something between holds everything back.
type watchdog struct {
	limit atomic.Int64
	timer *time.Timer
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

// heard is a hubClient whose answer's body is heard.
type heard struct {
	client *hubClient
	body   *heardBody
}

func (w heard) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := w.client.RoundTrip(req)
	if err == nil {
		w.body.r.Alive()
		w.body.ReadCloser = resp.Body
		resp.Body = w.body
	}
	return resp, err
}

// heardBody tells a receiver what arrives.
type heardBody struct {
	io.ReadCloser
	r     Receiver
	ended atomic.Bool // what comes after may be half an event
}

// Read returns little at a time: the library searches all that it has
// buffered for the end of each event, which would take quadratic time with
// the megabytes that its buffer may grow to.
func (b *heardBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:min(len(p), 16<<10)])
	if n > 0 {
		b.r.Alive()
	}
	if err != nil {
		b.ended.Store(true)
	}
	return n, err
}
