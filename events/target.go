package events

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// The longest issuer and value that a target may have, in bytes. RFC 7519
// sets no limit; these are far above what issuers use.
const (
	MaxIssuerLen = 512
	MaxValueLen  = 256
)

// Target is what is revoked. Two targets are the same if and only if all
// their fields are equal byte for byte; nothing is normalised.
type Target struct {
	Kind Kind   `json:"kind"`
	Iss  string `json:"iss"`
	// Claim is the name of the claim, for KindClaim only.
	Claim string `json:"claim,omitzero"`
	// Value is the jti, sub, sid, client_id, kid, device_id, or the value of the
	// grant or of the claim; for KindActor the sub of the actor, and Iss the
	// actor's; for KindHandle the unpadded base64url SHA-256 of the signing
	// input; for KindIssuer it is empty.
	Value string `json:"value,omitzero"`
	// Client is the client_id, for KindSubjectClient only.
	Client string `json:"client,omitzero"`
}

// FieldError says which field of an input is wrong and why. Field is the
// path as the sender wrote it, for example "target.iss".
type FieldError struct {
	Field   string
	Problem string
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Problem }

// Within returns the error with its field moved below a parent.
func (e *FieldError) Within(parent string) *FieldError {
	return &FieldError{Field: parent + "." + e.Field, Problem: e.Problem}
}

// Validate reports the first thing that is wrong with the target, as a
// *FieldError, or nil.
func (t Target) Validate() error {
	if !t.Kind.Valid() {
		return &FieldError{"kind", "missing or unknown; want one of " + kindList()}
	}
	if t.Iss == "" {
		return &FieldError{"iss", "missing: a token is identified by its issuer and a value"}
	}
	if err := CheckText("iss", t.Iss, MaxIssuerLen); err != nil {
		return err
	}
	if err := t.validateParts(); err != nil {
		return err
	}
	if t.Kind == KindIssuer {
		if t.Value != "" {
			return &FieldError{"value", "must be absent for kind issuer"}
		}
		return nil
	}
	if t.Value == "" {
		return &FieldError{"value", "missing"}
	}
	if t.Kind == KindHandle {
		var h Hash
		if h.UnmarshalText([]byte(t.Value)) != nil {
			return &FieldError{"value", "a handle is the unpadded base64url SHA-256 of the token's signing input, 43 characters"}
		}
	}
	return CheckText("value", t.Value, MaxValueLen)
}

// validateParts checks the fields that only one kind has.
func (t Target) validateParts() error {
	for _, part := range []struct {
		name, value string
		kind        Kind
	}{
		{"claim", t.Claim, KindClaim},
		{"client", t.Client, KindSubjectClient},
	} {
		switch {
		case t.Kind == part.kind && part.value == "":
			return &FieldError{part.name, fmt.Sprintf("missing: kind %s needs it", part.kind)}
		case t.Kind != part.kind && part.value != "":
			return &FieldError{part.name, fmt.Sprintf("only kind %s has it", part.kind)}
		}
		if err := CheckText(part.name, part.value, MaxValueLen); err != nil {
			return err
		}
	}
	return nil
}

// CheckText refuses text that is too long, not UTF-8, or holds control
// characters, which could forge lines in logs and streams.
func CheckText(field, s string, maxLen int) error {
	if len(s) > maxLen {
		return &FieldError{field, fmt.Sprintf("too long: %d bytes, at most %d", len(s), maxLen)}
	}
	if isVisible(s) {
		return nil
	}
	if !utf8.ValidString(s) {
		return &FieldError{field, "not valid UTF-8"}
	}
	for _, r := range s {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return &FieldError{field, fmt.Sprintf("control character %U", r)}
		}
	}
	return nil
}

// isVisible reports whether all of a text is ASCII and not control characters,
// as nearly all is.
func isVisible(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func kindList() string {
	var names []string
	for _, k := range Kinds() {
		names = append(names, k.String())
	}
	return strings.Join(names, ", ")
}
