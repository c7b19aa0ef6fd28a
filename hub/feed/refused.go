package feed

// Code names a reason for which a well-formed request is refused. It is part
// of the HTTP interface.
type Code string

// The codes.
const (
	UnknownIssuer     Code = "unknown_issuer"
	AlreadyExpired    Code = "already_expired"
	FutureCutoff      Code = "cutoff_in_future"
	RetentionExceeded Code = "retention_exceeded"
	KeyReused         Code = "idempotency_key_reused"
	TooManyScheduled  Code = "too_many_scheduled"
	NotFound          Code = "not_found"
	Protected         Code = "compromised"
)

// RefusedError says why a well-formed request is refused. Nothing was done.
type RefusedError struct {
	Code   Code
	Field  string // the field at fault, if one is
	Detail string
}

func (e *RefusedError) Error() string {
	if e.Field != "" {
		return e.Field + ": " + e.Detail
	}
	return e.Detail
}
