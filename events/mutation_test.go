package events

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var everyMutation = flag.Bool("mutations", false, "TestMutations: try all of them, which takes minutes, and not only two")

// mutation is a mistake that somebody could make: one piece of the source,
// which must be there once, is replaced by another.
type mutation struct {
	name, file, is, becomes string
	by                      string // the test that must notice; default: the oracle's
}

const oracleTest = "TestLiveSetAgainstOracle"

var mutations = []mutation{
	{name: "a search looks at one candidate in a group", file: "table.go", is: "m != 0; m &= m - 1 {", becomes: "m != 0; m = 0 {"},
	{name: "a join forgets suspensions", file: "term.go", is: "t.Suspended || u.Suspended", becomes: "t.Suspended && u.Suspended"},
	{name: "a join takes the earlier cutoff", file: "term.go", is: "max(t.Cutoff, u.Cutoff)", becomes: "min(t.Cutoff, u.Cutoff)"},
	{name: "a join takes the lower version", file: "term.go", is: "max(t.MinVersion, u.MinVersion)", becomes: "min(t.MinVersion, u.MinVersion)"},
	{name: "a join ends with the first to end", file: "term.go", is: "max(t.Exp, u.Exp)", becomes: "min(t.Exp, u.Exp)"},
	{name: "of two that are spared by different cutoffs, both are", file: "term.go", is: "if later.Spared != earlier.Spared {", becomes: "if false {"},
	{name: "a sparing cutoff stays below a plain one", file: "term.go", is: "if later.SparingCutoff > j.Cutoff {", becomes: "if later.SparingCutoff > 0 {"},
	{name: "issued at the cutoff is issued after it", file: "term.go", is: "k.issuedAt <= t.Cutoff", becomes: "k.issuedAt < t.Cutoff"},
	{name: "issued at the sparing cutoff is issued after it", file: "term.go", is: "k.issuedAt <= t.SparingCutoff", becomes: "k.issuedAt < t.SparingCutoff"},
	{name: "nobody is spared by a sid", file: "term.go", is: " && t.Spared != k.session", becomes: ""},
	{name: "everybody is spared", file: "term.go", is: "t.Spared != k.token && t.Spared != k.session", becomes: "false"},
	{name: "the lowest good version is bad", file: "term.go", is: "k.version < t.MinVersion", becomes: "k.version <= t.MinVersion"},
	{name: "a suspension matches nothing", file: "term.go", is: "kind.Outright() || t.Suspended ||", becomes: "kind.Outright() ||"},
	{name: "live at its end", file: "term.go", is: "int64(t.Exp) > now", becomes: "int64(t.Exp) >= now"},
	{name: "never is a moment", file: "term.go", is: "t.Exp == Never || int64", becomes: "int64"},

	{name: "a kind is thought empty when one is taken away", file: "live.go", is: "s.stores[kind].entries.Load() == 0 && ", becomes: ""},
	{name: "what has expired matches", file: "live.go", is: "t.Live(now) && t.Matches", becomes: "t.Matches"},
	{name: "of many keys the last are not asked", file: "live.go", is: "for i := range keys.more {", becomes: "for i := range keys.more[:0] {"},
	{name: "a revoke replaces what was known", file: "live.go", is: "if t = t.Join(old); t == old {", becomes: "if t == old {"},
	{name: "a restore leaves nothing", file: "live.go", is: "left = *op.Left", becomes: "_ = op.Left"},
	{name: "a restore takes effects away that its writer did not see", file: "live.go", is: "if p.Key == op.Key && p.Effective <= now {", becomes: "if false {"},
	{name: "what is restored takes effect later", file: "live.go", is: "s.scheduled.remove(op.ID)", becomes: ""},
	{name: "what is restored stays", file: "store.go", is: "place.Store(0)", becomes: "_ = place"},
	{name: "what is replaced is counted still", file: "store.go", is: "st.count(sh.term(kind, old).Exp, -1)", becomes: "_ = old"},
	{name: "a sweep forgets what may matter yet", file: "store.go", is: "p.rebuild(kind, sh, 0, now)", becomes: "p.rebuild(kind, sh, 0, now+300)"},
	{name: "a sweep visits all shards but one", file: "store.go", is: "st.left = numShards", becomes: "st.left = numShards - 1; st.swept = 0"},
	{name: "growing mixes up terms", file: "store.go", is: "sh.terms[sh.next] = old.terms[val]", becomes: "sh.terms[sh.next] = old.terms[1]"},

	{name: "a search that would go on is not begun", file: "table.go", is: "|ctrl&w.went() != 0 }", becomes: " != 0 }"},
	{name: "half of a key is compared", file: "table.go", is: "g.key[s] == w {", becomes: "g.key[s].lo == w.lo {"},
	{name: "a search ends with the first group", file: "table.go", is: "if ctrl&w.went() == 0 {\n			return nil", becomes: "if true {\n			return nil"},
	{name: "what went on is not noted", file: "table.go", is: "g.ctrl.Store(ctrl | w.went())", becomes: "_ = g"},
	{name: "removed entries are listed", file: "table.go", is: "v != 0 && !yield(", becomes: "!yield("},

	{name: "suspensions are lost in snapshots", file: "snapshot.go", is: "b[44] != 0", becomes: "b[44] == 2"},
	{name: "a snapshot has one cutoff twice", file: "snapshot.go", is: "uint64(t.SparingCutoff))", becomes: "uint64(t.Cutoff))"},
	{name: "a snapshot forgets who is spared", file: "snapshot.go", is: "Key(b[20:36])", becomes: "Key{}"},
	{name: "what is scheduled is lost in snapshots", file: "snapshot.go", is: "s.Set.Schedule(p, 0)", becomes: ""},

	{name: "too late by a call", file: "schedule.go", is: "if p.Effective > now {", becomes: "if p.Effective >= now {"},
	{name: "what has taken effect is forgotten at once", file: "schedule.go", is: "(now - rememberEffect) / 1000", becomes: "now / 1000"},
	{name: "what is scheduled is there twice", file: "schedule.go", is: "	s.remove(p.ID)\n", becomes: ""},

	{name: "the same value of two issuers has one key", file: "key.go", is: "buf = appendPart(buf, t.Iss)", becomes: "", by: "TestVectors"},
	{name: "a subject has one key for all clients", file: "key.go", is: "buf = appendPart(buf, t.Client)", becomes: "", by: "TestVectors"},
	{name: "claims have one key for all names", file: "key.go", is: `"claim:"+t.Claim`, becomes: `"claim:"`, by: "TestVectors"},
	{name: "parts run into each other", file: "key.go", is: "b = binary.BigEndian.AppendUint32(b, uint32(len(part)))", becomes: "_ = binary.BigEndian", by: "TestVectors"},
	{name: "a token has no key for its device", file: "keys.go", is: "add(Target{Kind: KindDevice, Value: c.Device})", becomes: "", by: "TestVectors"},
	{name: "a token has no key for its issuer", file: "keys.go", is: "add(Target{Kind: KindIssuer})", becomes: "", by: "TestVectors"},
	{name: "actors are the token's issuer's", file: "keys.go", is: "Iss: a.Issuer, ", becomes: "", by: "TestVectors"},
	{name: "no token has a version", file: "keys.go", is: "k.version = c.Version", becomes: "", by: "TestVectors"},
}

