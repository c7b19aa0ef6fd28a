package events

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A session over core NATS: the subjects, and what travels on them beside the
// messages of session.go. The section "Over NATS" of docs/protocol.md tells
// how they play together; nothing here needs a NATS library.
//
// The stream of a hub is a log of bytes, the records as the server-sent events
// that they are over HTTP. It is published in pieces, each of which says where
// in the log it begins: who has missed one sees that in the next.

// HubsSubject is where the hubs of a feed say, again and again, that they are
// there. The messages are a Presence.
func HubsSubject(feed string) string { return "revocast." + feed + ".hubs" }

// HubSubject is a subject of one hub; what is one of the Hub constants.
func HubSubject(feed, hub, what string) string {
	return "revocast." + feed + ".hub." + hub + "." + what
}

// What a hub's subjects end in. The hub publishes on the first and answers
// requests on the others.
const (
	HubFrames   = "frames"   // the stream: messages with a HeaderLog
	HubAttach   = "attach"   // AttachRequest → the hello and the latest tick, and a HeaderLog
	HubRead     = "read"     // ReadRequest → a piece of the log
	HubSnapshot = "snapshot" // SnapshotRequest → a piece of a snapshot
	HubReport   = "report"   // ReportRequest → ReportAnswer
	HubDetach   = "detach"   // DetachRequest, not answered
)

// Headers of the messages. An answer that refuses has the two that NATS
// services use (ADR-32), and perhaps HeaderRetry; its code is an HTTP status.
const (
	HeaderLog      = "Revocast-Log"      // a LogPiece
	HeaderPosition = "Revocast-Position" // of a snapshot
	HeaderSize     = "Revocast-Size"     // of a whole snapshot, in bytes
	HeaderRetry    = "Revocast-Retry-Ms" // not to be asked again before
	HeaderCode     = "Nats-Service-Error-Code"
	HeaderError    = "Nats-Service-Error"
)

// LogPiece says which part of a hub's log a message carries: the first Length
// bytes of it are the log from Offset on. What follows them are events outside
// the log: a tick, a bye, a comment.
type LogPiece struct {
	Run    string // names the log; another one, another log
	Offset int64
	Length int
	Head   int64 // where the log ended when the message was made
}

// String returns "<run> <offset> <length> <head>".
func (p LogPiece) String() string {
	return fmt.Sprintf("%s %d %d %d", p.Run, p.Offset, p.Length, p.Head)
}

var errLogPiece = errors.New("log piece: want <run> <offset> <length> <head>")

// ParseLogPiece is the inverse of String, for a message of size bytes.
func ParseLogPiece(s string, size int) (LogPiece, error) {
	f := strings.Split(s, " ")
	if len(f) != 4 || !ValidEpoch(f[0]) {
		return LogPiece{}, errLogPiece
	}
	var n [3]int64
	for i := range n {
		var err error
		if n[i], err = strconv.ParseInt(f[i+1], 10, 64); err != nil || n[i] < 0 {
			return LogPiece{}, errLogPiece
		}
	}
	if n[1] > int64(size) || n[0] > n[2]-n[1] {
		return LogPiece{}, errLogPiece
	}
	return LogPiece{f[0], n[0], int(n[1]), n[2]}, nil
}

// Presence is what a hub says on HubsSubject. It is not signed: it is where to
// ask, and proves nothing.
type Presence struct {
	Hub     string `json:"hub"`
	EveryMS int    `json:"every_ms"`         // the next one comes by then
	Leaving bool   `json:"leaving,omitzero"` // there is no next one
}

// ValidHub reports whether s can name a hub: 1 to 64 of A-Z, a-z, 0-9, "-" and
// "_", so that it can stand in a subject.
func ValidHub(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// AttachRequest begins a session. Session is a random text of the subscriber's,
// 16 to 64 bytes, new for each session; it stands in all its requests.
type AttachRequest struct {
	Session    string `json:"session"`
	Subscriber string `json:"subscriber"`
	After      string `json:"after,omitzero"` // a Position
}

// ReadRequest asks for a piece of the log.
type ReadRequest struct {
	Session string `json:"session"`
	Run     string `json:"run"`
	Offset  int64  `json:"offset"`
}

// SnapshotRequest asks for a piece of the snapshot at a position; without one,
// for the beginning of one that is recent.
type SnapshotRequest struct {
	Session  string `json:"session"`
	Position string `json:"position,omitzero"`
	Offset   int64  `json:"offset"`
}

// ReportRequest is a Report of a session.
type ReportRequest struct {
	Session string `json:"session"`
	Report
}

// DetachRequest ends a session.
type DetachRequest struct {
	Session string `json:"session"`
}
