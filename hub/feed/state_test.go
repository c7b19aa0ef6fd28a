package feed

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// stateOnDisk is a state file as the hub keeps it.
type stateOnDisk struct{ path string }

func newStateOnDisk(t testing.TB, dir string) *stateOnDisk {
	return &stateOnDisk{filepath.Join(dir, "state.snap")}
}

func (s *stateOnDisk) Read() ([]byte, error) {
	data, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

func (s *stateOnDisk) Replace(write func(io.Writer) error) error {
	f, err := os.Create(s.path + ".tmp")
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(s.path+".tmp", s.path)
}