// TestMutations makes mistakes in copies of the source, and wants the tests to
// notice each of them: a proof that can't fail proves nothing.
func TestMutations(t *testing.T) {
	tests := map[string]bool{}
	for _, m := range mutations {
		source, err := os.ReadFile(m.file)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(source), m.is); n != 1 {
			t.Errorf("%s: %q is in %s %d times, want once: keep the list up to date", m.name, m.is, m.file, n)
		}
		if m.by == "" {
			m.by = oracleTest
		}
		tests[m.by] = true
	}
	if t.Failed() {
		return
	}
	var names []string
	for name := range tests {
		names = append(names, name)
	}
	if out, err := mutated(t, nil, strings.Join(names, "|")); err != nil {
		t.Fatalf("without a mutation: %v\n%s", err, out)
	}
	try := mutations[:2]
	if *everyMutation {
		try = mutations
	}
	for _, m := range try {
		t.Run(m.name, func(t *testing.T) {
			if m.by == "" {
				m.by = oracleTest
			}
			out, err := mutated(t, &m, m.by)
			if err == nil {
				t.Fatalf("%s does not notice that in %s\n\t%s\nhas become\n\t%s", m.by, m.file, m.is, m.becomes)
			}
			// Not because it could not be built.
			if !strings.Contains(out, "--- FAIL: "+m.by) && !strings.Contains(out, "panic: ") {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
	if !t.Failed() {
		t.Logf("%d of %d mutations tried, all noticed", len(try), len(mutations))
	}
}

// mutated runs tests of this package with a mutation of the source.
func mutated(t *testing.T, m *mutation, tests string) (output string, err error) {
	t.Helper()
	replace := make(map[string]string)
	if m != nil {
		path, err := filepath.Abs(m.file)
		if err != nil {
			t.Fatal(err)
		}
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		replace[path] = filepath.Join(t.TempDir(), m.file)
		if err := os.WriteFile(replace[path], []byte(strings.Replace(string(source), m.is, m.becomes, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	// The same histories each time; and nobody wants the shortest that fails.
	out, err := exec.Command("go", "test", "-overlay", file, "-vet=off", "-run", "^("+tests+")$", ".",
		"-rapid.seed=1", "-rapid.nofailfile", "-rapid.shrinktime=1ns").CombinedOutput()
	return string(out), err
}
