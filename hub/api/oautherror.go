package api

import (
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
)

// OAuthError is the answer to a request to one of OAuth's addresses that was
// not done (RFC 6749 section 5.2). Clients decide by Code; the description is
// for people.
type OAuthError struct {
	Code        OAuthCode `json:"error"`
	Description string    `json:"error_description,omitzero"`
}

// OAuthCode names an error of OAuth.
type OAuthCode string

// The codes, with their statuses.
const (
	InvalidRequest       OAuthCode = "invalid_request"         // 400, and 405, 408, 413, 415
	InvalidClient        OAuthCode = "invalid_client"          // 401: the credential is missing or wrong
	InsufficientScope    OAuthCode = "insufficient_scope"      // 403: it is good, and not for this (RFC 6750 section 3.1)
	UnsupportedToken     OAuthCode = "unsupported_token_type"  // 400: RFC 7009 section 2.2.1
	TemporaryUnavailable OAuthCode = "temporarily_unavailable" // 429, 503: the token lives, as far as is known; see Retry-After
	ServerError          OAuthCode = "server_error"            // 500, 507
)

// oauth is the problem as OAuth has it.
func (p *Problem) oauth() (status int, e OAuthError) {
	e.Description = p.Detail
	if p.Detail == "" {
		e.Description = p.Title + "."
	}
	if p.Field != "" {
		e.Description = p.Field + ": " + e.Description
	}
	e.Description = strings.Map(describable, e.Description)
	switch {
	case p.Code == Unauthorized:
		e.Code = InvalidClient
	case p.Code == Forbidden:
		e.Code = InsufficientScope
	case p.Code == UnsupportedTokenType:
		e.Code = UnsupportedToken
	case p.Status == http.StatusTooManyRequests, p.Status == http.StatusServiceUnavailable:
		e.Code = TemporaryUnavailable
	case p.Status >= 500:
		e.Code = ServerError
	case p.Status == http.StatusUnprocessableEntity:
		return http.StatusBadRequest, OAuthError{InvalidRequest, e.Description} // OAuth knows no finer
	default:
		e.Code = InvalidRequest
	}
	return p.Status, e
}

// describable maps a character to one that a description may have.
func describable(r rune) rune {
	switch {
	case r == '"':
		return '\''
	case r < ' ', r > '~', r == '\\':
		return '?'
	}
	return r
}

// writeOAuth sends the problem as the answer, as OAuth has it.
func (p *Problem) writeOAuth(w http.ResponseWriter) {
	status, e := p.oauth()
	data, err := json.Marshal(e)
	if err != nil {
		data = []byte(`{"error":"server_error"}`) // can't happen: the fields are ASCII
	}
	p.writeHeaders(w.Header())
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n'))
}
