package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/golang-jwt/jwt/v5"

	"github.com/revocast/revocast/subscriber"
)

// Token exchange (RFC 8693): a service trades a user's token for one of its
// own, with which it acts for the user.

const (
	grantExchange   = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeAccessToken = "urn:ietf:params:oauth:token-type:access_token"
)

// exchange answers POST /token with that grant type. Like users, services are
// believed: client_id says who is asking.
//
// RFC 8693 ties the new token to the old one in no way (section 2.1): it is the
// claims that do. The new one keeps the user, the grant, the session, the
// version and the transaction; act says who acts, and for whom before (section
// 4.1). And it is as old as the old one, and dies with it: a revocation that is
// still on its way to the issuer when it exchanges the old token, catches the
// new one, too.
func (i *issuer) exchange(w http.ResponseWriter, r *http.Request, sub *subscriber.Subscriber) {
	service := r.FormValue("client_id")
	if service == "" || len(service) > 64 || r.FormValue("subject_token_type") != typeAccessToken {
		http.Error(w, `{"error":"invalid_request"}`, http.StatusBadRequest)
		return
	}
	// The issuer asks for itself what everybody asks: a dead token begets none.
	old, err := sub.Authenticate(r.Context(), r.FormValue("subject_token"))
	if err != nil {
		http.Error(w, `{"error":"invalid_request"}`, http.StatusBadRequest) // section 2.2.2
		return
	}
	claims := make(jwt.MapClaims)
	if err := json.Unmarshal(old.Payload, &claims); err != nil {
		http.Error(w, `{"error":"invalid_request"}`, http.StatusBadRequest)
		return
	}
	act := map[string]any{"sub": service}
	if before, ok := claims["act"]; ok {
		act["act"] = before
	}
	claims["act"], claims["client_id"], claims["jti"] = act, service, rand.Text()
	if claims["txn"] == nil {
		claims["txn"] = rand.Text() // a user's request begins
	}
	signed, err := i.sign(claims)
	if err != nil {
		http.Error(w, "no token", http.StatusInternalServerError)
		return
	}
	writeJSON(w, map[string]any{"access_token": signed, "issued_token_type": typeAccessToken, "token_type": "Bearer"})
}

// exchanged plays a service that trades a token in.
func (d walk) exchanged(ctx context.Context, service, token string) (string, error) {
	t, err := d.tokens(ctx, "/token", url.Values{
		"grant_type": {grantExchange}, "client_id": {service},
		"subject_token": {token}, "subject_token_type": {typeAccessToken},
	})
	return t.Access, err
}

// exchange: what services have derived from a user's token dies with the
// user's grant; what one service holds dies alone.
func (d walk) exchange(ctx context.Context) error {
	alice, err := d.login(ctx, "alice")
	if err != nil {
		return err
	}
	var request, further, another, elsewhere string
	for _, step := range []struct {
		service string
		from    *string
		to      *string
	}{
		{"shop", &alice, &request},
		{"shipping", &request, &further},
		{"shop", &alice, &another},
	} {
		if *step.to, err = d.exchanged(ctx, step.service, *step.from); err != nil {
			return err
		}
	}
	if elsewhere, err = d.login(ctx, "alice"); err != nil {
		return err
	}
	if elsewhere, err = d.exchanged(ctx, "shop", elsewhere); err != nil {
		return err
	}
	if err := d.served(ctx, alice, request, further, another, elsewhere); err != nil {
		return err
	}
	say("1. alice sends two requests to the shop, which exchanges her token for one each; in the first,\n   shipping exchanges the shop's once more. All of them get 200, and so does that of another log-in.")

	if err := d.revoke(ctx, map[string]string{"kind": "actor", "iss": d.iss, "value": "shipping"}, "compromised"); err != nil {
		return err
	}
	if err := d.refused(ctx, further); err != nil {
		return err
	}
	if err := d.served(ctx, alice, request, another, elsewhere); err != nil {
		return err
	}
	say("2. Somebody has broken into shipping: as an actor it is revoked. What it holds gets 401;\n   alice's token and the shop's get 200.")

	txn, err := claimOf(request, "txn")
	if err != nil {
		return err
	}
	if err := d.revoke(ctx, map[string]string{"kind": "grant", "iss": d.iss, "value": txn}, "other"); err != nil {
		return err
	}
	if err := d.refused(ctx, request); err != nil {
		return err
	}
	if err := d.served(ctx, alice, another, elsewhere); err != nil {
		return err
	}
	say("3. The first request is called off by its txn: the shop's token for it gets 401, the other one 200.")

	grant, err := claimOf(alice, "grant_id")
	if err != nil {
		return err
	}
	if err := d.revoke(ctx, map[string]string{"kind": "grant", "iss": d.iss, "value": grant}, "logout"); err != nil {
		return err
	}
	if err := d.refused(ctx, alice, another); err != nil {
		return err
	}
	if _, err := d.exchanged(ctx, "shop", alice); err == nil {
		return fmt.Errorf("the issuer exchanged a dead token")
	}
	if err := d.served(ctx, elsewhere); err != nil {
		return err
	}
	say("4. alice logs out: her grant is revoked, and all that was derived from it gets 401. The issuer\n   exchanges her dead token no more. That of the other log-in gets 200.")
	return nil
}

// served checks that tokens get 200.
func (d walk) served(ctx context.Context, tokens ...string) error {
	for _, t := range tokens {
		if err := d.expect(ctx, t, http.StatusOK); err != nil {
			return err
		}
	}
	return nil
}
