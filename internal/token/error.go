package token

// Code says why a token was refused. Codes are stable: they are counted and
// shown, and callers decide by them.
type Code string

// All codes but CodeKeysUnavailable are about the token and will be the same
// when it is presented again, CodeNotYetValid and CodeUnknownKey for a while.
// CodeKeysUnavailable is about us: the caller answers 503, not 401.
const (
	CodeMalformed       Code = "malformed"        // not a JWS in compact form, or its JSON is open to interpretation
	CodeCritical        Code = "critical"         // the header has crit
	CodeUnknownIssuer   Code = "unknown_issuer"   // no iss, or one that is not configured
	CodeAlgorithm       Code = "algorithm"        // alg is not allowed, or not with the key that kid names
	CodeType            Code = "type"             // typ is not allowed
	CodeUnknownKey      Code = "unknown_key"      // the issuer has no such key, or several and the token names none
	CodeSignature       Code = "signature"        // the signature does not match
	CodeNoExpiry        Code = "no_expiry"        // no exp
	CodeExpired         Code = "expired"          // exp has passed
	CodeNotYetValid     Code = "not_yet_valid"    // nbf or iat is in the future
	CodeLifetime        Code = "lifetime"         // lives longer than the issuer's tokens may
	CodeAudience        Code = "audience"         // aud names none of the audiences asked for
	CodeClaims          Code = "claims"           // lacks a claim that this kind of token needs, or has one that it must not have
	CodeKeysUnavailable Code = "keys_unavailable" // the issuer's key set could not be had
)

// Error is the only type of error that ReadUnverified and the Verify methods return.
type Error struct {
	Code   Code
	Detail string // a sentence for users and logs; never has any text of the token in it
	Err    error  // the cause or nil; may quote the token, so neither Error nor a log shows it
}

func (e *Error) Error() string { return "token: " + string(e.Code) + ": " + e.Detail }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
