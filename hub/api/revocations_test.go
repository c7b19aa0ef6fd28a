package api_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/api"
)

func TestRevoke(t *testing.T) {
	w := newWorld(t)
	a := w.mustRevoke(`{"target":{"kind":"subject","iss":"` + ours + `","value":"alice"},"cutoff":"2026-01-02T03:04:05.678Z","reason":"password_change","note":"ticket 4711"}`)
	if a.Epoch == "" || a.Seq != 1 || len(a.Revocations) != 1 || a.Reach != nil {
		t.Fatalf("%+v", a)
	}
	made := a.Revocations[0]
	if made.ReissueAfter.String() != "2026-01-02T03:04:06.000Z" || time.Since(made.EffectiveAt.Std()) > time.Minute {
		t.Errorf("%+v", made)
	}
	rev := must[api.Revocation](w.ask("GET", "/v1/revocations/"+string(made.ID), ""), 200)
	want := api.Revocation{
		ID: made.ID, Target: events.Target{Kind: events.KindSubject, Iss: ours, Value: "alice"}, Cutoff: rev.Cutoff,
		RetainUntil: made.RetainUntil, Reason: events.PasswordChange, Note: "ticket 4711", Actor: "admin", Source: "api", RevokedAt: rev.RevokedAt, Seq: 1,
	}
	if rev != want || rev.Cutoff.String() != "2026-01-02T03:04:05.678Z" {
		t.Errorf("got  %+v\nwant %+v", rev, want)
	}

	key := w.mustRevoke(revocation("key", ours, "k1", "")).Revocations[0]
	if key.RetainUntil != 0 || key.ReissueAfter != 0 {
		t.Errorf("a key is revoked until it is restored: %+v", key)
	}
	token := w.mustRevoke(revocation("token", ours, "j1", fmt.Sprintf(`,"expires_at":%q`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339)))).Revocations[0]
	if d := time.Until(token.RetainUntil.Std()); d < time.Hour || d > time.Hour+5*time.Second {
		t.Errorf("a token is remembered until %v", token.RetainUntil)
	}
}

func TestRevokeMany(t *testing.T) {
	w := newWorld(t)
	list := make([]string, 1000)
	for i := range list {
		list[i] = revocation("token", ours, fmt.Sprint("jti-", i), "")
	}
	a := w.mustRevoke(`{"revocations":[` + strings.Join(list, ",") + `]}`)
	if len(a.Revocations) != 1000 || a.Seq != 1 {
		t.Fatalf("%d in record %d", len(a.Revocations), a.Seq)
	}
	for i, l := range w.audit() {
		if l.OpIndex != i || l.ID != a.Revocations[i].ID || l.Target.Value != fmt.Sprint("jti-", i) {
			t.Fatalf("line %d is %+v", i, l)
		}
	}
}

func TestIdempotency(t *testing.T) {
	w := newWorld(t)
	body := revocation("subject", ours, "alice", "")
	const key = "Idempotency-Key: request-1"
	first := w.ask("POST", "/v1/revocations", body, key)
	again := w.ask("POST", "/v1/revocations", body, key)
	if string(first.body) != string(again.body) || first.status != 201 || again.status != 201 {
		t.Errorf("first %d %s, again %d %s", first.status, first.body, again.status, again.body)
	}
	if first.header.Get("Idempotent-Replayed") != "" || again.header.Get("Idempotent-Replayed") != "true" {
		t.Error("only the second is a replay")
	}
	w.ask("POST", "/v1/revocations", body+" ", key).problem(422, "idempotency_key_reused", "Idempotency-Key")
	w.ask("POST", "/v1/revocations", `{"revocations":[`+body+`]}`, key).problem(422, "idempotency_key_reused", "Idempotency-Key")

	// The key is the actor's own.
	other := w.newKey("other", `"roles":["revoke"]`)
	if r := w.ask("POST", "/v1/revocations", body, key, with(other.Secret)); r.status != 201 || r.header.Get("Idempotent-Replayed") != "" {
		t.Errorf("%d %v", r.status, r.header)
	}
	if n := len(w.audit()); n != 2 {
		t.Errorf("the audit has %d operations, want 2", n)
	}

	// A restart forgets nothing.
	w.restart()
	if r := w.ask("POST", "/v1/revocations", body, key); string(r.body) != string(first.body) {
		t.Errorf("after a restart: %s, want %s", r.body, first.body)
	}
}

