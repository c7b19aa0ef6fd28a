package log

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/revocast/revocast/events"
)

// What a stream of ours says about itself. The epoch is made with the stream,
// so a stream that is made anew is known to be another history; so is the
// salt, without which nobody's keys would mean anything.
const (
	metaFormat = "revocast.format"
	metaEpoch  = "revocast.epoch"
	metaSalt   = "revocast.salt"

	format = "1"
)

// feedName leaves out what NATS gives a meaning in subjects, and the
// underscore, so that no feed's stream has the name of another's companion.
var feedName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

func streamName(feed string) string   { return "REVOCAST_" + feed }
func ticksName(feed string) string    { return "REVOCAST_" + feed + "_TICKS" }
func logSubject(feed string) string   { return "revocast." + feed + ".log" }
func tickSubjects(feed string) string { return "revocast." + feed + ".tick.*" }

// headerRoom is what a message needs beside the record: the two chains, what
// the publish expects, and room for what a later release may add.
const headerRoom = 4 << 10

// logStream is what the stream of a feed has to be.
func logStream(cfg Config) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              streamName(cfg.Feed),
		Description:       "Revocast: the log of feed " + cfg.Feed,
		Subjects:          []string{logSubject(cfg.Feed)},
		Storage:           jetstream.FileStorage,
		Retention:         jetstream.LimitsPolicy,
		Discard:           jetstream.DiscardNew, // the other policy un-revokes by eviction
		DenyDelete:        true,
		DenyPurge:         true,
		MaxAge:            cfg.Retention,
		MaxBytes:          cfg.MaxBytes,
		MaxMsgs:           -1,
		MaxMsgsPerSubject: -1,
		MaxMsgSize:        events.MaxRecordSize + headerRoom,
		Replicas:          cfg.Replicas,
		AllowDirect:       true,
	}
}

// tickStream keeps each hub's last tick. The bound on their number is for hubs
// that have gone for good.
func tickStream(cfg Config) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              ticksName(cfg.Feed),
		Description:       "Revocast: the last tick of each hub of feed " + cfg.Feed,
		Subjects:          []string{tickSubjects(cfg.Feed)},
		Storage:           jetstream.FileStorage,
		Retention:         jetstream.LimitsPolicy,
		Discard:           jetstream.DiscardOld,
		MaxMsgs:           1024,
		MaxMsgsPerSubject: 1,
		MaxMsgSize:        64 << 10,
		MaxBytes:          -1,
		Replicas:          cfg.Replicas,
		AllowDirect:       true,
	}
}

// identity is what tells one history from another.
type identity struct {
	created time.Time
	epoch   string
	salt    events.Salt
}

// readIdentity refuses a stream that was not made by us.
func readIdentity(info *jetstream.StreamInfo) (identity, error) {
	meta := info.Config.Metadata
	if _, ok := meta[metaFormat]; !ok {
		return identity{}, errors.New("not a Revocast log: its metadata has no " + metaFormat)
	}
	if v := meta[metaFormat]; v != format {
		return identity{}, fmt.Errorf("format is %q, want %q: written by another release", v, format)
	}
	id := identity{created: info.Created, epoch: meta[metaEpoch]}
	if !events.ValidEpoch(id.epoch) {
		return identity{}, fmt.Errorf("%s in its metadata is %q", metaEpoch, id.epoch)
	}
	if err := id.salt.UnmarshalText([]byte(meta[metaSalt])); err != nil {
		return identity{}, fmt.Errorf("%s in its metadata: %w", metaSalt, err)
	}
	return id, nil
}

// newMetadata makes an epoch and a salt.
func newMetadata() map[string]string {
	id := identity{epoch: strings.ToLower(rand.Text()[:12])}
	rand.Read(id.salt[:])
	return id.metadata()
}

// metadata is what readIdentity reads.
func (id identity) metadata() map[string]string {
	salt, _ := id.salt.MarshalText()
	return map[string]string{metaFormat: format, metaEpoch: id.epoch, metaSalt: string(salt)}
}

