package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
)

// addresses are where a hub answers, as URLs.
type addresses struct{ api, ops string }

// addressOf is a URL at which a listener is reached from this machine.
func addressOf(l net.Listener, secure bool) string {
	scheme := "http"
	if secure {
		scheme = "https"
	}
	addr := l.Addr().String()
	if tcp, ok := l.Addr().(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		addr = fmt.Sprintf("localhost:%d", tcp.Port)
	}
	return scheme + "://" + addr
}

// announce says on stdout where the hub is and how to get in. In one write, so
// that a key that can't be shown is noticed.
func (a addresses) announce(w io.Writer, newKey string, keyFromEnv bool) error {
	var b strings.Builder
	switch {
	case newKey != "":
		rule := strings.Repeat("=", 72)
		fmt.Fprintf(&b, "%s\n  The admin key, which may do everything. It is shown this once: keep it.\n\n      %s\n\n%s\n", rule, newKey, rule)
	case keyFromEnv:
		fmt.Fprintf(&b, "The admin key is the one in %s.\n", adminKeyEnv)
	default:
		fmt.Fprintf(&b, "The admin key was made at the first start, and shown then. To make another key: hub key create NAME --role admin\n"+
			"If it is lost, start once with a new one in %s.\n", adminKeyEnv)
	}
	fmt.Fprintf(&b, "  API  %s\n  ops  %s\n", a.api, a.ops)
	if newKey != "" {
		fmt.Fprintf(&b, "Try it, in another terminal:\n  export REVOCAST_KEY=%s\n", newKey)
		if a.api != defaultHub {
			fmt.Fprintf(&b, "  export REVOCAST_HUB=%s\n", a.api)
		}
		fmt.Fprintf(&b, "  %s revoke subject alice --iss https://issuer.example --reason logout\n", os.Args[0])
	}
	_, err := io.WriteString(w, b.String())
	return err
}
