// Package natsfeed lets a subscriber follow its hubs over core NATS instead of
// HTTP: for fleets that have NATS everywhere already, and for many thousands of
// subscribers, to whom a hub publishes each frame once.
//
// [New] makes a [Transport], which is the Transport of a [subscriber.Config] in
// place of Hubs and Credential. Everything else is as over HTTP, for it is the
// same code: states, proofs, policies, reconnecting, the chain. There is no
// JetStream and no consumer in it.
//
// # What is promised
//
//   - Order and loss: core NATS delivers at most once. Each message says which
//     part of the hub's log it carries, so one that is lost, by the network, a
//     slow consumer or a server that went down, shows in the next, and there is
//     one at each heartbeat. The session then ends, loudly, and another begins
//     at the subscriber's position.
//   - Memory: at most 64 MiB, or 16,384 messages, wait for a subscriber that is
//     busy. What comes beyond ends the session.
//   - Hubs are discovered: each says at every heartbeat that it is there. One is
//     followed at a time, in an order of the process's own, so that many
//     subscribers spread over the hubs. When it is silent for two heartbeats, or
//     takes its leave, the next is followed, from the same position.
//
// # Who may read, and who may lie
//
// Authentication is NATS's: accounts, credentials, permissions on subjects.
// docs/protocol.md has the permissions of a subscriber and of a hub. Two things
// hang on them. Whoever may publish on a hub's subjects, or to the inboxes of a
// subscriber, can pose as that hub to whom has no HubKeys: set
// [subscriber.Config].HubKeys, then nobody but a hub can make anybody fresh.
// And whoever may subscribe to the log's own subject reads identities, which
// never travel to subscribers.
package natsfeed
