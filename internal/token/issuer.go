package token

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Issuer is one whose tokens are accepted, and on what terms.
type Issuer struct {
	Iss string // the iss claim, compared byte by byte

	// Where the keys come from: exactly one of the two. JWKSURI is an https
	// address of a JWK Set; http is taken for loopback hosts. Keys is the JWK
	// Set itself (RFC 7517, JSON), and the only way to have an HMAC secret.
	JWKSURI string
	Keys    []byte

	// Algorithms are the alg values accepted: RS256 RS384 RS512 PS256 PS384
	// PS512 ES256 ES384 ES512 EdDSA HS256 HS384 HS512. Default: RS256.
	Algorithms []string

	// MaxTokenLifetime is the longest that exp may be after iat, or after now
	// if there is no iat. Default: 24 hours.
	MaxTokenLifetime time.Duration

	// Skew is how far the issuer's clock may be from ours before exp, nbf and
	// iat are misjudged. Default: 2 seconds.
	Skew time.Duration

	// Types are the typ values accepted, compared as media types (RFC 7515
	// section 4.1.9): without regard to case, and "application/" may be left
	// out. "" stands for a token without typ. Default: "", JWT, at+jwt. Those
	// of logout tokens and security event tokens can't be among them.
	Types []string

	// Audience are the aud values accepted in the issuer's logout tokens and
	// security event tokens: what the issuer calls us, which is a client_id in
	// logout tokens. One of them has to be there. Default: none, and no such
	// token of the issuer is accepted.
	Audience []string
}

// Defaults of an Issuer.
const (
	DefaultMaxTokenLifetime = 24 * time.Hour
	DefaultSkew             = 2 * time.Second
)

// ConfigError is one mistake in the configuration of an issuer.
type ConfigError struct {
	Issuer  string // its iss, or #n if it has none
	Field   string // the name of the Issuer's field
	Problem string // what is wrong, and what would be right
}

func (e *ConfigError) Error() string {
	return fmt.Sprintf("issuer %q: %s: %s", e.Issuer, e.Field, e.Problem)
}

// issuer is an Issuer that has been checked.
type issuer struct {
	Issuer // with defaults
	types  []string
	keys   keySource
}

// checked fills in the defaults and reports every mistake. name is what the
// issuer is called in errors. It doesn't keep the slices of i.
func (i Issuer) checked(name string) (*issuer, keySet, error) {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, &ConfigError{name, field, fmt.Sprintf(format, args...)})
	}

	if i.Iss == "" {
		bad("Iss", "is empty")
	}

	i.Algorithms = slices.Clone(i.Algorithms)
	if len(i.Algorithms) == 0 {
		i.Algorithms = []string{"RS256"}
	}
	for _, alg := range i.Algorithms {
		if _, ok := algorithms[alg]; !ok {
			bad("Algorithms", "%q is not supported", alg)
		} else if symmetric(alg) && i.JWKSURI != "" {
			bad("Algorithms", "%s needs a secret in Keys: one that can be fetched from JWKSURI is none", alg)
		}
	}

	i.Keys = slices.Clone(i.Keys)
	var static keySet
	switch {
	case i.JWKSURI != "" && len(i.Keys) > 0:
		bad("Keys", "can't be given together with JWKSURI")
	case i.JWKSURI != "":
		if err := checkJWKSURI(i.JWKSURI); err != nil {
			bad("JWKSURI", "%v", err)
		}
	case len(i.Keys) > 0:
		set, skipped, err := parseKeySet(i.Keys, i.Algorithms)
		if err != nil {
			bad("Keys", "%v", err)
			break
		}
		for _, err := range skipped {
			bad("Keys", "%v", err)
		}
		if len(skipped) == 0 && !slices.ContainsFunc(set, func(k key) bool { return len(k.algs) > 0 }) {
			bad("Keys", "none can be used with %s", strings.Join(i.Algorithms, ", "))
		}
		static = set
	default:
		bad("JWKSURI", "is empty, and so is Keys: one is needed")
	}

	// Times are compared in milliseconds; less than one would vanish.
	switch {
	case i.MaxTokenLifetime == 0:
		i.MaxTokenLifetime = DefaultMaxTokenLifetime
	case i.MaxTokenLifetime < time.Millisecond:
		bad("MaxTokenLifetime", "is %v, want a millisecond or more", i.MaxTokenLifetime)
	}
	switch {
	case i.Skew == 0:
		i.Skew = DefaultSkew
	case i.Skew < time.Millisecond:
		bad("Skew", "is %v, want a millisecond or more", i.Skew)
	}

	i.Types = slices.Clone(i.Types)
	if len(i.Types) == 0 {
		i.Types = []string{"", "JWT", "at+jwt"}
	}
	types := make([]string, len(i.Types))
	for n, typ := range i.Types {
		types[n] = mediaType(typ)
		if types[n] == typeLogout || types[n] == typeSET {
			bad("Types", "%q is for tokens that report an event, which give no access", typ)
		}
	}

	i.Audience = slices.Clone(i.Audience)
	if slices.Contains(i.Audience, "") {
		bad("Audience", "has an empty value")
	}
	return &issuer{Issuer: i, types: types}, static, errors.Join(errs...)
}

// mediaType returns the one spelling of a typ: lower case (of ASCII letters,
// others have none), and with the "application/" that may be left out if no
// other slash is in it.
func mediaType(typ string) string {
	if typ == "" {
		return ""
	}
	typ = strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r - 'A' + 'a'
		}
		return r
	}, typ)
	if !strings.Contains(typ, "/") {
		typ = "application/" + typ
	}
	return typ
}

func checkJWKSURI(uri string) error {
	u, err := url.Parse(uri)
	switch {
	case err != nil:
		return errors.New("is not a URL") // the parser's error would repeat it, with a password if it has one
	case u.Hostname() == "":
		return errors.New("is not an absolute URL with a host")
	case u.User != nil:
		return errors.New("has a user or password in it")
	case u.Fragment != "":
		return errors.New("has a fragment")
	case u.Scheme == "http" && !loopbackHost(u.Hostname()):
		return errors.New("is http, which only a loopback host may be: use https")
	case u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("has the scheme %q, want https", u.Scheme)
	}
	return nil
}
