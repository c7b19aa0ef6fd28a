package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/revocast/revocast/subscriber"
)

// signer is a key of the issuer's; its kid is the algorithm.
type signer struct {
	method          jwt.SigningMethod
	private, public any
}

// keyring is the issuer: a key for each of the usual algorithms.
type keyring []signer

func newKeyring() (keyring, error) {
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return keyring{
		{jwt.SigningMethodRS256, r, &r.PublicKey},
		{jwt.SigningMethodES256, e, &e.PublicKey},
		{jwt.SigningMethodEdDSA, private, public},
	}, nil
}

// trusted is what those who accept the issuer's tokens have to know.
func (k keyring) trusted() (subscriber.Issuer, error) {
	var set jose.JSONWebKeySet
	trusted := subscriber.Issuer{Iss: issuer}
	for _, s := range k {
		alg := s.method.Alg()
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: s.public, KeyID: alg, Algorithm: alg, Use: "sig"})
		trusted.Algorithms = append(trusted.Algorithms, alg)
	}
	var err error
	trusted.Keys, err = json.Marshal(set)
	return trusted, err
}

// sign makes an access token that lives for an hour.
func (s signer) sign(jti string) (string, error) {
	now := time.Now()
	t := jwt.NewWithClaims(s.method, jwt.MapClaims{
		"iss": issuer, "sub": "alice", "aud": "orders", "client_id": "app", "jti": jti, "sid": "s-" + jti,
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "scope": "read write",
	})
	t.Header["kid"], t.Header["typ"] = s.method.Alg(), "at+jwt"
	return t.SignedString(s.private)
}
