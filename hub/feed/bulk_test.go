package feed

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/oklog/ulid/v2"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/log"
)

// history is a log that was written in bulk, as no hub could: past the
// committer, and without waiting for each answer. The records are those that a
// hub writes for single requests.
type history struct {
	testing.TB
	dir    string
	server *log.Server
	nc     *nats.Conn
	log    *log.Log
	key    events.SigningKey
}

// newHistory makes a log of records with one token's revocation each. The last
// live of them are live for a day; the others have expired, except that each
// thousandth record carries an Idempotency-Key that is still remembered.
func newHistory(tb testing.TB, records, live int) *history {
	tb.Helper()
	h := &history{TB: tb, dir: tb.TempDir()}
	h.key, _ = events.NewSigningKey(fixedSeed{})
	h.open()
	subject, salt := "revocast.default.log", h.log.Salt()
	h.log.Close()
	js, err := jetstream.New(h.nc, jetstream.WithPublishAsyncMaxPending(4000))
	h.must(err)
	var chain events.Chain
	now := time.Now()
	var lastAck jetstream.PubAckFuture
	for i := range records {
		exp := events.At(now.Add(-time.Hour))
		if i >= records-live {
			exp = events.At(now.Add(24 * time.Hour))
		}
		exp -= exp % 1000
		full := events.AuditOp{
			Verb: events.Revoke, ID: events.IDFrom(ulid.ULID{0: 1, 12: byte(i >> 24), 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}),
			Target:    events.Target{Kind: events.KindToken, Iss: iss, Value: fmt.Sprintf("token-%09d", i)},
			ExpiresAt: exp, RetainUntil: exp, Reason: events.Logout, Actor: "key admin", Source: "api",
		}
		if i%1000 == 0 {
			full.Request = Caller{Actor: "admin", IdempotencyKey: fmt.Sprint(i)}.request(1)
		}
		var d events.Draft
		h.must(d.Add(events.Op{Verb: events.Revoke, Kind: events.KindToken, Key: salt.Key(full.Target), Term: full.Term(salt), ID: full.ID}, full))
		rec := d.Record(events.At(now.Add(-time.Minute)))
		after := chain.Next(events.HashPart(rec.Feed), events.HashPart(rec.Audit))
		lastAck, err = js.PublishMsgAsync(&nats.Msg{
			Subject: subject, Data: rec.Encode(),
			Header: nats.Header{"Revocast-Chain": {chain.String()}, "Revocast-Chain-After": {after.String()}},
		}, jetstream.WithStallWait(time.Minute))
		h.must(err)
		chain = after
	}
	<-js.PublishAsyncComplete()
	select {
	case ack := <-lastAck.Ok():
		if ack.Sequence != uint64(records) {
			tb.Fatalf("the last record is %d, want %d", ack.Sequence, records)
		}
	case err := <-lastAck.Err():
		tb.Fatal(err)
	}
	h.close()
	return h
}

type fixedSeed struct{}

func (fixedSeed) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func (h *history) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

// open starts the server and opens the log, but no feed.
func (h *history) open() {
	h.Helper()
	server, err := log.StartServer(log.ServerConfig{Dir: filepath.Join(h.dir, "log"), DangerouslySkipSync: true, MaxStore: 64 << 30})
	h.must(err)
	nc, err := server.Connect()
	h.must(err)
	l, err := log.Open(context.Background(), nc, log.Config{Feed: "default"})
	h.must(err)
	h.server, h.nc, h.log = server, nc, l
}

func (h *history) close() {
	h.log.Close()
	h.nc.Close()
	h.server.Shutdown()
}

func (h *history) feed(state StateFile) *Feed {
	h.Helper()
	f, err := Open(context.Background(), Config{Log: h.log, Keys: h.key, State: state})
	h.must(err)
	return f
}

// BenchmarkRestart opens the feed of a log whose records hold one revocation
// each, a million at most of them live and the others expired: from the first
// record on, as a hub that has no state file, and from the file. Opening the
// log comes before that, and is log-ms.
func BenchmarkRestart(b *testing.B) {
	sizes := []int{100_000, 1_000_000}
	if n := os.Getenv("RESTART_RECORDS"); n != "" { // for a history of any length
		var records int
		if _, err := fmt.Sscan(n, &records); err != nil {
			b.Fatalf("RESTART_RECORDS: %v", err)
		}
		sizes = []int{records}
	}
	for _, n := range sizes {
		h := newHistory(b, n, min(n, 1_000_000))
		file := newStateOnDisk(h.dir)
		measure := func(name string, before func() error) {
			b.Run(fmt.Sprintf("records=%d/%s", n, name), func(b *testing.B) {
				var opening time.Duration
				for b.Loop() {
					b.StopTimer()
					h.must(before())
					begun := time.Now()
					h.open()
					opening += time.Since(begun)
					b.StartTimer()
					f := h.feed(file)
					b.StopTimer()
					if got := f.Status(); got.Head != uint64(n) || got.Revocations != min(n, 1_000_000) {
						b.Fatalf("%+v", got)
					}
					f.Close() // writes the file
					h.close()
					b.StartTimer()
				}
				b.ReportMetric(opening.Seconds()*1000/float64(b.N), "log-ms")
			})
		}
		measure("replay", func() error { return os.RemoveAll(file.path) })
		measure("state", func() error { return nil })
	}
}

// BenchmarkStateWrite writes the state of a million revocations down, and reads
// it again. How long that holds the fold up is hold-ns/op: applying a record
// waits for no more.
func BenchmarkStateWrite(b *testing.B) {
	const n = 1_000_000
	x := newIndex()
	full := &auditOp{Reason: events.Logout, Actor: "key admin"}
	for i := range uint32(n) {
		var id [16]byte
		binary.BigEndian.PutUint32(id[12:], i)
		sum := sha256.Sum256(id[:])
		x.add(events.Op{Verb: events.Revoke, Kind: events.KindToken, Key: events.Key(sum[:]), ID: events.IDFrom(id), Term: events.Term{Exp: events.Never}}, full, 1, place{uint64(i), 0})
	}
	x.dead.set(n - 1)
	key, err := events.NewSigningKey(fixedSeed{})
	if err != nil {
		b.Fatal(err)
	}
	take := func() state {
		v := x.frozen()
		return state{stateHeader{Feed: "default", Epoch: "abcdefghijkl", Seq: n, At: 1, Issuers: 1, Actors: 1, Revocations: v.live()}, v, nil}
	}
	var file bytes.Buffer
	s := take()
	if _, err := s.write(&file, key); err != nil {
		b.Fatal(err)
	}
	b.Run("write", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(file.Len()))
		var held time.Duration
		for b.Loop() {
			begun := time.Now()
			s := take()
			held += time.Since(begun)
			if _, err := s.write(io.Discard, key); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(held.Nanoseconds())/float64(b.N), "hold-ns/op")
		b.ReportMetric(float64(file.Len())/n, "bytes/revocation")
	})
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(file.Len()))
		for b.Loop() {
			s, err := readState(file.Bytes(), key.Public(), 0)
			if err != nil || s.revs.len() != n-1 {
				b.Fatal(s.revs.len(), err)
			}
		}
	})
	b.Run("read and take up", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s, err := readState(file.Bytes(), key.Public(), 0)
			if err != nil {
				b.Fatal(err)
			}
			live := make(chan *events.LiveSet)
			go func() { live <- liveOf(&s.revs, 0) }()
			if y := indexOf(s.contents); y.live() != n-1 || (<-live).Len() != n-1 {
				b.Fatal("not all is there")
			}
		}
	})
}
