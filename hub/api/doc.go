// Package api is the hub's HTTP interface: it turns requests into calls of a
// feed, and what the feed says into answers.
//
// # The way of a request
//
// [API.ServeHTTP] finds the route, which says what the request needs: a role,
// the query parameters it may carry, whether it is a stream. The credential
// comes before everything that costs anything, the body last. A handler
// returns an error or has answered; one function, problemOf, makes every
// error a problem document (RFC 9457), and nothing else writes one.
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
// # Who may do what
//
// A credential is an API key or a token of a configured issuer, see
// [Keyring] and [Config].Tokens. It has roles, and may be limited to issuers
// and kinds; a token is always limited to its own issuer. A limited
// credential reads what is within its limits and nothing else, and changes
// nothing beyond them. A credential that ends takes its streams with it.
//
// # What is never written down
//
// No token, key, identifier, query or body is in a log, a metric's label, an
// address, or an answer to somebody who did not send it. Actors and ids of
// keys are.
package api
