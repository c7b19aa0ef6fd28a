package hub

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/revocast/revocast/events"
)

// dataDir is the directory of a hub, apart from what is the log's.
type dataDir string

// openDataDir makes the directory if need be. One that others can look into
// is not refused, since a volume's permissions are not always ours to set.
func openDataDir(path string, logger *slog.Logger) (dataDir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 && runtime.GOOS != "windows" {
		logger.Warn("others may look into the data directory; it should be for its owner only", "dir", path, "mode", perm.String(), "want", "0700")
	}
	return dataDir(path), nil
}

func (d dataDir) path(name string) string { return filepath.Join(string(d), name) }

// read returns a file's bytes, nil if there is none.
func (d dataDir) read(name string) ([]byte, error) {
	data, err := os.ReadFile(d.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// replace gives a file new bytes; see rewrite.
func (d dataDir) replace(name string, data []byte) error {
	return d.rewrite(name, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// rewrite gives a file the content that write writes. After a crash at any
// moment it has either all of the old or all of the new; after rewrite has
// returned without an error, the new. There is one name for what is not done
// yet, so that a crash leaves at most one such file, and the next rewrite takes
// it away; so one goroutine at a time may rewrite a file.
func (d dataDir) rewrite(name string, write func(io.Writer) error) (err error) {
	temp := d.path(name + ".tmp")
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(temp)
		}
	}()
	if err := write(&syncedPieces{f: f}); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(temp, d.path(name)); err != nil {
		return err
	}
	return d.sync()
}

// syncedPieces syncs a large file piece by piece. In one go, the log's own
// syncs, which every revocation waits for, would queue behind all of it.
type syncedPieces struct {
	f *os.File
	n int // bytes since the last sync
}

const pieceSize = 4 << 20

func (s *syncedPieces) Write(b []byte) (int, error) {
	n, err := s.f.Write(b)
	if s.n += n; err == nil && s.n >= pieceSize {
		s.n, err = 0, s.f.Sync()
	}
	return n, err
}

// sync makes a rename durable.
func (d dataDir) sync() error {
	if runtime.GOOS == "windows" {
		return nil // a directory can't be synced there
	}
	dir, err := os.Open(string(d))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

const (
	logDir      = "log"
	keysFile    = "keys.json"
	signingFile = "signing.key"
	nameFile    = "name"
	stateName   = "state.snap"
)

// name returns the hub's name, which it makes the first time: that of the host,
// as far as it can be part of a name, and what tells it from the next hub there.
func (d dataDir) name() (string, error) {
	stored, err := d.read(nameFile)
	if err != nil {
		return "", err
	}
	if name := strings.TrimSuffix(string(stored), "\n"); stored != nil {
		if !events.ValidHub(name) {
			return "", fmt.Errorf("%s is not the name of a hub; if it is removed, a new one is made", d.path(nameFile))
		}
		return name, nil
	}
	host, _ := os.Hostname()
	host, _, _ = strings.Cut(host, ".")
	host = strings.Map(func(r rune) rune {
		if !events.ValidHub(string(r)) {
			return -1
		}
		return r
	}, host)
	name := strings.TrimPrefix(host[:min(len(host), 48)]+"-"+strings.ToLower(rand.Text()[:6]), "-")
	return name, d.replace(nameFile, []byte(name+"\n"))
}

// ParseSigningKey reads a signing key as signing.key holds it: the 32 bytes of
// its seed in base64url, and perhaps the end of a line.
func ParseSigningKey(text []byte) (events.SigningKey, error) {
	seed, err := base64.RawURLEncoding.Strict().DecodeString(strings.TrimSuffix(string(text), "\n"))
	if err != nil || len(seed) != ed25519.SeedSize {
		return events.SigningKey{}, fmt.Errorf("not a signing key (want %d bytes in base64url)", ed25519.SeedSize)
	}
	return events.NewSigningKey(bytes.NewReader(seed))
}

// stateFile is where the feed keeps what its log adds up to.
type stateFile struct{ dataDir }

func (s stateFile) Read() ([]byte, error)                     { return s.read(stateName) }
func (s stateFile) Replace(write func(io.Writer) error) error { return s.rewrite(stateName, write) }

// signingKey returns the hub's key, which it makes the first time.
func (d dataDir) signingKey() (events.SigningKey, error) {
	text, err := d.read(signingFile)
	if err != nil {
		return events.SigningKey{}, err
	}
	if text == nil {
		key, err := events.NewSigningKey(rand.Reader)
		if err != nil {
			return key, err
		}
		return key, d.replace(signingFile, []byte(base64.RawURLEncoding.EncodeToString(key.Seed())+"\n"))
	}
	key, err := ParseSigningKey(text)
	if err != nil {
		return key, fmt.Errorf("%s: %w; if it is removed, a new one is made", d.path(signingFile), err)
	}
	return key, nil
}
