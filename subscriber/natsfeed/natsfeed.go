package natsfeed

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/subscriber"
)

// Config is what New needs: a connection, or where to make one.
type Config struct {
	// Feed is the name of the feed. Default: "default".
	Feed string

	// Conn is a connection that stays the caller's, who closes it after the
	// Transport. It has to reconnect for ever (nats.MaxReconnects(-1)), and
	// should notice soon that it is dead (nats.PingInterval) and that it may
	// not listen (nats.PermissionErrOnSubscribe).
	Conn *nats.Conn

	// URLs are the servers to connect to if Conn is nil. New does not wait for
	// them: a connection that can't be made, or is refused, is tried again and
	// again, and shows in Status. Close closes it.
	URLs []string

	// Options are for that connection, such as nats.UserCredentials or
	// nats.RootCAs, and prevail over those that are set here.
	Options []nats.Option
}

// Transport is the way to the hubs of a feed over NATS. Its methods are those
// of a subscriber.Transport; several subscribers may share it.
type Transport struct {
	// Set once.
	feed  string
	nc    *nats.Conn
	owned bool // by us, who close it
	hubs  *hubs
	stop  context.CancelFunc
	done  sync.WaitGroup // the listener to presences

	mu       sync.Mutex
	sessions map[followed]string // guarded by mu: by whom a hub is followed, and the name of that session
}

type followed struct{ hub, subscriber string }

var _ subscriber.Transport = (*Transport)(nil)

// feedName is the rule of the log, whose subjects these are next to.
var feedName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// New starts to listen for hubs. The caller has to Close the Transport, after
// the subscriber that it was given to. The error is a *subscriber.ConfigError,
// or the NATS library's, about its options.
func New(config Config) (*Transport, error) {
	if config.Feed == "" {
		config.Feed = "default"
	}
	bad := func(field, problem string) (*Transport, error) {
		return nil, fmt.Errorf("natsfeed: %w", &subscriber.ConfigError{Field: field, Problem: problem})
	}
	switch {
	case !feedName.MatchString(config.Feed):
		return bad("Feed", "want 1 to 32 of a-z, 0-9 and -")
	case config.Conn == nil && len(config.URLs) == 0:
		return bad("Conn", "is nil, and URLs is empty")
	case config.Conn != nil && len(config.URLs)+len(config.Options) > 0:
		return bad("Conn", "can't be given together with URLs or Options")
	}
	nc, err := config.Conn, error(nil)
	if nc == nil {
		if nc, err = connect(config); err != nil {
			return nil, fmt.Errorf("natsfeed: connect: %w", err)
		}
	}
	t := &Transport{feed: config.Feed, nc: nc, owned: config.Conn == nil, hubs: newHubs(), sessions: make(map[followed]string)}
	ctx, stop := context.WithCancel(context.Background())
	t.stop = stop
	t.done.Go(func() { t.hubs.listen(ctx, nc, events.HubsSubject(config.Feed)) })
	return t, nil
}

func connect(config Config) (*nats.Conn, error) {
	options := append([]nats.Option{
		nats.Name("revocast subscriber"),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // credentials may be made right while we run
		nats.ReconnectBufSize(-1),   // nothing is kept for later
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.PermissionErrOnSubscribe(true),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}), // sessions see for themselves
	}, config.Options...)
	return nats.Connect(strings.Join(config.URLs, ","), options...)
}

// Close stops listening for hubs, and closes the connection if New made it.
// Nothing runs afterwards. Closing again does nothing.
func (t *Transport) Close() {
	t.stop()
	t.done.Wait()
	if t.owned {
		t.nc.Close()
	}
}

// patience is how long an answer may take that is not late on purpose.
const patience = 5 * time.Second

// Hubs implements subscriber.Transport. It waits a few seconds for a hub to say
// that it is there.
func (t *Transport) Hubs(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	list, err := t.hubs.wait(ctx)
	if err != nil {
		return nil, t.explain(events.HubsSubject(t.feed), errors.New("no hub has said that it is there"))
	}
	return list, nil
}

// Report implements subscriber.Transport.
func (t *Transport) Report(ctx context.Context, hub string, report events.Report) ([]byte, error) {
	t.mu.Lock()
	session := t.sessions[followed{hub, report.Subscriber}]
	t.mu.Unlock()
	m, err := t.request(ctx, hub, events.HubReport, events.ReportRequest{Session: session, Report: report})
	if err != nil {
		return nil, err
	}
	if len(m.Data) > subscriber.MaxAnswer {
		return nil, fmt.Errorf("an answer of more than %d bytes", subscriber.MaxAnswer)
	}
	return m.Data, nil
}

