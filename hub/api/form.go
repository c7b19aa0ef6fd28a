package api

import (
	"net/http"
	"net/url"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/internal/token"
)

// form is a body of form parameters, none of which is there twice. One that
// means nothing to a route is ignored, as OAuth wants it, and one without a
// value is as good as absent (RFC 6749 section 3.2).
type form url.Values

func readForm(w http.ResponseWriter, r *request) (form, error) {
	if err := wantType(r, "application/x-www-form-urlencoded"); err != nil {
		return nil, err
	}
	body, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, &Problem{Code: InvalidField, Detail: "The body can't be parsed as a form."}
	}
	for name, v := range values {
		if len(v) > 1 {
			p := &Problem{Code: DuplicateField, Detail: "A parameter may be there once."}
			if events.CheckText("", name, 64) == nil {
				p.Field = name
			}
			return nil, p
		}
	}
	// Who sends a credential here besides the one that was accepted can't
	// tell which one counts, and others may read it.
	for _, name := range []string{"client_secret", "client_assertion", "access_token"} {
		if values.Has(name) {
			return nil, &Problem{Code: InvalidField, Field: name, Detail: "Authenticate with the Authorization header, and only there."}
		}
	}
	return form(values), nil
}

func (f form) get(name string) string { return url.Values(f).Get(name) }

// token returns the token that a request is about. It may be anything.
func (f form) token() (string, error) {
	raw := f.get("token")
	if raw == "" {
		return "", &Problem{Code: MissingField, Field: "token", Detail: "It is needed."}
	}
	return raw, nil
}

// sendable reports whether a text can be a token at all: clients could not
// send any other (RFC 6749 appendix A.12), and nobody reads a longer one.
func sendable(raw string) bool {
	for i := range len(raw) {
		if raw[i] < ' ' || raw[i] > '~' {
			return false
		}
	}
	return len(raw) <= token.MaxSize
}

// issuer returns the issuer that a request names by the parameter iss, or
// else the only one that it can mean.
func (f form) issuer(a *API, c *caller) (string, error) {
	iss := f.get("iss")
	if iss == "" {
		var ok bool
		if iss, ok = a.onlyIssuer(c); !ok {
			return "", &Problem{Code: MissingField, Field: "iss", Detail: "An opaque token does not say whose it is; name its issuer."}
		}
	}
	return iss, events.CheckText("iss", iss, events.MaxIssuerLen)
}

// onlyIssuer returns the one issuer that the caller can mean without naming
// it: the only one that it may speak of, or the only one configured.
func (a *API) onlyIssuer(c *caller) (string, bool) {
	if len(c.issuers) == 1 {
		return c.issuers[0], true
	}
	if a.tokens != nil {
		if all := a.tokens.Issuers(); len(all) == 1 {
			return all[0], true
		}
	}
	return "", false
}
