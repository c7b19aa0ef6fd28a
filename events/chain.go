package events

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
)

// Chain is the running hash over the records of a feed's history. Every
// record extends it:
//
//	chain = SHA-256(chain_prev ‖ SHA-256(feed part) ‖ SHA-256(audit part))
//
// The zero Chain stands before the first record. Because a record enters only
// through the hashes of its two parts, a subscriber (who is given the feed
// part and the hash of the audit part) and an auditor (who sees both) compute
// the same chain, and neither can be shown another history than the other.
//
// Its text form is unpadded base64url (RFC 4648 section 5), 43 characters.
type Chain [sha256.Size]byte

// Hash is the SHA-256 of one part of a record. Its text form is that of Chain.
type Hash [sha256.Size]byte

// HashPart hashes one part of a record.
func HashPart(part []byte) Hash { return sha256.Sum256(part) }

// Next returns the chain after the record with the given parts.
func (c Chain) Next(feed, audit Hash) Chain {
	var buf [3 * sha256.Size]byte
	copy(buf[:], c[:])
	copy(buf[sha256.Size:], feed[:])
	copy(buf[2*sha256.Size:], audit[:])
	return sha256.Sum256(buf[:])
}

// b64 refuses what is not the one canonical spelling of some bytes: padding,
// line breaks and stray trailing bits.
var b64 = base64.RawURLEncoding.Strict()

func (c Chain) String() string { return b64.EncodeToString(c[:]) }

// AppendText implements encoding.TextAppender.
func (c Chain) AppendText(b []byte) ([]byte, error) { return b64.AppendEncode(b, c[:]), nil }

// MarshalText implements encoding.TextMarshaler.
func (c Chain) MarshalText() ([]byte, error) { return c.AppendText(nil) }

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *Chain) UnmarshalText(text []byte) error { return decodeFixed(c[:], text, "chain") }

func (h Hash) String() string { return b64.EncodeToString(h[:]) }

// AppendText implements encoding.TextAppender.
func (h Hash) AppendText(b []byte) ([]byte, error) { return b64.AppendEncode(b, h[:]), nil }

// MarshalText implements encoding.TextMarshaler.
func (h Hash) MarshalText() ([]byte, error) { return h.AppendText(nil) }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hash) UnmarshalText(text []byte) error { return decodeFixed(h[:], text, "hash") }

// decodeFixed decodes base64url text that must fill dst exactly.
func decodeFixed(dst, text []byte, what string) error {
	// A decoder may be given line breaks, which it would skip; the length
	// rules them out together with everything else that is not canonical.
	if len(text) != b64.EncodedLen(len(dst)) {
		return fmt.Errorf("%s: want %d base64url characters, got %d", what, b64.EncodedLen(len(dst)), len(text))
	}
	buf := make([]byte, 64)[:len(dst)] // of a size that needs no allocation; none is larger
	if n, err := b64.Decode(buf, text); err != nil || n != len(dst) {
		return fmt.Errorf("%s: not canonical base64url", what)
	}
	copy(dst, buf)
	return nil
}
