package token

import (
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// A token that does not say which key signed it has the name of the one that
// did, or a thief would leave the kid out and escape the key's revocation.
func TestKeyOfTokenWithoutKid(t *testing.T) {
	v := newVerifier(t, Issuer{Iss: ours, Algorithms: []string{"ES256", "RS256"}, Keys: ourKeys().set("p256", "rsa"), Audience: []string{us}})
	sign := func(typ string, claims claimSet) string {
		token := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims(claims))
		token.Header["typ"] = typ
		raw, err := token.SignedString(ourKeys().p256)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	access, err := v.Verify(t.Context(), sign("at+jwt", claimSet{"iss": ours, "iat": ago(1), "exp": ago(-1e9)}))
	if err != nil || access.Claims.KeyID != "p256" {
		t.Errorf("%+v, %v", access, err)
	}
	logout, err := v.VerifyLogout(t.Context(), sign("logout+jwt", logoutClaims))
	if err != nil || logout.Claims.KeyID != "p256" {
		t.Errorf("%+v, %v", logout, err)
	}
	set, err := v.VerifySET(t.Context(), sign("secevent+jwt", setClaims))
	if err != nil || set.KeyID != "p256" {
		t.Errorf("%+v, %v", set, err)
	}
}
