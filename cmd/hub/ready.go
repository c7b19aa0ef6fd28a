package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

type readyCmd struct {
	OpsListen string        `setting:"" default:"127.0.0.1:9090" placeholder:"ADDRESS" help:"Address of the hub's ops interface."`
	Timeout   time.Duration `default:"2s" help:"How long to wait for the answer."`
}

func (readyCmd) Help() string {
	return `Asks the hub on this machine whether it takes work: the status is 0 if it does,
else 1, and the reason is printed. For health checks in a container, which has
nothing else to ask with.

Examples:

    hub ready
    hub ready --ops-listen 127.0.0.1:9091`
}

// maxReason bounds what is read of the hub's answer.
const maxReason = 1 << 10

func (c readyCmd) Run(ctx context.Context, std streams) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+reachable(c.OpsListen)+"/readyz", nil)
	if err != nil {
		return usagef("--ops-listen %q: want host and port, such as 127.0.0.1:9090", c.OpsListen)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("nothing answers at %s: %w", c.OpsListen, err)
	}
	defer resp.Body.Close()
	reason, err := io.ReadAll(io.LimitReader(resp.Body, maxReason))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New("not ready: " + strings.TrimSpace(string(reason)))
	}
	fmt.Fprintln(std.out, "ready")
	return nil
}

// reachable is where to call what listens on an address: everywhere includes
// here.
func reachable(addr string) string {
	for _, everywhere := range []string{"0.0.0.0:", "[::]:", ":"} {
		if port, ok := strings.CutPrefix(addr, everywhere); ok {
			return "127.0.0.1:" + port
		}
	}
	return addr
}
