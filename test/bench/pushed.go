package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/bits-and-blooms/bloom/v3"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub"
	"github.com/revocast/revocast/hub/log"
	"github.com/revocast/revocast/internal/natstest"
	"github.com/revocast/revocast/subscriber"
	"github.com/revocast/revocast/subscriber/natsfeed"
)

const pushDown = "checks go on unchanged; not fresh after 6 s, refuses 30 s later by default"

// startHubStrategies starts a hub and everything that gets its revocations
// from one over HTTP: Revocast, introspection, and what polls.
func startHubStrategies(s *suite, issuerKeys keyring) ([]*strategy, error) {
	s.step("a hub")
	trusted, err := issuerKeys.trusted()
	if err != nil {
		return nil, err
	}
	dir, err := newDir(s.dir, "hub")
	if err != nil {
		return nil, err
	}
	h, err := startHub(s.ctx, hub.Config{DataDir: dir, Issuers: []subscriber.Issuer{trusted}})
	if err != nil {
		return nil, err
	}
	exp := time.Now().Add(time.Hour)
	if err := h.fill(s.ctx, s.scale.Standing, exp); err != nil {
		return nil, errors.Join(err, h.close())
	}
	sub, err := subscribe(s.ctx, subscriber.Config{Hubs: []string{h.url}, Credential: adminKey})
	if err != nil {
		return nil, errors.Join(err, h.close())
	}
	revoke := func(ctx context.Context, jti string) error {
		_, err := h.revoke(ctx, exp, jti)
		return err
	}
	introspection := &strategy{
		name: "introspection over HTTP", calls: "1", down: "every request fails, or is let in unasked",
		revoke: revoke, prepare: func(b bearer) check { return introspect(h, b.raw) },
	}
	p := startPoller(s, h)
	return []*strategy{
		{name: "Revocast, push over SSE", calls: "0", down: pushDown, local: true,
			revoke: revoke, prepare: pushed(sub), close: func() error { return errors.Join(sub.Close(), h.close()) }},
		introspection,
		cached(s, introspection),
		{name: "deny list, polled", calls: "0", down: "what was known stays in force; what is revoked then is not noticed, silently", local: true, waiting: true,
			revoke: revoke, prepare: p.listed, close: p.close},
		{name: "bloom filter, polled", calls: "0", down: "as the deny list; and 0.1 % of good tokens are refused, or have to be asked about", local: true, waiting: true,
			revoke: revoke, prepare: p.filtered},
	}, nil
}

// startNATSPush starts a hub on a NATS server and a subscriber that follows it
// over core NATS.
func startNATSPush(s *suite, issuerKeys keyring) (_ []*strategy, err error) {
	s.step("a hub on NATS")
	cluster, err := natstest.Start(1)
	if err != nil {
		return nil, err
	}
	end := func() error { cluster.Shutdown(); return nil }
	defer func() {
		if err != nil {
			err = errors.Join(err, end())
		}
	}()
	dir, err := newDir(s.dir, "nats")
	if err != nil {
		return nil, err
	}
	h, err := startHub(s.ctx, hub.Config{DataDir: dir, NATS: log.NATS{Servers: cluster.URLs()}, Replicas: 1})
	if err != nil {
		return nil, err
	}
	end = func() error { err := h.close(); cluster.Shutdown(); return err }
	exp := time.Now().Add(time.Hour)
	if err := h.fill(s.ctx, s.scale.Standing, exp); err != nil {
		return nil, err
	}
	transport, err := natsfeed.New(natsfeed.Config{URLs: cluster.URLs()})
	if err != nil {
		return nil, err
	}
	end = func() error { transport.Close(); err := h.close(); cluster.Shutdown(); return err }
	sub, err := subscribe(s.ctx, subscriber.Config{Transport: transport})
	if err != nil {
		return nil, err
	}
	return []*strategy{{
		name: "Revocast, push over core NATS", calls: "0", down: pushDown, local: true,
		revoke: func(ctx context.Context, jti string) error {
			_, err := h.revoke(ctx, exp, jti)
			return err
		},
		prepare: pushed(sub),
		close:   func() error { return errors.Join(sub.Close(), end()) },
	}}, nil
}

func pushed(sub *subscriber.Subscriber) func(bearer) check {
	return func(b bearer) check {
		t := sub.Prepare(events.Claims{Issuer: issuer, ID: b.jti, Subject: "alice", Session: "s-" + b.jti, Client: "app",
			IssuedAt: time.Now().UnixMilli(), Expires: time.Now().Add(time.Hour).UnixMilli()})
		return func(context.Context) (bool, error) {
			v := sub.CheckPrepared(t)
			if v.Outcome == subscriber.Unknown {
				return false, errors.New("the subscriber is not fresh")
			}
			return v.Outcome == subscriber.Revoked, nil
		}
	}
}

