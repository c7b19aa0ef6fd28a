package subscriber

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/internal/token"
)

// Code says why a request was refused. Codes are stable: they are counted and
// shown, and callers decide by them.
type Code = token.Code

// The codes beside those of the verification of a token.
const (
	CodeNoToken        Code = "no_token"           // the request carries none
	CodeInvalidRequest Code = "invalid_request"    // it carries several
	CodeRevoked        Code = "revoked"            // a known revocation matches
	CodeStale          Code = "stale"              // the set is not fresh, and the policy refuses
	CodeScope          Code = "insufficient_scope" // the token lacks a scope that the route asks for
	CodeInactive       Code = "inactive"           // the issuer gives no JWT for the opaque token
	CodeExchange       Code = "exchange_failed"    // the issuer could not be asked for one
)

// The codes of the verification of a token.
const (
	CodeMalformed       = token.CodeMalformed
	CodeCritical        = token.CodeCritical
	CodeUnknownIssuer   = token.CodeUnknownIssuer
	CodeAlgorithm       = token.CodeAlgorithm
	CodeType            = token.CodeType
	CodeUnknownKey      = token.CodeUnknownKey
	CodeSignature       = token.CodeSignature
	CodeNoExpiry        = token.CodeNoExpiry
	CodeExpired         = token.CodeExpired
	CodeNotYetValid     = token.CodeNotYetValid
	CodeLifetime        = token.CodeLifetime
	CodeAudience        = token.CodeAudience
	CodeKeysUnavailable = token.CodeKeysUnavailable
)

// Error is the only type of error that Authenticate returns.
type Error struct {
	Code   Code
	Detail string // a sentence for clients; holds nothing of the token
	Err    error  // *RevokedError, ErrExpired, ErrStale, the policy's error, or what the verification says; may be nil
}

func (e *Error) Error() string { return "subscriber: " + string(e.Code) + ": " + e.Detail }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Status is the HTTP status for the error: 401 for what is wrong with the
// token, 503 for what is wrong with us (RFC 6750 section 3.1).
func (e *Error) Status() int {
	switch e.Code {
	case CodeInvalidRequest:
		return http.StatusBadRequest
	case CodeScope:
		return http.StatusForbidden
	case CodeStale, CodeKeysUnavailable, CodeExchange:
		return http.StatusServiceUnavailable
	}
	return http.StatusUnauthorized
}

// RevokedError says which revocation matches a token.
type RevokedError struct {
	Verdict Verdict
}

func (e *RevokedError) Error() string {
	by := e.Verdict.ID
	if by == "" {
		by = events.ID("an earlier revocation")
	}
	what := "the token"
	if e.Verdict.Lineage > 0 {
		what = "what the token comes from"
	}
	return fmt.Sprintf("subscriber: %s is revoked by its %s (%s)", what, e.Verdict.Kind, by)
}

// Causes for the end of a Guard, and what an *Error may unwrap to.
var (
	ErrExpired = errors.New("subscriber: the token has expired")
	ErrStale   = errors.New("subscriber: the revocations are not known to be up to date")
)
