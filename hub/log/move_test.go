package log

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// backup is what "nats stream backup" has of a stream.
type backup struct {
	config server.StreamConfig
	state  server.StreamState
	chunks [][]byte
}

func ask[T any](t *clusterWorld, nc *nats.Conn, subject string, question any) (answer T) {
	t.Helper()
	data, err := json.Marshal(question)
	if err != nil {
		t.Fatal(err)
	}
	var msg *nats.Msg
	t.until("somebody answers to "+subject, func() bool { // nobody does while a server has just come back
		msg, err = nc.RequestWithContext(t.ctx(), subject, data)
		return !errors.Is(err, nats.ErrNoResponders)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		t.Fatalf("%v: %s", err, msg.Data)
	}
	return answer
}

func (w *clusterWorld) backup(nc *nats.Conn, stream string) (b backup) {
	w.Helper()
	sub, err := nc.SubscribeSync(nats.NewInbox())
	if err != nil {
		w.Fatal(err)
	}
	defer sub.Unsubscribe()
	answer := ask[server.JSApiStreamSnapshotResponse](w, nc, fmt.Sprintf(server.JSApiStreamSnapshotT, stream),
		map[string]any{"deliver_subject": sub.Subject, "no_consumers": true})
	if answer.Error != nil {
		w.Fatal(answer.Error)
	}
	b.config, b.state = *answer.Config, *answer.State
	for {
		msg, err := sub.NextMsgWithContext(w.ctx())
		if err != nil {
			w.Fatal(err)
		}
		if len(msg.Data) == 0 {
			return b
		}
		b.chunks = append(b.chunks, bytes.Clone(msg.Data))
		if msg.Reply != "" {
			_ = msg.Respond(nil)
		}
	}
}

// restore is "nats stream restore", with a replica on each server.
func (w *clusterWorld) restore(nc *nats.Conn, b backup) {
	w.Helper()
	b.config.Replicas = len(w.URLs())
	begin := ask[server.JSApiStreamRestoreResponse](w, nc, fmt.Sprintf(server.JSApiStreamRestoreT, b.config.Name),
		server.JSApiStreamRestoreRequest{Config: b.config, State: b.state})
	if begin.Error != nil {
		w.Fatal(begin.Error)
	}
	for _, c := range append(b.chunks, nil) {
		msg, err := nc.RequestWithContext(w.ctx(), begin.DeliverSubject, c)
		if err != nil {
			w.Fatal(err)
		}
		var end server.JSApiStreamCreateResponse
		if c == nil && (json.Unmarshal(msg.Data, &end) != nil || end.Error != nil) {
			w.Fatalf("restore: %s", msg.Data)
		}
	}
}

// The log of an embedded hub moves to a cluster as it is.
func TestAnEmbeddedLogMovesToACluster(t *testing.T) {
	cw := newClusterWorld(t)
	w := newWorld(t)
	old := w.open(func(c *Config) { c.Feed = cw.feed })
	r := w.follow(old)
	for i := range 5 {
		w.append(old, fmt.Sprint("before-", i))
	}
	was := r.catchUp()
	old.Close()

	_, nc, err := cw.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	cw.restore(nc, cw.backup(w.connect(), streamName(cw.feed)))

	moved := cw.open()
	if moved.log.Epoch() != old.Epoch() || moved.log.Salt() != old.Salt() {
		t.Fatalf("epoch %s became %s: another history", old.Epoch(), moved.log.Epoch())
	}
	is := moved.catchUp()
	if len(is) != len(was) {
		t.Fatalf("%d records, want %d", len(is), len(was))
	}
	for i := range was {
		if is[i].Seq != was[i].Seq || is[i].Chain != was[i].Chain || !is[i].At.Equal(was[i].At) {
			t.Errorf("record %d is %d, %v, %v; was %d, %v, %v", i, is[i].Seq, is[i].At, is[i].Chain, was[i].Seq, was[i].At, was[i].Chain)
		}
	}
	// It goes on where it was.
	cw.insist(moved, "after")
	moved.catchUp()
	if len(moved.where("after")) != 1 || moved.where("after")[0] != uint64(len(was)+1) {
		t.Errorf("after the move: %v", moved.where("after"))
	}
}
