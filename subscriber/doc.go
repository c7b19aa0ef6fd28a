// Package subscriber makes revoked tokens stop working in the process that it
// is part of, without a network call in any request. It holds all live
// revocations of a feed, which a hub pushes to it, and answers from memory.
//
// # Use
//
// One [Subscriber] for a process, made by [New] with the addresses of the
// hubs, an API key with the role subscribe, and the issuers whose tokens are
// accepted. [Subscriber.Protect] is the whole of it for net/http. Where tokens
// are verified by something else, [Subscriber.Check] answers for claims; for
// what lasts longer than a request there is [Subscriber.Guard]. A readiness
// probe asks [Subscriber.Ready].
//
// The order matters: VERIFY, THEN CHECK. A check of claims whose signature
// nobody has verified protects nothing, because whoever wrote them can write
// others; see the example of the wrong way.
//
// # What is promised
//
//   - A revocation that a hub acknowledged longer than MaxStaleness ago is
//     enforced, or the subscriber is not fresh: it says so in its very next
//     verdict, whatever has happened to the network, the hub, its own
//     goroutines or the machine.
//   - Order: records are applied in the order of the log, without gaps, each
//     once. A gap, a record that does not continue the chain of hashes, another
//     history, a forged or replayed proof: all are counted in [Status], none
//     makes anything fresh, and the subscriber finds its way back by itself.
//   - Loss: a live revocation is never dropped to make room, and a resync never
//     forgets one. Only an explicit restore takes one away, and expiry.
//   - Duplicates and replays change nothing.
//   - Restart: after New nothing is known. Tokens are refused until a hub has
//     been reached, except under DangerouslyOpen and Ask; with SnapshotFile,
//     what was known is enforced at once and the rest is up to the Policy.
//   - A check does no I/O, waits for nothing and allocates nothing. A hub that
//     is down or slow adds nothing to a request.
//   - After Close nothing is running.
//
// # The way to the hubs
//
// Over HTTP, unless the Config has another [Transport]; subscriber/natsfeed has
// one for core NATS. All that is promised here is kept on this side of it.
//
// # Fresh, and not
//
// The set is fresh while there is proof, not older than MaxStaleness, that it
// is complete. The proof has two parts, for a stream can be cut, and it can be
// delayed as a whole: the hub's signed tick arrives on the stream, and the
// answer to a question that was never asked before arrives by another way.
//
// While it is not fresh, a token that no known revocation matches is neither
// good nor bad. [Verdict] calls that [Unknown], and [Policy] decides: the
// default allows for 30 s and then answers 503. A known revocation refuses
// under every policy.
//
// # Tokens that come from others
//
// A token may embed another one, a job may be stored with the token that asked
// for it: [Subscriber.Check] and [Subscriber.Prepare] take the claims of all of
// them, and the verdict says whose revocation it is. What is derived by token
// exchange (RFC 8693) needs none of that if the issuer copies the grant, and
// says by act who acts.
//
// # Phantom tokens
//
// Where clients hold opaque tokens and services are shown JWTs, the gateway
// between them is [Subscriber.Phantom]: it exchanges a token once, remembers
// the JWT, and drops it when a push says that the one or the other is revoked,
// by whatever kind. Say when the opaque token was issued ([Exchanged]), or a
// cutoff refuses it for as long as it is remembered.
//
// # What is remembered
//
// Three things, which differ in what it costs to forget. The live set is
// complete and exact and never evicts. The details of recent revocations are
// an LRU: what falls out is enforced without an explanation. The tokens whose
// signature was verified are an LRU: what falls out is verified again (and
// what falls out of a Gateway's is exchanged again). An LRU
// as the set itself would un-revoke by eviction.
//
// # What can go wrong, and where it shows
//
// [Subscriber.Status] holds what an operator needs: the state and since when,
// the trouble if there is any, the last error, and counts of everything that
// was refused, with reasons. [Metrics] is told the same as it happens. Neither
// contains a token, a credential or an identifier. Alert on the state, on
// Unenforceable (a hub is ahead by a release and this process can't enforce
// something) and on HubBehind (a hub was restored from an old backup, and this
// process still enforces what the hub has forgotten).
package subscriber
