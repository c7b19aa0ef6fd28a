package log

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Shared is one value that the hubs of a feed share beside the log, such as
// their API keys. It is a JetStream key-value bucket of its own, as safe as the
// log. Its methods may be called from any goroutine.
type Shared struct {
	log     *Log
	kv      jetstream.KeyValue
	sub     *nats.Subscription
	subject string        // on which hubs say that they have changed the value
	news    chan struct{} // holds a token when one has

	mu   sync.Mutex
	seen uint64 // guarded by mu: the latest revision that was read or written
}

const (
	sharedKey = "value"
	// sharedTime bounds reading and replacing the value.
	sharedTime = 5 * time.Second
)

func sharedBucket(feed, name string) string  { return "REVOCAST_" + feed + "_" + name }
func sharedSubject(feed, name string) string { return "revocast." + feed + ".shared." + name }

// OpenShared opens the value of a name, of A to Z, or makes it, without a
// value. ctx bounds the opening only. The caller closes it before the log.
func (l *Log) OpenShared(ctx context.Context, name string) (*Shared, error) {
	want := jetstream.KeyValueConfig{
		Bucket: sharedBucket(l.cfg.Feed, name), Description: "Revocast: what the hubs of feed " + l.cfg.Feed + " share",
		History: 1, Storage: jetstream.FileStorage, Replicas: l.cfg.atHome().Replicas,
	}
	s := &Shared{log: l, subject: sharedSubject(l.cfg.Feed, name), news: make(chan struct{}, 1)}
	open := func() (_ bool, err error) {
		try, cancel := context.WithTimeout(ctx, tryTimeout)
		defer cancel()
		s.kv, err = l.js.KeyValue(try, want.Bucket)
		if errors.Is(err, jetstream.ErrBucketNotFound) && l.mirror == nil {
			if s.kv, err = l.js.CreateKeyValue(try, want); errors.Is(err, jetstream.ErrBucketExists) {
				s.kv, err = l.js.KeyValue(try, want.Bucket) // another hub was faster
			}
		}
		if err != nil {
			return l.passing(err)
		}
		status, err := s.kv.Status(try)
		if err != nil {
			return passes(err), err
		}
		switch have := status.Config(); {
		case have.Replicas < want.Replicas:
			err = fmt.Errorf("bucket %s: num_replicas is %d, want at least %d", want.Bucket, have.Replicas, want.Replicas)
		case have.Storage != want.Storage:
			err = fmt.Errorf("bucket %s: storage is %v, want %v", want.Bucket, have.Storage, want.Storage)
		case have.TTL != 0:
			err = fmt.Errorf("bucket %s: max_age is %v, want none", want.Bucket, have.TTL)
		}
		if err != nil {
			return false, err
		}
		// A bucket that was just made can't be read yet.
		if _, err = s.kv.Get(try, sharedKey); errors.Is(err, jetstream.ErrKeyNotFound) {
			err = nil
		}
		return l.passing(err)
	}
	if err := patiently(ctx, l.cfg.Logger, "waiting for JetStream", open); err != nil {
		return nil, fmt.Errorf("log: shared value: %w", err)
	}
	// Who has written says so; the subjects of buckets don't reach other regions.
	// Who misses it, looks.
	var err error
	s.sub, err = l.nc.Subscribe(s.subject, func(*nats.Msg) {
		select {
		case s.news <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return nil, fmt.Errorf("log: shared value: %w", err)
	}
	return s, nil
}

// Close ends the news.
func (s *Shared) Close() { _ = s.sub.Unsubscribe() }

// News holds a token when the value may have changed. It is a hint: a change
// may be missed, and may be heard of before it can be read.
func (s *Shared) News() <-chan struct{} { return s.news }

// Update replaces the value, nil at first, by what change makes of it, and
// returns when that is stored. If another hub was faster, change is called
// again with what that one has stored. If change returns its argument, nothing
// is written. Errors of change are returned as they are; an error that is
// ErrUnknown means that the value may have been replaced.
func (s *Shared) Update(ctx context.Context, change func([]byte) ([]byte, error)) error {
	ctx, cancel := context.WithTimeout(ctx, sharedTime)
	defer cancel()
	for {
		value, revision, err := s.read(ctx)
		if err != nil {
			return err
		}
		next, err := change(value)
		if err != nil || string(next) == string(value) {
			return err
		}
		// Revision 0 is that of what is not there.
		revision, err = s.kv.Update(ctx, sharedKey, next, revision)
		switch {
		case err == nil:
			s.see(revision)
			_ = s.log.nc.Publish(s.subject, nil)
			return nil
		case errors.Is(verdict(err), errConflict):
			if err := sleep(ctx, readPause); err != nil {
				return fmt.Errorf("%w: %w", ErrUnavailable, err)
			}
		default:
			_, err = s.log.passing(verdict(err))
			return err
		}
	}
}

// read returns the value, and never one that is older than what was seen: a
// replica that lags behind would bring back what was taken away.
func (s *Shared) read(ctx context.Context) (value []byte, revision uint64, err error) {
	for {
		entry, err := s.kv.Get(ctx, sharedKey)
		switch {
		case errors.Is(err, jetstream.ErrKeyNotFound):
		case err != nil && passes(err) && sleep(ctx, readPause) == nil:
			continue
		case err != nil:
			return nil, 0, fmt.Errorf("%w: read the shared value: %w", ErrUnavailable, err)
		default:
			value, revision = entry.Value(), entry.Revision()
		}
		if s.see(revision) {
			return value, revision, nil
		}
		if err := sleep(ctx, readPause); err != nil {
			return nil, 0, fmt.Errorf("%w: read the shared value: %w", ErrUnavailable, err)
		}
	}
}

// see notes a revision; false if a later one was seen.
func (s *Shared) see(revision uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if revision < s.seen {
		return false
	}
	s.seen = revision
	return true
}
