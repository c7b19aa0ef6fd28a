package api_test

import (
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/api"
)

func recordOf(t testing.TB, e event) (r api.AuditRecord) {
	t.Helper()
	if err := json.Unmarshal([]byte(e.data), &r, json.RejectUnknownMembers(true)); err != nil {
		t.Fatalf("%v: %s", err, e.data)
	}
	return r
}

func TestAuditExport(t *testing.T) {
	w := newWorld(t)
	if n := len(w.audit()); n != 0 {
		t.Errorf("an empty log has %d", n)
	}
	one := revocation("subject", ours, "alice", "")
	three := `{"revocations":[` + one + "," + one + "," + one + `]}`
	for range 3 {
		w.mustRevoke(three)
	}
	all := w.audit()
	if len(all) != 9 || all[4].Seq != 2 || all[4].OpIndex != 1 || all[4].Chain != all[3].Chain || all[4].Chain == all[2].Chain {
		t.Errorf("%d lines: %+v", len(all), all)
	}
	for query, want := range map[string]int{"?after=0": 9, "?after=1": 6, "?after=3": 0, "?limit=1": 3, "?limit=4": 6, "?after=1&limit=3": 3, "?limit=100": 9} {
		if n := len(lines(w.ask("GET", "/v1/audit"+query, ""))); n != want {
			t.Errorf("%s: %d lines, want %d", query, n, want)
		}
	}
	w.ask("GET", "/v1/audit?after=4", "").problem(409, api.Conflict, "after")

	w.restart()
	if again := w.audit(); len(again) != 9 || again[8].Chain != all[8].Chain || again[8].ID != all[8].ID {
		t.Errorf("after a restart: %+v", again)
	}
}

// The stream sends each record once, goes on where it was left, and what it
// sends extends the chain.
func TestAuditStream(t *testing.T) {
	w := newWorld(t)
	one := revocation("subject", ours, "alice", "")
	w.mustRevoke(one)
	s := w.open("/v1/audit/stream")
	e := s.next("audit")
	r := recordOf(t, e)
	epoch := w.feed.Position().Epoch
	if r.Seq != 1 || len(r.Ops) != 1 || r.Ops[0].Target.Value != "alice" || e.id != epoch+":1" {
		t.Errorf("%+v %s", r, e.id)
	}
	if next := (events.Chain{}).Next(r.FeedHash, r.AuditHash); next != r.Chain {
		t.Errorf("chain %v, want %v", r.Chain, next)
	}
	s.next("") // a heartbeat
	w.mustRevoke(`{"revocations":[` + one + "," + one + `]}`)
	e2 := s.next("audit")
	if r2 := recordOf(t, e2); r2.Seq != 2 || len(r2.Ops) != 2 || r2.Chain != r.Chain.Next(r2.FeedHash, r2.AuditHash) {
		t.Errorf("%+v", r2)
	}
	w.mustRevoke(one)

	resumed := w.open("/v1/audit/stream", "Last-Event-ID: "+e.id)
	if got := resumed.next("audit"); got != e2 {
		t.Errorf("resumed with %+v, want %+v", got, e2)
	}
	if r := recordOf(t, resumed.next("audit")); r.Seq != 3 {
		t.Errorf("then %d", r.Seq)
	}
	if r := recordOf(t, w.open("/v1/audit/stream?after=2").next("audit")); r.Seq != 3 {
		t.Errorf("after 2 comes %d", r.Seq)
	}
	// The header is what a reader that reconnects by itself adds.
	if r := recordOf(t, w.open("/v1/audit/stream?after=0", "Last-Event-ID: "+epoch+":2").next("audit")); r.Seq != 3 {
		t.Errorf("after 2 comes %d", r.Seq)
	}
	atHead := w.open("/v1/audit/stream", "Last-Event-ID: "+epoch+":3")
	w.mustRevoke(one)
	if r := recordOf(t, atHead.next("audit")); r.Seq != 4 {
		t.Errorf("after 3 comes %d", r.Seq)
	}

	w.ask("GET", "/v1/audit/stream", "", "Last-Event-ID: "+epoch+":9").problem(409, api.Conflict, "Last-Event-ID")
	w.ask("GET", "/v1/audit/stream", "", "Last-Event-ID: other:1").problem(409, api.Conflict, "Last-Event-ID")

	w.feed.Drain(0)
	s.mustEnd()
	g := w.ask("GET", "/v1/audit/stream", "")
	g.problem(503, api.Draining, "")
	if g.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	w.ask("GET", "/v1/feed", "").problem(503, api.Draining, "")
}

// Who comes back for what the log has forgotten is told so.
func TestAuditForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(s *setup) {
		withIssuers(s)
		s.retention = 8 * time.Second
		for i := range s.issuers {
			s.issuers[i].MaxTokenLifetime, s.issuers[i].Skew = 100*time.Millisecond, time.Millisecond
		}
	})
	for range 3 {
		w.mustRevoke(revocation("subject", ours, "mallory", ""))
	}
	epoch := w.feed.Position().Epoch
	for first := uint64(1); first != 4; time.Sleep(50 * time.Millisecond) {
		var err error
		if first, err = w.feed.First(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	p := w.ask("GET", "/v1/audit/stream", "", "Last-Event-ID: "+epoch+":1").problem(410, api.Gone, "Last-Event-ID")
	if p.FirstSeq != 4 {
		t.Errorf("%+v", p)
	}
	w.ask("GET", "/v1/audit?after=2", "").problem(410, api.Gone, "after")
	if n := len(lines(w.ask("GET", "/v1/audit?after=3", ""))); n != 0 {
		t.Errorf("%d", n)
	}
	w.mustRevoke(revocation("subject", ours, "mallory", ""))
	if r := recordOf(t, w.open("/v1/audit/stream").next("audit")); r.Seq != 4 {
		t.Errorf("who has nothing begins with %d", r.Seq)
	}
}
