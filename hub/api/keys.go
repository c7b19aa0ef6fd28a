package api

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
)

// KeyRequest asks for an API key.
type KeyRequest struct {
	Name    string        `json:"name"` // 1 to 64 bytes, no spaces, unique
	Roles   []Role        `json:"roles"`
	Issuers []string      `json:"issuers,omitzero"` // what it is limited to; empty: nothing
	Kinds   []events.Kind `json:"kinds,omitzero"`   // likewise
}

// NewKey is a key with its secret, which is shown this once.
type NewKey struct {
	Key
	Secret string `json:"key"` // "rvk_" and 32 random bytes in base64url
}

// KeyList lists the keys, oldest first.
type KeyList struct {
	Keys []Key `json:"keys"`
}

func (req KeyRequest) validate() error {
	switch {
	case req.Name == "":
		return &Problem{Code: MissingField, Field: "name", Detail: "A key needs a name: the audit calls its holder by it."}
	case len(req.Roles) == 0:
		return &Problem{Code: MissingField, Field: "roles", Detail: fmt.Sprintf("Want some of %v.", Roles())}
	// The actor of a token is its issuer, a space, and its subject; no key can
	// be mistaken for one.
	case strings.Contains(req.Name, " "):
		return &Problem{Code: InvalidField, Field: "name", Detail: "A name has no spaces."}
	case len(req.Issuers) > maxKeyLimit:
		return &Problem{Code: InvalidField, Field: "issuers", Detail: fmt.Sprintf("At most %d.", maxKeyLimit)}
	}
	if err := events.CheckText("name", req.Name, 64); err != nil {
		return err
	}
	for i, role := range req.Roles {
		if !slices.Contains(Roles(), role) || slices.Contains(req.Roles[:i], role) {
			return &Problem{Code: InvalidField, Field: fmt.Sprintf("roles[%d]", i), Detail: "Not a role, or there twice."}
		}
	}
	for i, iss := range req.Issuers {
		if iss == "" || slices.Contains(req.Issuers[:i], iss) {
			return &Problem{Code: InvalidField, Field: fmt.Sprintf("issuers[%d]", i), Detail: "Empty, or there twice."}
		}
		if err := events.CheckText(fmt.Sprintf("issuers[%d]", i), iss, events.MaxIssuerLen); err != nil {
			return err
		}
	}
	for i, kind := range req.Kinds {
		if !kind.Valid() || slices.Contains(req.Kinds[:i], kind) {
			return &Problem{Code: InvalidField, Field: fmt.Sprintf("kinds[%d]", i), Detail: "Not a kind, or there twice."}
		}
	}
	return nil
}

func (req KeyRequest) key(hash events.Hash, now time.Time) ringKey {
	return ringKey{Key{"key_" + rand.Text()[:16], req.Name, req.Roles, req.Issuers, req.Kinds, events.At(now)}, hash}
}

func (a *API) makeKey(w http.ResponseWriter, r *request) error {
	if err := r.caller.mayManageKeys(); err != nil {
		return err
	}
	var req KeyRequest
	if _, err := decode(w, r, &req); err != nil {
		return err
	}
	if err := req.validate(); err != nil {
		return err
	}
	key, secret, err := a.ring.make(req, a.now())
	if err != nil {
		return err
	}
	a.logger.Info("key made", "id", key.ID, "by", r.caller.actor)
	return answer(w, http.StatusCreated, NewKey{key, secret})
}

func (a *API) listKeys(w http.ResponseWriter, r *request) error {
	if err := r.caller.mayManageKeys(); err != nil {
		return err
	}
	return answer(w, http.StatusOK, KeyList{a.ring.list()})
}

func (a *API) deleteKey(w http.ResponseWriter, r *request) error {
	if err := r.caller.mayManageKeys(); err != nil {
		return err
	}
	id := r.PathValue("id")
	if !keyIDPattern.MatchString(id) {
		return &Problem{Code: InvalidField, Field: "id", Detail: "Not the id of a key (want key_ and 16 characters)."}
	}
	if err := a.ring.remove(id); err != nil {
		return err
	}
	a.logger.Info("key deleted", "id", id, "by", r.caller.actor)
	w.WriteHeader(http.StatusNoContent)
	return nil
}
