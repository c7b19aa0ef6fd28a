package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/subscriber"
)

// Phantom tokens: clients outside hold opaque tokens, services inside are shown
// JWTs, and a gateway between them exchanges one for the other.

// opaque is what the issuer knows about an opaque token.
type opaque struct {
	user, grant, session string
	issued               time.Time
}

// opaqueLogin answers POST /login/opaque, a form with a user.
func (i *issuer) opaqueLogin(w http.ResponseWriter, r *http.Request) {
	user := r.FormValue("user")
	if user == "" || len(user) > 64 {
		http.Error(w, "want a form field: user", http.StatusBadRequest)
		return
	}
	token := rand.Text()
	i.mu.Lock()
	i.opaque[token] = opaque{user, rand.Text(), rand.Text(), time.Now()}
	i.mu.Unlock()
	writeJSON(w, map[string]any{"access_token": token, "token_type": "Bearer"})
}

// introspect answers POST /introspect (RFC 7662) to the gateway: whether a
// token is active, when it was issued, and, as an extension, a new JWT about
// the same user, grant and session.
func (i *issuer) introspect(w http.ResponseWriter, r *http.Request) {
	if _, secret, _ := r.BasicAuth(); secret != i.secret {
		http.Error(w, `{"error":"invalid_client"}`, http.StatusUnauthorized)
		return
	}
	i.asked.Add(1)
	i.mu.Lock()
	t, ok := i.opaque[r.FormValue("token")]
	i.mu.Unlock()
	claims, ended := i.claims(t.user, t.grant, t.session)
	if !ok || ended {
		writeJSON(w, map[string]any{"active": false})
		return
	}
	signed, err := i.sign(claims)
	if err != nil {
		http.Error(w, "no token", http.StatusInternalServerError)
		return
	}
	writeJSON(w, map[string]any{"active": true, "sub": t.user, "iat": seconds(t.issued), "jwt": signed})
}

// newEdge is the gateway before the API: what it is sent at /edge/orders, it
// sends to /orders, with a JWT.
func newEdge(sub *subscriber.Subscriber, issuer *issuer, base string) (http.Handler, error) {
	gateway, err := sub.Phantom(subscriber.PhantomConfig{
		Issuer:   issuer.iss,
		Exchange: introspection(base+"/introspect", "gateway", issuer.secret),
		Timeout:  patience,
	})
	if err != nil {
		return nil, err
	}
	target, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	inside := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	return gateway.Protect(http.StripPrefix("/edge", inside), subscriber.Audience("orders")), nil
}

// introspection is an Exchange that asks at an address.
func introspection(address, client, secret string) func(context.Context, string) (subscriber.Exchanged, error) {
	return func(ctx context.Context, token string) (got subscriber.Exchanged, err error) {
		form := strings.NewReader(url.Values{"token": {token}}.Encode())
		req, err := http.NewRequestWithContext(ctx, "POST", address, form)
		if err != nil {
			return got, err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth(client, secret)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return got, err
		}
		defer resp.Body.Close()
		var answer struct {
			Active bool    `json:"active"`
			IAT    float64 `json:"iat"`
			JWT    string  `json:"jwt"`
		}
		switch err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&answer); {
		case resp.StatusCode != http.StatusOK:
			return got, fmt.Errorf("introspect: %s", resp.Status)
		case err != nil:
			return got, fmt.Errorf("introspect: %w", err)
		case !answer.Active:
			return got, subscriber.ErrInactive
		}
		return subscriber.Exchanged{JWT: answer.JWT, IssuedAt: time.UnixMilli(int64(answer.IAT * 1000))}, nil
	}
}

// phantom: an opaque token dies at the edge the moment that a push says so,
// whatever the gateway remembers about it.
func (d walk) phantom(ctx context.Context) error {
	edge := d
	edge.api += "/edge"
	first, err := d.tokens(ctx, "/login/opaque", url.Values{"user": {"alice"}})
	if err != nil {
		return err
	}
	say("1. alice logs in and gets an opaque token, which says nothing about her.")
	for range 3 {
		if err := edge.expect(ctx, first.Access, http.StatusOK); err != nil {
			return err
		}
	}
	if err := d.introspected(1); err != nil {
		return err
	}
	if err := d.expect(ctx, first.Access, http.StatusUnauthorized); err != nil {
		return err
	}
	say("2. GET /edge/orders with it, three times: 200. The gateway asked the issuer for a JWT once.\n   Inside, at /orders, the opaque token itself gets 401.")

	if err := d.order(ctx, map[string]any{
		"target": map[string]string{"kind": "handle", "iss": d.iss, "value": events.HandleOf(first.Access)}, "reason": "compromised",
	}); err != nil {
		return err
	}
	acknowledged := time.Now()
	if err := edge.refused(ctx, first.Access); err != nil {
		return err
	}
	if err := d.introspected(1); err != nil {
		return err
	}
	say("3. It was stolen, and its handle is revoked: 401, %s after the 201.\n   What the gateway remembered is gone, and the issuer is not asked again.", milliseconds(time.Since(acknowledged)))

	second, err := d.tokens(ctx, "/login/opaque", url.Values{"user": {"alice"}})
	if err != nil {
		return err
	}
	if err := edge.expect(ctx, second.Access, http.StatusOK); err != nil {
		return err
	}
	if err := d.revoke(ctx, map[string]string{"kind": "subject", "iss": d.iss, "value": "alice"}, "password_change"); err != nil {
		return err
	}
	if err := edge.refused(ctx, second.Access); err != nil {
		return err
	}
	if err := edge.expect(ctx, second.Access, http.StatusUnauthorized); err != nil {
		return err
	}
	if d.issuer.asked.Load() < 3 {
		return fmt.Errorf("the issuer was not asked again")
	}
	say("4. alice is logged out everywhere: her next opaque token gets 401, too. The issuer still gives a\n   new JWT for it; but the opaque token is older than the cutoff, and stays refused.")

	time.Sleep(2 * time.Millisecond) // the cutoff includes its own millisecond
	third, err := d.tokens(ctx, "/login/opaque", url.Values{"user": {"alice"}})
	if err != nil {
		return err
	}
	if err := edge.expect(ctx, third.Access, http.StatusOK); err != nil {
		return err
	}
	say("5. The opaque token of a new log-in gets 200.")
	return nil
}

// introspected checks how often the issuer has been asked.
func (d walk) introspected(times int64) error {
	if n := d.issuer.asked.Load(); n != times {
		return fmt.Errorf("the gateway asked the issuer %d times, want %d", n, times)
	}
	return nil
}
