package subscriber

import (
	"context"
	"io"
	"time"

	"github.com/revocast/revocast/events"
)

// Transport is the way to the hubs of one feed: it carries what docs/protocol.md
// describes, and judges none of it. When to connect, to which hub, when to give
// up, what to believe and how to come back is the subscriber's business and the
// same for every transport. HTTP is the one built in; package
// subscriber/natsfeed has another.
//
// The methods may be called by many goroutines at once. They end soon after
// their ctx has ended, and leave no goroutine behind. An error is wrapped with
// nothing that is secret; if the hub, or what leads to it, has refused the
// request, a *RefusedError is in its chain. Whoever made a Transport closes
// it, after the subscriber; if it has a method CloseIdleConnections, that is
// called when a session has failed, and by Subscriber.Close.
type Transport interface {
	// Hubs names the hubs that could be followed now, at least one, those to
	// prefer first. It may wait until it knows one. The names stand for the
	// hubs in the other methods, in logs and in Status.
	Hubs(ctx context.Context) ([]string, error)

	// Follow opens the stream of a hub once and delivers what comes on it to r,
	// without gaps and in order, until it is over: nil at its end, else why.
	// What can't be delivered without a gap ends it. It holds no more than a
	// bounded part of the stream for an r that is busy.
	Follow(ctx context.Context, hub string, from Start, r Receiver) error

	// Snapshot opens a hub's snapshot, whose bytes are neither checked nor
	// limited here; ctx is that of the reading, too. The caller closes it.
	Snapshot(ctx context.Context, hub string) (io.ReadCloser, error)

	// Report sends a report and returns the answer as it came, at most
	// MaxAnswer bytes. The report has left when the answer can be made, not
	// before the call: a Transport does not keep answers.
	Report(ctx context.Context, hub string, report events.Report) ([]byte, error)
}

// Start is how a stream begins.
type Start struct {
	Subscriber string          // Config.Name
	After      events.Position // the records after it are missing here; zero: all
}

// Event is one event of a stream, by its name: hello, record, tick, bye, or one
// that a later release knows. The receiver may keep Data.
type Event struct {
	Name string
	Data []byte
	ID   string
	// Cut: the stream had ended when the event was taken from it, so that this
	// may be half of one.
	Cut bool
}

// Receiver takes what comes on a stream.
type Receiver interface {
	// Alive says that something has come, if only a comment or a part of an
	// event. Any goroutine may call it; it does not block.
	Alive()
	// Event takes the next event. One goroutine at a time calls it, and not
	// after Follow has returned. It may block for as long as it takes to fetch
	// a snapshot; ctx has ended then.
	Event(Event)
}

// MaxAnswer bounds an answer to a report, in bytes.
const MaxAnswer = 16 << 10

// MaxEvent bounds one event of a stream, in bytes: several times the largest
// record.
const MaxEvent = 4 << 20

// RefusedError is the refusal of a request. The connection works.
type RefusedError struct {
	Reason     string        // a sentence for operators
	Credential bool          // it takes a person: who we are is refused, not what we ask
	RetryAfter time.Duration // not to be tried again before; 0 if that was not said
}

func (e *RefusedError) Error() string { return e.Reason }
