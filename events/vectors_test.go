package events

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	stdjson "encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/vectors.json anew")

const vectorsFile = "testdata/vectors.json"

// vectors is testdata/vectors.json, for authors of subscribers in any language;
// docs/semantics.md describes it.
type vectors struct {
	About []string `json:"about"`
	Cases []vector `json:"cases"`
}

type vector struct {
	Name       string      `json:"name"`
	Salt       string      `json:"salt"`
	ClaimNames *ClaimNames `json:"claim_names,omitempty"`
	Claims     string      `json:"claims"`
	KeyID      string      `json:"kid,omitempty"`
	Handle     string      `json:"handle,omitempty"`
	Ops        []vectorOp  `json:"ops"`
	CheckAt    int64       `json:"check_at"`
	Refused    bool        `json:"refused,omitempty"`
	Keys       []vectorKey `json:"keys,omitempty"`
	Verdict    string      `json:"verdict,omitempty"`
	By         string      `json:"by,omitempty"`
}

type vectorOp struct {
	AppliedAt int64              `json:"applied_at"`
	Op        stdjson.RawMessage `json:"op"`
}

type vectorKey struct {
	Kind string `json:"kind"`
	Key  string `json:"k"`
}

// parts are the parts of a key after the salt: kind, iss, value, and for
// subject_client the client. Claims are of the kind "claim:" and their name.
type parts []string

