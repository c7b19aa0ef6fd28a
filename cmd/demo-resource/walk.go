package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/revocast/revocast/subscriber"
)

// walk plays a user and an admin against the API and the hub, over HTTP like
// anybody else.
type walk struct {
	api, hub, key, iss string
	issuer             *issuer
}

// patience is how long a step may take before it counts as failed.
const patience = 10 * time.Second

// run takes one way through, once the resource server is ready.
func (d walk) run(ctx context.Context, sub *subscriber.Subscriber, through func(context.Context) error) error {
	ready, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := sub.WaitReady(ready); err != nil {
		return fmt.Errorf("the resource server did not get ready: %w", err)
	}
	say("A hub at %s, an API at %s.", d.hub, d.api)
	if err := through(ctx); err != nil {
		return err
	}
	say("\nEvery step held.")
	return nil
}

// theft is the walk-through without a name: a stolen token, then all of a
// user's.
func (d walk) theft(ctx context.Context) error {
	stolen, err := d.login(ctx, "alice")
	if err != nil {
		return err
	}
	say("1. alice logs in and gets a token.")
	if err := d.expect(ctx, stolen, http.StatusOK); err != nil {
		return err
	}
	say("2. GET /orders with it: 200.")
	cut, err := d.openStream(ctx, stolen)
	if err != nil {
		return err
	}
	say("3. GET /orders/stream with it: a response that goes on and on.")

	jti, err := jtiOf(stolen)
	if err != nil {
		return err
	}
	if err := d.revoke(ctx, map[string]string{"kind": "token", "iss": d.iss, "value": jti}, "compromised"); err != nil {
		return err
	}
	acknowledged := time.Now()
	say("4. The token was stolen. POST /v1/revocations: 201, it is on disk.")
	refusal, err := d.untilRefused(ctx, stolen)
	if err != nil {
		return err
	}
	say("5. GET /orders with it: 401, %s\n   %s after the 201. No network call was made for it.",
		refusal, milliseconds(time.Since(acknowledged)))
	select {
	case end := <-cut:
		if end.IsZero() {
			return fmt.Errorf("the stream broke before it was cut")
		}
		say("6. The stream that was open was cut, %s after the 201.", milliseconds(end.Sub(acknowledged)))
	case <-time.After(patience):
		return fmt.Errorf("the open stream was not cut")
	}

	other, err := d.login(ctx, "alice")
	if err != nil {
		return err
	}
	if err := d.expect(ctx, other, http.StatusOK); err != nil {
		return err
	}
	say("7. alice logs in again: the new token gets 200.")
	if err := d.revoke(ctx, map[string]string{"kind": "subject", "iss": d.iss, "value": "alice"}, "password_change"); err != nil {
		return err
	}
	acknowledged = time.Now()
	if _, err := d.untilRefused(ctx, other); err != nil {
		return err
	}
	// The cutoff includes its own millisecond. An issuer whose iat has whole
	// seconds waits for the answer's reissue_after instead.
	time.Sleep(2 * time.Millisecond)
	say("8. Log alice out everywhere: that token gets 401 too, %s after the 201.", milliseconds(time.Since(acknowledged)))
	fresh, err := d.login(ctx, "alice")
	if err != nil {
		return err
	}
	if err := d.expect(ctx, fresh, http.StatusOK); err != nil {
		return err
	}
	say("9. A token issued after that gets 200.")
	return nil
}

// invite says what to try next.
func (d walk) invite() {
	fmt.Printf(`
It is yours now. In another terminal:

  TOKEN=$(curl -s %[1]s/login -d user=bob | grep -o 'ey[^"]*')
  curl -i %[1]s/orders -H "Authorization: Bearer $TOKEN"
  curl -i %[2]s/v1/revocations -H 'Authorization: Bearer %[3]s' \
       -H 'Content-Type: application/json' \
       -d '{"target":{"kind":"subject","iss":"%[4]s","value":"bob"},"reason":"logout"}'
  curl -i %[1]s/orders -H "Authorization: Bearer $TOKEN"

  curl -s %[1]s/status                                              # what the resource server knows
  curl -N %[2]s/v1/feed -H 'Authorization: Bearer %[3]s'            # what it is sent
  curl -s %[2]s/v1/audit -H 'Authorization: Bearer %[3]s'           # who revoked what, when and why

Ctrl-C ends it, and its data with it.
`, d.api, d.hub, d.key, d.iss)
}

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

