package test

import (
	"testing"
	"time"
)

// The judge of the fault tests finds nothing in a run in which all promises
// were kept, and each breach by its name in one in which they were not.
func TestJudge(t *testing.T) {
	start := time.Now()
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	const within = time.Second
	// Three were acknowledged, one is unknown and in the log, one unknown and
	// not, one was refused; "good" was never revoked.
	kept := func() *history {
		return &history{
			claims: []claim{
				{jti: "a", sent: at(0), outcome: acknowledged, told: at(10), seq: 1},
				{jti: "b", sent: at(20), outcome: acknowledged, told: at(30), seq: 2},
				{jti: "c", producer: 1, sent: at(5), outcome: acknowledged, told: at(40), seq: 2},
				{jti: "d", sent: at(50), outcome: unknown, told: at(60)},
				{jti: "e", sent: at(70), outcome: unknown, told: at(80)},
				{jti: "f", sent: at(90), outcome: refused, told: at(95)},
			},
			log: []entry{{1, "a"}, {2, "b"}, {2, "c"}, {3, "d"}},
			heard: []testimony{{
				name: "sub", within: within,
				tokens: map[string]*sighting{
					"a":    {revoked: at(15), allowed: at(12), final: "revoked"},
					"b":    {revoked: at(900), allowed: at(800), at: 1, final: "revoked"},
					"c":    {revoked: at(35), final: "revoked"},
					"d":    {revoked: at(70), allowed: at(65), at: 2, final: "revoked"},
					"e":    {allowed: at(5000), at: 3, final: "allowed"},
					"f":    {allowed: at(5000), at: 3, final: "allowed"},
					"good": {allowed: at(5000), at: 3, final: "allowed"},
				},
				fresh: map[uint64]time.Time{0: at(1010), 1: at(1030), 3: at(9000)},
			}},
		}
	}
	if got := broken(judge(*kept())); got != "" {
		t.Fatalf("in a run without faults:\n%s", got)
	}
	token := func(h *history, jti string) *sighting { return h.heard[0].tokens[jti] }
	for _, c := range []struct {
		name  string
		want  kind
		spoil func(h *history)
	}{
		{"acknowledged and not in the log", lost, func(h *history) { h.claims[0].jti, h.log[0].jti = "z", "y"; h.claims[4].jti = "y" }},
		{"acknowledged, and the subscriber does not say", lost, func(h *history) { token(h, "a").final = "unknown" }},
		{"in the log and never sent", phantom, func(h *history) { h.log = append(h.log, entry{4, "z"}) }},
		{"in the log and refused", phantom, func(h *history) { h.log = append(h.log, entry{4, "f"}) }},
		{"in the log twice", phantom, func(h *history) { h.log = append(h.log, entry{4, "d"}) }},
		{"enforced and never revoked", phantom, func(h *history) { token(h, "good").revoked = at(100) }},
		{"enforced and refused", phantom, func(h *history) { token(h, "f").revoked = at(100) }},
		{"a record is missing in the log", gap, func(h *history) { h.log[3].seq = 4 }},
		{"allowed at its own position", gap, func(h *history) { token(h, "a").at = 1 }},
		{"the log goes back", disorder, func(h *history) { h.log = append(h.log, entry{2, "e"}) }},
		{"acknowledged elsewhere than it is", disorder, func(h *history) { h.claims[0].seq = 2; h.claims[1].seq = 3; h.log[1].seq = 3 }},
		{"before what was acknowledged before it", disorder, func(h *history) {
			h.claims[0].seq, h.claims[1].seq = 2, 1
			h.log[0].jti, h.log[1].jti = "b", "a"
			token(h, "b").at = 0
		}},
		{"the position goes back", disorder, func(h *history) { h.heard[0].backwards = []string{"3 to 2"} }},
		{"never enforced", late, func(h *history) { token(h, "c").final = "allowed" }},
		{"unknown, in the log, and never enforced", late, func(h *history) { token(h, "d").final = "allowed" }},
		{"allowed too long after", unexposed, func(h *history) { token(h, "a").allowed = at(1011) }},
		{"fresh too long before it", unexposed, func(h *history) { h.heard[0].fresh[0] = at(1011) }},
		{"enforced, then not", forgotten, func(h *history) { token(h, "a").forgotten = true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := kept()
			c.spoil(h)
			found := judge(*h)
			for _, f := range found {
				if f.kind == c.want {
					return
				}
			}
			t.Errorf("no %q among:\n%s", c.want, broken(found))
		})
	}
}
