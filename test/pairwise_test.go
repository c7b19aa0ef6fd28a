package test

import (
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/subscriber"
)

// Alice has another sub at each client (pairwise identifiers, OpenID Connect
// Core section 8.1). By one of them the tokens with the other are not found;
// by a claim that all of them have, they are.
func TestPairwiseSubjects(t *testing.T) {
	w := newWorld(t)
	w.startHub("--config", w.configure("claims:\n  extra: [account]\n"))
	api := w.serve(w.subscribe(func(c *subscriber.Config) { c.Claims.Extra = []string{"account"} }))
	at := func(client string, account string) string {
		return w.mint(jwt.MapClaims{"sub": "pairwise-" + client, "client_id": client, "account": account, "jti": client + account})
	}
	shop, mail, bob := at("shop", "a-1"), at("mail", "a-1"), at("mail-of-bob", "a-2")
	w.served(api, shop, mail, bob)

	w.revoke(events.KindSubject, "pairwise-shop")
	w.refused(api, shop)
	w.served(api, mail) // this is the pitfall

	w.post("account", map[string]any{
		"target": map[string]string{"kind": "claim", "claim": "account", "iss": issuer, "value": "a-1"}, "reason": "compromised"})
	w.refused(api, shop, mail)
	w.served(api, bob)
}
