package log

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

func TestADirectoryBelongsToOneServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	begin := time.Now()
	if _, err := StartServer(ServerConfig{Dir: w.dir, Logger: quiet}); !errors.Is(err, ErrLocked) {
		t.Fatalf("second server: %v, want ErrLocked", err)
	}
	if d := time.Since(begin); d > soon {
		t.Errorf("it took %v to be refused", d)
	}
	w.stopServer()
	w.stopServer() // does nothing
	w.startServer()
}

func TestServerKeepsItsName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.srv.Load().nats.Name()
	w.stopServer()
	w.startServer()
	if second := w.srv.Load().nats.Name(); second != first || !serverName.MatchString(first) {
		t.Errorf("names %q, then %q", first, second)
	}
}

func TestServerSyncsUnlessToldNotTo(t *testing.T) {
	t.Parallel()
	for _, skip := range []bool{false, true} {
		srv, err := StartServer(ServerConfig{Dir: t.TempDir(), MaxStore: 1 << 30, Logger: quiet, DangerouslySkipSync: skip})
		if err != nil {
			t.Fatal(err)
		}
		defer srv.Shutdown()
		cfg := srv.nats.JetStreamConfig()
		if cfg.SyncAlways == skip || cfg.MaxStore != 1<<30 || cfg.MaxMemory != maxMemory {
			t.Errorf("skip is %v: %+v", skip, cfg)
		}
		if addr := srv.nats.Addr(); addr != nil {
			t.Errorf("it listens on %v", addr)
		}
	}
}

func TestRestartKeepsEverything(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.open()
	before := w.follow(l)
	for _, name := range []string{"a", "b", "c"} {
		w.append(l, name)
	}
	want := before.catchUp()
	l.Close()
	w.stopServer()
	w.startServer()

	again := w.open()
	if again.Epoch() != l.Epoch() || again.Salt() != l.Salt() {
		t.Error("epoch or salt have changed")
	}
	after := w.follow(again)
	got := w.append(again, "d")
	if got.Seq != 4 {
		t.Errorf("the record after the restart is %d, want 4", got.Seq)
	}
	mustAgree(t, after.catchUp()[:3], want)
}

func TestFatalErrorIsTheOwnersToHandle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	srv := w.srv.Load()
	if srv.Err() != nil {
		t.Fatal(srv.Err())
	}
	srv.nats.Fatalf("the %s is gone", "disk")
	<-srv.Failed()
	if srv.Err() == nil {
		t.Error("no error")
	}
}

func TestServerNoticesThatJetStreamIsOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	srv := w.srv.Load()
	if err := srv.nats.ShutdownJetStream(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-srv.Failed():
	case <-time.After(soon):
		t.Fatal("nobody noticed")
	}
}

// Writes to files that were unlinked succeed, and are gone at the next start.
func TestServerNoticesThatItsDirectoryIsGone(t *testing.T) {
	t.Parallel()
	for name, remove := range map[string]func(dir string) error{
		"all of it": os.RemoveAll,
		"the store": func(dir string) error { return os.RemoveAll(filepath.Join(dir, "jetstream")) },
		"replaced": func(dir string) error {
			return errors.Join(os.Rename(dir, dir+".old"), os.CopyFS(dir, os.DirFS(dir+".old")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "log")
			srv, err := StartServer(ServerConfig{Dir: dir, MaxStore: 1 << 30, Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			defer srv.Shutdown()
			if err := remove(dir); err != nil {
				t.Fatal(err)
			}
			select {
			case <-srv.Failed():
				if !errors.Is(srv.Err(), ErrMoved) {
					t.Errorf("failed with %v, want ErrMoved", srv.Err())
				}
			case <-time.After(soon):
				t.Error("goes on without its directory")
			}
		})
	}
}

func TestConnectIsForEver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nc, err := w.srv.Load().Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if nc.Opts.MaxReconnect != -1 || nc.Opts.ReconnectBufSize != -1 {
		t.Errorf("max reconnects %d, buffer %d, want -1 for both", nc.Opts.MaxReconnect, nc.Opts.ReconnectBufSize)
	}
	w.stopServer()
	deadline := time.Now().Add(soon)
	for !errors.Is(nc.Publish("x", nil), nats.ErrReconnectBufExceeded) {
		if time.Now().After(deadline) {
			t.Fatal("a publish without a server is kept for later")
		}
		time.Sleep(time.Millisecond)
	}
}
