package events

import "fmt"

// Kind says what part of a token a revocation looks at.
type Kind uint8

// The kinds. The numbers are those of the snapshot format and never change.
const (
	KindToken         Kind = 1  // one token, by its jti (RFC 7519 section 4.1.7)
	KindHandle        Kind = 2  // one token without a jti, or an opaque one: SHA-256 of the signing input
	KindSubject       Kind = 3  // all tokens of a sub
	KindSession       Kind = 4  // all tokens of a sid (OpenID Connect Front-Channel Logout 1.0 section 3)
	KindGrant         Kind = 5  // all that one sign-in or token exchange led to: a refresh family, a lineage
	KindClient        Kind = 6  // all tokens of a client_id (RFC 9068), else azp
	KindSubjectClient Kind = 7  // all tokens of a sub for a client
	KindActor         Kind = 8  // all tokens that name an actor anywhere in their act chain (RFC 8693 section 4.1)
	KindDevice        Kind = 9  // all tokens of a device_id
	KindKey           Kind = 10 // all tokens signed with a kid (RFC 7515 section 4.1.4)
	KindIssuer        Kind = 11 // all tokens of an iss
	KindClaim         Kind = 12 // all tokens with a value of a claim that was configured

	numKinds = 13
)

var kindNames = [numKinds]string{
	KindToken: "token", KindHandle: "handle", KindSubject: "subject", KindSession: "session", KindGrant: "grant",
	KindClient: "client", KindSubjectClient: "subject_client", KindActor: "actor", KindDevice: "device",
	KindKey: "key", KindIssuer: "issuer", KindClaim: "claim",
}

// Kinds lists the kinds.
func Kinds() []Kind {
	kinds := make([]Kind, 0, numKinds-1)
	for k := KindToken; k < numKinds; k++ {
		kinds = append(kinds, k)
	}
	return kinds
}

// Valid reports whether k is a kind of this release.
func (k Kind) Valid() bool { return 0 < k && k < numKinds }

// Outright reports whether a revocation of this kind matches without a
// condition. The others have one, see Term.
func (k Kind) Outright() bool { return k == KindToken || k == KindHandle || k == KindKey }

func (k Kind) String() string {
	if !k.Valid() {
		return fmt.Sprintf("kind(%d)", uint8(k))
	}
	return kindNames[k]
}

// ParseKind is the inverse of String.
func ParseKind(s string) (Kind, error) {
	if k := parseKind([]byte(s)); k != 0 {
		return k, nil
	}
	return 0, fmt.Errorf("unknown kind %q", s)
}

// parseKind returns 0 for what is no kind.
func parseKind(text []byte) Kind {
	for k, name := range kindNames {
		if name == string(text) && name != "" {
			return Kind(k)
		}
	}
	return 0
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
	if *k = parseKind(text); *k == 0 {
		_, err = ParseKind(string(text))
	}
	return err
}
