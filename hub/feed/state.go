package feed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/log"
)

// StateFile is where a feed keeps what its log adds up to, so that the next
// start reads that and the records since, and not the whole log. Losing it
// costs time, nothing else.
type StateFile interface {
	// Read returns all of the file, nil if there is none.
	Read() ([]byte, error)
	// Replace gives the file the content that write writes. After a crash at
	// any moment the file has either all of the old or all of the new. One
	// goroutine at a time calls it.
	Replace(write func(io.Writer) error) error
}

// state is what the log adds up to at one position, apart from the live set,
// which follows from the revocations: each says its part, and together they
// say what the set says. It shares memory with the feed and never changes.
type state struct {
	stateHeader
	contents
	requests []request
}

// stateHeader says what a state is the state of.
type stateHeader struct {
	Feed      string       `json:"feed"`
	Epoch     string       `json:"epoch"`
	Seq       uint64       `json:"seq"`
	Chain     events.Chain `json:"chain"` // at Seq
	At        events.Time  `json:"at"`    // when it was written
	Forgotten int64        `json:"forgotten"`

	Issuers     int `json:"issuers"`
	Actors      int `json:"actors"`
	Revocations int `json:"revocations"`
	Requests    int `json:"requests"`
}

// state takes the state that the fold is in. It holds the fold for as long as
// it takes to copy a bit for each revocation.
func (f *Feed) state() state {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := f.index.frozen()
	return state{
		stateHeader{
			Feed: f.Name(), Epoch: f.log.Epoch(), Seq: f.seq, Chain: f.chain, At: events.At(f.cfg.Now()), Forgotten: v.forgotten,
			Issuers: len(v.issuers.list), Actors: len(v.actors.list), Revocations: v.live(), Requests: len(f.requests.list),
		}, v, f.requests.list,
	}
}

// unusable is why a state file is not used.
type unusable struct{ error }

// resume takes up the state file, if there is one and it tells the very
// history that the log holds. If not, the fold begins with the first record.
// An error means that the log could not be asked.
func (f *Feed) resume(ctx context.Context) error {
	if f.cfg.State == nil {
		return nil
	}
	begun := time.Now()
	err := f.tryResume(ctx)
	var no unusable
	switch {
	case errors.As(err, &no):
		f.cfg.Metrics.stateRefused.Inc()
		f.cfg.Logger.Warn("the state file is not used; all of the log is read instead", "why", no.error)
		return nil
	case err != nil || f.seq == 0:
		return err
	}
	f.cfg.Logger.Info("took up the state file", "seq", f.seq, "revocations", f.index.live(), "took", time.Since(begun).Round(time.Millisecond))
	return nil
}

func (f *Feed) tryResume(ctx context.Context) error {
	data, err := f.cfg.State.Read()
	if err != nil {
		return unusable{err}
	}
	if data == nil {
		return nil
	}
	now := f.cfg.Now()
	s, err := readState(data, f.cfg.Keys.Public(), now.Add(-backwards).Unix())
	if err != nil {
		return unusable{err}
	}
	if err := f.fits(ctx, s.stateHeader, now); err != nil {
		return err
	}
	f.take(s, now)
	return nil
}

// fits reports whether a state is one that the log has been through.
func (f *Feed) fits(ctx context.Context, h stateHeader, now time.Time) error {
	switch {
	case h.Feed != f.Name():
		return unusable{fmt.Errorf("it is of feed %s", h.Feed)}
	case h.Epoch != f.log.Epoch():
		return unusable{fmt.Errorf("it is of another history: epoch %s, the log's is %s", h.Epoch, f.log.Epoch())}
	case h.Forgotten > now.Unix():
		// It lacks what was taken to have expired by a clock that was wrong, or
		// is now. The log still has it.
		return unusable{fmt.Errorf("it was written when the clock was ahead: what had expired by %s is not in it", time.Unix(h.Forgotten, 0).UTC().Format(time.RFC3339))}
	}
	chain, err := f.log.ChainAt(ctx, h.Seq)
	switch {
	case errors.Is(err, log.ErrNotFound), err == nil && h.Seq == 0:
		return unusable{fmt.Errorf("it is at record %d, which the log does not reach, or no longer joins on to", h.Seq)}
	case err != nil:
		return fmt.Errorf("chain at record %d: %w", h.Seq, err)
	case chain != h.Chain:
		return unusable{fmt.Errorf("its chain at record %d is %v, the log's %v", h.Seq, h.Chain, chain)}
	}
	return nil
}

