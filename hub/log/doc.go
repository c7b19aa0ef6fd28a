// Package log is the durable log of one feed: one JetStream stream, appended
// to in groups, followed in order, and read back as the audit.
//
// # Use
//
//	srv, err := log.StartServer(log.ServerConfig{Dir: dir})
//	nc, err := srv.Connect()
//	l, err := log.Open(ctx, nc, log.Config{Feed: "default", Dir: dir})
//
// or, with a NATS cluster elsewhere,
//
//	nc, err := log.NATS{Servers: urls, Creds: file}.Connect(ctx)
//	l, err := log.Open(ctx, nc, log.Config{Feed: "default", Replicas: 3, Wait: true})
//
// and then
//
//	go l.Follow(ctx, func(e log.Entry) error { … })           // fold, frame
//	receipt, err := l.Append(ctx, log.Proposal{Draft: draft})
//
// Stop in the reverse order: Log.Close, then the connection, then
// Server.Shutdown.
//
// # What is promised
//
//   - A receipt is given only after the server has said that the record is
//     stored. With the embedded server that means synced to disk; with a
//     cluster, that a majority has it.
//   - A proposal's operations are in one record, all of them, or in none.
//   - Sequence numbers grow by one from record to record, in every Follow, on
//     every hub.
//   - The times of records never go backwards.
//   - Every message carries the chain before and after its record, so a reader
//     may start at any record, and a record that was altered shows by itself.
//   - History that is not what it was (a gap, a chain that does not fit, a
//     stream that was cut short or made anew) is a *HistoryError. It ends
//     Follow and fails every later Append: the Log never goes on silently.
//
// # Outcomes of an append
//
// An error that is ErrUnknown means that the record may or may not have been
// stored, now or later. Any other error means that nothing was written and
// nothing will be. What makes an unknown outcome decidable is that every
// publish names the sequence number it must come after: once another record
// has taken that place, a late one can't land. So the caller who was told
// ErrUnknown asks again with the same Key and a Settle that looks for the Key
// in what the follower has applied: Settle runs when that is everything, and
// if the late record lands after all, the new one is refused by the server,
// followed by another look.
//
// # Several hubs
//
// Any number of hubs may append to one stream. Each loses the race for a
// place now and then; it then learns the new head, settles its proposals
// again and retries for as long as their callers wait.
//
// # Another region
//
// With Config.Home the records come from a mirror of the stream in the JetStream
// domain of the servers connected to, by the same sequence numbers. Follow and
// Read read it; what the mirror does not have, Read reads at home. All else is
// asked of the stream at home, Head above all: a mirror that lags holds up
// WaitFollowed, and nobody takes its end for the log's.
//
// # Leaders that don't know that they are deposed
//
// Where the log ends is asked of the stream's leader, who answers without
// asking the others. One that was stopped or cut off for a while may not know
// of its successor, and tell of an end that is past. So its word is only taken
// if it has heard from a majority more recently than another can have been
// elected. A record is only ever acknowledged by a majority.
package log
