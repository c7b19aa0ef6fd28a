package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/revocast/revocast/hub/api"
)

const (
	defaultHub = "http://127.0.0.1:8080"
	// maxAnswer is more than the largest page of a list.
	maxAnswer = 16 << 20
)

// Remote is what the commands that talk to a hub have in common.
type Remote struct {
	Hub     string        `setting:"" group:"hub" default:"http://127.0.0.1:8080" help:"Address of the hub."`
	Key     string        `setting:"" group:"hub" xor:"key" placeholder:"KEY" help:"API key. Others on this machine can see a key that is given as a flag: rather use the environment, or --key-file."`
	KeyFile string        `setting:"" group:"hub" xor:"key" placeholder:"FILE" help:"A file with the API key."`
	JSON    bool          `group:"hub" name:"json" help:"Print JSON, for machines."`
	Timeout time.Duration `group:"hub" default:"15s" help:"How long to wait for an answer."`
}

// client talks to one hub with one key.
type client struct {
	base *url.URL
	key  string
	http *http.Client
	wait time.Duration // for one answer
}

func (r Remote) client(std streams) (*client, error) {
	base, err := url.Parse(strings.TrimSuffix(r.Hub, "/"))
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" || base.RawQuery != "" || base.User != nil {
		return nil, usagef("--hub: want an address such as %s", defaultHub)
	}
	key := r.Key
	if r.KeyFile != "" {
		data, err := os.ReadFile(r.KeyFile)
		if err != nil {
			return nil, usagef("--key-file: %w", err)
		}
		key = string(data)
	}
	key = strings.TrimSpace(key)
	if key == "" {
		return nil, usagef("no key: set REVOCAST_KEY, or --key-file; the admin key was printed when the hub first started")
	}
	if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, usagef("the key has a space or an odd character in it: was it copied whole, and nothing else with it?")
	}
	if base.Scheme == "http" && !local(base.Hostname()) {
		std.note("warning: the key crosses the network in the clear; use https")
	}
	return &client{
		base: base, key: key, wait: r.Timeout,
		// A hub never redirects; whoever does is not to be told more.
		http: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}, nil
}

func local(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// question is one request to the hub.
type question struct {
	method, path string
	query        url.Values
	body         any // sent as JSON unless nil
	header       map[string]string
}

// problem is the hub's answer to what it did not do.
type problem struct {
	api.Problem
	retryAfter time.Duration
}

// strangeError is an answer that no hub gives.
type strangeError struct {
	hub    string
	code   int
	status string
}

func (e *strangeError) Error() string {
	if e.gateway() {
		return fmt.Sprintf("what stands before the hub at %s says %q: the hub may be away", e.hub, printable(e.status))
	}
	return fmt.Sprintf("what answers at %s says %q, as no hub does: is --hub right?", e.hub, printable(e.status))
}

// gateway reports whether a proxy says that its hub is away.
func (e *strangeError) gateway() bool {
	return e.code == http.StatusBadGateway || e.code == http.StatusServiceUnavailable || e.code == http.StatusGatewayTimeout
}

// noAnswerError is a request without an answer.
type noAnswerError struct {
	hub  string
	sent bool // the hub may have got it
	err  error
}

func (e *noAnswerError) Error() string { return fmt.Sprintf("no answer from %s: %v", e.hub, e.err) }
func (e *noAnswerError) Unwrap() error { return e.err }

// open asks and returns the answer, if it is a good one, for the caller to
// read and close. Errors: *problem, *strangeError, *noAnswerError.
func (c *client) open(ctx context.Context, q question) (*http.Response, error) {
	var body []byte
	if q.body != nil {
		var err error
		if body, err = json.Marshal(q.body); err != nil {
			return nil, err
		}
	}
	to := c.base.JoinPath(q.path)
	to.RawQuery = q.query.Encode()
	req, err := http.NewRequestWithContext(ctx, q.method, to.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	for name, value := range q.header {
		req.Header.Set(name, value)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.noAnswer(err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, c.refusal(resp)
}

func (c *client) noAnswer(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // without the address, which is said anyway
	}
	return &noAnswerError{hub: c.base.String(), sent: !neverSent(err), err: err}
}

func (c *client) refusal(resp *http.Response) error {
	p := &problem{}
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil || resp.Header.Get("Content-Type") != api.ProblemType || json.Unmarshal(data, &p.Problem) != nil {
		return &strangeError{c.base.String(), resp.StatusCode, resp.Status}
	}
	if secs, err := time.ParseDuration(resp.Header.Get("Retry-After") + "s"); err == nil {
		p.retryAfter = secs
	}
	return p
}

// ask asks and returns the answer's JSON, read into answer unless that is nil.
func (c *client) ask(ctx context.Context, q question, answer any) (jsontext.Value, error) {
	ctx, cancel := context.WithTimeout(ctx, c.wait)
	defer cancel()
	resp, err := c.open(ctx, q)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, &noAnswerError{hub: c.base.String(), sent: true, err: err}
	}
	if answer != nil {
		// A newer hub may say more than is known here.
		if err := json.Unmarshal(data, answer); err != nil {
			return nil, &strangeError{c.base.String(), resp.StatusCode, resp.Status}
		}
	}
	return data, nil
}
