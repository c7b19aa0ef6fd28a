package token

import (
	"context"
	"maps"
	"slices"
)

// VerifyIssued returns what a token says if a configured issuer signed it, as
// a token of a type that is accepted; or an *Error. It does NOT look at exp,
// nbf, iat and aud: the token may have expired long ago, or live for ever. It
// is for revoking a token, which has to work for one that is valid only from
// tomorrow on; to let somebody in, use Verify.
func (v *Verifier) VerifyIssued(ctx context.Context, raw string) (*Token, error) {
	t, _, err := v.forAccess(ctx, raw)
	return t, err
}

// Issuers returns the iss of the configured issuers, sorted.
func (v *Verifier) Issuers() []string { return slices.Sorted(maps.Keys(v.issuers)) }
