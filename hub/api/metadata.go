package api

import (
	"net/http"
	"net/url"
)

// Metadata is the answer to GET /.well-known/oauth-authorization-server: where
// an OAuth client finds what there is of an authorization server here
// (RFC 8414). The hub issues no tokens, so it has neither an authorization
// nor a token endpoint.
type Metadata struct {
	Issuer               string   `json:"issuer"` // as in signed answers
	JWKSURI              string   `json:"jwks_uri"`
	IntrospectionURL     string   `json:"introspection_endpoint"`
	IntrospectionAuth    []string `json:"introspection_endpoint_auth_methods_supported"`
	IntrospectionSigning []string `json:"introspection_signing_alg_values_supported,omitzero"` // RFC 9701 section 7
	RevocationURL        string   `json:"revocation_endpoint"`
	RevocationAuth       []string `json:"revocation_endpoint_auth_methods_supported"`
	ResponseTypes        []string `json:"response_types_supported"` // none; the RFC wants it named
	GrantTypes           []string `json:"grant_types_supported"`    // likewise
}

// discoverable reports whether an iss can be an issuer of RFC 8414 whose
// metadata is at the root of its host: an https URL that has a host and
// nothing else.
func discoverable(iss string) bool {
	u, err := url.Parse(iss)
	return err == nil && u.Host != "" && iss == "https://"+u.Host
}

func (a *API) serveMetadata(w http.ResponseWriter, _ *request) error {
	auth := []string{"client_secret_basic"}
	m := Metadata{
		Issuer: a.iss, JWKSURI: a.iss + "/.well-known/jwks.json",
		IntrospectionURL: a.iss + "/oauth2/introspect", IntrospectionAuth: auth,
		RevocationURL: a.iss + "/oauth2/revoke", RevocationAuth: auth,
		ResponseTypes: []string{}, GrantTypes: []string{},
	}
	if a.signs() {
		m.IntrospectionSigning = []string{"EdDSA"}
	}
	w.Header().Set("Cache-Control", "public, max-age=300")
	return answer(w, http.StatusOK, m)
}
