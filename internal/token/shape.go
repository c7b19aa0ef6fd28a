package token

import (
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// IsJWT reports whether a token has the form of a JWT in JWS compact form:
// three segments, the first of which is a JSON object in base64url. One that
// has not is opaque: only its issuer can say what it means. It says nothing
// about whether the token can be read.
func IsJWT(raw string) bool {
	head, rest, _ := strings.Cut(raw, ".")
	if len(raw) > MaxSize || strings.Count(rest, ".") != 1 {
		return false
	}
	b, err := base64url.DecodeString(head)
	v := jsontext.Value(b)
	return err == nil && v.Kind() == '{' && v.IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}