func (d walk) login(ctx context.Context, user string) (string, error) {
	t, err := d.tokens(ctx, "/login", url.Values{"user": {user}})
	return t.Access, err
}

type tokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

// tokens asks the issuer for some.
func (d walk) tokens(ctx context.Context, path string, form url.Values) (t tokens, err error) {
	resp, body, err := d.do(ctx, "POST", d.api+path, "", "application/x-www-form-urlencoded", form.Encode())
	if err != nil {
		return t, err
	}
	if err := json.Unmarshal(body, &t); err != nil || resp.StatusCode != http.StatusOK {
		return t, fmt.Errorf("POST %s: %s", path, resp.Status)
	}
	return t, nil
}

func (d walk) revoke(ctx context.Context, target map[string]string, reason string) error {
	return d.order(ctx, map[string]any{"target": target, "reason": reason, "note": "demo"})
}

// order posts a revocation.
func (d walk) order(ctx context.Context, o map[string]any) error {
	order, err := json.Marshal(o)
	if err != nil {
		return err
	}
	resp, body, err := d.do(ctx, "POST", d.hub+"/v1/revocations", d.key, "application/json", string(order))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("revoke: %s: %s", resp.Status, body)
	}
	return nil
}

// expect calls the API once.
func (d walk) expect(ctx context.Context, token string, status int) error {
	resp, body, err := d.do(ctx, "GET", d.api+"/orders", token, "", "")
	if err == nil && resp.StatusCode != status {
		err = fmt.Errorf("GET /orders: %s, want %d: %s", resp.Status, status, body)
	}
	return err
}

// untilRefused calls the API until it answers 401, and returns the reason.
func (d walk) untilRefused(ctx context.Context, token string) (string, error) {
	for end := time.Now().Add(patience); time.Now().Before(end); {
		resp, body, err := d.do(ctx, "GET", d.api+"/orders", token, "", "")
		if err != nil {
			return "", err
		}
		if resp.StatusCode == http.StatusUnauthorized {
			return fmt.Sprintf("%q", strings.TrimSpace(string(body))), nil
		}
	}
	return "", fmt.Errorf("a revoked token is still served after %s", patience)
}

// openStream returns once the first line has come, and sends the time at which
// the stream ended; the zero time if it ended in another way than by being cut.
func (d walk) openStream(ctx context.Context, token string) (<-chan time.Time, error) {
	req, err := d.request(ctx, "GET", d.api+"/orders/stream", token, "", "")
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(resp.Body)
	if resp.StatusCode != http.StatusOK || !lines.Scan() {
		resp.Body.Close()
		return nil, fmt.Errorf("stream: %s", resp.Status)
	}
	ended := make(chan time.Time, 1)
	go func() { // ends with the stream, which ctx ends at the latest
		defer resp.Body.Close()
		for lines.Scan() {
		}
		if lines.Err() != nil {
			ended <- time.Time{}
			return
		}
		ended <- time.Now()
	}()
	return ended, nil
}

func (d walk) request(ctx context.Context, method, target, bearer, contentType, body string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader([]byte(body)))
	if err != nil {
		return nil, err
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	return req, nil
}

func (d walk) do(ctx context.Context, method, target, bearer, contentType, body string) (*http.Response, []byte, error) {
	req, err := d.request(ctx, method, target, bearer, contentType, body)
	if err != nil {
		return nil, nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp, got, err
}

// jtiOf reads the token's id the way an authorization server knows it: it
// made the token.
func jtiOf(token string) (string, error) { return claimOf(token, "jti") }

func claimOf(token, name string) (string, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", fmt.Errorf("the issuer's answer is no JWT")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", err
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		return "", err
	}
	value, ok := claims[name].(string)
	if !ok {
		return "", fmt.Errorf("the token has no %s", name)
	}
	return value, nil
}
