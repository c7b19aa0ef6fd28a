// Standin is one static program that plays, by the name it is called, what the
// images of docker-compose.yml hold besides our own programs, for machines
// that can't pull them. Each part does for real what the test relies on:
//
//	sh           the shell of the golang image, with only the lines of our Dockerfile; the programs were built outside
//	wget         asks for a URL, and fails unless the answer is 200
//	prometheus   reads prometheus.yml, scrapes what it names, and tells in two calls of Prometheus' API what came of it
//	grafana      reads its provisioning, and serves the dashboards found by it
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	parts := map[string]func([]string) error{"sh": sh, "wget": wget, "prometheus": prometheus, "grafana": grafana}
	name := filepath.Base(os.Args[0])
	part, ok := parts[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "standin: called %q, which it does not play\n", name)
		os.Exit(2)
	}
	if err := part(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "%s (stand-in): %v\n", name, err)
		os.Exit(1)
	}
}

// sh runs the RUN lines of the Dockerfile: sh -c LINE.
func sh(args []string) error {
	if len(args) != 2 || args[0] != "-c" {
		return fmt.Errorf("want -c LINE, have %q", args)
	}
	line := strings.Fields(args[1])
	switch {
	case args[1] == "go mod download":
		return nil
	case strings.Contains(args[1], "go build "):
		return os.CopyFS("/out", os.DirFS("/prebuilt"))
	case len(line) == 4 && line[0] == "mkdir" && line[1] == "-m":
		return os.MkdirAll(line[3], 0o700)
	}
	return fmt.Errorf("the Dockerfile has a line that this stand-in does not know: %q", args[1])
}

// wget asks for its last argument.
func wget(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("want a URL")
	}
	client := &http.Client{Timeout: 2 * time.Second}
	resp, err := client.Get(args[len(args)-1])
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", resp.Status)
	}
	_, err = io.Copy(os.Stdout, io.LimitReader(resp.Body, 1<<20))
	return err
}

// flagValue finds --name=value.
func flagValue(args []string, name string) string {
	for _, a := range args {
		if v, ok := strings.CutPrefix(a, "--"+name+"="); ok {
			return v
		}
	}
	return ""
}
