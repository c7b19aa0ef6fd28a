package log

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/revocast/revocast/internal/natstest"
)

func TestMistakesAboutNATSAreNamedWithoutSecrets(t *testing.T) {
	dir := t.TempDir()
	junk := filepath.Join(dir, "junk")
	if err := os.WriteFile(junk, []byte("SUSECRETSECRET\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		cfg  NATS
		want string
	}{
		{NATS{}, "servers: none"},
		{NATS{Servers: []string{"nats://a", "nats://me:SECRET@b"}}, "server number 2 has a user or password"},
		{NATS{Servers: []string{"nats://SECRET@b"}}, "server number 1 has a user or password"},
		{NATS{Servers: []string{"http://a"}}, "want nats://host:port"},
		{NATS{Servers: []string{"a:4222"}}, "server number 1"},
		{NATS{Servers: []string{"nats://SECRET\x7f"}}, "not a URL"},
		{NATS{Servers: []string{"nats://a"}, Creds: junk, NKey: junk}, "creds and nkey"},
		{NATS{Servers: []string{"nats://a"}, Creds: junk}, "has no"},
		{NATS{Servers: []string{"nats://a"}, NKey: junk}, "nkey: "},
		{NATS{Servers: []string{"nats://a"}, NKey: dir + "/none"}, "no such file"},
		{NATS{Servers: []string{"nats://a"}, Cert: junk}, "cert and key go together"},
		{NATS{Servers: []string{"nats://a"}, Cert: junk, Key: junk}, "cert, key: "},
		{NATS{Servers: []string{"nats://a"}, CA: junk}, "ca: "},
	} {
		err := c.cfg.Check()
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%+v: %v, want %q", c.cfg, err, c.want)
		}
	}
	if err := (NATS{Servers: []string{"nats://a", "tls://b:4222"}}).Check(); err != nil {
		t.Error(err)
	}
}

func TestAHubWaitsForNATSAndSaysSo(t *testing.T) {
	log := new(logged)
	cfg := NATS{Servers: []string{"nats://127.0.0.1:1"}, Name: "tester", Logger: slog.New(slog.NewTextHandler(log, nil))}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		nc, err := cfg.Connect(ctx)
		if err == nil {
			nc.Close()
		}
		ended <- err
	}()
	for end := time.Now().Add(soon); !strings.Contains(log.String(), "waiting for NATS: nats://127.0.0.1:1"); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not say what it waits for")
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "nats: no servers available") {
		t.Errorf("ended with %v", err)
	}
}

// A server that asks for a user that is not there yet is waited for, too.
func TestAHubIsLetInByItsNKey(t *testing.T) {
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, _ := user.PublicKey()
	seed, _ := user.Seed()
	file := filepath.Join(t.TempDir(), "user.nk")
	if err := os.WriteFile(file, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	stranger, _ := nkeys.CreateUser()
	other, _ := stranger.PublicKey()
	opts := &server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true, Nkeys: []*server.NkeyUser{{Nkey: other}}}
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	if !s.ReadyForConnections(natstest.Patience) {
		t.Fatal("not ready")
	}
	log := new(logged)
	cfg := NATS{Servers: []string{s.ClientURL()}, Name: "tester", NKey: file, Logger: slog.New(slog.NewTextHandler(log, nil))}
	let := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), natstest.Patience)
		defer cancel()
		nc, err := cfg.Connect(ctx)
		if err == nil {
			nc.Close()
		}
		let <- err
	}()
	for end := time.Now().Add(soon); !strings.Contains(log.String(), "Authorization Violation"); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not say why it waits: %s", log)
		}
	}
	with := opts.Clone()
	with.Nkeys = append(with.Nkeys, &server.NkeyUser{Nkey: public})
	if err := s.ReloadOptions(with); err != nil {
		t.Fatal(err)
	}
	if err := <-let; err != nil {
		t.Fatal(err)
	}
	if strings.Contains(log.String(), string(seed)) {
		t.Error("the seed is in the log")
	}
}
