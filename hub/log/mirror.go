package log

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A mirror is where a hub in another region than its log reads it: a stream in
// the JetStream domain of that region, to which the servers copy the records
// as they come, with their numbers and times. Where the log ends, what it is,
// and whether it takes writes is asked of the log at home all the same. So a
// mirror that is late, or stands still, makes a hub late and never wrong.
type mirror struct {
	js     jetstream.JetStream // of the region
	stream jetstream.Stream    // set by Open
	// holds is the last record that the mirror had when it was opened last. The
	// log has it, or it is not the log that was mirrored.
	holds atomic.Uint64
}

// CheckDomain reports what is wrong with a Config.Home that is not empty.
func CheckDomain(name string) error {
	if name != "" && !domainName.MatchString(name) {
		return fmt.Errorf("domain %q: want 1 to 64 of A-Z, a-z, 0-9, - and _", name)
	}
	return nil
}

// domainName leaves out what NATS gives a meaning in subjects.
var domainName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// atHome is what is wanted of the streams beside the log: how many copies they
// have is not for a hub of another region to say.
func (c Config) atHome() Config {
	if c.Home != "" {
		c.Replicas = 1
	}
	return c
}

// mirrorName is not the log's, so that nobody removes the one for the other.
func mirrorName(feed string) string { return "REVOCAST_" + feed + "_MIRROR" }

// mirrorStream is what the mirror has to be: the log's settings, as far as they
// are not about taking writes. Only its leader answers for it, which has what it
// says that it has.
func mirrorStream(cfg Config, id identity) jetstream.StreamConfig {
	want := logStream(cfg)
	want.Mirror = &jetstream.StreamSource{Name: want.Name, External: &jetstream.ExternalStream{APIPrefix: "$JS." + cfg.Home + ".API"}}
	want.Name = mirrorName(cfg.Feed)
	want.Description = "Revocast: the mirror of feed " + cfg.Feed
	want.Subjects, want.AllowDirect = nil, false
	want.Metadata = id.metadata()
	return want
}

// origin says what a stream mirrors, and which part of it.
func origin(m *jetstream.StreamSource) string {
	if m == nil {
		return "none"
	}
	text := m.Name
	if m.External != nil {
		text += " of " + m.External.APIPrefix + m.External.DeliverPrefix
	}
	if m.OptStartSeq != 0 || m.OptStartTime != nil || m.FilterSubject != "" || len(m.SubjectTransforms) > 0 || m.Consumer != nil {
		text += ", not all of it as it is"
	}
	return text
}

// openMirror opens the mirror, or makes it, and makes sure that it is of the
// log's history: what it ends with is what the log has there. Without a mirror
// to open it returns nil.
func (l *Log) openMirror(ctx context.Context) (jetstream.Stream, error) {
	if l.mirror == nil {
		return nil, nil
	}
	s, err := openStream(ctx, l.mirror.js, mirrorStream(l.cfg, l.id), true)
	if err != nil {
		return nil, err
	}
	info := s.CachedInfo()
	id, err := readIdentity(info)
	if err == nil && id.epoch != l.id.epoch {
		err = fmt.Errorf("its epoch is %s, the log's %s", id.epoch, l.id.epoch)
	}
	if err != nil {
		return nil, l.fail(l.fault(Recreated, info.State.LastSeq, "the mirror is not of this history: %v", err))
	}
	l.mirror.holds.Store(info.State.LastSeq)
	if info.State.Msgs == 0 {
		return s, nil
	}
	msg, err := s.GetMsg(ctx, info.State.LastSeq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return s, nil // it has aged out this moment
	}
	if err != nil {
		return nil, fmt.Errorf("read record %d of the mirror: %w", info.State.LastSeq, err)
	}
	e, _, err := decode(msg.Sequence, msg.Time, msg.Header, msg.Data)
	if err != nil {
		return nil, l.fail(l.fault(Altered, msg.Sequence, "the mirror has: %v", err))
	}
	chain, err := l.ChainAt(ctx, msg.Sequence)
	switch {
	case errors.Is(err, ErrNotFound):
		return s, nil // the log begins so long after it that nothing tells
	case err != nil:
		return nil, err
	case chain != e.Chain:
		return nil, l.fail(l.fault(Altered, msg.Sequence, "the mirror has chain %v, the log %v", e.Chain, chain))
	}
	return s, nil
}

