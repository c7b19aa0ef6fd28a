// Package api is the hub's HTTP interface: it turns requests into calls of a
// feed, and what the feed says into answers.
//
// # The way of a request
//
// [API.ServeHTTP] finds the route, which says what the request needs: a role,
// the query parameters it may carry, whether it is a stream. The credential
// comes before everything that costs anything, the body last. A handler
// returns an error or has answered; one function, problemOf, makes every
// error a problem document (RFC 9457), and nothing else writes one. Where a
// standard has a form of its own, the problem is written in that form.
//
// # What is read strictly
//
// A body is one JSON document in UTF-8 without a name twice, without names
// that mean nothing here, and of the right types; a query has only parameters
// of its route, each once. What is refused names the field. Fields of later
// releases are refused like any unknown field: a revocation that is only
// partly understood would be another one than was asked for. Reports of
// subscribers are the exception, since a subscriber may be one release ahead.
//
// A form (of OAuth) may have parameters that mean nothing here, which that
// standard wants ignored; none may be there twice.
//
// # Who may do what
//
// A credential is an API key or a token of a configured issuer, see
// [Keyring] and [Config].Tokens. It has roles, and may be limited to issuers
// and kinds; a token is always limited to its own issuer. A limited
// credential reads what is within its limits and nothing else, and changes
// nothing beyond them. A credential that ends takes its streams with it.
//
// # What OAuth clients call
//
// At /oauth2/ are addresses that OAuth 2.0 defines: revocation (RFC 7009) and
// introspection (RFC 7662, RFC 9701) of one token, and revocation of all that
// a subject has (draft-parecki-oauth-global-token-revocation). Their clients
// may have their key in a Basic credential, and their errors are OAuth's.
// What verifies a signed answer is published for anybody.
//
// # What issuers report
//
// A logout token (OpenID Connect Back-Channel Logout) and a security event
// token (RFC 8935, OpenID Shared Signals) say by themselves who vouches for
// them: an issuer that is configured, with an Audience. They revoke what is
// that issuer's, each of them once, however often it arrives. Where no issuer
// is configured, nothing is at their addresses.
//
// # What is never written down
//
// No token, key, identifier, query or body is in a log, a metric's label, an
// address, or an answer to somebody who did not send it. Actors and ids of
// keys are.
package api
