package api

import (
	"net/http"

	"github.com/go-json-experiment/json"

	"github.com/revocast/revocast/events"
)

// JWKSet is the answer to GET /.well-known/jwks.json: the public keys of what
// the hub signs (RFC 7517 section 5), for anybody.
type JWKSet struct {
	Keys []JWK `json:"keys"`
}

// JWK is one of the hub's public keys. The hub signs ticks with it, too.
type JWK struct {
	events.PublicKey
	Use string `json:"use"` // "sig"
	Alg string `json:"alg"` // "EdDSA"
}

// JWKSetType is the media type of a JWKSet.
const JWKSetType = "application/jwk-set+json"

// signs reports whether the hub has a key to sign with.
func (a *API) signs() bool { return a.signing.ID() != "" }

func (a *API) serveJWKS(w http.ResponseWriter, _ *request) error {
	set := JWKSet{Keys: []JWK{}}
	if a.signs() {
		set.Keys = append(set.Keys, JWK{a.signing.Public(), "sig", "EdDSA"})
	}
	data, err := json.Marshal(set)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", JWKSetType)
	h.Set("Cache-Control", "public, max-age=300")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(append(data, '\n')) // an error is the reader's loss
	return nil
}
