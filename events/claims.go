package events

import (
	"crypto/sha256"
	"fmt"
	"math"
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
	KeyID   string // kid of the header; ParseClaims does not know it
	Handle  string // HandleOf the signing input; ParseClaims does not know it

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

// ParseClaims reads the payload of a JWT: one JSON object, valid UTF-8, claims
// by their exact name, no name twice at any depth, no value of an unexpected
// type (null says as much as an absent claim). Whatever breaks a rule is an
// error and never a claim read as absent: a token whose reading is a matter of
// opinion could be revoked by one reader and allowed by another.
func ParseClaims(payload []byte) (Claims, error) {
	var raw struct {
		Iss      string         `json:"iss"`
		Jti      string         `json:"jti"`
		Sub      string         `json:"sub"`
		Sid      string         `json:"sid"`
		ClientID string         `json:"client_id"`
		Azp      string         `json:"azp"`
		Iat      jsontext.Value `json:"iat"`
		Exp      jsontext.Value `json:"exp"`
	}
	if jsontext.Value(payload).Kind() != '{' {
		return Claims{}, fmt.Errorf("claims: not a JSON object")
	}
	if err := json.Unmarshal(payload, &raw); err != nil {
		return Claims{}, fmt.Errorf("claims: %w", err)
	}
	c := Claims{Issuer: raw.Iss, ID: raw.Jti, Subject: raw.Sub, Session: raw.Sid, Client: raw.ClientID}
	if c.Client == "" {
		c.Client = raw.Azp
	}
	var err error
	if c.IssuedAt, err = numericDate(raw.Iat); err != nil {
		return Claims{}, fmt.Errorf("claims: iat: %w", err)
	}
	if c.Expires, err = numericDate(raw.Exp); err != nil {
		return Claims{}, fmt.Errorf("claims: exp: %w", err)
	}
	return c, nil
}

// maxDate is the last second of the year 9999, the last that RFC 3339 can
// write. A later date is a mistake or an attempt to overflow something.
const maxDate = 253402300799

// numericDate reads a NumericDate (RFC 7519 section 2) as unix milliseconds,
// rounded down; zero if absent or null.
func numericDate(v jsontext.Value) (int64, error) {
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

// Keys are the keys of everything that a revocation could match about one
// token. They cost a few hashes to make; keep them beside the verified token.
// A Keys is a value: copying is fine, and many goroutines may read one.
type Keys struct {
	has  uint16 // bit k: keys[k] is set
	keys [numKinds]Key
}

// Keys derives a token's keys in the feed with this salt. Claims that the
// token lacks have no key and cost nothing.
func (s Salt) Keys(c Claims) Keys {
	var k Keys
	add := func(kind Kind, value string, present bool) {
		if present {
			k.has |= 1 << kind
			k.keys[kind] = s.key(kind, c.Issuer, value)
		}
	}
	add(KindToken, c.ID, c.ID != "")
	add(KindHandle, c.Handle, c.Handle != "")
	add(KindSubject, c.Subject, c.Subject != "")
	add(KindSession, c.Session, c.Session != "")
	add(KindClient, c.Client, c.Client != "")
	add(KindKey, c.KeyID, c.KeyID != "")
	add(KindIssuer, "", true)
	return k
}

// Key returns the token's key of one kind, and whether it has one.
func (k *Keys) Key(kind Kind) (Key, bool) { return k.keys[kind], k.has&(1<<kind) != 0 }
