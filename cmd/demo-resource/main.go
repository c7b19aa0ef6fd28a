// Demo-resource is a resource server that stops serving a revoked token, and
// the smallest honest example of embedding the subscriber.
//
// Without flags it is everything in one process: a hub with a real log in a
// temporary directory, an issuer, a protected API. It logs a user in, calls
// the API, revokes, calls again, and says how long that took; then it goes on
// serving for you to try. With -hub it is one resource server of many.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/revocast/revocast/subscriber"
	"github.com/revocast/revocast/subscriber/prommetrics"
)

type options struct {
	exit       bool
	walk       string
	ready      bool
	listen     string
	hub        string
	key        string
	iss        string
	jwks       string
	issuer     string
	issuerKeys string
	name       string
	grace      time.Duration
	level      slog.Level
	plain      bool
}

func main() {
	o := options{level: slog.LevelWarn}
	flag.BoolVar(&o.exit, "exit", false, "end after the walk-through; the status is 0 only if every step held")
	flag.StringVar(&o.walk, "walk", "", "another walk-through, which ends the program: "+strings.Join(walkNames(), ", "))
	flag.BoolVar(&o.ready, "ready", false, "ask the resource server at -listen whether it is ready; the status is 0 if it is")
	flag.StringVar(&o.listen, "listen", "127.0.0.1:8081", "where the protected API is served; another port is taken if this one is in use")
	flag.StringVar(&o.hub, "hub", "", "follow the hub at this `URL` instead of running one; several, with commas between, take over from each other")
	flag.StringVar(&o.key, "key", os.Getenv("REVOCAST_KEY"), "API key for -hub, with the role subscribe (default $REVOCAST_KEY)")
	flag.StringVar(&o.iss, "iss", "", "accept tokens of this issuer instead of the built-in one (with -jwks)")
	flag.StringVar(&o.jwks, "jwks", "", "`URL` of that issuer's key set")
	flag.StringVar(&o.issuer, "issuer", "", "what the built-in issuer calls itself (default: its own address)")
	flag.StringVar(&o.issuerKeys, "issuer-keys", "", "`file` of the built-in issuer's keys, made if it is not there: servers that share it accept each other's tokens")
	flag.StringVar(&o.name, "name", "", "what the hub calls this resource server")
	flag.DurationVar(&o.grace, "grace", subscriber.DefaultGrace, "how long tokens are accepted while the hub can't be reached")
	flag.BoolVar(&o.plain, "dangerously-allow-plain-http", false, "follow hubs on other machines without TLS")
	flag.TextVar(&o.level, "log-level", o.level, "debug, info, warn or error")
	flag.Parse()
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: o.level})))

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "demo-resource:", err)
		os.Exit(1)
	}
}

func (o options) validate() error {
	switch {
	case flag.NArg() > 0:
		return fmt.Errorf("unexpected argument %q; see -help", flag.Arg(0))
	case o.issuer != "" && o.iss != "":
		return errors.New("-issuer is about the built-in issuer, which -iss replaces")
	case (o.iss == "") != (o.jwks == ""):
		return errors.New("-iss and -jwks go together")
	case o.hub == "" && (o.iss != "" || o.name != ""):
		return errors.New("-iss, -jwks and -name go with -hub")
	case o.hub != "" && o.key == "":
		return errors.New("-hub needs a key: make one with `hub key create demo --role subscribe` and set REVOCAST_KEY")
	case o.hub != "" && (o.exit || o.walk != ""):
		return errors.New("-exit and -walk are about walk-throughs, which run without -hub only")
	case o.walk != "" && walks[o.walk] == nil:
		return fmt.Errorf("-walk %q: want one of %s", o.walk, strings.Join(walkNames(), ", "))
	}
	return nil
}

// run owns everything that is started, and stops it in the reverse order.
func run(ctx context.Context, o options) error {
	if err := o.validate(); err != nil {
		return err
	}
	if o.ready {
		return askReady(ctx, o.listen)
	}
	api, err := listen(o.listen)
	if err != nil {
		return err
	}
	base := "http://" + api.Addr().String()
	issuer, err := o.builtIn(base)
	if err != nil {
		return err
	}
	hubURL, key := o.hub, o.key
	if o.hub == "" {
		h, err := startHub(ctx)
		if err != nil {
			return err
		}
		defer h.stop()
		hubURL, key = h.url, h.key
	}
	trusted := issuer.trusted()
	if o.iss != "" {
		trusted = subscriber.Issuer{Iss: o.iss, JWKSURI: o.jwks}
	}
	registry := prometheus.NewRegistry()
	sub, err := subscriber.New(subscriber.Config{
		Hubs:       strings.Split(hubURL, ","),
		Metrics:    prommetrics.New(registry),
		Credential: key,
		Name:       o.name,
		Issuers:    []subscriber.Issuer{trusted},
		Policy:     subscriber.GraceThenClosed(o.grace),

		DangerouslyAllowPlainHTTP: o.plain,
	})
	if err != nil {
		return err
	}
	defer sub.Close()

	prommetrics.Watch(registry, sub)
	mux := routes(sub, issuer)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	if o.iss == "" { // the gateway stands before the built-in issuer
		edge, err := newEdge(sub, issuer, base)
		if err != nil {
			return err
		}
		mux.Handle("GET /edge/", edge)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(api) }) // ends when the server is closed
	defer func() {
		_ = server.Close() // streams would keep a graceful shutdown waiting
		serving.Wait()
	}()

	if o.hub == "" {
		d := walk{api: base, hub: hubURL, key: key, iss: issuer.iss, issuer: issuer}
		through := d.theft
		if o.walk != "" {
			through = func(ctx context.Context) error { return walks[o.walk](d, ctx) }
		}
		if err := d.run(ctx, sub, through); err != nil {
			return fmt.Errorf("the walk-through failed: %w", err)
		}
		if o.exit || o.walk != "" {
			return nil
		}
		d.invite()
	} else {
		fmt.Printf("Following %s. The API is at %s/orders, this server's view at %s/status.\n", hubURL, base, base)
	}
	<-ctx.Done()
	return nil
}

// builtIn is the issuer that this server plays.
func (o options) builtIn(base string) (*issuer, error) {
	name, keys, err := o.issuer, keyPair(nil), error(nil)
	if name == "" {
		name = base
	}
	if o.issuerKeys == "" {
		keys, err = newKeyPair()
	} else {
		keys, err = sharedKeys(o.issuerKeys)
	}
	if err != nil {
		return nil, fmt.Errorf("the issuer's keys: %w", err)
	}
	return newIssuer(name, keys), nil
}

// listen falls back to any free port, so that a second demo runs beside the
// first.
func listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		host, _, _ := net.SplitHostPort(addr)
		l, err = net.Listen("tcp", net.JoinHostPort(host, "0"))
	}
	return l, err
}
