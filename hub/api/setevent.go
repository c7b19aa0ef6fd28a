package api

import (
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/feed"
	"github.com/revocast/revocast/internal/token"
)

// setEvent says what is done about one type of event.
type setEvent struct {
	name string
	// act returns why tokens are revoked; "" if none are.
	act func(setDetails) (events.Reason, error)
	// session: it is a session that the event is about, if one is named.
	session bool
	// ends: the session has come to its end, so that it has no good tokens
	// from now on, whenever they are issued.
	ends bool
}

const (
	ssfType  = "https://schemas.openid.net/secevent/ssf/event-type/"
	caepType = "https://schemas.openid.net/secevent/caep/event-type/"
	riscType = "https://schemas.openid.net/secevent/risc/event-type/"
)

// setEvents are the types of events that are known, of the Shared Signals
// Framework 1.0, CAEP 1.0 and RISC 1.0. Others are accepted and ignored.
var setEvents = map[string]setEvent{
	ssfType + "verification":   {name: "verification"},
	ssfType + "stream-updated": {name: "stream-updated"},

	caepType + "session-revoked":     {name: "session-revoked", act: whoeverDid, session: true, ends: true},
	caepType + "token-claims-change": {name: "token-claims-change", act: always(events.Policy), session: true},
	caepType + "credential-change":   {name: "credential-change", act: credentialChange},

	riscType + "account-disabled":      {name: "account-disabled", act: accountDisabled},
	riscType + "account-purged":        {name: "account-purged", act: always(events.Offboarding)},
	riscType + "credential-compromise": {name: "credential-compromise", act: always(events.Compromised)},
	// Replaced by session-revoked, and still sent.
	riscType + "sessions-revoked": {name: "sessions-revoked", act: always(events.Other)},
}

// setDetails are the details that matter of any event above.
type setDetails struct {
	InitiatingEntity string         `json:"initiating_entity"`
	ChangeType       string         `json:"change_type"`
	CredentialType   string         `json:"credential_type"`
	Reason           jsontext.Value `json:"reason"`
}

func always(r events.Reason) func(setDetails) (events.Reason, error) {
	return func(setDetails) (events.Reason, error) { return r, nil }
}

// whoeverDid takes the reason from who ended a session.
func whoeverDid(d setDetails) (events.Reason, error) {
	switch d.InitiatingEntity {
	case "user":
		return events.Logout, nil
	case "admin":
		return events.Admin, nil
	case "policy":
		return events.Policy, nil
	}
	return events.Other, nil
}

// credentialChange ignores a credential that is new: those that were there
// before are as good as ever.
func credentialChange(d setDetails) (events.Reason, error) {
	switch d.ChangeType {
	case "create":
		return "", nil
	case "revoke", "update", "delete":
	default:
		return "", &Problem{Code: InvalidField, Detail: "change_type: Want create, revoke, update or delete."}
	}
	if d.CredentialType == "password" || d.CredentialType == "pin" {
		return events.PasswordChange, nil
	}
	return events.Other, nil
}

func accountDisabled(d setDetails) (events.Reason, error) {
	if string(d.Reason) == `"hijacking"` {
		return events.Compromised, nil
	}
	return events.Offboarding, nil
}

// ordersOf returns the revocations that a SET asks for. acts says that it asks
// for some; without orders then nothing is known by its subject.
//
// A subject's tokens are revoked that were issued until the event occurred:
// by its event_timestamp, else by toe, else by iat; never later than now.
func (a *API) ordersOf(set *token.SET, e setEvent) (orders []feed.Order, acts bool, err error) {
	if e.act == nil {
		return nil, false, nil
	}
	var d setDetails
	if err := json.Unmarshal(set.Details, &d); err != nil {
		return nil, false, &Problem{Code: InvalidField, Detail: "The event's details are not as its type has them."}
	}
	reason, err := e.act(d)
	if reason == "" || err != nil {
		return nil, false, err
	}
	occurred, err := a.occurred(set)
	if err != nil {
		return nil, false, err
	}
	for _, t := range targetsOf(set, e.session) {
		o := feed.Order{Target: t, Reason: reason, Note: noteOf(set)}
		if !t.Kind.Outright() && !(e.ends && t.Kind == events.KindSession) {
			o.Cutoff = occurred
		}
		if !slices.ContainsFunc(orders, func(p feed.Order) bool { return p.Target == t }) {
			orders = append(orders, o)
		}
	}
	return orders, true, nil
}

// occurred is when an event took place.
func (a *API) occurred(set *token.SET) (events.Time, error) {
	at, err := set.DetailTime("event_timestamp")
	if err != nil {
		return 0, &Problem{Code: InvalidField, Detail: "event_timestamp: Want a number of seconds since 1970."}
	}
	if at == 0 {
		at = set.ToldAt
	}
	if at == 0 {
		at = set.IssuedAt
	}
	issuer, _ := a.tokens.Issuer(set.Issuer)
	now := a.now().UnixMilli()
	if at > now+issuer.Skew.Milliseconds() {
		return 0, &Problem{Code: InvalidField, Detail: fmt.Sprintf("The event lies in the future by more than %v.", issuer.Skew)}
	}
	return events.Time(min(at, now)), nil
}

// targetsOf returns whose tokens a SET is about; none if that can't be told.
//
// Of a complex subject one attribute is taken: the session, if the event is
// about sessions, else the user. The others narrow it down further than
// tokens can be told apart, so that more may be revoked than was asked for,
// and never less.
func targetsOf(set *token.SET, session bool) []events.Target {
	s, iss := set.Subject, set.Issuer
	switch {
	case s.Format == token.FormatOpaque && session:
		return sessionTargets(s, iss)
	case s.Format != token.FormatComplex:
		return userTargets(s)
	}
	user := s.Members["user"]
	if user.Iss != "" {
		iss = user.Iss // whose session it is
	}
	sessions, users := sessionTargets(s.Members["session"], iss), userTargets(user)
	if session && len(sessions) > 0 || len(users) == 0 {
		return sessions
	}
	return users
}

func userTargets(s token.Subject) (list []events.Target) {
	switch s.Format {
	case token.FormatIssSub:
		list = append(list, events.Target{Kind: events.KindSubject, Iss: s.Iss, Value: s.Sub})
	case token.FormatJWTID:
		list = append(list, events.Target{Kind: events.KindToken, Iss: s.Iss, Value: s.JTI})
	}
	for _, alias := range s.Identifiers {
		list = append(list, userTargets(alias)...)
	}
	return list
}

func sessionTargets(s token.Subject, iss string) []events.Target {
	switch s.Format {
	case token.FormatOpaque:
		return []events.Target{{Kind: events.KindSession, Iss: iss, Value: s.ID}}
	case token.FormatIssSub:
		return []events.Target{{Kind: events.KindSession, Iss: s.Iss, Value: s.Sub}}
	case token.FormatJWTID:
		return userTargets(s)
	}
	return nil
}