// take makes the fold what the state says. Nobody else has the feed yet.
func (f *Feed) take(s state, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	live := make(chan *events.LiveSet)
	go func() { live <- liveOf(&s.revs, now.UnixMilli()) }()
	f.index = indexOf(s.contents)
	f.requests = requestsOf(s.requests)
	f.requests.sweep(now.Add(-f.log.Retention()))
	f.live = <-live
	f.dueAt.Store(f.live.Advance(now.UnixMilli()))
	f.seq, f.chain = s.Seq, s.Chain
	f.cfg.Metrics.folded(s.Seq, 0)
}

// beforeState returns the record after which to follow the log, and the chain
// there; zero for the first. It is before the state's own: a subscriber that
// comes back a little behind gets the records, not a snapshot.
func (f *Feed) beforeState(ctx context.Context) (uint64, events.Chain, error) {
	size, err := f.log.RecordSize(ctx)
	if err != nil {
		return 0, events.Chain{}, fmt.Errorf("size of records: %w", err)
	}
	// Records of a thousand operations are read no further back than there is
	// room for their frames.
	tail := min(uint64(f.cfg.StateTail), uint64(f.cfg.KeepFrames)/max(1, size))
	if f.seq <= tail {
		return 0, events.Chain{}, nil
	}
	chain, err := f.log.ChainAt(ctx, f.seq-tail)
	if errors.Is(err, log.ErrNotFound) { // it has aged out
		return f.seq, f.chain, nil
	}
	if err != nil {
		return 0, events.Chain{}, fmt.Errorf("chain at record %d: %w", f.seq-tail, err)
	}
	return f.seq - tail, chain, nil
}

// liveOf is the live set that revocations make, at a unix millisecond. It reads
// nothing of them that indexOf writes.
func liveOf(list *revs, now int64) *events.LiveSet {
	live := events.NewLiveSet()
	kinds := make(map[events.Kind]int)
	for _, r := range list.from(0) {
		kinds[r.kind]++
	}
	for k, n := range kinds {
		live.Reserve(k, n)
	}
	for _, r := range list.from(0) {
		if r.effective == 0 {
			live.Join(r.kind, r.key, r.term)
			continue
		}
		live.Schedule(events.Scheduled{Kind: r.kind, Key: r.key, Term: r.term, ID: events.IDFrom(r.id), Effective: r.effective}, now)
	}
	return live
}

// keeper writes the state file now and then. It belongs to the goroutine that
// runs it, and to Close after that.
type keeper struct {
	seq  uint64    // of the file
	ops  uint64    // folded when it was written
	next time.Time // not before this
	due  time.Time // if there is anything new
}

// keepRest is how much longer than the writing of a file the time to the next
// is at least, so that a busy hub is not busy with that.
const keepRest = 9

// keep writes the state file whenever much has happened since the last, or
// some time has passed, until ctx ends.
func (f *Feed) keep(ctx context.Context) {
	look := time.NewTicker(min(time.Second, f.cfg.StateEvery))
	defer look.Stop()
	k := &f.keeper
	k.due = time.Now().Add(f.cfg.StateEvery)
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		f.mu.Lock()
		seq, ops := f.seq, f.ops
		// A file of a million is not written for less than a million that are
		// new: to read those from the log takes about as long as to read it.
		enough := uint64(max(f.cfg.StateOps, f.index.live()))
		f.mu.Unlock()
		now := time.Now()
		if seq != k.seq && now.After(k.next) && (now.After(k.due) || ops-k.ops >= enough) {
			f.save()
			k.ops = ops
			k.next = time.Now().Add(keepRest * time.Since(now))
			k.due = time.Now().Add(f.cfg.StateEvery)
		}
	}
}

// save writes the state file. One that can't be written costs the next start
// time, and nothing now.
func (f *Feed) save() {
	s := f.state()
	if s.Seq == 0 {
		return
	}
	begun := time.Now()
	var size int64
	err := f.cfg.State.Replace(func(w io.Writer) (err error) {
		size, err = s.write(w, f.cfg.Keys)
		return err
	})
	if err != nil {
		f.cfg.Metrics.stateFailed.Inc()
		f.cfg.Logger.Error("the state file was not written; the next start takes longer", "err", err)
		return
	}
	f.keeper.seq = s.Seq
	f.cfg.Metrics.stateWritten(size, s.Seq, begun)
}
