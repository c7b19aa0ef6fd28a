package events

import "fmt"

// Kind says what part of a token a revocation looks at.
type Kind uint8

// The kinds. The numbers are those of the snapshot format and never change;
// the gaps belong to kinds that the model has room for and no release has.
const (
	KindToken   Kind = 1  // one token, by its jti (RFC 7519 section 4.1.7)
	KindHandle  Kind = 2  // one token without a jti, or an opaque one: SHA-256 of the signing input
	KindSubject Kind = 3  // all tokens of a sub
	KindSession Kind = 4  // all tokens of a sid (OpenID Connect Front-Channel Logout 1.0 section 3)
	KindClient  Kind = 6  // all tokens of a client_id (RFC 9068), else azp
	KindKey     Kind = 10 // all tokens signed with a kid (RFC 7515 section 4.1.4)
	KindIssuer  Kind = 11 // all tokens of an iss

	numKinds = 12
)

// kindNames also decides which kinds exist: an empty name is no kind.
var kindNames = [numKinds]string{
	KindToken: "token", KindHandle: "handle", KindSubject: "subject", KindSession: "session",
	KindClient: "client", KindKey: "key", KindIssuer: "issuer",
}

// Kinds lists the kinds in the order in which a check asks them.
func Kinds() []Kind {
	return []Kind{KindToken, KindHandle, KindSubject, KindSession, KindClient, KindKey, KindIssuer}
}

// Valid reports whether k is a kind of this release.
func (k Kind) Valid() bool { return k < numKinds && kindNames[k] != "" }

// Outright reports whether a revocation of this kind matches whatever the
// token's time of issue. The other kinds match by cutoff.
func (k Kind) Outright() bool { return k == KindToken || k == KindHandle || k == KindKey }

func (k Kind) String() string {
	if !k.Valid() {
		return fmt.Sprintf("kind(%d)", uint8(k))
	}
	return kindNames[k]
}

// ParseKind is the inverse of String.
func ParseKind(s string) (Kind, error) {
	for k, name := range kindNames {
		if name == s && s != "" {
			return Kind(k), nil
		}
	}
	return 0, fmt.Errorf("unknown kind %q", s)
}

// MarshalText implements encoding.TextMarshaler.
func (k Kind) MarshalText() ([]byte, error) {
	if !k.Valid() {
		return nil, fmt.Errorf("unknown kind %d", uint8(k))
	}
	return []byte(kindNames[k]), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *Kind) UnmarshalText(text []byte) (err error) {
	*k, err = ParseKind(string(text))
	return err
}
