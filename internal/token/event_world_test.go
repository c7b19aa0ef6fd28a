package token

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// us is what both issuers call us in tokens that report events.
const us = "revocast-client"

func eventVerifier(t testing.TB) *Verifier {
	t.Helper()
	issuers := bothIssuers()
	for n := range issuers {
		issuers[n].Audience = []string{"another-name-of-ours", us}
	}
	return newVerifier(t, issuers...)
}

// claimSet are claims to begin with; with returns them with some changed, and
// those that are nil taken away.
type claimSet map[string]any

func (c claimSet) with(change claimSet) claimSet {
	out := maps.Clone(c)
	for name, v := range change {
		if v == nil {
			delete(out, name)
		} else {
			out[name] = v
		}
	}
	return out
}

func ago(d time.Duration) float64 { return float64(noon.Add(-d).UnixMilli()) / 1000 }

// logoutClaims are those of a logout token that is good at noon.
var logoutClaims = claimSet{
	"iss": ours, "sub": "alice-secret", "sid": "s-1", "aud": us, "jti": "l-1",
	"iat": ago(time.Second), "exp": ago(-2 * time.Minute),
	"events": claimSet{logoutEvent: claimSet{}},
}

const (
	sessionRevoked = "https://schemas.openid.net/secevent/caep/event-type/session-revoked"
	otherEvent     = "https://events.example/anything"
)

// setClaims are those of a security event token that is good at noon.
var setClaims = claimSet{
	"iss": ours, "aud": us, "jti": "e-1", "iat": ago(time.Second), "txn": "t-1",
	"sub_id": issSub("alice-secret"),
	"events": claimSet{sessionRevoked: claimSet{"event_timestamp": ago(time.Minute)}},
}

func issSub(sub string) claimSet { return claimSet{"format": "iss_sub", "iss": ours, "sub": sub} }

// signers make a token with our key for RS256, each with a library of its own.
var signers = map[string]func(typ string, claims claimSet) string{
	"golang-jwt": func(typ string, claims claimSet) string {
		t := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims(claims))
		t.Header["kid"] = "rsa"
		if delete(t.Header, "typ"); typ != "" {
			t.Header["typ"] = typ
		}
		raw, err := t.SignedString(ourKeys().rsa)
		if err != nil {
			panic(err)
		}
		return raw
	},
	"go-jose": func(typ string, claims claimSet) string {
		opts := new(jose.SignerOptions)
		if typ != "" {
			opts = opts.WithType(jose.ContentType(typ))
		}
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: ourKeys().rsa, KeyID: "rsa"}}, opts)
		if err != nil {
			panic(err)
		}
		payload, err := json.Marshal(claims)
		if err != nil {
			panic(err)
		}
		jws, err := signer.Sign(payload)
		if err != nil {
			panic(err)
		}
		raw, err := jws.CompactSerialize()
		if err != nil {
			panic(err)
		}
		return raw
	},
}

func signEvent(typ string, claims claimSet) string { return signers["golang-jwt"](typ, claims) }

func signLogout(claims claimSet) string { return signEvent("logout+jwt", claims) }

func signSET(claims claimSet) string { return signEvent("secevent+jwt", claims) }

// mustRefuseEvent checks a refusal by VerifyLogout or VerifySET.
func mustRefuseEvent[T any](t *testing.T, verify func(context.Context, string) (*T, error), want Code, raw string) {
	t.Helper()
	got, err := verify(context.Background(), raw)
	if got != nil && err != nil {
		t.Error("a token besides an error")
	}
	if err == nil {
		t.Fatalf("accepted, want %s", want)
	}
	mustBe(t, want, nil, err, raw)
}

// A token of each kind is one for each of the other kinds to refuse, however
// alike they are made.
func TestOneKindIsNoOther(t *testing.T) {
	v := eventVerifier(t)
	access := claimSet{"iss": ours, "sub": "alice", "sid": "s-1", "aud": us, "jti": "j", "iat": ago(time.Second), "exp": ago(-time.Hour)}
	everything := logoutClaims.with(setClaims).with(access)
	kinds := []struct {
		name  string
		types []string
		raw   claimSet
		good  int // who accepts it: 0 Verify, 1 VerifyLogout, 2 VerifySET; -1 nobody
	}{
		{"access token", []string{"", "JWT", "at+jwt"}, access, 0},
		{"access token", []string{"logout+jwt", "secevent+jwt"}, access, -1},
		{"ID token", []string{"", "JWT"}, access.with(claimSet{"nonce": "n"}), 0},
		{"logout token", []string{"", "JWT", "logout+jwt", "application/Logout+JWT"}, logoutClaims, 1},
		{"logout token", []string{"at+jwt", "secevent+jwt"}, logoutClaims, -1},
		{"SET", []string{"secevent+jwt", "application/secevent+jwt"}, setClaims, 2},
		{"SET", []string{"", "JWT", "at+jwt", "logout+jwt"}, setClaims, -1},
		{"SET of a logout", []string{"", "JWT", "at+jwt"}, setClaims.with(claimSet{"events": logoutClaims["events"]}), -1},
		{"all at once", []string{"at+jwt", "secevent+jwt"}, everything, -1},
		{"events that are none", []string{"", "at+jwt"}, access.with(claimSet{"events": []string{"concert"}}), 0},
	}
	for _, k := range kinds {
		for _, typ := range k.types {
			raw := signEvent(typ, k.raw)
			ctx := context.Background()
			_, access := v.Verify(ctx, raw)
			_, logout := v.VerifyLogout(ctx, raw)
			_, set := v.VerifySET(ctx, raw)
			for who, err := range []error{access, logout, set} {
				if (err == nil) != (who == k.good) {
					t.Errorf("%s of typ %q: verifier %d says %v", k.name, typ, who, err)
				}
			}
			if _, err := v.VerifyIssued(ctx, raw); (err == nil) != (k.good == 0) {
				t.Errorf("%s of typ %q: VerifyIssued says %v", k.name, typ, err)
			}
		}
	}
}

// Whoever is not called anything by an issuer takes no events from it.
func TestEventsNeedAnAudience(t *testing.T) {
	v := newVerifier(t, bothIssuers()...)
	mustRefuseEvent(t, v.VerifyLogout, CodeAudience, signLogout(logoutClaims))
	mustRefuseEvent(t, v.VerifySET, CodeAudience, signSET(setClaims))
	mustRefuseEvent(t, v.VerifyLogout, CodeAudience, signLogout(logoutClaims.with(claimSet{"aud": ""})))
	mustVerify(t, v, sign("RS256", good)) // others are not concerned

	conf, _ := eventVerifier(t).Issuer(ours)
	if len(conf.Audience) != 2 || conf.Audience[1] != us {
		t.Errorf("%+v", conf)
	}
}

func TestEventsAreConfiguredSoundly(t *testing.T) {
	for field, i := range map[string]Issuer{
		"Audience": {Audience: []string{us, ""}},
		"Types":    {Types: []string{"at+jwt", "application/SecEvent+jwt"}},
	} {
		i.Iss, i.Keys = ours, ourKeys().set("rsa")
		v, err := New([]Issuer{i}, Options{})
		var e *ConfigError
		if !errors.As(err, &e) || e.Field != field {
			t.Errorf("%s: %v", field, err)
		}
		if err == nil {
			v.Close()
		}
	}
}
