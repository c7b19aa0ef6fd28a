package events

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Claims are the parts of a token that a revocation can match, and the times
// that bound how long it has to be remembered.
type Claims struct {
	Issuer  string // iss
	ID      string // jti
	Subject string // sub
	Session string // sid
	Client  string // client_id, else azp
	Device  string // the claim that ClaimNames.Device names
	KeyID   string // kid of the header; ParseClaims does not know it
	Handle  string // HandleOf the signing input; ParseClaims does not know it

	Grants []string     // the values of the claims that ClaimNames.Grant names
	Actors []Actor      // the act chain (RFC 8693 section 4.1), outermost first
	Extra  []ClaimValue // the values of the claims that ClaimNames.Extra names

	// Version is that of the claim that ClaimNames.Version names, if HasVersion.
	Version    int64
	HasVersion bool

	// IssuedAt and Expires are unix milliseconds, rounded down, and zero if
	// the claim is absent. (No real token has either at the epoch; one that
	// says so is treated as if it said nothing, which is the strict side:
	// without iat a matching cutoff revokes, without exp it is refused.)
	IssuedAt int64
	Expires  int64
}

// HandleOf returns the value of a KindHandle target: the unpadded base64url
// SHA-256 of a JWT's signing input (header.payload, without the signature,
// which can be re-encoded) or of a whole opaque token.
func HandleOf(signingInput string) string {
	sum := sha256.Sum256([]byte(signingInput))
	return b64.EncodeToString(sum[:])
}

// Actor is one link of an act chain. Its issuer is its own iss, or else the
// token's.
type Actor struct{ Issuer, Subject string }

// ClaimValue is a value of a claim that was configured.
type ClaimValue struct{ Name, Value string }

// ClaimNames says where to find what has no registered claim. Hub and
// subscribers of a feed must agree on them. The zero value has the defaults.
type ClaimNames struct {
	// Grant names the claims that hold a grant: a refresh family, an exchange
	// lineage. Default: grant_id, origin_jti, txn. At most four.
	Grant []string `json:"grant,omitzero" yaml:"grant"`
	// Device: device_id.
	Device string `json:"device,omitzero" yaml:"device"`
	// Version: ver, a whole number that grows when older tokens are to die.
	Version string `json:"version,omitzero" yaml:"version"`
	// Extra names claims that can be revoked by value, at most four.
	Extra []string `json:"extra,omitzero" yaml:"extra"`
}

// MaxClaimNames bounds Grant and Extra, and with them the cost of a check.
const MaxClaimNames = 4

// WithDefaults fills in the names that are not set.
func (n ClaimNames) WithDefaults() ClaimNames {
	if n.Grant == nil {
		n.Grant = []string{"grant_id", "origin_jti", "txn"}
	}
	n.Device = cmp.Or(n.Device, "device_id")
	n.Version = cmp.Or(n.Version, "ver")
	return n
}

// Validate reports the first thing that is wrong, as a *FieldError, or nil.
func (n ClaimNames) Validate() error {
	seen := map[string]bool{"iss": true, "jti": true, "sub": true, "sid": true, "client_id": true, "azp": true,
		"iat": true, "exp": true, "nbf": true, "aud": true, "act": true}
	check := func(field string, names ...string) error {
		if len(names) > MaxClaimNames {
			return &FieldError{field, fmt.Sprintf("at most %d names", MaxClaimNames)}
		}
		for _, name := range names {
			if err := CheckText(field, name, 64); err != nil {
				return err
			}
			if name == "" || seen[name] {
				return &FieldError{field, fmt.Sprintf("%q is empty, used twice, or a claim with a meaning of its own", name)}
			}
			seen[name] = true
		}
		return nil
	}
	n = n.WithDefaults()
	return cmp.Or(check("grant", n.Grant...), check("device", n.Device), check("version", n.Version), check("extra", n.Extra...))
}

// Covers reports whether a reader with these names finds in a token everything
// that one with the names o finds.
func (n ClaimNames) Covers(o ClaimNames) bool {
	n, o = n.WithDefaults(), o.WithDefaults()
	all := func(have, want []string) bool {
		return !slices.ContainsFunc(want, func(name string) bool { return !slices.Contains(have, name) })
	}
	return n.Device == o.Device && n.Version == o.Version && all(n.Grant, o.Grant) && all(n.Extra, o.Extra)
}

// ParseClaims reads the payload of a JWT with the default names; see
// ClaimNames.Parse.
func ParseClaims(payload []byte) (Claims, error) { return ClaimNames{}.Parse(payload) }

// Parse reads the payload of a JWT: one JSON object, valid UTF-8, claims by
// their exact name, no name twice at any depth, no value of an unexpected type
// (null says as much as an absent claim). Grants and extra claims may be
// arrays, and match by any element. Whatever breaks a rule is an error and
// never a claim read as absent: a token whose reading is a matter of opinion
// could be revoked by one reader and allowed by another.
func (n ClaimNames) Parse(payload []byte) (Claims, error) {
	c, err := n.WithDefaults().parse(payload)
	if err != nil {
		return Claims{}, fmt.Errorf("claims: %w", err)
	}
	return c, nil
}

