package api

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/feed"
	"github.com/revocast/revocast/hub/log"
	"github.com/revocast/revocast/internal/token"
)

// Problem is the answer to a request that was not done (RFC 9457). Clients
// decide by Code, which is stable; the texts are for people.
type Problem struct {
	Type   string `json:"type"` // "urn:revocast:problem:" and the code
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitzero"`
	Code   Code   `json:"code"`
	// Field is what is at fault: the path of a field of the body, such as
	// revocations[3].target.iss, or the name of a parameter or header.
	Field string `json:"field,omitzero"`
	// Outcome is "unknown" if the request may have been done all the same.
	Outcome string `json:"outcome,omitzero"`
	// FirstSeq comes with Gone: the oldest record that there is.
	FirstSeq uint64 `json:"first_seq,omitzero"`

	retryAfter time.Duration // for the header of this name; zero: none
	allow      string        // likewise
	challenge  string        // the parameters of WWW-Authenticate
	basic      bool          // Basic would do as well as what the challenge names
	set        SETCode       // what it is to the transmitter of an event; "": what Code says
}

func (p *Problem) Error() string {
	if p.Field != "" {
		return string(p.Code) + ": " + p.Field + ": " + p.Detail
	}
	return string(p.Code) + ": " + p.Detail
}

// ProblemType is the media type of a Problem.
const ProblemType = "application/problem+json"

// Code names a problem. Those of feed.Code are codes, too.
type Code string

// The codes.
const (
	InvalidJSON     Code = "invalid_json"
	UnknownField    Code = "unknown_field"
	DuplicateField  Code = "duplicate_field"
	InvalidField    Code = "invalid_field"
	MissingField    Code = "missing_field"
	Unauthorized    Code = "unauthorized"
	Forbidden       Code = "forbidden"
	NotFound        Code = Code(feed.NotFound)
	MethodUnknown   Code = "method_not_allowed"
	Conflict        Code = "conflict"
	Gone            Code = "gone"
	BodyTooLarge    Code = "body_too_large"
	BodyTooSlow     Code = "body_too_slow"
	MediaType       Code = "unsupported_media_type"
	TooManyFailures Code = "too_many_failures"
	TooManyStreams  Code = "too_many_streams"
	Internal        Code = "internal"
	OutcomeUnknown  Code = "outcome_unknown"
	Busy            Code = "busy"
	Draining        Code = "draining"
	Unavailable     Code = "unavailable"
	StorageFull     Code = "storage_full"

	UnsupportedTokenType Code = "unsupported_token_type"
	UnsupportedSubject   Code = "unsupported_subject"
)

// statusAndTitle says how a code is answered. Every code is here.
var statusAndTitle = map[Code]struct {
	status int
	title  string
}{
	InvalidJSON:    {400, "The body is not one JSON document"},
	UnknownField:   {400, "There is no such field"},
	DuplicateField: {400, "The field is there twice"},
	InvalidField:   {400, "The field has no valid value"},
	MissingField:   {400, "The field is missing"},
	Unauthorized:   {401, "The request has no valid credential"},
	Forbidden:      {403, "The credential does not allow this"},
	NotFound:       {404, "There is no such thing"},
	MethodUnknown:  {405, "The method is not allowed here"},
	BodyTooSlow:    {408, "The body did not arrive in time"},
	Conflict:       {409, "This contradicts what is there"},
	Gone:           {410, "This is no longer held"},
	BodyTooLarge:   {413, "The body is too large"},
	MediaType:      {415, "The body's type is not supported"},

	Code(feed.Protected):         {409, "The revocation is protected"},
	Code(feed.UnknownIssuer):     {422, "The issuer is not configured"},
	Code(feed.AlreadyExpired):    {422, "The token has expired already"},
	Code(feed.FutureCutoff):      {422, "The cutoff is in the future"},
	Code(feed.RetentionExceeded): {422, "This would have to be remembered for too long"},
	Code(feed.KeyReused):         {422, "The Idempotency-Key belongs to another request"},

	UnsupportedTokenType: {400, "Tokens of this kind can't be revoked"},
	UnsupportedSubject:   {422, "It can't be told which subject this is"},

	TooManyFailures: {429, "Too many failed authentications"},
	TooManyStreams:  {429, "The credential has too many streams"},
	Internal:        {500, "The hub failed"},
	OutcomeUnknown:  {503, "It is not known whether this was done"},
	Busy:            {503, "The hub is busy"},
	Draining:        {503, "The hub is about to stop"},
	Unavailable:     {503, "The hub can't do this now"},
	StorageFull:     {507, "The hub's storage is full"},
}

