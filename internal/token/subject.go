package token

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The formats of a Subject that have more than their names here.
const (
	FormatIssSub  = "iss_sub"
	FormatOpaque  = "opaque"
	FormatJWTID   = "jwt_id"
	FormatAliases = "aliases"
	FormatComplex = "complex"
)

// Subject is a subject identifier (RFC 9493, and section 3 of the Shared
// Signals Framework).
type Subject struct {
	Format string
	Iss    string // of iss_sub and jwt_id
	Sub    string // of iss_sub
	JTI    string // of jwt_id
	ID     string // of opaque

	Identifiers []Subject          // of aliases: several names of the same subject
	Members     map[string]Subject // of complex: its attributes, such as user and session
}

// stringMembers are what a format consists of, except those of aliases,
// complex and ip-addresses. All of them are needed, none may be empty.
var stringMembers = map[string][]string{
	FormatIssSub: {"iss", "sub"},
	FormatOpaque: {"id"},
	FormatJWTID:  {"iss", "jti"},

	"account":           {"uri"},
	"did":               {"url"},
	"email":             {"email"},
	"phone_number":      {"phone_number"},
	"saml_assertion_id": {"issuer", "assertion_id"},
	"uri":               {"uri"},
}

// readSubject reads any subject identifier. One of an unknown format is read
// by its format only: others may have agreed on it.
func readSubject(v jsontext.Value) (Subject, error) {
	s, members, err := readSimple(v)
	switch {
	case err != nil || s.Format != FormatComplex:
		return s, err
	case len(members) == 0:
		return s, errors.New("nothing in it")
	}
	s.Members = make(map[string]Subject, len(members))
	for name, m := range members {
		member, _, err := readSimple(m)
		if err == nil && member.Format == FormatComplex {
			err = errors.New("complex within complex")
		}
		if err != nil {
			return s, fmt.Errorf("%s: %w", name, err)
		}
		s.Members[name] = member
	}
	return s, nil
}

// readSimple reads a subject identifier that is not complex; of one that is,
// it returns the members unread.
func readSimple(v jsontext.Value) (s Subject, members map[string]jsontext.Value, err error) {
	if v.Kind() != '{' {
		return s, nil, errors.New("not an object")
	}
	if err := json.Unmarshal(v, &members); err != nil {
		return s, nil, err
	}
	if s.Format, err = textOf(members, "format"); err != nil {
		return s, nil, err
	}
	delete(members, "format")
	if s.Format == FormatAliases {
		s.Identifiers, err = readAliases(members["identifiers"])
		return s, nil, err
	}
	values := make(map[string]string)
	for _, name := range stringMembers[s.Format] {
		if values[name], err = textOf(members, name); err != nil {
			return s, nil, err
		}
	}
	switch s.Format {
	case FormatIssSub, FormatJWTID:
		s.Iss, s.Sub, s.JTI = values["iss"], values["sub"], values["jti"]
	case FormatOpaque:
		s.ID = values["id"]
	}
	return s, members, nil
}

// readAliases reads the identifiers of a subject of format aliases, which are
// of other formats (RFC 9493 section 3.2.8).
func readAliases(v jsontext.Value) ([]Subject, error) {
	var list []jsontext.Value
	if v.Kind() != '[' {
		return nil, errors.New("identifiers: not an array")
	}
	if err := json.Unmarshal(v, &list); err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, errors.New("identifiers: none")
	}
	out := make([]Subject, len(list))
	for n, e := range list {
		var head struct {
			Format string `json:"format"`
		}
		// Before it is read, so that reading goes no deeper.
		if err := json.Unmarshal(e, &head); err != nil {
			return nil, err
		}
		if head.Format == FormatAliases || head.Format == FormatComplex {
			return nil, errors.New("identifiers: more than a name")
		}
		var err error
		if out[n], _, err = readSimple(e); err != nil {
			return nil, fmt.Errorf("identifiers: %w", err)
		}
	}
	return out, nil
}

// textOf returns a member that has to be there.
func textOf(members map[string]jsontext.Value, name string) (s string, err error) {
	v := members[name]
	if v.Kind() != '"' {
		return "", fmt.Errorf("%s: not a string", name)
	}
	if err := json.Unmarshal(v, &s); err != nil {
		return "", err
	}
	if s == "" {
		return "", fmt.Errorf("%s: empty", name)
	}
	return s, nil
}
