package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/revocast/revocast/hub"
	"github.com/revocast/revocast/subscriber"
)

const adminKey = "rvk_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"

// most is how many revocations one request may have.
const most = 1000

// servedHub is a hub in this process that serves on loopback, and its client.
type servedHub struct {
	url    string
	client *http.Client
	stop   context.CancelFunc
	served chan error
}

// startHub opens a hub, and serves it. Its writes are synced, unless cfg says
// otherwise.
func startHub(ctx context.Context, cfg hub.Config) (*servedHub, error) {
	cfg.AdminKey, cfg.DrainWindow, cfg.Logger = adminKey, 50*time.Millisecond, slog.New(slog.DiscardHandler)
	opened, err := hub.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		opened.Close()
		return nil, err
	}
	h := &servedHub{
		url: "http://" + l.Addr().String(), served: make(chan error, 1),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1024}, Timeout: time.Minute},
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	h.stop = stop
	go func() { h.served <- opened.Serve(run, l, nil, nil) }()
	for opened.Ready() != nil {
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), h.close())
		case <-time.After(time.Millisecond):
		}
	}
	return h, nil
}

// close drains the hub and waits for it.
func (h *servedHub) close() error {
	h.client.CloseIdleConnections()
	h.stop()
	return <-h.served
}

// request sends one request and reads the answer, whose status has to be the
// one that is wanted.
func (h *servedHub) request(ctx context.Context, method, path, contentType string, body []byte, want int) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, h.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+adminKey)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := h.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != want {
		return nil, fmt.Errorf("%s %s: %s: %.200s", method, path, resp.Status, answer)
	}
	return answer, nil
}

// revoke revokes tokens by their jti, in one request, and returns the record
// that holds them.
func (h *servedHub) revoke(ctx context.Context, exp time.Time, jtis ...string) (seq uint64, err error) {
	type target struct {
		Kind  string `json:"kind"`
		Iss   string `json:"iss"`
		Value string `json:"value"`
	}
	type revocation struct {
		Target    target    `json:"target"`
		ExpiresAt time.Time `json:"expires_at"`
		Reason    string    `json:"reason"`
	}
	list := make([]revocation, len(jtis))
	for i, jti := range jtis {
		list[i] = revocation{target{"token", issuer, jti}, exp.UTC().Truncate(time.Second), "logout"}
	}
	var body []byte
	if len(list) == 1 {
		body, err = json.Marshal(list[0])
	} else {
		body, err = json.Marshal(map[string]any{"revocations": list})
	}
	if err != nil {
		return 0, err
	}
	answer, err := h.request(ctx, "POST", "/v1/revocations", "application/json", body, http.StatusCreated)
	if err != nil {
		return 0, err
	}
	var acknowledged struct {
		Seq uint64 `json:"seq"`
	}
	return acknowledged.Seq, json.Unmarshal(answer, &acknowledged)
}

// fill revokes the tokens t0 to t<n-1>.
func (h *servedHub) fill(ctx context.Context, n int, exp time.Time) error {
	g, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	for range 8 {
		g.Go(func() error {
			for {
				from := int(next.Add(most)) - most
				if from >= n {
					return nil
				}
				jtis := make([]string, min(most, n-from))
				for i := range jtis {
					jtis[i] = fmt.Sprint("t", from+i)
				}
				if _, err := h.revoke(ctx, exp, jtis...); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

// subscribe starts a subscriber and waits until it is fresh.
func subscribe(ctx context.Context, cfg subscriber.Config) (*subscriber.Subscriber, error) {
	cfg.Logger = slog.New(slog.DiscardHandler)
	sub, err := subscriber.New(cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := sub.WaitReady(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("the subscriber is not ready: %w", err), sub.Close())
	}
	for sub.Status().State != subscriber.Fresh {
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("the subscriber is not fresh: %w", ctx.Err()), sub.Close())
		case <-time.After(time.Millisecond):
		}
	}
	return sub, nil
}

// newDir makes a directory inside another.
func newDir(parent, name string) (string, error) { return os.MkdirTemp(parent, name+"-") }