// apart makes sure that the hub is not connected to the servers that have the
// log.
func (m *mirror) apart(ctx context.Context, home string) error {
	account, err := m.js.AccountInfo(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("JetStream of this region: %w", err)
	case account.Domain == home:
		return fmt.Errorf("the servers connected to are those of domain %s: a hub there needs no mirror, nor to be told the domain", home)
	}
	return nil
}

// alone makes sure, before it is made here, that the log is not in another
// JetStream domain: what is sent to its subject would be stored there, too, and
// either could be the one that answers.
func (l *Log) alone(ctx context.Context) error {
	if _, err := l.js.Stream(ctx, streamName(l.cfg.Feed)); !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	}
	_, err := l.js.Stream(ctx, mirrorName(l.cfg.Feed))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		// No stream has this name, so whoever hears it refuses it.
		ask, cancel := context.WithTimeout(ctx, aloneTime)
		defer cancel()
		_, err = l.js.PublishMsg(ask, nats.NewMsg(logSubject(l.cfg.Feed)), jetstream.WithExpectStream("none"), jetstream.WithRetryAttempts(0))
		if errors.Is(err, jetstream.ErrNoStreamResponse) {
			return nil
		}
	}
	var answer *jetstream.APIError
	switch {
	case err != nil && !errors.As(err, &answer):
		return err
	case err != nil && answer.ErrorCode != codeExpectedStream:
		return err
	}
	if _, err := l.js.Stream(ctx, streamName(l.cfg.Feed)); err == nil {
		return nil // another hub has just made it
	}
	return fmt.Errorf("the log of feed %s is in another JetStream domain, of which these servers are leaf nodes: the hub has to be told which", l.cfg.Feed)
}

const (
	aloneTime          = 5 * time.Second
	codeExpectedStream = 10060 // it is not the stream that was expected
)

// remedy is what helps if history is not what it was for this hub alone.
func (l *Log) remedy() string {
	if l.mirror == nil {
		return ""
	}
	return fmt.Sprintf("; if hubs in domain %s have no such error, remove stream %s in this region, and start the hub again", l.cfg.Home, mirrorName(l.cfg.Feed))
}

// read returns a record, if the mirror has it, to who need not know that the log
// still does.
func (m *mirror) read(ctx context.Context, seq uint64) (Entry, bool) {
	msg, err := m.stream.GetMsg(ctx, seq)
	if err != nil {
		return Entry{}, false
	}
	e, _, err := decode(msg.Sequence, msg.Time, msg.Header, msg.Data)
	return e, err == nil
}

// source is the stream to follow from the next record on, and the last one that
// is to be read from it, if not all are: what the mirror does not hold, because
// its clock is ahead or it has lost it, is read from the log.
func (f *follower) source(mirror jetstream.Stream) (s jetstream.Stream, until uint64) {
	if mirror == nil {
		return f.stream, 0
	}
	if first := firstSeq(mirror.CachedInfo().State); first > f.seq+1 {
		return f.stream, first - 1
	}
	return mirror, 0
}

// ends asks where a source ends and makes sure, on the way, that the log is
// still what it was. before is the answer of the last time: a mirror that has
// not moved since, and is behind, stands still.
func (f *follower) ends(ctx context.Context, source jetstream.Stream, before uint64) (uint64, error) {
	state, _, err := f.look(ctx)
	if err != nil || source == f.stream {
		return state.LastSeq, err
	}
	info, err := source.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("ask for the state of the mirror: %w", err)
	}
	if end := info.State.LastSeq; end == before && end < state.LastSeq {
		f.cfg.Logger.Warn("the mirror stands still", "mirror", end, "log", state.LastSeq, "says", mirrorError(info))
	}
	return info.State.LastSeq, nil
}

func mirrorError(info *jetstream.StreamInfo) string {
	if info.Mirror == nil || info.Mirror.Error == nil {
		return ""
	}
	return info.Mirror.Error.Error()
}
