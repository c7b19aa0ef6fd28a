package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/feed"
	"github.com/revocast/revocast/hub/log"
	"github.com/revocast/revocast/internal/token"
)

const (
	// sourceLogout is what the audit calls POST /oidc/backchannel-logout.
	sourceLogout = "oidc/backchannel-logout"
	// eventLogout is what the metrics call what it is told.
	eventLogout = "backchannel-logout"
	logoutToken = "logout_token"
)

// logOut is POST /oidc/backchannel-logout (OpenID Connect Back-Channel Logout
// 1.0): a form with a logout token of a configured issuer, which is all the
// proof that is asked for. If it names a session, the tokens of that session
// are revoked that are issued until now; else all of the subject's. Refresh
// tokens are the provider's, and the specification lets those that are for
// offline access live; here the access tokens made of them die, too, if they
// have the sid or sub.
//
// 200 says that the log has it. Whatever is wrong with the token is 400, and
// so is a token that was there before: it was done then, and is not done
// again. Only a provider that was told 503, so that neither side knows, gets
// 200 for the same token. After 503 in general nothing is known to be revoked.
func (a *API) logOut(w http.ResponseWriter, r *request) error {
	from := addressOf(r.Request)
	// Verifying costs, and anybody can ask for it.
	if wait, ok := a.failures.free(from, a.now()); !ok {
		return tooManyLogouts(wait)
	}
	f, err := readForm(w, r)
	if err != nil {
		return err
	}
	raw := f.get(logoutToken)
	if raw == "" {
		return &Problem{Code: MissingField, Field: logoutToken, Detail: "It is needed."}
	}
	t, err := a.tokens.VerifyLogout(r.Context(), raw)
	if e := (*token.Error)(nil); errors.As(err, &e) && e.Code != token.CodeKeysUnavailable {
		return a.refuseLogout(from, "Not to be accepted: "+e.Detail+".")
	}
	if err != nil {
		return err
	}
	if a.keyRevoked(t.Claims.Issuer, t.Claims.KeyID) {
		return a.refuseLogout(from, "Not to be accepted: "+keyRevoked+".")
	}
	by := feed.Caller{Actor: "op " + t.Claims.Issuer, Source: sourceLogout,
		IdempotencyKey: "bcl:" + eventID(t.Claims.Issuer, t.Claims.ID), Body: []byte(t.Claims.Handle)}
	if own, ok := w.(*response); ok {
		own.actor = by.Actor
	}
	before := a.logouts.get(by.IdempotencyKey)
	if before == logoutDone {
		return a.refuseLogout(from, replayedLogout)
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeTime)
	defer cancel()
	res, err := a.feed.Revoke(ctx, by, []feed.Order{logoutOrder(t.Claims)}, false)
	switch field := (*events.FieldError)(nil); {
	case errors.Is(err, log.ErrUnknown):
		a.logouts.set(by.IdempotencyKey, logoutUnknown)
		return err
	case errors.As(err, &field):
		return a.refuseLogout(from, "Its sid or sub can't be revoked: "+field.Problem+".")
	case err != nil:
		return err
	}
	a.logouts.set(by.IdempotencyKey, logoutDone)
	if res.Replayed && before != logoutUnknown {
		return a.refuseLogout(from, replayedLogout)
	}
	a.metrics.eventsTaken.WithLabelValues(eventLogout, outcomeRevoked).Inc()
	w.WriteHeader(http.StatusOK)
	return nil
}

const replayedLogout = "It was there before."

const keyRevoked = "the key that signed it is revoked"

// keyRevoked reports whether an issuer's key is revoked. What is signed with
// it proves nothing: whoever has the key could log everybody out.
func (a *API) keyRevoked(iss, kid string) bool {
	// The issuer could match, too, but the key is told first.
	v, ok := a.feed.Match(events.Claims{Issuer: iss, KeyID: kid})
	return ok && v.Kind == events.KindKey
}

// logoutOrder asks for what a logout token says.
func logoutOrder(c events.Claims) feed.Order {
	t := events.Target{Kind: events.KindSession, Iss: c.Issuer, Value: c.Session}
	if c.Session == "" {
		t.Kind, t.Value = events.KindSubject, c.Subject
	}
	return feed.Order{Target: t, Reason: events.Logout}
}

// refuseLogout counts a logout token that is not accepted and says how it is
// answered.
func (a *API) refuseLogout(from address, why string) *Problem {
	if wait, ok := a.failures.add(from, a.now()); !ok {
		return tooManyLogouts(wait)
	}
	return &Problem{Code: InvalidField, Field: logoutToken, Detail: why}
}

// eventID is what tells one issuer's tokens apart, and from all others'.
func eventID(iss, jti string) string { return fmt.Sprintf("%d:%s%s", len(iss), iss, jti) }
