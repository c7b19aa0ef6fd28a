package subscriber_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/subscriber"
)

// A resource server in ten lines.
func Example() {
	sub, err := subscriber.New(subscriber.Config{
		Hubs:       []string{"https://hub-1.example", "https://hub-2.example"},
		Credential: os.Getenv("REVOCAST_KEY"),
		Issuers:    []subscriber.Issuer{{Iss: "https://issuer.example", JWKSURI: "https://issuer.example/jwks"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer sub.Close()
	http.Handle("/orders", sub.Protect(http.HandlerFunc(orders), subscriber.Audience("orders")))
	log.Fatal(http.ListenAndServe("127.0.0.1:8000", nil))
}

func orders(w http.ResponseWriter, r *http.Request) {
	token, _ := subscriber.FromContext(r.Context())
	fmt.Fprintln(w, "the orders of", token.Claims.Subject)
}

// A route where much is at stake has a stricter policy than the others.
func ExampleWithPolicy() {
	var sub *subscriber.Subscriber
	var read, pay http.Handler
	http.Handle("GET /orders", sub.Protect(read, subscriber.Audience("orders")))
	http.Handle("POST /payments", sub.Protect(pay, subscriber.Audience("orders"), subscriber.WithPolicy(subscriber.Closed())))
}

// A stream ends when its token is revoked, not when its client has had enough.
func ExampleSubscriber_Guard() {
	var sub *subscriber.Subscriber
	http.Handle("/ticker", sub.Protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := subscriber.FromContext(r.Context())
		ctx, stop := sub.Guard(r.Context(), token)
		defer stop()
		<-ctx.Done()
		log.Print(context.Cause(ctx)) // revoked, expired, or too stale
	})))
}

// Where a gateway has verified the token already, its claims can be checked.
func ExampleSubscriber_Check() {
	var sub *subscriber.Subscriber
	verified := events.Claims{Issuer: "https://issuer.example", ID: "jti of the token", Subject: "alice", IssuedAt: 1_800_000_000_000}
	switch v := sub.Check(verified); v.Outcome {
	case subscriber.Revoked:
		log.Printf("revoked by its %v since %v", v.Kind, v.Since)
	case subscriber.Unknown:
		log.Printf("no revocation is known, but the proof is %v old", v.Staleness)
	}
}

// A job was stored with the claims of the token that asked for it, and is taken
// up with one of the worker's: it is off if either has been revoked meanwhile,
// and ends if either is revoked while it runs.
func ExampleSubscriber_Check_lineages() {
	var sub *subscriber.Subscriber
	var worker, asked events.Claims // verified, both
	if v := sub.Check(worker, asked); v.Outcome == subscriber.Revoked && v.Lineage == 1 {
		log.Printf("who asked for it has been revoked, by the %v", v.Kind)
		return
	}
	ctx, stop := sub.Guard(context.Background(), sub.Prepare(worker, asked))
	defer stop()
	<-ctx.Done() // or the job is done
}

// A gateway at the edge: clients hold opaque tokens, services are shown JWTs.
// The issuer's introspection (RFC 7662) has the JWT as an extension here.
func ExampleSubscriber_Phantom() {
	var sub *subscriber.Subscriber
	introspect := func(ctx context.Context, opaque string) (got subscriber.Exchanged, err error) {
		form := strings.NewReader(url.Values{"token": {opaque}}.Encode())
		req, err := http.NewRequestWithContext(ctx, "POST", "https://issuer.example/introspect", form)
		if err != nil {
			return got, err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth("gateway", os.Getenv("GATEWAY_SECRET"))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return got, err
		}
		defer resp.Body.Close()
		var answer struct {
			Active bool   `json:"active"`
			IAT    int64  `json:"iat"` // of the opaque token
			JWT    string `json:"jwt"`
		}
		if resp.StatusCode != http.StatusOK {
			return got, errors.New("introspection: " + resp.Status)
		}
		if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&answer); err != nil {
			return got, err
		}
		if !answer.Active {
			return got, subscriber.ErrInactive
		}
		return subscriber.Exchanged{JWT: answer.JWT, IssuedAt: time.Unix(answer.IAT, 0)}, nil
	}

	gateway, err := sub.Phantom(subscriber.PhantomConfig{Issuer: "https://issuer.example", Exchange: introspect})
	if err != nil {
		log.Fatal(err)
	}
	orders := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "orders.internal"})
	http.Handle("/orders", gateway.Protect(orders, subscriber.Audience("orders")))
}

// This is WRONG: the claims are read and checked before anybody has verified
// the signature. Whoever holds a revoked token can write another jti into it
// and pass. Use Protect or Authenticate, which verify first.
func Example_wrong() {
	var sub *subscriber.Subscriber
	http.HandleFunc("/orders", func(w http.ResponseWriter, r *http.Request) {
		raw := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		payload, _ := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1])
		claims, _ := events.ParseClaims(payload)             // says what anybody wants it to say
		if sub.Check(claims).Outcome == subscriber.Allowed { // WRONG
			orders(w, r)
		}
	})
}
