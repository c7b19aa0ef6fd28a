package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/feed"
	"github.com/revocast/revocast/internal/token"
)

const (
	// sourceSSF and the name of an event are what the audit calls
	// POST /ssf/events.
	sourceSSF = "ssf "
	// maxSET is the size in bytes of the largest body read there. It is more
	// than a token may have, so that who sends one that is too long is told.
	maxSET = 64 << 10
)

// What becomes of an event that is accepted, besides outcomeRevoked.
const (
	outcomeDuplicate = "duplicate" // it was there before
	outcomeIgnored   = "ignored"   // it is nothing to revoke tokens for
	outcomeUnmatched = "unmatched" // its subject can't be found in tokens
)

// takeEvent is POST /ssf/events: the push endpoint of RFC 8935, for events of
// the OpenID Shared Signals Framework. setEvents says what is done about them.
//
// 202, without a body, says that the log has it, or that nothing has to be
// done: because the same token was there before, its event revokes nothing,
// or its subject is one that tokens don't have, such as an email address.
// Only the metrics and the hub's own log tell these apart, since a transmitter
// can do nothing about it.
//
// A transmitter speaks for its own tokens: the iss of the subject has to be
// the iss of the token, or one that the credential is expressly limited to.
func (a *API) takeEvent(w http.ResponseWriter, r *request) error {
	if err := wantType(r, "application/secevent+jwt"); err != nil {
		return err
	}
	body, err := readUpTo(w, r, maxSET)
	if err != nil {
		return err
	}
	set, err := a.tokens.VerifySET(r.Context(), string(body))
	if err != nil {
		return problemOfSET(err)
	}
	if a.keyRevoked(set.Issuer, set.KeyID) {
		return &Problem{Code: InvalidField, Detail: "Not to be accepted: " + keyRevoked + ".", set: SETInvalidKey}
	}
	name, outcome := "other", outcomeIgnored
	if event, ok := setEvents[set.Event]; ok {
		name = event.name
		orders, acts, err := a.ordersOf(set, event)
		switch {
		case err != nil:
			return err
		case len(orders) > 0:
			if outcome, err = a.actOn(r, set, name, orders); err != nil {
				return err
			}
		case acts:
			outcome = outcomeUnmatched
			a.logger.Warn("an event revoked nothing: its subject is not one that tokens have", "event", name, "issuer", set.Issuer)
		}
	}
	a.metrics.eventsTaken.WithLabelValues(name, outcome).Inc()
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// actOn makes the revocations that an event asks for, if the transmitter may.
func (a *API) actOn(r *request, set *token.SET, name string, orders []feed.Order) (outcome string, err error) {
	for _, o := range orders {
		if p := r.caller.mayReport(set.Issuer, o.Target); p != nil {
			return "", p
		}
	}
	by := feed.Caller{Actor: r.caller.actor, Source: sourceSSF + name,
		IdempotencyKey: "set:" + eventID(set.Issuer, set.ID), Body: set.Payload}
	ctx, cancel := context.WithTimeout(r.Context(), writeTime)
	defer cancel()
	res, err := a.feed.Revoke(ctx, by, orders, false)
	switch {
	case err != nil:
		return "", err
	case res.Replayed:
		return outcomeDuplicate, nil
	}
	return outcomeRevoked, nil
}

// mayReport reports whether the caller may transmit an issuer's word about a
// target.
func (c *caller) mayReport(iss string, t events.Target) *Problem {
	if t.Iss != iss && !slices.Contains(c.issuers, t.Iss) {
		return &Problem{Code: Forbidden, Detail: "The subject is another issuer's, which this credential does not name."}
	}
	return c.mayChange(t)
}

// noteOf says in the audit which token it was. What is not fit to be shown is
// left out.
func noteOf(set *token.SET) string {
	note := fmt.Sprintf("jti %s of %s", set.ID, set.Issuer)
	if long := note + ", txn " + set.Txn; set.Txn != "" && events.CheckText("", long, feed.MaxNoteLen) == nil {
		return long
	}
	if events.CheckText("", note, feed.MaxNoteLen) != nil {
		return ""
	}
	return note
}
