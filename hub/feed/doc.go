// Package feed is one tenant's world on a hub: what its log adds up to, and
// those who follow it.
//
// # One direction
//
// A request becomes a draft ([Feed.Revoke], [Feed.Restore]) and ends in
// hub/log's Append. Everything that anybody reads comes from following the
// log: one goroutine folds each record into the live set, the index and the
// frames, in the order of the log, and connections read the frames. Nothing
// that was asked for is shown to anybody before it is in the log, and every
// hub that follows the same log shows the same.
//
// # What is kept where
//
// The live set (package events) is what a check asks. The index knows where
// in the log each live revocation stands; what it says in full is read from
// there. The frames hold the latest records as the bytes that subscribers
// get, each encoded once.
//
// At the start the live set and the index are made anew: from the state file,
// if there is one that this hub has signed and that the log has been through,
// and the records since; else from all of the log. Both ways end in the same
// feed. The frames begin where the follower does. While the state is written
// down the fold goes on.
//
// # Promises to a reader of the stream
//
//   - Order: records come by seq, each once, none left out. A stream that
//     can't go on like that ends.
//   - Resumption: with the position of the last record that it applied, a
//     reader gets exactly the records after it (delta), or is told that it
//     needs a snapshot, or that its history is not this log's (reset).
//   - Ticks: a tick comes after all records that it vouches for. While the
//     log can't be written none come, and comments keep the line alive.
//   - A stream is the same however it is carried: by its request's handler, or
//     on a connection that was taken from the HTTP server, where a few
//     goroutines write on thousands.
//   - Over NATS ([Feed.ServeNATS]) the same bytes are published once for all, and
//     each message says where in them it belongs.
//   - Nobody waits for anybody: a reader that is too slow loses its stream,
//     with a reason that is counted, and comes back.
package feed
