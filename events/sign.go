package events

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"io"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Signature is an Ed25519 signature (RFC 8032); its text form is unpadded
// base64url, 86 characters.
type Signature [ed25519.SignatureSize]byte

// MarshalText implements encoding.TextMarshaler.
func (s Signature) MarshalText() ([]byte, error) { return b64.AppendEncode(nil, s[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Signature) UnmarshalText(text []byte) error { return decodeFixed(s[:], text, "signature") }

// PublicKey is a hub's signing key as a JSON Web Key (RFC 8037 section 2).
type PublicKey struct {
	KeyType string `json:"kty"` // "OKP"
	Curve   string `json:"crv"` // "Ed25519"
	KeyID   string `json:"kid"` // its thumbprint (RFC 7638)
	X       Hash   `json:"x"`   // the 32 bytes of the key
}

// SigningKey signs ticks and report answers, and JWTs. It is made by
// NewSigningKey.
//
// What is signed for one purpose is never taken for anything else. A tick, a
// report answer and a state are signed over bytes that begin with a length, and
// so with a zero byte; a JWT over ASCII text (RFC 7515 section 5.1). JWTs are told
// apart by their typ (RFC 8725 section 3.11).
type SigningKey struct {
	private ed25519.PrivateKey
	public  PublicKey
}

// NewSigningKey reads a seed of ed25519.SeedSize bytes from random and makes
// a key of it.
func NewSigningKey(random io.Reader) (SigningKey, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(random, seed); err != nil {
		return SigningKey{}, fmt.Errorf("new signing key: %w", err)
	}
	private := ed25519.NewKeyFromSeed(seed)
	pub := PublicKey{KeyType: "OKP", Curve: "Ed25519", X: Hash(private.Public().(ed25519.PublicKey))}
	pub.KeyID = pub.thumbprint()
	return SigningKey{private, pub}, nil
}

// Seed returns the secret from which NewSigningKey makes the same key again.
func (k SigningKey) Seed() []byte { return k.private.Seed() }

// Public returns the public half.
func (k SigningKey) Public() PublicKey { return k.public }

// ID returns the kid.
func (k SigningKey) ID() string { return k.public.KeyID }

// SignJWT returns a JWT of a type, such as "token-introspection+jwt", with
// these claims, which are a JSON object: in JWS compact form, with the
// algorithm EdDSA (RFC 8037 section 3.1).
func (k SigningKey) SignJWT(typ string, claims []byte) (string, error) {
	if typ == "" || jsontext.Value(claims).Kind() != '{' {
		return "", fmt.Errorf("sign JWT: want a type, and an object of claims")
	}
	header, err := json.Marshal(struct {
		Alg string `json:"alg"`
		Kid string `json:"kid"`
		Typ string `json:"typ"`
	}{"EdDSA", k.ID(), typ})
	if err != nil {
		return "", fmt.Errorf("sign JWT: %w", err)
	}
	input := b64.EncodeToString(header) + "." + b64.EncodeToString(claims)
	sig := k.sign([]byte(input))
	return input + "." + b64.EncodeToString(sig[:]), nil
}

func (k SigningKey) sign(msg []byte) Signature { return Signature(ed25519.Sign(k.private, msg)) }

// SignState seals what a hub writes down of its own for its next start, by the
// hash of all of it. It is signed and not only summed, so that a hub takes up
// nothing but what it wrote itself.
func (k SigningKey) SignState(sum Hash) Signature { return k.sign(signedState(sum)) }

// VerifyState reports whether this very key has signed a state with that hash.
func (p PublicKey) VerifyState(sum Hash, sig Signature) error {
	return verify([]PublicKey{p}, p.KeyID, signedState(sum), sig)
}

func signedState(sum Hash) []byte { return signingInput("revocast state 1", string(sum[:])) }

// Validate reports whether the key is one that this release can use, and its
// kid the thumbprint of the rest.
func (p PublicKey) Validate() error {
	if p.KeyType != "OKP" || p.Curve != "Ed25519" {
		return fmt.Errorf("hub key: want kty OKP and crv Ed25519")
	}
	if p.KeyID != p.thumbprint() {
		return fmt.Errorf("hub key: kid is not the key's thumbprint (RFC 7638)")
	}
	return nil
}

func (p PublicKey) thumbprint() string {
	sum := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + p.X.String() + `"}`))
	return b64.EncodeToString(sum[:])
}

func verify(keys []PublicKey, kid string, msg []byte, sig Signature) error {
	for _, k := range keys {
		if k.KeyID != kid || k.Validate() != nil {
			continue
		}
		if ed25519.Verify(k.X[:], msg, sig[:]) {
			return nil
		}
		return fmt.Errorf("wrong signature")
	}
	return fmt.Errorf("signed with a key that is not the feed's")
}

// signingInput joins parts without ambiguity; the first names what is signed,
// so that a signature of one kind is never taken for another.
func signingInput(parts ...string) []byte {
	var b []byte
	for _, p := range parts {
		b = appendPart(b, p)
	}
	return b
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }
