package subscriber

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/revocast/revocast/events"
)

const testKey = "rvk_test"

// fakeHub is the simplest hub that keeps the protocol, on a real socket, with
// switches to break it.
type fakeHub struct {
	t      testing.TB
	server *httptest.Server
	key    events.SigningKey

	mu       sync.Mutex // guards the rest
	changed  chan struct{}
	epoch    string
	salt     events.Salt
	claims   events.ClaimNames
	feed     string
	records  []fakeRecord // seq n is at n-1
	oldest   uint64       // positions before it need a snapshot
	lastTick events.Time
	seen     []seenRequest
	reports  []events.Report

	// Faults.
	hold       bool                                    // records are written and not sent
	noTicks    bool                                    // no ticks
	noReports  bool                                    // reports are not answered
	noBytes    bool                                    // nothing at all after the hello, no comments either
	cut        int                                     // counts up: connections that are older end
	cutHalf    bool                                    // the next record is cut off in the middle, with the connection
	refuse     int                                     // answer the feed with this status
	retryAfter string                                  // and this header
	redirect   string                                  // send the feed elsewhere
	wrongType  bool                                    // the feed is text/html
	helloWith  func(*events.Hello)                     // change the hello
	recordWith func(seq uint64, f *events.RecordFrame) // change a record's frame
	tickWith   func(*events.Tick) bool                 // change a tick after it is signed; false: do not send it
	answerWith func(*events.ReportAnswer)              // change an answer after it is signed
	snapWith   func([]byte) []byte                     // change a snapshot
	snapHead   func(*events.SnapshotHeader)            // change its header
	once       string                                  // send this once, to everybody
	twice      bool                                    // send each record twice
}

type fakeRecord struct {
	rec   events.Record
	ops   []events.Op
	chain events.Chain
}

type seenRequest struct {
	path, lastEventID, auth, name string
	at                            time.Time
}

func newFakeHub(t testing.TB, epoch string) *fakeHub {
	return newFakeHubOn(t, epoch, func(*httptest.Server) {})
}

// newFakeHubOn starts a hub whose server has been changed before it begins to
// listen.
func newFakeHubOn(t testing.TB, epoch string, change func(*httptest.Server)) *fakeHub {
	key, err := events.NewSigningKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	h := &fakeHub{t: t, key: key, changed: make(chan struct{}), epoch: epoch, feed: "default"}
	rand.Read(h.salt[:])
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/feed", h.serveFeed)
	mux.HandleFunc("GET /v1/snapshot", h.serveSnapshot)
	mux.HandleFunc("POST /v1/feed/report", h.serveReport)
	h.server = httptest.NewUnstartedServer(mux)
	change(h.server)
	h.server.Start()
	t.Cleanup(func() {
		h.with(func() { h.cut++ })
		h.server.CloseClientConnections()
		h.server.Close()
	})
	return h
}

// with changes the hub and wakes its connections.
func (h *fakeHub) with(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *fakeHub) head() uint64 { return uint64(len(h.records)) }

func (h *fakeHub) chainAt(seq uint64) events.Chain {
	if seq == 0 || seq > h.head() {
		return events.Chain{}
	}
	return h.records[seq-1].chain
}

// fold is the live set at a position.
func (h *fakeHub) fold(seq uint64) *events.LiveSet {
	set := events.NewLiveSet()
	for _, r := range h.records[:seq] {
		for _, op := range r.ops {
			set.Apply(op, time.Now().UnixMilli())
		}
	}
	return set
}

// append adds a record with these operations.
func (h *fakeHub) append(report bool, ops ...events.Op) (seq uint64) {
	h.with(func() {
		var d events.Draft
		for i := range ops {
			id, err := events.NewID(time.Now(), rand.Reader)
			if err != nil {
				h.t.Fatal(err)
			}
			if ops[i].ID == "" {
				ops[i].ID = id
			}
			if err := d.Add(ops[i], events.AuditOp{Verb: ops[i].Verb, ID: ops[i].ID, Target: events.Target{Kind: ops[i].Kind, Iss: testIssuer}, Reason: events.Admin, Actor: "test", Source: "test"}); err != nil {
				h.t.Fatal(err)
			}
		}
		if report {
			d.AskReport()
		}
		h.put(d.Record(events.At(time.Now())), ops)
	})
	return h.head()
}

// appendRaw adds a record whose feed part is what it is.
func (h *fakeHub) appendRaw(feed string, ops ...events.Op) {
	h.with(func() { h.put(events.Record{Feed: []byte(feed), Audit: []byte("{}")}, ops) })
}

func (h *fakeHub) put(rec events.Record, ops []events.Op) {
	chain := h.chainAt(h.head()).Next(events.HashPart(rec.Feed), events.HashPart(rec.Audit))
	h.records = append(h.records, fakeRecord{rec, ops, chain})
}

// newEpoch begins another history, with or without the old salt.
func (h *fakeHub) newEpoch(epoch string, keepSalt bool) {
	h.with(func() {
		h.epoch, h.records, h.oldest = epoch, nil, 0
		if !keepSalt {
			rand.Read(h.salt[:])
		}
		h.cut++
	})
}

func (h *fakeHub) note(r *http.Request) {
	h.seen = append(h.seen, seenRequest{r.URL.Path, r.Header.Get("Last-Event-ID"), r.Header.Get("Authorization"), r.Header.Get("Revocast-Subscriber"), time.Now()})
}

func (h *fakeHub) requests(path string) (list []seenRequest) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.seen {
		if r.path == path {
			list = append(list, r)
		}
	}
	return list
}

func (h *fakeHub) serveFeed(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.note(r)
	switch {
	case r.Header.Get("Authorization") != "Bearer "+testKey:
		http.Error(w, "", http.StatusUnauthorized)
		return
	case h.refuse != 0:
		if h.retryAfter != "" {
			w.Header().Set("Retry-After", h.retryAfter)
		}
		http.Error(w, "", h.refuse)
		return
	case h.redirect != "":
		http.Redirect(w, r, h.redirect, http.StatusTemporaryRedirect)
		return
	case h.wrongType:
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "event: hello\n\n")
		return
	}
	hello := events.Hello{V: 1, Feed: h.feed, Epoch: h.epoch, Head: h.head(), Mode: events.ModeDelta,
		HeartbeatMS: 30_000, Salt: h.salt, Keys: []events.PublicKey{h.key.Public()}, Claims: h.claims}
	next := uint64(0)
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		pos, err := events.ParsePosition(id)
		switch {
		case err != nil || pos.Epoch != h.epoch || pos.Seq > h.head():
			hello.Mode = events.ModeReset
		default:
			next = pos.Seq
		}
	}
	if hello.Mode == events.ModeDelta && next < h.oldest {
		hello.Mode = events.ModeSnapshot
	}
	if h.helloWith != nil {
		h.helloWith(&hello)
	}
	w.Header().Set("Content-Type", "text/event-stream")
	rc := http.NewResponseController(w)
	send := func(text string) bool {
		// The lock is the test's convenience; a subscriber that does not read
		// must not stop the world.
		rc.SetWriteDeadline(time.Now().Add(5 * time.Second))
		_, err := io.WriteString(w, text)
		return err == nil && rc.Flush() == nil
	}
	if !send(frame(events.EventHello, hello, "")) {
		return
	}
	cut, epoch := h.cut, h.epoch
	ticker := time.NewTicker(25 * time.Millisecond)
	defer ticker.Stop()
	sent := ""
	for {
		if h.noBytes {
			// Not a word.
		} else if h.once != "" && h.once != sent {
			sent = h.once
			if !send(sent) {
				return
			}
		}
		for !h.noBytes && !h.hold && hello.Mode == events.ModeDelta && next < h.head() && epoch == h.epoch {
			next++
			rec := h.records[next-1]
			f := events.RecordFrame{Seq: next, Chain: rec.chain, Audit: events.HashPart(rec.rec.Audit), Feed: rec.rec.Feed}
			if h.recordWith != nil {
				h.recordWith(next, &f)
			}
			if f.Seq == 0 {
				continue // dropped
			}
			text := frame(events.EventRecord, f, events.Position{Epoch: epoch, Seq: f.Seq}.String())
			if h.cutHalf {
				h.cutHalf = false
				send(text[:len(text)*2/3])
				return
			}
			if !send(text) || h.twice && !send(text) {
				return
			}
		}
		changed := h.changed
		h.mu.Unlock()
		tick := false
		select {
		case <-r.Context().Done():
		case <-changed:
		case <-ticker.C:
			tick = true
		}
		h.mu.Lock()
		if r.Context().Err() != nil || h.cut != cut {
			return
		}
		if tick && !h.noTicks && !h.noBytes && epoch == h.epoch && !send(h.tick()) {
			return
		}
	}
}

func (h *fakeHub) tick() string {
	h.lastTick = max(h.lastTick+1, events.At(time.Now()))
	t := events.Tick{Seq: h.head(), At: h.lastTick, Chain: h.chainAt(h.head())}
	t.Sign(h.feed, h.epoch, h.key)
	if h.tickWith != nil && !h.tickWith(&t) {
		return ": quiet\n\n"
	}
	return frame(events.EventTick, t, "")
}

func (h *fakeHub) serveSnapshot(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.note(r)
	if r.Header.Get("Authorization") != "Bearer "+testKey {
		http.Error(w, "", http.StatusUnauthorized)
		return
	}
	head := events.SnapshotHeader{Feed: h.feed, Epoch: h.epoch, Seq: h.head(), Chain: h.chainAt(h.head()), At: events.At(time.Now()), Salt: h.salt}
	if h.snapHead != nil {
		h.snapHead(&head)
	}
	w.Write(snapshotBytes(h.t, head, h.fold(h.head()), h.snapWith))
}

func (h *fakeHub) serveReport(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.note(r)
	var report events.Report
	if err := json.UnmarshalRead(r.Body, &report); err != nil || r.Header.Get("Authorization") != "Bearer "+testKey {
		http.Error(w, "", http.StatusBadRequest)
		return
	}
	h.reports = append(h.reports, report)
	for h.noReports {
		changed := h.changed
		h.mu.Unlock()
		select {
		case <-changed:
		case <-r.Context().Done():
		}
		h.mu.Lock()
		if r.Context().Err() != nil {
			return
		}
	}
	a := events.ReportAnswer{Epoch: h.epoch, Head: h.head(), Nonce: report.Nonce, At: events.At(time.Now())}
	a.Sign(h.feed, h.key)
	if h.answerWith != nil {
		h.answerWith(&a)
	}
	b, _ := json.Marshal(a)
	w.Write(b)
}

func frame(event string, v any, id string) string {
	b, err := json.Marshal(v, jsontext.AllowDuplicateNames(true)) // for a test that needs it
	if err != nil {
		panic(err)
	}
	s := "event: " + event + "\ndata: " + string(b) + "\n"
	if id != "" {
		s += "id: " + id + "\n"
	}
	return s + "\n"
}

func snapshotBytes(t testing.TB, head events.SnapshotHeader, set *events.LiveSet, change func([]byte) []byte) []byte {
	var b writer
	if err := events.WriteSnapshot(&b, head, set, 0); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		return change(slices.Clone(b))
	}
	return b
}

type writer []byte

func (w *writer) Write(p []byte) (int, error) { *w = append(*w, p...); return len(p), nil }