// problemOf says how an error is answered. What it does not know is an
// internal error, of which the client learns nothing more.
func problemOf(err error) *Problem {
	var p Problem
	var own *Problem
	var field *events.FieldError
	var refused *feed.RefusedError
	var keys *token.Error
	switch {
	case errors.As(err, &own):
		p = *own
	case errors.As(err, &field):
		p = Problem{Code: InvalidField, Field: field.Field, Detail: field.Problem}
	case errors.As(err, &refused):
		p = Problem{Code: Code(refused.Code), Field: refused.Field, Detail: refused.Detail}
	// Before the errors of contexts, one of which it may wrap.
	case errors.Is(err, log.ErrUnknown):
		p = Problem{Code: OutcomeUnknown, Outcome: "unknown", retryAfter: time.Second,
			Detail: "Send the same request again, with the same Idempotency-Key if it has one: it takes effect once."}
	case errors.Is(err, log.ErrTooLarge):
		p = Problem{Code: BodyTooLarge, Detail: "A record of the log can't hold so much. Send it in parts."}
	case errors.Is(err, log.ErrFull):
		p = Problem{Code: StorageFull, Detail: "Nothing was written."}
	case errors.Is(err, log.ErrBusy), errors.Is(err, feed.ErrFull), errors.Is(err, errTooManyReaders):
		p = Problem{Code: Busy, Detail: "Nothing was done. Try again, or another hub.", retryAfter: 2 * time.Second}
	case errors.Is(err, feed.ErrActorFull):
		p = Problem{Code: TooManyStreams, Detail: "Close some, or use other credentials for a part of them.", retryAfter: 10 * time.Second}
	case errors.Is(err, feed.ErrDraining), errors.Is(err, log.ErrClosed):
		p = Problem{Code: Draining, Detail: "Nothing was done. Go to another hub.", retryAfter: 2 * time.Second}
	case errors.As(err, &keys) && keys.Code == token.CodeKeysUnavailable,
		errors.Is(err, feed.ErrNoTick), errors.Is(err, log.ErrUnavailable),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		p = Problem{Code: Unavailable, Detail: "Nothing was done. Try again, or another hub.", retryAfter: 2 * time.Second}
	default:
		p = Problem{Code: Internal}
	}
	how, ok := statusAndTitle[p.Code]
	if !ok {
		p.Code, how = Internal, statusAndTitle[Internal]
	}
	p.Type, p.Title, p.Status = "urn:revocast:problem:"+string(p.Code), how.title, how.status
	return &p
}

// write sends the problem as the answer.
func (p *Problem) write(w http.ResponseWriter) {
	data, err := json.Marshal(p)
	if err != nil {
		data = fmt.Appendf(nil, `{"code":%q}`, Internal) // can't happen: the fields are text
	}
	p.writeHeaders(w.Header())
	w.Header().Set("Content-Type", ProblemType)
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(data, '\n'))
}

// writeHeaders sets the headers of an answer, in whichever form it is given.
func (p *Problem) writeHeaders(h http.Header) {
	// What a handler meant to say about the answer that it did not give.
	for _, name := range []string{"Content-Length", "ETag"} {
		h.Del(name)
	}
	h.Set("Cache-Control", "no-store")
	if p.basic {
		h.Add("WWW-Authenticate", basicChallenge)
	}
	if p.challenge != "" {
		h.Add("WWW-Authenticate", p.challenge)
	}
	if p.allow != "" {
		h.Set("Allow", p.allow)
	}
	if p.retryAfter > 0 {
		// Whole seconds, rounded up; spread, so that those who were turned
		// away together don't come back together.
		spread := p.retryAfter + rand.N(p.retryAfter)
		h.Set("Retry-After", strconv.FormatInt(int64((spread+time.Second-1)/time.Second), 10))
	}
}
