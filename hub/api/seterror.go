package api

import (
	"errors"
	"net/http"

	"github.com/go-json-experiment/json"

	"github.com/revocast/revocast/internal/token"
)

// SETError is the answer, always of status 400, to the transmitter of an event
// that is not accepted (RFC 8935 section 2.3). Sending it again won't help.
type SETError struct {
	Err         SETCode `json:"err"`
	Description string  `json:"description"`
}

// SETCode names what is wrong (RFC 8935 section 2.4).
type SETCode string

// The codes.
const (
	SETInvalidRequest       SETCode = "invalid_request"       // no SET, or one that is not as its type has to be
	SETInvalidKey           SETCode = "invalid_key"           // not signed by a key of the issuer's, or not so that it is accepted
	SETInvalidIssuer        SETCode = "invalid_issuer"        // the issuer is not configured
	SETInvalidAudience      SETCode = "invalid_audience"      // it is meant for somebody else
	SETAuthenticationFailed SETCode = "authentication_failed" // the credential is missing or wrong
	SETAccessDenied         SETCode = "access_denied"         // the credential, or the issuer, may not say this
)

// problemOfSET says how it is answered that a SET was not verified.
func problemOfSET(err error) error {
	e := (*token.Error)(nil)
	if !errors.As(err, &e) || e.Code == token.CodeKeysUnavailable {
		return err
	}
	p := &Problem{Code: InvalidField, Detail: "Not to be accepted: " + e.Detail + ".", set: SETInvalidRequest}
	switch e.Code {
	case token.CodeUnknownIssuer:
		p.set = SETInvalidIssuer
	case token.CodeAudience:
		p.set = SETInvalidAudience
	case token.CodeAlgorithm, token.CodeUnknownKey, token.CodeSignature:
		p.set = SETInvalidKey
	}
	return p
}

// setError is the problem as RFC 8935 has it; false if it is not the fault of
// the transmitter, or not in what it has sent.
func (p *Problem) setError() (e SETError, ok bool) {
	e = SETError{p.set, p.Detail}
	switch p.Status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		if e.Err == "" {
			e.Err = SETInvalidRequest
		}
	case http.StatusUnauthorized:
		e.Err = SETAuthenticationFailed
	case http.StatusForbidden:
		e.Err = SETAccessDenied
	default:
		return e, false
	}
	if e.Description == "" {
		e.Description = p.Title + "."
	}
	return e, true
}

// writeSET sends the problem as the answer, as RFC 8935 has it.
func (p *Problem) writeSET(w http.ResponseWriter) {
	e, ok := p.setError()
	data, err := json.Marshal(e)
	if !ok || err != nil {
		p.write(w)
		return
	}
	p.writeHeaders(w.Header())
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Language", "en")
	w.WriteHeader(http.StatusBadRequest)
	_, _ = w.Write(append(data, '\n'))
}
