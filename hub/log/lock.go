package log

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
)

// ErrLocked says that another process has the data directory. The server
// itself would not notice, and two of them destroy each other's data.
var ErrLocked = errors.New("another process is using this data directory; stop it first, or choose another directory")

const lockFile = "revocast.lock"

// ErrMoved says that the data directory, or a part of it, is no longer where
// it was: what is written now goes to files that nobody will find again.
var ErrMoved = errors.New("the data directory was removed or replaced while it was in use")

// inPlace reports whether the locked file is still the one of that name, and
// the store still there.
func inPlace(lock *os.File, dir string) error {
	held, err := lock.Stat()
	if err != nil {
		return err
	}
	named, err := os.Stat(filepath.Join(dir, lockFile))
	if err != nil || !os.SameFile(held, named) {
		return fmt.Errorf("%w: %s", ErrMoved, dir)
	}
	if _, err := os.Stat(filepath.Join(dir, server.JetStreamStoreDir)); err != nil {
		return fmt.Errorf("%w: %w", ErrMoved, err)
	}
	return nil
}

var serverName = regexp.MustCompile(`^revocast-[a-z2-7]{26}$`)

// LockDir takes a directory for this process until unlock is called, as the
// embedded server does with its own. The directory has to be there. It fails at
// once with ErrLocked if another process has it.
func LockDir(dir string) (unlock func(), err error) {
	f, _, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	return func() { f.Close() }, nil
}

// lockDir takes the directory for this process until the file is closed. The
// lock is the operating system's and ends with the process; the file stays,
// because deleting it would let two processes lock two files of that name.
// It holds the name of the server, which must not change while the data lives.
func lockDir(dir string) (f *os.File, name string, err error) {
	path := filepath.Join(dir, lockFile)
	f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, "", err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if err := tryLock(f); err != nil {
		return nil, "", fmt.Errorf("lock %s: %w", dir, err)
	}
	b, err := io.ReadAll(io.LimitReader(f, 1<<10))
	if err != nil {
		return nil, "", err
	}
	if serverName.Match(b) {
		return f, string(b), nil
	}
	name = "revocast-" + strings.ToLower(rand.Text())
	if err := f.Truncate(0); err != nil {
		return nil, "", err
	}
	if _, err := f.WriteAt([]byte(name), 0); err != nil {
		return nil, "", err
	}
	return f, name, f.Sync()
}