// openStream returns the stream, which it makes if there is none and ours says
// that it may, and asserts its settings. Retention follows want, and the bound
// on bytes is raised to it; anything else that differs is refused.
func openStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig, ours bool) (jetstream.Stream, error) {
	s, err := js.Stream(ctx, want.Name)
	if ours && errors.Is(err, jetstream.ErrStreamNotFound) {
		if s, err = js.CreateStream(ctx, want); errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			s, err = js.Stream(ctx, want.Name) // another hub was faster
		}
	}
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", want.Name, err)
	}
	have := s.CachedInfo().Config
	if err := compare(have, want); err != nil {
		return nil, err
	}
	if have.MaxAge == want.MaxAge && have.MaxBytes == want.MaxBytes {
		return s, nil
	}
	// All but these two stays as it is, placement and compression too.
	have.MaxAge, have.MaxBytes = want.MaxAge, want.MaxBytes
	if want.MaxAge > 0 {
		have.Duplicates = min(have.Duplicates, want.MaxAge) // else it is refused
	}
	if s, err = js.UpdateStream(ctx, have); err != nil {
		return nil, fmt.Errorf("stream %s: change retention or size: %w", want.Name, err)
	}
	return s, nil
}

// compare names every setting that breaks a promise.
func compare(have, want jetstream.StreamConfig) error {
	var errs []error
	same := func(setting string, ok bool, is, should any) {
		if !ok {
			errs = append(errs, fmt.Errorf("stream %s: %s is %v, want %v", want.Name, setting, is, should))
		}
	}
	same("subjects", slices.Equal(have.Subjects, want.Subjects), have.Subjects, want.Subjects)
	same("storage", have.Storage == want.Storage, have.Storage, want.Storage)
	same("retention", have.Retention == want.Retention, have.Retention, want.Retention)
	same("discard", have.Discard == want.Discard, have.Discard, want.Discard)
	same("deny_delete", have.DenyDelete == want.DenyDelete, have.DenyDelete, want.DenyDelete)
	same("deny_purge", have.DenyPurge == want.DenyPurge, have.DenyPurge, want.DenyPurge)
	same("max_bytes", !lower(want.MaxBytes, have.MaxBytes), have.MaxBytes, fmt.Sprintf("%d (it can be raised, not lowered)", want.MaxBytes))
	same("max_msgs", have.MaxMsgs == want.MaxMsgs, have.MaxMsgs, want.MaxMsgs)
	same("max_msgs_per_subject", have.MaxMsgsPerSubject == want.MaxMsgsPerSubject, have.MaxMsgsPerSubject, want.MaxMsgsPerSubject)
	same("max_msg_size", have.MaxMsgSize == want.MaxMsgSize, have.MaxMsgSize, want.MaxMsgSize)
	same("num_replicas", have.Replicas >= want.Replicas, have.Replicas, fmt.Sprintf("at least %d", want.Replicas))
	same("allow_direct", have.AllowDirect == want.AllowDirect, have.AllowDirect, want.AllowDirect)
	same("persist_mode", have.PersistMode == jetstream.DefaultPersistMode, have.PersistMode, jetstream.DefaultPersistMode)
	same("mirror", origin(have.Mirror) == origin(want.Mirror), origin(have.Mirror), origin(want.Mirror))
	same("sources", len(have.Sources) == 0, "set", "none")
	same("subject_transform", have.SubjectTransform == nil, "set", "none")
	same("no_ack", !have.NoAck, true, false)
	same("sealed", !have.Sealed, true, false)
	same("allow_rollup_hdrs", !have.AllowRollup, true, false)
	same("allow_msg_ttl", !have.AllowMsgTTL, true, false)
	same("allow_msg_counter", !have.AllowMsgCounter, true, false)
	same("allow_msg_schedules", !have.AllowMsgSchedules, true, false)
	return errors.Join(errs...)
}

// lower reports whether a is the smaller bound; -1 is none.
func lower(a, b int64) bool { return a > 0 && (b <= 0 || a < b) }