func TestIdempotencyAtOnce(t *testing.T) {
	w := newWorld(t)
	const n = 20
	answers := make([]*got, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			answers[i] = w.ask("POST", "/v1/revocations", revocation("subject", ours, "alice", ""), "Idempotency-Key: once")
		})
	}
	all.Wait()
	fresh := 0
	for _, a := range answers {
		if string(a.body) != string(answers[0].body) || a.status != 201 {
			t.Errorf("%d %s, and %s", a.status, a.body, answers[0].body)
		}
		if a.header.Get("Idempotent-Replayed") == "" {
			fresh++
		}
	}
	if ops := len(w.audit()); fresh != 1 || ops != 1 {
		t.Errorf("%d were not replays, and the audit has %d operations", fresh, ops)
	}
}

func TestRestore(t *testing.T) {
	w := newWorld(t)
	one := w.revokeOne("token", ours, "j1")
	two := w.mustRevoke(revocation("token", ours, "j1", `,"reason":"compromised"`)).Revocations[0].ID

	path := func(id events.ID) string { return "/v1/revocations/" + string(id) }
	a := must[api.RestoreAnswer](w.ask("DELETE", path(one), ""), 200)
	if a.ID != one || a.Seq != 3 || a.Epoch == "" {
		t.Errorf("%+v", a)
	}
	w.ask("DELETE", path(one), "").problem(404, api.NotFound, "")
	w.ask("GET", path(one), "").problem(404, api.NotFound, "")

	// What the other one says stands.
	check := `{"claims":{"iss":"` + ours + `","jti":"j1"}}`
	v := must[api.CheckAnswer](w.ask("POST", "/v1/check", check), 200)
	if v.Verdict != api.Revoked || len(v.Matched) != 1 || len(v.Matched[0].Revocations) != 1 || v.Matched[0].Revocations[0].ID != two {
		t.Errorf("%+v", v)
	}
	w.ask("DELETE", path(two), "").problem(409, "compromised", "")
	w.ask("DELETE", path(two), `{"force":false}`).problem(409, "compromised", "")
	must[api.RestoreAnswer](w.ask("DELETE", path(two), `{"reason":"other","note":"was a drill","force":true}`), 200)
	if v := must[api.CheckAnswer](w.ask("POST", "/v1/check", check), 200); v.Verdict != api.Allowed {
		t.Errorf("%+v", v)
	}

	audit := w.audit()
	if len(audit) != 4 {
		t.Fatalf("%d operations", len(audit))
	}
	if l := audit[2]; l.Verb != events.Restore || l.ID != one || l.Reason != events.Admin || l.Forced || l.Actor != "admin" || l.Target.Value != "j1" {
		t.Errorf("%+v", l)
	}
	if l := audit[3]; l.ID != two || l.Reason != events.Other || l.Note != "was a drill" || !l.Forced {
		t.Errorf("%+v", l)
	}
}

