package events

import (
	"crypto/sha256"
	"encoding/binary"
)

// KeySize is the size of a Key in bytes. 128 bits of SHA-256 leave no
// collision to be found by chance or on purpose.
const KeySize = 16

// Key stands for a target on the wire, so that no identifier travels there:
// the first 16 bytes of SHA-256 over salt, kind, issuer and value, each
// preceded by its length as four bytes, big-endian. Its text form is unpadded
// base64url, 22 characters.
type Key [KeySize]byte

func (k Key) String() string { return b64.EncodeToString(k[:]) }

// AppendText implements encoding.TextAppender.
func (k Key) AppendText(b []byte) ([]byte, error) { return b64.AppendEncode(b, k[:]), nil }

// MarshalText implements encoding.TextMarshaler.
func (k Key) MarshalText() ([]byte, error) { return k.AppendText(nil) }

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *Key) UnmarshalText(text []byte) error { return decodeFixed(k[:], text, "key") }

// SaltSize is the size of a Salt in bytes.
const SaltSize = 16

// Salt separates the keys of one feed from those of every other, and makes
// them useless to whoever has not been given the feed's hello. Its text form
// is unpadded base64url, 22 characters.
type Salt [SaltSize]byte

// MarshalText implements encoding.TextMarshaler.
func (s Salt) MarshalText() ([]byte, error) { return b64.AppendEncode(nil, s[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Salt) UnmarshalText(text []byte) error { return decodeFixed(s[:], text, "salt") }

// Key returns the key of a target in the feed with this salt. A part that only
// one kind has follows the others: the client of KindSubjectClient. The kind
// of a KindClaim is "claim:" and the claim's name.
func (s Salt) Key(t Target) Key {
	// Targets of ordinary size are hashed without an allocation.
	buf := make([]byte, 0, 512)
	buf = appendPart(buf, string(s[:]))
	if t.Kind == KindClaim {
		buf = appendPart(buf, "claim:"+t.Claim)
	} else {
		buf = appendPart(buf, kindNames[t.Kind])
	}
	buf = appendPart(buf, t.Iss)
	buf = appendPart(buf, t.Value)
	if t.Kind == KindSubjectClient {
		buf = appendPart(buf, t.Client)
	}
	sum := sha256.Sum256(buf)
	return Key(sum[:KeySize])
}

// appendPart appends a part with its length before it, so that no two lists
// of parts have the same bytes.
func appendPart(b []byte, part string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(part)))
	return append(b, part...)
}
