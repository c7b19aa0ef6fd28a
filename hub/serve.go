package hub

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/revocast/revocast/hub/feed"
)

const (
	readHeaderTimeout = 5 * time.Second // so that slow headers hold no connection
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 16 << 10
	opsTimeout        = 10 * time.Second

	// drainGrace is what the last subscribers have to take their leave, and
	// requests to be answered, after the window.
	drainGrace = 5 * time.Second
	drainLook  = 20 * time.Millisecond
)

// Serve serves the API on one listener, with TLS if a configuration for it is
// given, and OpsHandler on the other, which may be nil. It owns both, and the
// hub, which is closed when it returns: with nil after ctx has ended and the
// hub has drained, with the reason if anything else ended it.
func (h *Hub) Serve(ctx context.Context, apiListener, opsListener net.Listener, secure *tls.Config) error {
	defer h.Close()
	errorLog := slog.NewLogLogger(h.cfg.Logger.Handler(), slog.LevelDebug) // of clients' mistakes
	// No WriteTimeout: it would end streams. The API sets a deadline for each
	// answer, and for each write of a stream.
	public := &http.Server{
		Handler: h.api, TLSConfig: secure, ErrorLog: errorLog,
		ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
	}
	private := &http.Server{
		Handler: h.OpsHandler(), ErrorLog: errorLog,
		ReadTimeout: opsTimeout, WriteTimeout: opsTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
	}
	var running sync.WaitGroup
	ended := make(chan error, 2) // takes both without blocking
	serve := func(name string, serve func() error) {
		running.Go(func() { // ends when its server is shut down
			if err := serve(); !errors.Is(err, http.ErrServerClosed) {
				ended <- fmt.Errorf("serve the %s: %w", name, err)
			}
		})
	}
	if opsListener != nil {
		serve("ops interface", func() error { return private.Serve(opsListener) })
	}
	most, perAddress := connectionsWithin(openFiles(), h.cfg.MaxConnections, h.cfg.MaxConnectionsPerAddress, h.cfg.Logger)
	apiListener = limit(apiListener, most, perAddress, h.refused.Inc)
	if secure != nil {
		serve("API", func() error { return public.ServeTLS(feed.Gathering(apiListener), "", "") })
	} else {
		serve("API", func() error { return public.Serve(apiListener) })
	}

	var why error
	select {
	case <-ctx.Done():
	case <-h.failed:
		why = h.err
	case why = <-ended:
	}
	h.drain(public)
	// Last, so that everybody can see meanwhile that the hub is not ready.
	private.Close()
	running.Wait()
	return why
}

// drain sends the subscribers away, lets requests end, and stops the server.
// While subscribers leave, new requests are still answered: whoever balances
// the load needs time to notice that the hub is not ready.
func (h *Hub) drain(public *http.Server) {
	h.cfg.Logger.Info("draining", "window", h.cfg.DrainWindow)
	h.feed.Drain(h.cfg.DrainWindow)
	ctx, cancel := context.WithTimeout(context.Background(), h.cfg.DrainWindow+drainGrace)
	defer cancel()
	look := time.NewTicker(drainLook)
	defer look.Stop()
	for h.feed.Status().Subscribers > 0 && ctx.Err() == nil {
		select {
		case <-look.C:
		case <-ctx.Done():
		}
	}
	if err := public.Shutdown(ctx); err != nil {
		h.cfg.Logger.Warn("connections were cut", "err", err)
		public.Close()
	}
}
