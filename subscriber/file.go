package subscriber

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/revocast/revocast/events"
)

// loadFile begins with the set of the snapshot file, if it can be used. What
// it brings is stale until a hub has been reached.
func (s *Subscriber) loadFile() {
	if s.config.SnapshotFile == "" {
		return
	}
	snap, err := s.readFile()
	if errors.Is(err, fs.ErrNotExist) {
		return // the first start
	}
	if err == nil {
		var ferr *frameError
		s.change(func(r *replica, now moment) { ferr = r.load(snap, now) })
		if ferr != nil {
			err = ferr
		}
	}
	if err != nil {
		s.invalid("file")
		s.log.Error("snapshot file not used", "file", s.config.SnapshotFile, "error", err)
		s.failed(err)
		return
	}
	s.log.Info("snapshot file loaded", "position", snap.Position().String(), "made", snap.At.String())
}

func (s *Subscriber) readFile() (*events.Snapshot, error) {
	f, err := os.Open(s.config.SnapshotFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := stat.Mode(); !mode.IsRegular() || mode.Perm()&0o022 != 0 && runtime.GOOS != "windows" { // which has no such bits
		return nil, fmt.Errorf("its mode is %v: want a regular file that only its owner can write", mode)
	}
	snap, err := events.ReadSnapshot(f, s.config.snapshotLimit())
	if err != nil {
		return nil, err
	}
	age := time.Duration(s.clock.now().wall-int64(snap.At)) * time.Millisecond
	if age > s.config.MaxSnapshotAge || age < -s.config.MaxSnapshotAge {
		return nil, fmt.Errorf("it is %v old, at most %v is allowed", age.Round(time.Second), s.config.MaxSnapshotAge)
	}
	return snap, nil
}

// saveFile writes the snapshot file if anything has changed. A reader finds
// the old file or the new one, whole, also after a power failure.
func (s *Subscriber) saveFile() (err error) {
	if s.config.SnapshotFile == "" {
		return nil
	}
	dir, base := filepath.Split(s.config.SnapshotFile)
	f, err := os.CreateTemp(dir, base+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	wrote, err := s.writeSnapshot(f)
	if err != nil {
		return err
	}
	if !wrote {
		return os.Remove(f.Name())
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(f.Name(), s.config.SnapshotFile)
}

// writeSnapshot writes the set as it is. The lock keeps it from changing
// meanwhile, a tenth of a second for a million revocations; whoever checks
// does not notice.
func (s *Subscriber) writeSnapshot(f *os.File) (wrote bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.replica
	switch {
	case r.held == nil || r.disk || s.changes == s.saved:
		return false, nil
	case r.trouble&(disputed|unproven|unenforceable) != 0 || len(r.held.sets) > 1:
		// The file could not tell that it is not the whole truth, or not known
		// to be.
		return false, nil
	}
	now := s.clock.now()
	head := events.SnapshotHeader{
		Feed: r.feed, Epoch: r.pos.Epoch, Seq: r.pos.Seq, Chain: r.chain,
		// The set is known to be complete up to then, not until now.
		At:   events.Time(r.proven.wall),
		Salt: r.held.sets[0].salt,
	}
	if err := events.WriteSnapshot(f, head, r.set(), horizon(now)); err != nil {
		return false, err
	}
	s.saved = s.changes
	return true, nil
}
