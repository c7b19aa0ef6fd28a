// Package events is the model of revocation that hub and subscriber share, and
// its algebra. It does no I/O, starts no goroutine and has no clock.
//
// # From a target to a verdict
//
// A [Target] is what is revoked: a kind, an issuer, a value. On the wire it is
// a [Key], 16 bytes that a feed's [Salt] makes of it. A token has one key for
// each kind that it has a value of ([Salt.Keys] of its [Claims]), and is
// revoked if the [LiveSet] has a live [Term] for any of them.
//
// # From a request to a record
//
// An operation is written twice by the hub that accepts it: as an [Op], keys
// only, for subscribers, and as an [AuditOp], in full, for auditors. A [Draft]
// collects them; a [Record] holds up to 1,000 as two lines of JSON. The log
// appends records, and each extends the [Chain] that everybody who follows can
// recompute. A [Position] names a place in the log.
//
// # From a record to a set
//
// [ParseFeed] decodes a feed part, and [LiveSet.Apply] folds its operations.
// Revokes join ([Term.Join]): duplicates and reordering change nothing. Only
// a restore takes anything away, and it says itself what is left, so it must
// be applied in its place in the order, once: whoever applies records keeps
// the position, takes only the record after it, and fetches a snapshot
// ([ReadSnapshot]) when that record can't be had.
//
// # What time means
//
// Cutoffs are unix milliseconds: a token issued in the whole second S has the
// time S·1000, and is revoked by a cutoff that is not earlier. Expiries are
// unix seconds. [Time] is what people read.
package events
