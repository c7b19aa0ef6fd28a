// Package hub puts a hub together: the log, embedded or on NATS, the feed that
// follows it, and the HTTP interface, in one process with one data directory.
//
//	h, err := hub.Open(ctx, hub.Config{DataDir: "revocast-data"})
//	if key := h.NewAdminKey(); key != "" { … show it, once … }
//	err = h.Serve(ctx, apiListener, opsListener, nil)
//
// # The data directory
//
//	log/         the embedded log: all revocations and their audit
//	keys.json    the API keys, as hashes
//	signing.key  the seed of the key that signs ticks and report answers
//	name         what other hubs call this one, if it was not given a name
//
// It belongs to one process at a time. Without log/ nothing is revoked any
// more, and subscribers keep what they have. Without keys.json a new admin
// key is made. Without signing.key a new one is made, and subscribers learn it
// when they connect the next time.
//
// With Config.NATS the log and the API keys are on the cluster, where other
// hubs share them; of what remains, nothing is missed if it is lost.
//
// # The end
//
// Serve ends when its context does, and then drains: the hub says that it is
// not ready, its subscribers are sent away one by one, requests under way are
// answered, and the log is closed last. When the log can't be relied on any
// more, Serve drains likewise and returns the reason; only a restart helps.
package hub
