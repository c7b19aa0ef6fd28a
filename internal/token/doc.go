// Package token reads JSON Web Tokens (RFC 7519) in JWS compact form and
// verifies them against configured issuers. It is deliberately narrow: what
// two readers could read differently is refused, so that a token which one
// part of the system knows to be revoked is the same token to every other.
//
// # What a token has to be
//
//   - At most MaxSize bytes: three segments of base64url without padding,
//     line breaks or unused bits (RFC 7515 section 2).
//   - A header and claims that are single JSON objects in valid UTF-8, with no
//     name twice at any depth and names matched exactly. Claims are read by
//     events.ParseClaims and nothing else.
//   - A header without crit: there are no extensions here, so none that is
//     critical can be understood (RFC 7515 section 4.1.11). Keys or addresses
//     of keys in the header (jwk, jku, x5c, x5u) are not looked at.
//
// # What Verify adds
//
//   - The iss claim chooses the issuer, and with it the only keys that may
//     verify the token. A key is used with the algorithms of its type that the
//     issuer allows and the key's own alg, use and key_ops don't exclude
//     (RFC 8725 sections 3.1 and 3.2). It is the key whose kid the token names;
//     a token without kid is accepted if only one key of the issuer could have
//     signed it.
//   - typ is one of the issuer's types (RFC 8725 section 3.11), so that a
//     logout token or a security event is no access token.
//   - exp is present and not reached, nbf and iat are not ahead, and no token
//     lives longer than the issuer's MaxTokenLifetime. Forgetting revocations
//     is only sound because of that bound.
//   - There is no events claim with an object, as in tokens that report an
//     event. Old providers don't say by typ that a token is for logout.
//
// # Logout tokens and security event tokens
//
// VerifyLogout and VerifySET read as strictly, and trust the same keys and
// algorithms. What they ask of a token can't all be true of a token that
// Verify, or the other of the two, accepts (RFC 8725 section 3.12):
//
//	             typ                   events         exp   sub, sid   sub_id
//	Verify       the issuer's Types    no object      yes   may        may
//	VerifyLogout logout+jwt, JWT, none logout         yes   either     may
//	VerifySET    secevent+jwt          exactly one    no    no sub     yes
//
// # One token, several spellings
//
// The signature is not part of a token's identity. An ES256 signature (r, s)
// can be rewritten to (r, n-s) by anybody and still verifies; so would an
// altered last character of a signature if base64url were read leniently. Both
// spellings have the same Claims, the same Handle (the hash of the signing
// input) and so the same keys: a revocation of one is a revocation of the
// other. Never identify a token by its whole text.
package token
