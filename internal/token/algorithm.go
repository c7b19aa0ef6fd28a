package token

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// algorithms are those that an issuer may be configured to use (RFC 7518
// section 3.1, RFC 8037). "none" is not among them, and never will be.
var algorithms = map[string]jwt.SigningMethod{
	"RS256": jwt.SigningMethodRS256,
	"RS384": jwt.SigningMethodRS384,
	"RS512": jwt.SigningMethodRS512,
	"PS256": jwt.SigningMethodPS256,
	"PS384": jwt.SigningMethodPS384,
	"PS512": jwt.SigningMethodPS512,
	"ES256": jwt.SigningMethodES256,
	"ES384": jwt.SigningMethodES384,
	"ES512": jwt.SigningMethodES512,
	"EdDSA": jwt.SigningMethodEdDSA,
	"HS256": jwt.SigningMethodHS256,
	"HS384": jwt.SigningMethodHS384,
	"HS512": jwt.SigningMethodHS512,
}

// symmetric reports whether whoever can verify can also sign.
func symmetric(alg string) bool {
	_, ok := algorithms[alg].(*jwt.SigningMethodHMAC)
	return ok
}

// RSA keys below 2048 bits are too weak (RFC 7518 section 3.3); above 8192 a
// verification takes so long that tokens become a way to keep us busy.
const minRSABits, maxRSABits = 2048, 8192

// algorithmsOf returns the algorithms that a key of this type, curve and size
// can be used with, if any. It is what makes a public key useless as an HMAC
// secret. The error says why the key should not be used at all.
func algorithmsOf(public any) ([]string, error) {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSABits || n > maxRSABits {
			return nil, fmt.Errorf("RSA key of %d bits, want %d to %d", n, minRSABits, maxRSABits)
		}
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, nil
	case *ecdsa.PublicKey:
		if _, err := k.ECDH(); err != nil {
			return nil, fmt.Errorf("EC key: %w", err) // not a point of its curve
		}
		// Each algorithm has one curve (RFC 7518 section 3.4).
		switch k.Curve.Params().BitSize {
		case 256:
			return []string{"ES256"}, nil
		case 384:
			return []string{"ES384"}, nil
		case 521:
			return []string{"ES512"}, nil
		}
	case ed25519.PublicKey:
		return []string{"EdDSA"}, nil
	case []byte:
		// A secret is at least as long as the hash (RFC 7518 section 3.2).
		switch n := len(k); {
		case n >= 64:
			return []string{"HS256", "HS384", "HS512"}, nil
		case n >= 48:
			return []string{"HS256", "HS384"}, nil
		case n >= 32:
			return []string{"HS256"}, nil
		default:
			return nil, fmt.Errorf("secret of %d bytes, want 32 or more", n)
		}
	}
	return nil, nil // such as one for key agreement
}
