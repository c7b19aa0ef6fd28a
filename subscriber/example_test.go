package subscriber_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"

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
