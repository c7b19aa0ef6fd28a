package log

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/internal/natstest"
)

// A leader that was stopped, and goes on as if nothing had happened, tells of an
// end of the log that is past, until it hears of its successor. Nobody who asks
// for the head after a record was acknowledged is told of an end before it. It
// takes some luck to catch the leader in that moment; how often it was caught is
// in the test's log, and TestNothingPastIsVouchedFor leaves nothing to luck.
func TestAPausedLeaderComesBack(t *testing.T) {
	program, err := natstest.Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	servers, err := natstest.StartProcesses(program, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer servers.Shutdown()
	ctx, cancel := context.WithTimeout(context.Background(), 2*natstest.Patience)
	defer cancel()
	js, err := servers.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer js.Conn().Close()
	cfg := Config{Feed: "paused", Replicas: 3, Wait: true, AppendTimeout: 2 * time.Second, Logger: slog.New(slog.DiscardHandler)}
	// open opens the log as a hub that knows one server only, and does not find
	// out that it is paused.
	open := func(url string) (*reader, func()) {
		nc, err := nats.Connect(url, nats.IgnoreDiscoveredServers(), nats.MaxReconnects(-1),
			nats.ReconnectBufSize(-1), nats.RetryOnFailedConnect(true), nats.ReconnectWait(50*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		l, err := Open(ctx, nc, cfg)
		if err != nil {
			t.Fatal(err)
		}
		return (&world{TB: t}).follow(l), func() { l.Close(); nc.Close() }
	}
	insist := (&clusterWorld{TB: t}).insist

	var past atomic.Int64 // answers that told of an end that was past
	for round := range 2 {
		first, closeFirst := open(servers.URLs()[0])
		insist(first, string(rune('a'+round))+"-before")
		closeFirst()
		leader, err := servers.LeaderOf(ctx, js, streamName(cfg.Feed))
		if err != nil {
			t.Fatal(err)
		}
		a, closeA := open(servers.URLs()[leader])
		b, closeB := open(servers.URLs()[(leader+1)%3])
		if err := servers.Pause(leader); err != nil {
			t.Fatal(err)
		}
		insist(b, string(rune('a'+round))+"-while")
		acknowledged, err := b.log.Head(ctx)
		if err != nil {
			t.Fatal(err)
		}
		// All of these wait for the leader that was.
		var asking sync.WaitGroup
		for range 64 {
			asking.Go(func() {
				if info, err := a.log.stream.Info(ctx); err == nil && info.State.LastSeq < acknowledged {
					past.Add(1)
				}
			})
			asking.Go(func() {
				switch head, err := a.log.Head(ctx); {
				case err == nil && head < acknowledged:
					t.Errorf("the log is said to end at %d, after %d was acknowledged", head, acknowledged)
				case err != nil:
					t.Logf("head: %v", err)
				}
			})
		}
		time.Sleep(100 * time.Millisecond) // so that they have asked; it is no matter if some have not
		if err := servers.Resume(leader); err != nil {
			t.Fatal(err)
		}
		asking.Wait()
		insist(a, string(rune('a'+round))+"-after")
		a.catchUp()
		b.catchUp()
		closeA()
		closeB()
	}
	t.Logf("%d of the leader's answers told of what was past", past.Load())
}
