package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/feed"
)

// SubjectRevocation is the body of POST /oauth2/global-token-revocation
// (draft-parecki-oauth-global-token-revocation): whose tokens are to be
// revoked, as a subject identifier (RFC 9493).
type SubjectRevocation struct {
	SubID jsontext.Value `json:"sub_id,omitzero"`
}

// The formats of subject identifiers.
type (
	// issSub is a sub with its issuer (RFC 9493 section 3.2.3).
	issSub struct {
		Format string `json:"format"`
		Iss    string `json:"iss"`
		Sub    string `json:"sub"`
	}
	// opaque is a sub of the only issuer that can be meant (section 3.2.4).
	opaque struct {
		Format string `json:"format"`
		ID     string `json:"id"`
	}
)

// sourceSubject is what the audit calls POST /oauth2/global-token-revocation.
const sourceSubject = "oauth2/global-token-revocation"

// revokeSubject revokes all tokens of a subject that are issued until now.
// 204 says that the log has it. The draft's 404 says that the issuer is not
// configured: of its users the hub knows none by name, and revokes those
// whom it has never heard of, too. That the subject has to authenticate anew
// before it gets other tokens is its issuer's part.
func (a *API) revokeSubject(w http.ResponseWriter, r *request) error {
	var req SubjectRevocation
	if _, err := decode(w, r, &req); err != nil {
		return err
	}
	target, err := a.subjectOf(r.caller, req.SubID)
	if err != nil {
		return err
	}
	if p := r.caller.mayChange(target); p != nil {
		p.Field = subID
		return p
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeTime)
	defer cancel()
	by := feed.Caller{Actor: r.caller.actor, Source: sourceSubject}
	_, err = a.feed.Revoke(ctx, by, []feed.Order{{Target: target, Reason: events.Admin}}, false)
	if e := (*feed.RefusedError)(nil); errors.As(err, &e) && e.Code == feed.UnknownIssuer {
		return &Problem{Code: NotFound, Field: subID, Detail: "No issuer of this name is configured, so it has no users."}
	}
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

const subID = "sub_id"

// subjectOf returns the target that a subject identifier stands for.
func (a *API) subjectOf(c *caller, id jsontext.Value) (events.Target, error) {
	t := events.Target{Kind: events.KindSubject}
	format, err := formatOf(id)
	if err != nil {
		return t, err
	}
	valueName := "sub"
	switch format {
	case "iss_sub":
		var s issSub
		if err := decodeSubject(id, &s); err != nil {
			return t, err
		}
		t.Iss, t.Value = s.Iss, s.Sub
	case "opaque":
		var s opaque
		if err := decodeSubject(id, &s); err != nil {
			return t, err
		}
		iss, ok := a.onlyIssuer(c)
		if !ok {
			return t, &Problem{Code: UnsupportedSubject, Field: subID + ".format", Detail: "There is not just one issuer that this could be a subject of. Want iss_sub."}
		}
		t.Iss, t.Value, valueName = iss, s.ID, "id"
	case "email":
		return t, &Problem{Code: UnsupportedSubject, Field: subID + ".format",
			Detail: "It is not configured which subject an email address belongs to. Want iss_sub or opaque."}
	case "":
		return t, &Problem{Code: MissingField, Field: subID + ".format", Detail: "It is needed."}
	default:
		return t, &Problem{Code: InvalidField, Field: subID + ".format", Detail: "Want iss_sub or opaque."}
	}
	for _, v := range []struct{ name, value string }{{"iss", t.Iss}, {valueName, t.Value}} {
		if v.value == "" {
			return t, &Problem{Code: MissingField, Field: subID + "." + v.name, Detail: "It is needed."}
		}
	}
	if e := (*events.FieldError)(nil); errors.As(t.Validate(), &e) {
		if e.Field == "value" {
			e.Field = valueName
		}
		return t, e.Within(subID)
	}
	return t, nil
}

func formatOf(id jsontext.Value) (string, error) {
	if id == nil {
		return "", &Problem{Code: MissingField, Field: subID, Detail: "It is needed."}
	}
	if id.Kind() != '{' {
		return "", &Problem{Code: InvalidField, Field: subID, Detail: "Want an object."}
	}
	var head struct {
		Format string `json:"format"`
	}
	if err := json.Unmarshal(id, &head); err != nil {
		return "", subjectProblem(err)
	}
	return head.Format, nil
}

func decodeSubject(id jsontext.Value, v any) error {
	if err := json.Unmarshal(id, v, json.RejectUnknownMembers(true)); err != nil {
		return subjectProblem(err)
	}
	return nil
}

func subjectProblem(err error) *Problem {
	p := jsonProblem(err)
	if p.Field == "" {
		p.Field = subID
	} else {
		p.Field = subID + "." + p.Field
	}
	return p
}
