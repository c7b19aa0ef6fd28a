package log

import (
	"errors"
	"math"
	"os"

	"golang.org/x/sys/windows"
)

func tryLock(f *os.File) error {
	// A byte far beyond the content, so that the content can be read.
	at := &windows.Overlapped{OffsetHigh: math.MaxInt32}
	err := windows.LockFileEx(windows.Handle(f.Fd()),
		windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, at)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return ErrLocked
	}
	return err
}
