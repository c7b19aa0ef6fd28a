package events

import "github.com/go-json-experiment/json/jsontext"

// The messages of a session between a hub and a subscriber, as they travel
// over Server-Sent Events or any other transport. docs/protocol.md is their
// description for authors of subscribers.

// The names of the SSE events.
const (
	EventHello  = "hello"
	EventRecord = "record"
	EventTick   = "tick"
)

// The ways in which a session can begin.
const (
	ModeDelta    = "delta"    // the missing records follow
	ModeSnapshot = "snapshot" // fetch the snapshot, then come back with its position
	ModeReset    = "reset"    // another history: as snapshot, and keep what you have
)

// Hello is the first message of a session.
type Hello struct {
	V           int         `json:"v"`
	Feed        string      `json:"feed"`
	Epoch       string      `json:"epoch"`
	Head        uint64      `json:"head"`
	Mode        string      `json:"mode"`
	HeartbeatMS int         `json:"heartbeat_ms"` // something arrives at least this often
	Salt        Salt        `json:"salt"`
	Keys        []PublicKey `json:"keys"` // those that may sign ticks and report answers
	// Claims says where revocations look for what has no registered claim. A
	// subscriber that reads a token differently can't enforce them.
	Claims ClaimNames `json:"claims,omitzero"`
}

// RecordFrame carries one record. Feed holds the exact bytes that the chain
// is computed over.
type RecordFrame struct {
	Seq   uint64         `json:"seq"`
	Chain Chain          `json:"chain"` // after this record
	Audit Hash           `json:"audit"` // of the audit part
	Feed  jsontext.Value `json:"feed"`
}

// Tick proves that at the time At the log took writes and ended at Seq.
type Tick struct {
	Seq   uint64    `json:"seq"`
	At    Time      `json:"at"`
	Chain Chain     `json:"chain"` // at Seq
	KeyID string    `json:"kid"`
	Sig   Signature `json:"sig"`
}

// Report is what a subscriber tells the hub.
type Report struct {
	Subscriber string `json:"subscriber"` // a name for people, 1 to 128 bytes; see CheckText
	Epoch      string `json:"epoch,omitzero"`
	Applied    uint64 `json:"applied"`
	State      string `json:"state"`
	Nonce      string `json:"nonce"` // 1 to 64 bytes, never used twice
}

// ReportAnswer is the hub's answer to a Report. Nothing that was appended
// before the subscriber sent the nonce lies beyond Head, so a subscriber that
// has applied Head was up to date when it sent it, however long the answer
// and the stream have been on their way.
type ReportAnswer struct {
	Epoch string    `json:"epoch"`
	Head  uint64    `json:"head"`
	Nonce string    `json:"nonce"`
	At    Time      `json:"at"`
	KeyID string    `json:"kid"`
	Sig   Signature `json:"sig"`
}

// Sign fills in the tick's KeyID and Sig.
func (t *Tick) Sign(feed, epoch string, key SigningKey) {
	t.KeyID = key.ID()
	t.Sig = key.sign(t.signed(feed, epoch))
}

// Verify reports whether one of the keys signed the tick for this feed and epoch.
func (t *Tick) Verify(feed, epoch string, keys []PublicKey) error {
	return verify(keys, t.KeyID, t.signed(feed, epoch), t.Sig)
}

func (t *Tick) signed(feed, epoch string) []byte {
	return signingInput("revocast tick 1", feed, epoch, decimal(t.Seq), string(t.Chain[:]), decimal(uint64(t.At)))
}

// Sign fills in the answer's KeyID and Sig.
func (a *ReportAnswer) Sign(feed string, key SigningKey) {
	a.KeyID = key.ID()
	a.Sig = key.sign(a.signed(feed))
}

// Verify reports whether one of the keys signed the answer for this feed.
func (a *ReportAnswer) Verify(feed string, keys []PublicKey) error {
	return verify(keys, a.KeyID, a.signed(feed), a.Sig)
}

func (a *ReportAnswer) signed(feed string) []byte {
	return signingInput("revocast report 1", feed, a.Epoch, decimal(a.Head), a.Nonce, decimal(uint64(a.At)))
}
