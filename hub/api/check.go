package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/internal/token"
)

// CheckRequest asks about a token, or about claims as a token would have
// them. It has one of Token and Claims.
type CheckRequest struct {
	Token  string         `json:"token,omitzero"`
	Claims jsontext.Value `json:"claims,omitzero"` // an object: the payload of a JWT
	KeyID  string         `json:"kid,omitzero"`    // goes with Claims: the kid of the header
}

// VerdictWord is the outcome of a check.
type VerdictWord string

// The verdicts.
const (
	Allowed VerdictWord = "allowed" // nothing that is revoked matches
	Revoked VerdictWord = "revoked"
	Invalid VerdictWord = "invalid" // not a token to be accepted, revoked or not
)

// CheckAnswer is the verdict.
type CheckAnswer struct {
	Verdict VerdictWord `json:"verdict"`
	// Verified says that the token's signature, type and times were checked
	// and are good. If not, anybody may have made it up.
	Verified bool    `json:"verified"`
	Matched  []Match `json:"matched,omitzero"` // what revokes it, by kind
	Detail   string  `json:"detail"`           // a sentence for people
}

// Match is what revokes a token by one kind.
type Match struct {
	Kind        events.Kind         `json:"kind"`
	Revocations []MatchedRevocation `json:"revocations"` // newest first
}

// MatchedRevocation is a revocation as those see it who may ask about tokens,
// and not about who revoked them.
type MatchedRevocation struct {
	ID          events.ID     `json:"id"`
	Since       events.Time   `json:"since"`
	Reason      events.Reason `json:"reason"`
	Cutoff      events.Time   `json:"cutoff,omitzero"`
	RetainUntil events.Time   `json:"retain_until,omitzero"`
}

const (
	notVerified = " Nothing else was checked: neither the signature nor who made it."
	isExpired   = "It has expired."
)

func (a *API) check(w http.ResponseWriter, r *request) error {
	var req CheckRequest
	if _, err := decode(w, r, &req); err != nil {
		return err
	}
	claims, out, err := a.read(r.Context(), req)
	if err != nil {
		return err
	}
	if out.Verdict == Invalid {
		return answer(w, http.StatusOK, out)
	}
	if p := r.caller.mayAsk(claims.Issuer); p != nil {
		p.Field = "iss"
		return p
	}
	if err := a.judge(r.Context(), r.caller, claims, &out); err != nil {
		return err
	}
	if !out.Verified {
		out.Detail += notVerified
	}
	return answer(w, http.StatusOK, out)
}

// read returns the claims that are asked about, and a first answer: Invalid
// with a reason, or no verdict yet.
func (a *API) read(ctx context.Context, req CheckRequest) (events.Claims, CheckAnswer, error) {
	switch {
	case req.Token == "" && req.Claims == nil:
		return events.Claims{}, CheckAnswer{}, &Problem{Code: MissingField, Field: "token", Detail: "Want a token, or claims."}
	case req.Token != "" && (req.Claims != nil || req.KeyID != ""):
		return events.Claims{}, CheckAnswer{}, &Problem{Code: InvalidField, Field: "token", Detail: "Want either a token, or claims and perhaps a kid."}
	case req.Token != "":
		return a.readToken(ctx, req.Token)
	}
	claims, err := a.feed.ClaimNames().Parse(req.Claims)
	if err != nil {
		return claims, CheckAnswer{}, &Problem{Code: InvalidField, Field: "claims", Detail: "Not an object with claims of the types that RFC 7519 gives them."}
	}
	if claims.Issuer == "" {
		return claims, CheckAnswer{}, &Problem{Code: MissingField, Field: "claims.iss", Detail: "It is needed."}
	}
	claims.KeyID = req.KeyID
	return claims, CheckAnswer{}, nil
}

func (a *API) readToken(ctx context.Context, raw string) (events.Claims, CheckAnswer, error) {
	var t *token.Token
	var err error = &token.Error{Code: token.CodeUnknownIssuer}
	if a.tokens != nil {
		t, err = a.tokens.Verify(ctx, raw)
	}
	verified := err == nil
	var e *token.Error
	if errors.As(err, &e) && e.Code == token.CodeUnknownIssuer {
		t, err = token.ReadUnverified(raw, a.feed.ClaimNames())
	}
	switch {
	case err == nil:
		if t.Claims.Issuer == "" {
			return t.Claims, CheckAnswer{Verdict: Invalid, Detail: "The token names no issuer."}, nil
		}
		return t.Claims, CheckAnswer{Verified: verified}, nil
	case errors.As(err, &e) && e.Code != token.CodeKeysUnavailable:
		return events.Claims{}, CheckAnswer{Verdict: Invalid, Detail: "Not to be accepted: " + e.Detail + "."}, nil
	}
	return events.Claims{}, CheckAnswer{}, err
}

// judge asks for each kind that the claims have a value of.
func (a *API) judge(ctx context.Context, c *caller, claims events.Claims, out *CheckAnswer) error {
	_, revoked := a.feed.Match(claims)
	salt := a.feed.Salt()
	keys := salt.Keys(claims)
	for kind, key := range keys.All {
		revs, err := a.feed.Explain(ctx, key)
		if err != nil {
			return err
		}
		m := Match{Kind: kind}
		for _, rev := range revs {
			if term := rev.Term(salt); !term.Matches(kind, &keys) || rev.EffectiveAt > events.At(a.now()) {
				continue
			}
			revoked = true
			if c.sees(rev.Target) {
				m.Revocations = append(m.Revocations, MatchedRevocation{rev.ID, rev.RevokedAt, rev.Reason, rev.Cutoff, rev.RetainUntil})
			}
		}
		if len(m.Revocations) > 0 {
			out.Matched = append(out.Matched, m)
		}
	}
	expired := claims.Expires != 0 && a.now().UnixMilli() >= claims.Expires+token.DefaultSkew.Milliseconds()
	switch {
	case revoked:
		out.Verdict, out.Detail = Revoked, "It is revoked."
	case expired && !out.Verified:
		out.Verdict, out.Detail = Invalid, isExpired
	default:
		out.Verdict, out.Detail = Allowed, "It is not revoked."
	}
	return nil
}
