package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/revocast/revocast/subscriber"
)

// routes is the API, and the demo issuer. What makes a route refuse revoked
// tokens is the one word Protect.
func routes(sub *subscriber.Subscriber, issuer *issuer) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("GET /orders", sub.Protect(http.HandlerFunc(orders), subscriber.Audience("orders")))
	mux.Handle("GET /orders/stream", sub.Protect(stream(sub), subscriber.Audience("orders")))
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) { writeJSON(w, sub.Status()) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if !sub.Ready() {
			http.Error(w, "the revocations are not complete yet", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("POST /login", issuer.login)
	mux.HandleFunc("POST /login/opaque", issuer.opaqueLogin)
	mux.HandleFunc("POST /introspect", issuer.introspect)
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("grant_type") == grantExchange {
			issuer.exchange(w, r, sub)
			return
		}
		issuer.rotate(w, r)
	})
	mux.HandleFunc("GET /jwks.json", issuer.keySet)
	return mux
}

func orders(w http.ResponseWriter, r *http.Request) {
	t, _ := subscriber.FromContext(r.Context())
	writeJSON(w, map[string]any{"customer": t.Claims.Subject, "orders": []string{"espresso machine", "grinder"}})
}

// stream is a response that lasts: Guard ends it the moment the token that
// opened it is revoked or expires.
func stream(sub *subscriber.Subscriber) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t, _ := subscriber.FromContext(r.Context())
		ctx, stop := sub.Guard(r.Context(), t)
		defer stop()
		rc := http.NewResponseController(w)
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		every := time.NewTicker(100 * time.Millisecond)
		defer every.Stop()
		for n := 1; ; n++ {
			_ = rc.SetWriteDeadline(time.Now().Add(5 * time.Second))
			if _, err := fmt.Fprintf(w, "order %d is on its way\n", n); err != nil || rc.Flush() != nil {
				return
			}
			select {
			case <-every.C:
			case <-ctx.Done():
				return
			}
		}
	})
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(v) // the reader's loss
}
