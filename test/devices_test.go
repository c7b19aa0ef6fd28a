package test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/revocast/revocast/subscriber"
)

// logOutOthers answers the button "log out my other devices": it revokes all
// of the caller's tokens but those of the session that the request is of.
// Whom and what is taken from the verified token, never from the request.
func logOutOthers(hub, key string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := subscriber.FromContext(r.Context())
		c := token.Claims
		if c.Subject == "" || c.Session == "" {
			http.Error(w, "this token is of no session", http.StatusForbidden)
			return
		}
		if err := revokeOthers(r.Context(), hub, key, c.Issuer, c.Subject, c.Session); err != nil {
			http.Error(w, "try again: your other devices may still be logged in", http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

func revokeOthers(ctx context.Context, hub, key, iss, sub, sid string) error {
	body, err := json.Marshal(map[string]any{
		"target": map[string]string{"kind": "subject", "iss": iss, "value": sub},
		"except": map[string]string{"sid": sid}, "reason": "logout",
	})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, "POST", hub+"/v1/revocations?wait=applied&timeout=2s", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("revoke: %s", resp.Status)
	}
	return nil
}

// The laptop logs out the phone and the tablet, and stays. So does whoever
// logs in after that; and a token without a session may not press the button.
func TestLogOutOtherDevices(t *testing.T) {
	w := newWorld(t)
	w.startHub()
	sub := w.subscribe()
	api := w.serve(sub)
	button := httptest.NewServer(sub.Protect(logOutOthers(w.url(), adminKey), subscriber.Audience("orders")))
	defer button.Close()
	on := func(device string, iat time.Time) string {
		return w.mint(jwt.MapClaims{"jti": device + iat.String(), "sid": "s-" + device, "iat": float64(iat.UnixMilli()) / 1000})
	}
	past := time.Now().Add(-time.Minute)
	phone, tablet, laptop := on("phone", past), on("tablet", past), on("laptop", past)
	bob := w.mint(jwt.MapClaims{"sub": "bob", "sid": "s-phone"})
	stateless := w.mint(jwt.MapClaims{"sub": "carol"})
	w.served(api, phone, tablet, laptop, bob, stateless)

	if got := w.status("POST", button.URL, stateless); got != http.StatusForbidden {
		t.Errorf("a token without a session: %d", got)
	}
	if got := w.status("POST", button.URL, laptop); got != http.StatusNoContent {
		t.Fatalf("the laptop: %d", got)
	}
	w.refused(api, phone, tablet)
	w.served(api, laptop, on("laptop", past.Add(time.Second)), bob, stateless)
	w.served(api, on("phone", time.Now().Add(time.Second)))
	if got := w.status("POST", button.URL, phone); got != http.StatusUnauthorized {
		t.Errorf("the phone logs out the laptop: %d", got)
	}
}