func (n ClaimNames) parse(payload []byte) (Claims, error) {
	var raw struct {
		Iss      string                    `json:"iss"`
		Jti      string                    `json:"jti"`
		Sub      string                    `json:"sub"`
		Sid      string                    `json:"sid"`
		ClientID string                    `json:"client_id"`
		Azp      string                    `json:"azp"`
		Iat      jsontext.Value            `json:"iat"`
		Exp      jsontext.Value            `json:"exp"`
		Act      *actor                    `json:"act"`
		Others   map[string]jsontext.Value `json:",embed"`
	}
	if jsontext.Value(payload).Kind() != '{' {
		return Claims{}, errors.New("not a JSON object")
	}
	if err := json.Unmarshal(payload, &raw); err != nil {
		return Claims{}, err
	}
	c := Claims{Issuer: raw.Iss, ID: raw.Jti, Subject: raw.Sub, Session: raw.Sid, Client: cmp.Or(raw.ClientID, raw.Azp)}
	var err error
	if c.IssuedAt, err = NumericDate(raw.Iat); err != nil {
		return Claims{}, fmt.Errorf("iat: %w", err)
	}
	if c.Expires, err = NumericDate(raw.Exp); err != nil {
		return Claims{}, fmt.Errorf("exp: %w", err)
	}
	if c.Actors, err = raw.Act.chain(raw.Iss); err != nil {
		return Claims{}, fmt.Errorf("act: %w", err)
	}
	if err := n.parseConfigured(raw.Others, &c); err != nil {
		return Claims{}, err
	}
	return c, nil
}

// parseConfigured reads the claims whose names are configured.
func (n ClaimNames) parseConfigured(raw map[string]jsontext.Value, c *Claims) (err error) {
	for _, name := range n.Grant {
		values, err := stringsOf(raw[name])
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		c.Grants = append(c.Grants, values...)
	}
	for _, name := range n.Extra {
		values, err := stringsOf(raw[name])
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for _, v := range values {
			c.Extra = append(c.Extra, ClaimValue{name, v})
		}
	}
	device, err := stringsOf(raw[n.Device])
	if err != nil || len(device) > 1 {
		return fmt.Errorf("%s: not a string", n.Device)
	}
	if len(device) == 1 {
		c.Device = device[0]
	}
	// What is not a whole number, such as the "2.0" with which some issuers
	// name the format of their tokens, is no version: lower than every other.
	c.Version, err = strconv.ParseInt(string(raw[n.Version]), 10, 64)
	if c.HasVersion = err == nil && c.Version >= 0; !c.HasVersion {
		c.Version = 0
	}
	return nil
}

// maxValues bounds how many values one claim may have, and how long an act
// chain may be: each costs a look-up in every check of the token.
const maxValues = 16

// stringsOf reads a string or an array of strings.
func stringsOf(v jsontext.Value) ([]string, error) {
	switch {
	case len(v) == 0 || v.Kind() == 'n':
		return nil, nil
	case v.Kind() == '"':
		var s string
		err := json.Unmarshal(v, &s)
		return []string{s}, err
	}
	var list []string
	if err := json.Unmarshal(v, &list); err != nil {
		return nil, errors.New("neither a string nor an array of strings")
	}
	if len(list) > maxValues {
		return nil, fmt.Errorf("more than %d values", maxValues)
	}
	return list, nil
}

type actor struct {
	Iss string `json:"iss"`
	Sub string `json:"sub"`
	Act *actor `json:"act"`
}

// chain lists an act chain. A link without a sub names nobody.
func (a *actor) chain(iss string) (list []Actor, err error) {
	for n := 0; a != nil; a, n = a.Act, n+1 {
		if n == maxValues {
			return nil, fmt.Errorf("more than %d actors", maxValues)
		}
		if a.Sub != "" {
			list = append(list, Actor{cmp.Or(a.Iss, iss), a.Sub})
		}
	}
	return list, nil
}

// maxDate is the last second of the year 9999, the last that RFC 3339 can
// write. A later date is a mistake or an attempt to overflow something.
const maxDate = 253402300799

// NumericDate reads a NumericDate (RFC 7519 section 2) as unix milliseconds,
// rounded down; zero if absent or null.
func NumericDate(v jsontext.Value) (int64, error) {
	if len(v) == 0 || v.Kind() == 'n' {
		return 0, nil
	}
	if v.Kind() != '0' {
		return 0, fmt.Errorf("not a number")
	}
	whole, frac, _ := strings.Cut(string(v), ".")
	if sec, err := strconv.ParseInt(whole, 10, 64); err == nil && isDigits(frac) {
		if sec < 0 || sec > maxDate || whole[0] == '-' {
			return 0, fmt.Errorf("out of range")
		}
		ms, _ := strconv.Atoi((frac + "000")[:3])
		return sec*1000 + int64(ms), nil
	}
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil || f < 0 || f > maxDate {
		return 0, fmt.Errorf("out of range")
	}
	return int64(math.Floor(f * 1000)), nil
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