// request asks a hub for something. If the hub wants the pieces of something
// long to be asked for more slowly, it does that.
func (t *Transport) request(ctx context.Context, hub, what string, v any) (*nats.Msg, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	subject := events.HubSubject(t.feed, hub, what)
	for {
		m, err := t.ask(ctx, subject, body)
		if err != nil {
			return nil, err
		}
		refused := refusal(m)
		if refused == nil {
			return m, nil
		}
		if m.Header.Get(events.HeaderCode) != "429" || what != events.HubRead && what != events.HubSnapshot {
			return nil, refused
		}
		select {
		case <-time.After(min(max(refused.RetryAfter, 10*time.Millisecond), patience)):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func (t *Transport) ask(ctx context.Context, subject string, body []byte) (*nats.Msg, error) {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	m, err := t.nc.RequestWithContext(limited, subject, body)
	switch {
	case err == nil:
		return m, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, nats.ErrNoResponders):
		return nil, errors.New("the hub is not there")
	}
	return nil, t.explain(subject, err)
}

// explain says why nothing came of a subject: NATS tells a refusal beside the
// request, not in an answer to it.
func (t *Transport) explain(subject string, err error) error {
	switch last := t.nc.LastError(); {
	case errors.Is(last, nats.ErrPermissionViolation) && strings.Contains(last.Error(), `"`+subject+`"`):
		return &subscriber.RefusedError{Reason: "NATS permits us nothing on " + subject, Credential: true}
	case t.nc.IsConnected():
		return err
	case errors.Is(last, nats.ErrAuthorization), errors.Is(last, nats.ErrAuthExpired),
		errors.Is(last, nats.ErrAuthRevoked), errors.Is(last, nats.ErrAccountAuthExpired):
		return &subscriber.RefusedError{Reason: "NATS refuses the credential: " + last.Error(), Credential: true}
	}
	return fmt.Errorf("not connected to NATS: %w", err)
}

// refusal is what an answer refuses with, or nil.
func refusal(m *nats.Msg) *subscriber.RefusedError {
	code := m.Header.Get(events.HeaderCode)
	if code == "" {
		return nil
	}
	retry, _ := strconv.Atoi(m.Header.Get(events.HeaderRetry))
	return &subscriber.RefusedError{
		Reason:     fmt.Sprintf("the hub answers with code %.16q: %.128q", code, m.Header.Get(events.HeaderError)),
		Credential: code == "401" || code == "403",
		RetryAfter: time.Duration(min(max(retry, 0), 3600_000)) * time.Millisecond,
	}
}

// detach tells a hub that a session is over, if that is easily done.
func (t *Transport) detach(hub, session string) {
	if body, err := json.Marshal(events.DetachRequest{Session: session}); err == nil && t.nc.IsConnected() {
		_ = t.nc.Publish(events.HubSubject(t.feed, hub, events.HubDetach), body)
	}
}

// newSession names a session so that nobody guesses it.
func newSession() string { return rand.Text() }

// Snapshot implements subscriber.Transport.
func (t *Transport) Snapshot(ctx context.Context, hub string) (io.ReadCloser, error) {
	if !events.ValidHub(hub) {
		return nil, errHubName
	}
	s := &snapshot{ctx: ctx, t: t, hub: hub, session: newSession()}
	if err := s.fetch(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// snapshot reads one piece after the other, none ahead.
type snapshot struct {
	ctx      context.Context // of the reading
	t        *Transport
	hub      string
	session  string
	position string // empty before the first piece
	size     int64
	offset   int64  // after what has come
	rest     []byte // has come and is not read
}

// Read implements io.Reader.
func (s *snapshot) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		if s.offset == s.size {
			return 0, io.EOF
		}
		if err := s.fetch(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *snapshot) fetch() error {
	m, err := s.t.request(s.ctx, s.hub, events.HubSnapshot, events.SnapshotRequest{Session: s.session, Position: s.position, Offset: s.offset})
	if err != nil {
		return err
	}
	position := m.Header.Get(events.HeaderPosition)
	size, err := strconv.ParseInt(m.Header.Get(events.HeaderSize), 10, 64)
	switch {
	case err != nil || position == "" || len(m.Data) == 0:
		return errors.New("not a piece of a snapshot")
	case s.position != "" && (position != s.position || size != s.size):
		return errors.New("a piece of another snapshot")
	case s.offset+int64(len(m.Data)) > size:
		return errors.New("a piece that is longer than the snapshot")
	}
	s.position, s.size, s.rest = position, size, m.Data
	s.offset += int64(len(m.Data))
	return nil
}

// Close implements io.Closer.
func (s *snapshot) Close() error {
	s.t.detach(s.hub, s.session)
	return nil
}
