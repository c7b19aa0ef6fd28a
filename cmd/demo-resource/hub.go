package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/revocast/revocast/hub"
)

// localHub is a hub in this process, with its log in a directory that goes
// with it.
type localHub struct {
	url, key string
	dir      string
	end      context.CancelFunc
	serving  sync.WaitGroup
}

func startHub(ctx context.Context) (_ *localHub, err error) {
	h := &localHub{key: "rvk_" + rand.Text() + rand.Text()}
	if h.dir, err = os.MkdirTemp("", "revocast-demo-"); err != nil {
		return nil, err
	}
	// The hub outlives the signal that ends the demo, so that the subscriber
	// is closed first.
	ctx, h.end = context.WithCancel(context.WithoutCancel(ctx))
	if err := h.serve(ctx); err != nil {
		h.stop()
		return nil, fmt.Errorf("start the hub: %w", err)
	}
	return h, nil
}

func (h *localHub) serve(ctx context.Context) error {
	var listeners [2]net.Listener
	for i, addr := range []string{"127.0.0.1:8080", "127.0.0.1:9090"} {
		l, err := listen(addr)
		if err != nil {
			return err
		}
		listeners[i] = l
	}
	inner, err := hub.Open(ctx, hub.Config{DataDir: h.dir, AdminKey: h.key, DrainWindow: 100 * time.Millisecond})
	if err != nil {
		return err
	}
	h.url = "http://" + listeners[0].Addr().String()
	h.serving.Go(func() {
		if err := inner.Serve(ctx, listeners[0], listeners[1], nil); err != nil {
			fmt.Fprintln(os.Stderr, "demo-resource: hub:", err)
		}
	})
	return nil
}

func (h *localHub) stop() {
	h.end()
	h.serving.Wait()
	os.RemoveAll(h.dir)
}
