package compose

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// engine is the Docker engine, and the compose command for it.
type engine struct {
	testing.TB
	compose []string
	env     []string
}

// newEngine skips the test where there is no engine, and says so. Where there
// is one, everything else that is missing is a failure.
func newEngine(t testing.TB) engine {
	if out, err := exec.Command("docker", "info", "--format", "{{.ServerVersion}}").CombinedOutput(); err != nil {
		t.Skipf("NOT RUN: docker-compose.yml can only be tried with a Docker engine, and there is none here: %v %s", err, out)
	}
	e := engine{TB: t, env: os.Environ()}
	for _, c := range [][]string{{"docker", "compose"}, {"docker-compose"}} {
		if exec.Command(c[0], append(c[1:], "version")...).Run() == nil {
			e.compose = c
			return e
		}
	}
	t.Fatal("there is a Docker engine, but neither `docker compose` nor `docker-compose`: install one of them")
	return e
}

// try runs a command in the repository.
func (e engine) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute) // cleaning up comes after the test's own context
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env = root, e.env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out.String())
	}
	return strings.TrimSpace(out.String()), nil
}

func (e engine) run(args ...string) string {
	e.Helper()
	out, err := e.try(args...)
	if err != nil {
		e.Fatal(err)
	}
	return out
}

func (e engine) docker(args ...string) string {
	e.Helper()
	return e.run(append([]string{"docker"}, args...)...)
}

// root is the repository.
const root = "../.."

// image returns which image a pattern finds in a file of the repository.
func image(t testing.TB, file, pattern string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)` + pattern).FindSubmatch(data)
	if m == nil {
		t.Fatalf("%s names no image by %s", file, pattern)
	}
	return string(m[1])
}

// provideImages makes a stand-in for each image that is not here and can't be
// pulled, under the same tag, and removes it in the end, lest anybody takes it
// for the real one.
func (e engine) provideImages() {
	e.Helper()
	programs := e.TempDir()
	build := func(name, pkg string) {
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s", "-o", filepath.Join(programs, name), pkg)
		cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+runtime.GOARCH)
		if out, err := cmd.CombinedOutput(); err != nil {
			e.Fatalf("build %s: %v\n%s", pkg, err, out)
		}
	}
	build("hub", "./cmd/hub")
	build("demo-resource", "./cmd/demo-resource")
	build("nats-server", "github.com/nats-io/nats-server/v2")
	build("standin", "./test/compose/standin")
	// Only what is copied into an image counts, so one directory serves all.
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(programs, name), []byte(text), 0o600); err != nil {
			e.Fatal(err)
		}
	}
	write("ca-certificates.crt", "")

	for _, standin := range []struct{ image, dockerfile string }{
		{image(e, "Dockerfile", `^FROM (golang:\S+)`),
			"COPY standin /bin/sh\nCOPY hub demo-resource /prebuilt/\nCOPY ca-certificates.crt /etc/ssl/certs/"},
		{image(e, "docker-compose.yml", `image: (nats:\S+)`),
			"COPY standin /bin/wget\nCOPY nats-server /nats-server\nENV PATH=/bin\nENTRYPOINT [\"/nats-server\"]"},
		{image(e, "docker-compose.yml", `image: (prom/\S+)`),
			"COPY standin /prometheus/prometheus\nENTRYPOINT [\"/prometheus/prometheus\"]"},
		{image(e, "docker-compose.yml", `image: (grafana/\S+)`),
			"COPY standin /grafana\nENTRYPOINT [\"/grafana\"]"},
	} {
		if _, err := e.try("docker", "image", "inspect", standin.image); err == nil {
			e.Logf("%s is here", standin.image)
			continue
		}
		write("Dockerfile", "FROM scratch\nLABEL revocast.standin=true\n"+standin.dockerfile+"\n")
		e.docker("build", "-q", "-t", standin.image, programs)
		e.Logf("%s: a stand-in", standin.image)
		e.Cleanup(func() { _, _ = e.try("docker", "rmi", "-f", standin.image) })
	}
}

// project is docker-compose.yml brought up.
type project struct {
	engine
	name  string
	ports map[string]string // by the variable that sets it
}

func (e engine) up() *project {
	e.Helper()
	p := &project{engine: e, name: fmt.Sprintf("revocast-test-%d", os.Getpid()), ports: make(map[string]string)}
	for _, v := range []string{"HUB_1_PORT", "HUB_2_PORT", "DEMO_1_PORT", "DEMO_2_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT"} {
		p.ports[v] = freePort(e)
		p.env = append(p.env, v+"="+p.ports[v])
	}
	e.Cleanup(p.down)
	p.run(p.args("up", "-d", "--build")...)
	return p
}

func (p *project) args(args ...string) []string {
	return slices.Concat(p.compose, []string{"-p", p.name}, args)
}

// down removes everything, and shows what the containers said if the test failed.
func (p *project) down() {
	if p.Failed() {
		logs, _ := p.try(p.args("logs", "--no-color", "--tail=60")...)
		p.Log(logs)
	}
	if _, err := p.try(p.args("down", "-v", "--timeout", "1", "--remove-orphans")...); err != nil {
		p.Error(err)
	}
	for _, image := range []string{"revocast/hub:local", "revocast/demo-resource:local"} {
		_, _ = p.try("docker", "rmi", "-f", image)
	}
	_, _ = p.try("docker", "image", "prune", "-f", "--filter", "label=revocast.standin=true") // layers of the build
}

// container is the id of a service's only container.
func (p *project) container(service string) string {
	p.Helper()
	id := p.run(p.args("ps", "-a", "-q", service)...)
	if id == "" || strings.Contains(id, "\n") {
		p.Fatalf("%s: want one container, have %q", service, id)
	}
	return id
}

func (p *project) kill(service string)  { p.Helper(); p.docker("kill", p.container(service)) }
func (p *project) start(service string) { p.Helper(); p.docker("start", p.container(service)) }
func (p *project) pause(service string) { p.Helper(); p.docker("pause", p.container(service)) }

func (p *project) unpause(service string) { p.Helper(); p.docker("unpause", p.container(service)) }

// cutOff takes a service off a network; rejoin brings it back under its name.
func (p *project) cutOff(service, network string) {
	p.Helper()
	p.docker("network", "disconnect", p.name+"_"+network, p.container(service))
}

func (p *project) rejoin(service, network string) {
	p.Helper()
	p.docker("network", "connect", "--alias", service, p.name+"_"+network, p.container(service))
}

// healthy waits until Docker says so of each service.
func (p *project) healthy(services ...string) {
	p.Helper()
	for _, s := range services {
		p.eventually(s+" is healthy", func() error {
			if state := p.docker("inspect", "-f", "{{.State.Health.Status}}", p.container(s)); state != "healthy" {
				return fmt.Errorf("it is %s", state)
			}
			return nil
		})
	}
}

// patience is for a cluster that elects leaders on a busy machine.
const patience = 2 * time.Minute

func (p *project) eventually(what string, try func() error) {
	p.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if err = try(); err == nil {
			return
		}
	}
	p.Fatalf("not within %v: %s: %v", patience, what, err)
}
