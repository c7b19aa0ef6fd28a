package hub

import (
	"bytes"
	"context"
	"log/slog"
	"time"

	"github.com/revocast/revocast/hub/api"
	"github.com/revocast/revocast/hub/log"
)

// keysEvery is how often a hub looks whether another has changed the keys, if
// it was not told.
const keysEvery = 2 * time.Second

// ownKeys keeps the API keys of a hub that is alone in its data directory.
func ownKeys(dir dataDir) api.KeyStore {
	return func(change func([]byte) ([]byte, error)) error {
		stored, err := dir.read(keysFile)
		if err != nil {
			return err
		}
		next, err := change(stored)
		if err != nil || bytes.Equal(stored, next) {
			return err
		}
		return dir.replace(keysFile, next)
	}
}

// sharedKeys keeps those of many hubs beside their log.
func sharedKeys(ctx context.Context, s *log.Shared) api.KeyStore {
	return func(change func([]byte) ([]byte, error)) error { return s.Update(ctx, change) }
}

// watchKeys has the hub take the keys that other hubs have made, and refuse
// those that they have deleted, until ctx ends.
func watchKeys(ctx context.Context, s *log.Shared, ring *api.Keyring, logger *slog.Logger) {
	look := time.NewTicker(keysEvery)
	defer look.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.News():
		case <-look.C:
		}
		err := ring.Refresh()
		if failed := err != nil && ctx.Err() == nil; failed != failing {
			if failing = failed; failing {
				logger.Warn("what other hubs do to the API keys is not known", "err", err)
			} else {
				logger.Info("the API keys are known again")
			}
		}
	}
}
