package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/revocast/revocast/hub"
)

// localHub is a hub in this process, with its log in a directory that goes
// with it.
type localHub struct {
	url, key string
	cancel   context.CancelFunc
	serving  sync.WaitGroup
	dir      string
}

func startHub(ctx context.Context) (*localHub, error) {
	dir, err := os.MkdirTemp("", "revocast-demo-")
	if err != nil {
		return nil, err
	}
	h := &localHub{dir: dir, key: "rvk_" + rand.Text() + rand.Text()}
	inner, err := hub.Open(ctx, hub.Config{DataDir: dir, AdminKey: h.key, DrainWindow: 100 * time.Millisecond})
	if err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("start the hub: %w", err)
	}
	api, err := listen("127.0.0.1:8080")
	if err == nil {
		ops, err2 := listen("127.0.0.1:9090")
		if err = err2; err == nil {
			h.url = "http://" + api.Addr().String()
			// The hub outlives the signal that ends the demo, so that the
			// subscriber is closed first.
			var serve context.Context
			serve, h.cancel = context.WithCancel(context.WithoutCancel(ctx))
			h.serving.Go(func() {
				if err := inner.Serve(serve, api, ops, nil); err != nil {
					fmt.Fprintln(os.Stderr, "demo-resource: hub:", err)
				}
			})
			return h, nil
		}
	}
	inner.Close()
	os.RemoveAll(dir)
	return nil, err
}

func (h *localHub) stop() {
	h.cancel()
	h.serving.Wait()
	os.RemoveAll(h.dir)
}
