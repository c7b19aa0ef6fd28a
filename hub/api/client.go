package api

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
)

// basicChallenge comes with a 401 where Basic is taken (RFC 7617).
const basicChallenge = `Basic realm="revocast", charset="UTF-8"`

// authenticateClient is authenticate for what OAuth clients call: besides
// Bearer it takes HTTP Basic, with the name of an API key as the client's id
// and the key as its secret, both form-encoded (RFC 6749 section 2.3.1). A
// request that authenticates in two ways is refused (section 2.3).
func (a *API) authenticateClient(r *http.Request) (*caller, error) {
	headers := r.Header.Values("Authorization")
	if len(headers) > 1 {
		return nil, &Problem{Code: DuplicateField, Field: "Authorization", Detail: "A request has one credential."}
	}
	c, err := a.client(r, strings.Join(headers, ""))
	if p := (*Problem)(nil); errors.As(err, &p) && p.Code == Unauthorized {
		p.basic = true
	}
	return c, err
}

func (a *API) client(r *http.Request, header string) (*caller, error) {
	if scheme, _, _ := strings.Cut(header, " "); !strings.EqualFold(scheme, "Basic") {
		return a.authenticate(r)
	}
	if key, ok := a.keyOf(r); ok {
		return a.holderOf(key), nil
	}
	return nil, a.refuse(addressOf(r))
}

// keyOf returns the key in a request's Basic credential, if it is there, and
// is that of the client which it names.
func (a *API) keyOf(r *http.Request) (Key, bool) {
	id, secret, ok := r.BasicAuth()
	if !ok {
		return Key{}, false
	}
	id, err := url.QueryUnescape(id)
	if err != nil {
		return Key{}, false
	}
	if secret, err = url.QueryUnescape(secret); err != nil {
		return Key{}, false
	}
	key, ok := a.ring.find(secret)
	return key, ok && key.Name == id
}