func TestList(t *testing.T) {
	w := newWorld(t)
	ci := w.newKey("ci", `"roles":["revoke"]`)
	alice := w.revokeOne("subject", ours, "alice")
	aliceSession := w.revokeOne("session", ours, "alice")
	bob := w.mustRevoke(revocation("subject", theirs, "bob", `,"reason":"offboarding"`)).Revocations[0].ID
	byCI := w.mustRevoke(revocation("token", ours, "j1", ""), with(ci.Secret)).Revocations[0].ID
	again := w.revokeOne("subject", ours, "alice")
	for query, want := range map[string][]events.ID{
		"":                                      {again, byCI, bob, aliceSession, alice},
		"?kind=subject":                         {again, bob, alice},
		"?kind=client":                          {},
		"?iss=" + theirs:                        {bob},
		"?iss=nobody":                           {},
		"?iss=" + ours + "&value=alice":         {again, aliceSession, alice},
		"?iss=" + ours + "&value=alice&limit=2": {again, aliceSession},
		"?iss=" + ours + "&value=alice&kind=session": {aliceSession},
		"?reason=offboarding":                        {bob},
		"?reason=policy":                             {},
		"?actor=ci":                                  {byCI},
		"?actor=nobody":                              {},
		"?actor=admin&kind=subject&reason=logout":    {again, alice},
	} {
		got := []events.ID{}
		for _, r := range must[api.RevocationList](w.ask("GET", "/v1/revocations"+query, ""), 200).Revocations {
			got = append(got, r.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s:\n got %v\nwant %v", query, got, want)
		}
	}
}

// Paging gives each revocation once, newest first, whatever is revoked
// meanwhile.
func TestPaging(t *testing.T) {
	w := newWorld(t)
	var want []events.ID
	for range 5 {
		one := revocation("subject", ours, "alice", "")
		for _, r := range w.mustRevoke(`{"revocations":[` + one + "," + one + "," + one + `]}`).Revocations {
			want = append(want, r.ID)
		}
	}
	slices.Reverse(want)
	for _, filter := range []string{"", "&kind=subject", "&iss=" + ours + "&value=alice"} {
		have := len(want)
		var got []events.ID
		cursor := ""
		for {
			p := must[api.RevocationList](w.ask("GET", "/v1/revocations?limit=4"+filter+cursor, ""), 200)
			for _, r := range p.Revocations {
				got = append(got, r.ID)
			}
			if p.NextCursor == "" {
				break
			}
			cursor = "&cursor=" + p.NextCursor
			want = slices.Insert(want, 0, w.revokeOne("subject", ours, "alice"))
		}
		if !slices.Equal(got, want[len(want)-have:]) {
			t.Errorf("with %q:\n got %v\nwant %v", filter, got, want[len(want)-have:])
		}
	}
}

// A subscriber that reports counts once it has reported; reach says so.
func TestReach(t *testing.T) {
	w := newWorld(t)
	body := revocation("subject", ours, "alice", "")
	if a := w.mustRevokeAt("?wait=applied", body); a.Reach == nil || a.Reach.Connected != 0 {
		t.Errorf("nobody is connected, and reach is %+v", a.Reach)
	}
	s := w.open("/v1/feed", feedName("orders-1"))
	var hello events.Hello
	if err := json.Unmarshal([]byte(s.next(events.EventHello).data), &hello); err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		for {
			e := s.next(events.EventRecord)
			var f events.RecordFrame
			if err := json.Unmarshal([]byte(e.data), &f); err != nil {
				t.Error(err)
				return
			}
			part, err := events.ParseFeed(f.Feed)
			if err != nil {
				t.Error(err)
				return
			}
			if !part.Report {
				continue
			}
			// One release ahead, it says something that this hub does not know.
			report := fmt.Sprintf(`{"subscriber":"orders-1","epoch":%q,"applied":%d,"state":"fresh","nonce":"n1","load":0.5}`, hello.Epoch, f.Seq)
			a := must[events.ReportAnswer](w.ask("POST", "/v1/feed/report", report), 200)
			if err := a.Verify("default", hello.Keys); err != nil || a.Nonce != "n1" || a.Head < f.Seq {
				t.Errorf("%+v: %v", a, err)
			}
			if f.Seq == 2 {
				return
			}
		}
	})
	a := w.mustRevokeAt("?wait=applied&timeout=5s", body)
	done.Wait()
	if a.Reach == nil || a.Reach.Applied != 1 || a.Reach.Connected != 1 {
		t.Errorf("reach is %+v", a.Reach)
	}
	list := must[api.SubscriberList](w.ask("GET", "/v1/subscribers", ""), 200).Subscribers
	if len(list) != 1 || list[0].Name != "orders-1" || list[0].Applied != a.Seq || list[0].Behind != 0 || list[0].State != "fresh" || list[0].Actor != "admin" {
		t.Errorf("%+v", list)
	}
	// One that does not report in time is said to be missing.
	if a := w.mustRevokeAt("?wait=applied&timeout=50ms", body); a.Reach.Applied != 0 || a.Reach.Connected != 1 {
		t.Errorf("reach is %+v", a.Reach)
	}
}

func TestStatus(t *testing.T) {
	w := newWorld(t)
	w.revokeOne("subject", ours, "alice")
	s := must[api.Status](w.ask("GET", "/v1/status", ""), 200)
	if s.Head != 1 || s.Live["subject"] != 1 || s.Revocations != 1 || s.Version != "test" || len(s.HubKeys) != 1 || s.Epoch == "" {
		t.Errorf("%+v", s)
	}
}

// A snapshot is what GET /v1/feed sends those to who have missed too much.
func TestSnapshot(t *testing.T) {
	w := newWorld(t)
	w.revokeOne("subject", ours, "alice")
	g := w.ask("GET", "/v1/snapshot", "")
	etag := g.header.Get("ETag")
	if g.status != 200 || etag == "" || g.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Fatalf("%d %v", g.status, g.header)
	}
	if g := w.ask("GET", "/v1/snapshot", "", "If-None-Match: "+etag); g.status != 304 {
		t.Errorf("%d", g.status)
	}
}