// spelled is the key by the description, without any of this package's code.
func (p parts) spelled(salt [16]byte) []byte {
	var b bytes.Buffer
	for _, part := range append([]string{string(salt[:])}, p...) {
		n := len(part)
		b.Write([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
		b.WriteString(part)
	}
	sum := sha256.Sum256(b.Bytes())
	return sum[:16]
}

func (p parts) kind() string { kind, _, _ := strings.Cut(p[0], ":"); return kind }

// The world of the vectors: one token, issued at t0 and checked a minute later.
const (
	vIss   = "https://issuer.example"
	t0     = 1_764_000_000_000
	vClaim = `{"iss":"https://issuer.example","sub":"alice","jti":"j-1","sid":"s-1","client_id":"web","iat":1764000000,"exp":1764000900}`
)

var (
	vToken     = parts{"token", vIss, "j-1"}
	vSubject   = parts{"subject", vIss, "alice"}
	vSession   = parts{"session", vIss, "s-1"}
	vClient    = parts{"client", vIss, "web"}
	vSubClient = parts{"subject_client", vIss, "alice", "web"}
	vIssuer    = parts{"issuer", vIss, ""}
	vBase      = []parts{vToken, vSubject, vSession, vClient, vSubClient, vIssuer}
)

// say is one operation of a case.
type say struct {
	at        int64 // when it is applied, after t0
	restores  int   // 1 + the place of what it takes away
	about     parts
	cutoff    int64 // after t0
	except    parts // what the cutoff spares
	version   int64
	suspend   bool
	exp       int64 // unix seconds; 0: for ever
	effective int64 // after t0
	left      *say
}

func (s say) term(salt [16]byte) Term {
	t := Term{MinVersion: s.version, Suspended: s.suspend, Exp: Never}
	if s.exp != 0 {
		t.Exp = uint32(s.exp)
	}
	switch {
	case s.except != nil:
		t.SparingCutoff, t.Spared = t0+s.cutoff, Key(s.except.spelled(salt))
	case s.cutoff != 0:
		t.Cutoff = t0 + s.cutoff
	}
	return t
}

// at0 is the cutoff of t0 itself, which say can't tell from none.
const at0 = -t0

type vectorCase struct {
	name    string
	names   *ClaimNames
	claims  string // default: vClaim
	kid     string
	handle  string
	ops     []say
	checkMS int64   // after t0; default: a minute
	keys    []parts // default: vBase
	by      string  // the kind that revokes; "": allowed
	refused bool
}

func withClaims(more string) string { return strings.TrimSuffix(vClaim, "}") + "," + more + "}" }

func issuedAt(iat string) string {
	return strings.Replace(vClaim, `"iat":1764000000`, `"iat":`+iat, 1)
}

func also(more ...parts) []parts {
	keys := slices.Clone(vBase)
	for _, p := range more { // in the order of the kinds
		k := must(ParseKind(p.kind()))
		i := slices.IndexFunc(keys, func(q parts) bool { return must(ParseKind(q.kind())) > k })
		if i < 0 {
			i = len(keys)
		}
		keys = slices.Insert(keys, i, p)
	}
	return keys
}

var vectorCases = []vectorCase{
	{name: "nothing is revoked"},
	{name: "another token is revoked", ops: []say{{about: parts{"token", vIss, "j-2"}}}},
	{name: "the token, by its jti", ops: []say{{about: vToken}}, by: "token"},
	{name: "the same jti of another issuer", ops: []say{{about: parts{"token", "https://other.example", "j-1"}}}},
	{name: "identity is byte-exact: an issuer with a slash is another", ops: []say{{about: parts{"token", vIss + "/", "j-1"}}}},
	{name: "identity is byte-exact: case of the subject", ops: []say{{about: parts{"subject", vIss, "Alice"}, cutoff: 1000}}},
	{name: "a value beyond ASCII", claims: strings.Replace(vClaim, "alice", "zoë", 1),
		ops:  []say{{about: parts{"subject", vIss, "zoë"}, cutoff: 1000}},
		keys: []parts{vToken, {"subject", vIss, "zoë"}, vSession, vClient, {"subject_client", vIss, "zoë", "web"}, vIssuer}, by: "subject"},
	{name: "a token's revocation ends with its exp: the second before", ops: []say{{about: vToken, exp: 1764000061}}, by: "token"},
	{name: "a token's revocation ends with its exp: that second", ops: []say{{about: vToken, exp: 1764000060}}},

	{name: "a token without jti, by its handle", claims: strings.Replace(vClaim, `"jti":"j-1",`, "", 1), handle: "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0",
		ops:  []say{{about: parts{"handle", vIss, "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0"}}},
		keys: append([]parts{{"handle", vIss, "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0"}}, vBase[1:]...), by: "handle"},
	{name: "all that a key signed, whatever the iat", claims: issuedAt("1764999999"), kid: "k-1", ops: []say{{about: parts{"key", vIss, "k-1"}}}, keys: also(parts{"key", vIss, "k-1"}), by: "key"},

	{name: "cutoff a millisecond before iat", ops: []say{{about: vSubject, cutoff: -1}}},
	{name: "cutoff at iat: the same instant is revoked", ops: []say{{about: vSubject, cutoff: at0}}, by: "subject"},
	{name: "cutoff in the same second as iat", ops: []say{{about: vSubject, cutoff: 999}}, by: "subject"},
	{name: "iat in the second after the cutoff", claims: issuedAt("1764000001"), ops: []say{{about: vSubject, cutoff: 999}}},
	{name: "iat with a fraction after the cutoff", claims: issuedAt("1764000000.500"), ops: []say{{about: vSubject, cutoff: 499}}},
	{name: "iat with a fraction at the cutoff", claims: issuedAt("1764000000.500"), ops: []say{{about: vSubject, cutoff: 500}}, by: "subject"},
	{name: "iat is rounded down to the millisecond", claims: issuedAt("1764000000.1239"), ops: []say{{about: vSubject, cutoff: 123}}, by: "subject"},
	{name: "no iat: every cutoff revokes", claims: strings.Replace(vClaim, `"iat":1764000000,`, "", 1), ops: []say{{about: vSubject, cutoff: 1 - t0}}, by: "subject"},
	{name: "nbf is not an issue time", claims: withClaims(`"nbf":0`), ops: []say{{about: vSubject, cutoff: -1}}},

	{name: "a session", ops: []say{{about: vSession, cutoff: 1000}}, by: "session"},
	{name: "a client, by client_id", claims: withClaims(`"azp":"other"`), ops: []say{{about: vClient, cutoff: 1000}}, by: "client"},
	{name: "a client, by azp where there is no client_id", claims: strings.Replace(vClaim, "client_id", "azp", 1), ops: []say{{about: vClient, cutoff: 1000}}, by: "client"},
	{name: "azp beside client_id does not count", claims: withClaims(`"azp":"other"`), ops: []say{{about: parts{"client", vIss, "other"}, cutoff: 1000}}},
	{name: "a subject at a client", ops: []say{{about: vSubClient, cutoff: 1000}}, by: "subject_client"},
	{name: "the subject at another client", ops: []say{{about: parts{"subject_client", vIss, "alice", "tv"}, cutoff: 1000}}},
	{name: "an issuer", ops: []say{{about: vIssuer, cutoff: 1000}}, by: "issuer"},
	{name: "a device", claims: withClaims(`"device_id":"d-1"`), ops: []say{{about: parts{"device", vIss, "d-1"}, cutoff: 1000}}, keys: also(parts{"device", vIss, "d-1"}), by: "device"},
	{name: "a grant, by the second of three claims, in an array", claims: withClaims(`"txn":"g-3","origin_jti":["g-1","g-2"]`), ops: []say{{about: parts{"grant", vIss, "g-2"}, cutoff: 1000}},
		keys: also(parts{"grant", vIss, "g-1"}, parts{"grant", vIss, "g-2"}, parts{"grant", vIss, "g-3"}), by: "grant"},
	{name: "an actor in the middle of the chain, with an issuer of its own", claims: withClaims(`"act":{"sub":"svc-a","act":{"sub":"svc-b","iss":"https://other.example","act":{"sub":"svc-c"}}}`),
		ops:  []say{{about: parts{"actor", "https://other.example", "svc-b"}, cutoff: 1000}},
		keys: also(parts{"actor", vIss, "svc-a"}, parts{"actor", "https://other.example", "svc-b"}, parts{"actor", vIss, "svc-c"}), by: "actor"},
	{name: "an actor is not a subject", claims: withClaims(`"act":{"sub":"svc-a"}`), ops: []say{{about: parts{"subject", vIss, "svc-a"}, cutoff: 1000}}, keys: also(parts{"actor", vIss, "svc-a"})},
	{name: "a configured claim, any element", names: &ClaimNames{Extra: []string{"tenant", "roles"}}, claims: withClaims(`"roles":["reader","admin"],"tenant":"t-1"`),
		ops:  []say{{about: parts{"claim:roles", vIss, "admin"}, cutoff: 1000}},
		keys: also(parts{"claim:tenant", vIss, "t-1"}, parts{"claim:roles", vIss, "reader"}, parts{"claim:roles", vIss, "admin"}), by: "claim"},
	{name: "the same value of another claim", names: &ClaimNames{Extra: []string{"tenant", "roles"}}, claims: withClaims(`"tenant":"admin"`),
		ops: []say{{about: parts{"claim:roles", vIss, "admin"}, cutoff: 1000}}, keys: also(parts{"claim:tenant", vIss, "admin"})},
	{name: "other claim names", names: &ClaimNames{Grant: []string{"family"}, Device: "hw", Version: "gen"}, claims: withClaims(`"family":"f-1","hw":"d-1","gen":2,"txn":"t","device_id":"x","ver":9`),
		ops: []say{{about: vSubject, version: 3}}, keys: also(parts{"grant", vIss, "f-1"}, parts{"device", vIss, "d-1"}), by: "subject"},

	{name: "a lower version", claims: withClaims(`"ver":2`), ops: []say{{about: vSubject, version: 3}}, by: "subject"},
	{name: "the same version", claims: withClaims(`"ver":3`), ops: []say{{about: vSubject, version: 3}}},
	{name: "no version is lower than every other", ops: []say{{about: vSubject, version: 1}}, by: "subject"},
	{name: "a version that is no whole number is none", claims: withClaims(`"ver":"9.0"`), ops: []say{{about: vSubject, version: 1}}, by: "subject"},
	{name: "suspended: a token from the future, too", claims: issuedAt("1764999999"), ops: []say{{about: vSubject, suspend: true}}, by: "subject"},
	{name: "suspended, and restored", ops: []say{{about: vSubject, suspend: true}, {restores: 1, about: vSubject}}},

	{name: "a cutoff spares this session", ops: []say{{about: vSubject, cutoff: 1000, except: vSession}}},
	{name: "a cutoff spares this token", ops: []say{{about: vSubject, cutoff: 1000, except: vToken}}},
	{name: "a cutoff spares another session", ops: []say{{about: vSubject, cutoff: 1000, except: parts{"session", vIss, "s-2"}}}, by: "subject"},
	{name: "spared by one revocation, revoked by another of the same target", ops: []say{{about: vSubject, cutoff: 1000, except: vSession}, {about: vSubject, cutoff: 500}}, by: "subject"},
	{name: "spared from a later cutoff, issued after the earlier", ops: []say{{about: vSubject, cutoff: 1000, except: vSession}, {about: vSubject, cutoff: -500}}},
	{name: "spared by one, and the token alone by another: the earlier cutoff revokes", ops: []say{{about: vSubject, cutoff: 1000, except: vSession}, {about: vSubject, cutoff: 500, except: vToken}}, by: "subject"},
	{name: "spared as a subject, revoked as a client", ops: []say{{about: vSubject, cutoff: 1000, except: vSession}, {about: vClient, cutoff: 1000}}, by: "client"},

	{name: "an older cutoff does not overwrite a newer", ops: []say{{about: vSubject, cutoff: 1000}, {about: vSubject, cutoff: -1000}}, by: "subject"},
	{name: "restored: what another revocation says stands", ops: []say{{about: vSubject, suspend: true}, {about: vSubject, cutoff: 1000}, {restores: 1, about: vSubject, left: &say{cutoff: 1000}}}, by: "subject"},
	{name: "a token that is restored may still be revoked by its subject", ops: []say{{about: vToken}, {about: vSubject, cutoff: 1000}, {restores: 1, about: vToken}}, by: "subject"},
	{name: "of several the first in the order of the keys is named", ops: []say{{about: vIssuer, cutoff: 1000}, {about: vSession, cutoff: 1000}, {about: vClient, cutoff: 1000}}, by: "session"},

	{name: "scheduled, a millisecond before", ops: []say{{about: vSubject, cutoff: 60_000, effective: 60_000}}, checkMS: 59_999},
	{name: "scheduled, in time", ops: []say{{about: vSubject, cutoff: 60_000, effective: 60_000}}, checkMS: 60_000, by: "subject"},
	{name: "scheduled, read late", ops: []say{{at: 50_000, about: vSubject, cutoff: 10_000, effective: 10_000}}, by: "subject"},
	{name: "scheduled, restored before", ops: []say{{about: vSubject, cutoff: 60_000, effective: 50_000}, {at: 40_000, restores: 1, about: vSubject}}},
	{name: "a restore that was written before the effect and is read after it leaves what was scheduled", ops: []say{
		{at: 7_200_000, about: vSubject, suspend: true, effective: 3_600_000}, {at: 7_200_000, about: vSubject, cutoff: 1000}, {at: 7_300_000, restores: 2, about: vSubject}}, checkMS: 7_400_000, by: "subject"},

	{name: "refused: a claim twice", claims: `{"iss":"https://issuer.example","jti":"j-1","jti":"j-2"}`, refused: true},
	{name: "refused: sub is a number", claims: `{"iss":"https://issuer.example","sub":7}`, refused: true},
	{name: "refused: iat is text", claims: issuedAt(`"1764000000"`), refused: true},
	{name: "refused: an element of a grant is no text", claims: withClaims(`"txn":["g",1]`), refused: true},
	{name: "refused: seventeen actors", claims: withClaims(`"act":` + strings.Repeat(`{"sub":"s","act":`, 16) + `{"sub":"s"}` + strings.Repeat("}", 16)), refused: true},
	{name: "null says as much as nothing", claims: strings.Replace(vClaim, `"s-1"`, "null", 1), ops: []say{{about: vSession, cutoff: 1000}},
		keys: []parts{vToken, vSubject, vClient, vSubClient, vIssuer}},
}

var vectorsAbout = []string{
	"Golden vectors for subscribers of Revocast. docs/semantics.md has the rules.",
	"For each case: read `claims`, the payload of a verified token, with `claim_names` (default: grant_id, origin_jti, txn; device_id; ver); `kid` and `handle` are the token's.",
	"`refused`: the reader must refuse the token, and the rest does not matter. Otherwise its keys, in the feed with `salt`, are `keys`, in this order.",
	"Apply each of `ops`, in order, at the time `applied_at` by your clock (unix milliseconds); then ask at `check_at` (unix milliseconds).",
	"`verdict` is `revoked` or `allowed`; `by` is the kind of the first key of the token that is revoked.",
}

// build makes the file's case of a case of the table.
func (c vectorCase) build() vector {
	salt := [16]byte(testSalt)
	v := vector{Name: c.name, Salt: base64.RawURLEncoding.EncodeToString(salt[:]), ClaimNames: c.names, Claims: c.claims, KeyID: c.kid, Handle: c.handle,
		Ops: []vectorOp{}, CheckAt: t0 + 60_000, Refused: c.refused}
	if v.Claims == "" {
		v.Claims = vClaim
	}
	if c.checkMS != 0 {
		v.CheckAt = t0 + c.checkMS
	}
	id := func(n int) ID { return ID(fmt.Sprintf("rev_01KAV9FT00000000000000%04d", n)) }
	for i, s := range c.ops {
		op := Op{Verb: Revoke, Key: Key(s.about.spelled(salt)), Kind: must(ParseKind(s.about.kind())), ID: id(i + 1)}
		if s.restores > 0 {
			op.Verb, op.ID = Restore, id(s.restores)
			if s.left != nil {
				left := s.left.term(salt)
				op.Left = &left
			}
		} else {
			op.Term = s.term(salt)
			if s.cutoff == at0 {
				op.Cutoff = t0
			}
			if s.effective != 0 {
				op.Effective = t0 + s.effective
			}
		}
		var d Draft
		if err := d.Add(op, AuditOp{Target: Target{Kind: op.Kind}}); err != nil {
			panic(err)
		}
		v.Ops = append(v.Ops, vectorOp{t0 + s.at, stdjson.RawMessage(d.feed)})
	}
	if c.refused {
		return v
	}
	if c.keys == nil {
		c.keys = vBase
	}
	for _, p := range c.keys {
		v.Keys = append(v.Keys, vectorKey{p.kind(), base64.RawURLEncoding.EncodeToString(p.spelled(salt))})
	}
	v.Verdict, v.By = "allowed", c.by
	if c.by != "" {
		v.Verdict = "revoked"
	}
	return v
}

// TestVectors runs the file as any other subscriber would.
func TestVectors(t *testing.T) {
	if *update {
		var all vectors
		all.About = vectorsAbout
		for _, c := range vectorCases {
			all.Cases = append(all.Cases, c.build())
		}
		var b bytes.Buffer
		enc := stdjson.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(all); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(vectorsFile, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	var file vectors
	if err := stdjson.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) != len(vectorCases) {
		t.Errorf("%d cases in the file, %d in the table: run with -update", len(file.Cases), len(vectorCases))
	}
	kinds, revoked := make(map[string]bool), 0
	for i, v := range file.Cases {
		t.Run(v.Name, func(t *testing.T) {
			if i < len(vectorCases) {
				if want := must(stdjson.Marshal(vectorCases[i].build())); !bytes.Equal(must(stdjson.Marshal(v)), want) {
					t.Errorf("the file has\n%s\nthe table\n%s\nrun with -update", must(stdjson.Marshal(v)), want)
				}
			}
			v.run(t)
		})
		if v.Verdict == "revoked" {
			kinds[v.By] = true
			revoked++
		}
	}
	for _, k := range Kinds() {
		if !kinds[k.String()] {
			t.Errorf("no case in which a token is revoked by its %s", k)
		}
	}
	if revoked < 20 || len(file.Cases)-revoked < 20 {
		t.Errorf("%d of %d cases are revoked", revoked, len(file.Cases))
	}
}

func (v vector) run(t *testing.T) {
	var salt Salt
	if err := salt.UnmarshalText([]byte(v.Salt)); err != nil {
		t.Fatal(err)
	}
	var names ClaimNames
	if v.ClaimNames != nil {
		names = *v.ClaimNames
	}
	if err := names.Validate(); err != nil {
		t.Fatal(err)
	}
	claims, err := names.Parse([]byte(v.Claims))
	if (err != nil) != v.Refused {
		t.Fatalf("error %v", err)
	}
	if v.Refused {
		return
	}
	claims.KeyID, claims.Handle = v.KeyID, v.Handle
	keys := salt.Keys(claims)
	var got []vectorKey
	for kind, key := range keys.All {
		got = append(got, vectorKey{kind.String(), key.String()})
	}
	if !slices.Equal(got, v.Keys) {
		t.Errorf("keys %v\nwant %v", got, v.Keys)
	}
	s := NewLiveSet()
	for _, o := range v.Ops {
		part, err := ParseFeed([]byte(feedOf(string(o.Op))))
		if err != nil || len(part.Unknown) > 0 {
			t.Fatal(err, part.Unknown)
		}
		s.Advance(o.AppliedAt)
		s.Apply(part.Ops[0], o.AppliedAt)
	}
	s.Advance(v.CheckAt)
	verdict, by := "allowed", ""
	if hit, ok := s.Match(&keys, v.CheckAt/1000); ok {
		verdict, by = "revoked", hit.Kind.String()
	}
	if verdict != v.Verdict || by != v.By {
		t.Errorf("%s %s, want %s %s", verdict, by, v.Verdict, v.By)
	}
}