// introspect asks the hub about a token (RFC 7662).
func introspect(h *servedHub, raw string) check {
	form := []byte(url.Values{"token": {raw}}.Encode())
	return func(ctx context.Context) (bool, error) {
		answer, err := h.request(ctx, "POST", "/oauth2/introspect", "application/x-www-form-urlencoded", form, http.StatusOK)
		if err != nil {
			return false, err
		}
		var said struct {
			Active bool `json:"active"`
		}
		err = json.Unmarshal(answer, &said)
		return !said.Active, err
	}
}

// cached remembers the answers of another strategy for an interval.
func cached(s *suite, asked *strategy) *strategy {
	type answer struct {
		revoked bool
		until   time.Time
	}
	answers, err := lru.New[string, answer](65536)
	if err != nil {
		panic(err) // the size is positive
	}
	c := *asked
	c.name, c.waiting, c.local, c.close = fmt.Sprintf("%s, cached for %v", asked.name, s.scale.Interval), true, false, nil
	c.calls = "0; 1 for each token and interval"
	c.down = "as without, once the interval is over"
	c.prepare = func(b bearer) check {
		ask := asked.prepare(b)
		return func(ctx context.Context) (bool, error) {
			now := time.Now()
			if known, ok := answers.Get(b.jti); ok && now.Before(known.until) {
				return known.revoked, nil
			}
			revoked, err := ask(ctx)
			if err == nil {
				answers.Add(b.jti, answer{revoked, now.Add(s.scale.Interval)})
			}
			return revoked, err
		}
	}
	return &c
}

// poller asks the hub for the newest revocations at each interval, into a map
// and a bloom filter. Both begin complete: what the first load of a long list
// takes is not what is measured.
type poller struct {
	hub  *servedHub
	stop context.CancelFunc
	over chan error

	mu     sync.RWMutex
	list   map[string]struct{} // guarded by mu
	filter *bloom.BloomFilter  // guarded by mu
}

func startPoller(s *suite, h *servedHub) *poller {
	p := &poller{
		hub: h, over: make(chan error, 1), list: make(map[string]struct{}),
		filter: bloom.NewWithEstimates(uint(s.scale.Standing+10*s.scale.Trials), .001),
	}
	for i := range s.scale.Standing {
		p.add(fmt.Sprint("t", i))
	}
	ctx, stop := context.WithCancel(s.ctx)
	p.stop = stop
	go func() { p.over <- p.follow(ctx, s.scale.Interval) }()
	return p
}

func (p *poller) follow(ctx context.Context, interval time.Duration) error {
	for sleep(ctx, interval) == nil {
		if err := p.poll(ctx); err != nil && ctx.Err() == nil {
			return fmt.Errorf("poll: %w", err)
		}
	}
	return nil
}

// poll reads pages, the newest revocations first, until one has nothing new.
func (p *poller) poll(ctx context.Context) error {
	for query := (url.Values{"limit": {"100"}}); ; {
		answer, err := p.hub.request(ctx, "GET", "/v1/revocations?"+query.Encode(), "", nil, http.StatusOK)
		if err != nil {
			return err
		}
		var page struct {
			Revocations []struct {
				Target struct {
					Value string `json:"value"`
				} `json:"target"`
			} `json:"revocations"`
			NextCursor string `json:"next_cursor"`
		}
		if err := json.NewDecoder(bytes.NewReader(answer)).Decode(&page); err != nil {
			return err
		}
		fresh := false
		for _, r := range page.Revocations {
			fresh = p.add(r.Target.Value) || fresh
		}
		if !fresh || page.NextCursor == "" {
			return nil
		}
		query.Set("cursor", page.NextCursor)
	}
}

// add reports whether the value is new.
func (p *poller) add(value string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, known := p.list[value]
	p.list[value] = struct{}{}
	p.filter.AddString(value)
	return !known
}

func (p *poller) listed(b bearer) check {
	return func(context.Context) (bool, error) {
		p.mu.RLock()
		defer p.mu.RUnlock()
		_, revoked := p.list[b.jti]
		return revoked, nil
	}
}

// filtered asks the list about what the filter is unsure of, as who can't
// refuse good tokens has to.
func (p *poller) filtered(b bearer) check {
	return func(context.Context) (bool, error) {
		p.mu.RLock()
		defer p.mu.RUnlock()
		if !p.filter.TestString(b.jti) {
			return false, nil
		}
		_, revoked := p.list[b.jti]
		return revoked, nil
	}
}

func (p *poller) close() error {
	p.stop()
	return <-p.over
}
