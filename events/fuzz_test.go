package events

import (
	"bytes"
	"crypto/sha256"
	stdjson "encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

// The seeds are the rows of the unit tests' tables. Nothing may panic, and
// what is accepted must mean the same once it has been written again.

func FuzzParseClaims(f *testing.F) {
	for _, c := range claimsTable {
		f.Add([]byte(c.payload))
	}
	for _, c := range datesTable {
		f.Add([]byte(`{"iat":` + c.text + `,"exp":` + c.text + `}`))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		c, err := ParseClaims(payload)
		if err != nil {
			if !reflect.DeepEqual(c, Claims{}) {
				t.Fatalf("refused, with %+v", c)
			}
			return
		}
		// Another parser, lax but exact about names in a map, reads the same.
		var all map[string]any
		dec := stdjson.NewDecoder(bytes.NewReader(payload))
		dec.UseNumber()
		if err := dec.Decode(&all); err != nil {
			t.Fatalf("accepted, though another parser says %v", err)
		}
		text := func(name string) string { s, _ := all[name].(string); return s }
		client := text("client_id")
		if client == "" {
			client = text("azp")
		}
		if c.Issuer != text("iss") || c.ID != text("jti") || c.Subject != text("sub") || c.Session != text("sid") || c.Client != client {
			t.Fatalf("got %+v of %v", c, all)
		}
		for name, got := range map[string]int64{"iat": c.IssuedAt, "exp": c.Expires} {
			// A millisecond more or less is floating point's.
			var want float64
			if n, ok := all[name].(stdjson.Number); ok {
				want = must(n.Float64())
			}
			if diff := float64(got) - want*1000; got < 0 || got > maxDate*1000+999 || diff > 1 || diff < -1.1 {
				t.Fatalf("%s: got %d of %v", name, got, want)
			}
		}
		date := func(ms int64) string { return fmt.Sprintf("%d.%03d", ms/1000, ms%1000) }
		again, err := json.Marshal(map[string]any{
			"iss": c.Issuer, "jti": c.ID, "sub": c.Subject, "sid": c.Session, "client_id": c.Client,
			"iat": stdjson.RawMessage(date(c.IssuedAt)), "exp": stdjson.RawMessage(date(c.Expires)),
		})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseClaims(again); err != nil || !reflect.DeepEqual(got, c) {
			t.Fatalf("%s is read as %+v, %v; want %+v", again, got, err, c)
		}
		keys := testSalt.Keys(c)
		NewLiveSet().Match(&keys, 0)
	})
}

func FuzzParseFeed(f *testing.F) {
	for _, c := range feedTable {
		if c.known < MaxOps-1 && len(c.part) < 4000 { // long ones only slow it down
			f.Add([]byte(c.part))
		}
	}
	f.Fuzz(func(t *testing.T, part []byte) {
		p, err := ParseFeed(part)
		if quick, ok := readFeed(part); ok {
			if p, err = decodeFeed(part); err != nil || !reflect.DeepEqual(quick, p) {
				t.Fatalf("%s is read as %+v; by the library as %+v, %v", part, quick, p, err)
			}
		}
		if err != nil {
			return
		}
		if len(p.Ops)+len(p.Unknown) == 0 || len(p.Ops)+len(p.Unknown) > MaxOps {
			t.Fatalf("accepted with %d operations and %d unknown ones", len(p.Ops), len(p.Unknown))
		}
		s := NewLiveSet()
		var d Draft
		for _, op := range p.Ops {
			if op.Key == (Key{}) || op.ID == "" || !op.Kind.Valid() || op.Verb != Revoke && op.Verb != Restore {
				t.Fatalf("accepted %+v", op)
			}
			s.Apply(op, op.Effective-1)
			if held := slices.ContainsFunc(s.Scheduled(), func(p Scheduled) bool { return p.ID == op.ID }); !held && op.Effective != 0 {
				t.Fatalf("%+v is not scheduled", op)
			}
			s.Apply(op, max(op.Effective, 1))
			if term, ok := s.Lookup(op.Kind, op.Key); op.Verb == Revoke && (!ok || term != term.Join(op.Term)) {
				t.Fatalf("%+v has no effect: %+v, %v", op, term, ok)
			}
			if err := d.Add(op, AuditOp{Target: Target{Kind: op.Kind}}); err != nil {
				t.Fatal(err)
			}
		}
		if d.Len() == 0 {
			return
		}
		if p.Report {
			d.AskReport()
		}
		again, err := ParseFeed(d.Record(p.At).Feed)
		p.Unknown = nil // can't be written
		if err != nil || !reflect.DeepEqual(again, p) {
			t.Fatalf("%s is read as %+v, %v; want %+v", d.Record(p.At).Feed, again, err, p)
		}
	})
}

func FuzzParseAudit(f *testing.F) {
	for _, c := range auditTable {
		f.Add([]byte(c.part))
	}
	f.Fuzz(func(t *testing.T, part []byte) {
		at, ops, err := ParseAudit(part)
		if err != nil {
			return
		}
		var d Draft
		for _, op := range ops {
			op.Term(testSalt)
			op.Target.Validate()
			if !op.Target.Kind.Valid() || op.ID == "" || op.Request != nil && op.Request.Key == (Key{}) {
				return // no hub writes it
			}
			if err := d.Add(Op{Kind: op.Target.Kind}, op); err != nil {
				t.Fatal(err)
			}
		}
		rec := d.Record(at)
		if bytes.IndexByte(rec.Audit, '\n') >= 0 {
			t.Fatalf("more than a line: %q", rec.Audit)
		}
		atAgain, again, err := ParseAudit(rec.Audit)
		if err != nil || atAgain != at || len(again) != len(ops) || len(ops) > 0 && !reflect.DeepEqual(again, ops) {
			t.Fatalf("%s is read as %v %+v, %v; want %v %+v", rec.Audit, atAgain, again, err, at, ops)
		}
	})
}

func FuzzReadSnapshot(f *testing.F) {
	for _, c := range snapshotTable {
		if len(c.data) < 4000 {
			f.Add(c.data[:len(c.data)-sha256.Size])
		}
	}
	small := smallSnapshot(f)
	f.Add(small[:len(small)-sha256.Size])
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := readSnapshotBytes(data); err == nil {
			return // it brought its own checksum
		}
		// The checksum is made right, or nothing behind it would be tried.
		sum := sha256.Sum256(data)
		s, err := readSnapshotBytes(append(data[:len(data):len(data)], sum[:]...))
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := WriteSnapshot(&b, s.SnapshotHeader, s.Set, -1); err != nil {
			t.Fatal(err)
		}
		again, err := ReadSnapshot(&b, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := contents(again.Set), contents(s.Set); !maps.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
		s.Sections, again.Sections = nil, nil
		if !reflect.DeepEqual(again.SnapshotHeader, s.SnapshotHeader) {
			t.Fatalf("header %+v, want %+v", again.SnapshotHeader, s.SnapshotHeader)
		}
	})
}

func FuzzParsePosition(f *testing.F) {
	for _, c := range positionTable {
		f.Add(c.text)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := ParsePosition(s); err == nil && p.String() != s {
			t.Fatalf("%q is another spelling of %s", s, p)
		} else if err == nil && !ValidEpoch(p.Epoch) {
			t.Fatalf("%q has no epoch", s)
		}
	})
}

func FuzzParseID(f *testing.F) {
	for _, c := range idTable {
		f.Add(c.text)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseID(s)
		if err == nil && (string(id) != s || IDFrom(id.Bytes()) != id) {
			t.Fatalf("%q is another spelling of %s", s, id)
		}
		if err == nil && (len(s) != 30 || !strings.HasPrefix(s, "rev_") || strings.ToUpper(s[4:]) != s[4:]) {
			t.Fatalf("accepted %q", s)
		}
	})
}

func FuzzTime(f *testing.F) {
	for _, c := range timeTable {
		f.Add(c.text)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var got Time
		if err := got.UnmarshalText([]byte(s)); err != nil {
			if got != 0 {
				t.Fatalf("%q is refused, with %d", s, got)
			}
			return
		}
		std, err := time.Parse(time.RFC3339Nano, s)
		if err != nil || std.UnixNano()/1e6 != int64(got) && std.Year() < 2262 || got <= 0 || !got.Std().Equal(std) {
			t.Fatalf("%q is read as %d, another parser says %v, %v", s, got, std, err)
		}
		var again Time
		if err := again.UnmarshalText([]byte(got.String())); err != nil || again != got {
			t.Fatalf("%q is written %s, and read as %d, %v", s, got, again, err)
		}
	})
}

func FuzzClaimNamesParse(f *testing.F) {
	for _, c := range configuredTable {
		n := c.names.WithDefaults()
		f.Add(strings.Join(n.Grant, " "), n.Device, n.Version, strings.Join(n.Extra, " "), []byte(c.payload))
	}
	f.Fuzz(func(t *testing.T, grant, device, version, extra string, payload []byte) {
		n := ClaimNames{Grant: strings.Fields(grant), Device: device, Version: version, Extra: strings.Fields(extra)}
		if n.Validate() != nil {
			return
		}
		c, err := n.Parse(payload)
		if err != nil {
			if !reflect.DeepEqual(c, Claims{}) {
				t.Fatalf("refused, with %+v", c)
			}
			return
		}
		n = n.WithDefaults()
		var all map[string]any
		dec := stdjson.NewDecoder(bytes.NewReader(payload))
		dec.UseNumber()
		if err := dec.Decode(&all); err != nil {
			t.Fatalf("accepted, though another parser says %v", err)
		}
		// All that is there was read, and nothing else, in the order of the names.
		values := func(name string) (list []string) {
			switch v := all[name].(type) {
			case nil:
			case string:
				list = []string{v}
			case []any:
				for _, e := range v {
					s, ok := e.(string)
					if !ok && e != nil {
						t.Fatalf("accepted %s: %v", name, v)
					}
					list = append(list, s)
				}
			default:
				t.Fatalf("accepted %s: %v", name, v)
			}
			if len(list) > 16 {
				t.Fatalf("accepted %d values of %s", len(list), name)
			}
			return list
		}
		var grants, devices []string
		for _, name := range n.Grant {
			grants = append(grants, values(name)...)
		}
		var extras []ClaimValue
		for _, name := range n.Extra {
			for _, v := range values(name) {
				extras = append(extras, ClaimValue{name, v})
			}
		}
		if devices = values(n.Device); len(devices) == 0 {
			devices = []string{""}
		}
		if !slices.Equal(c.Grants, grants) || !slices.Equal(c.Extra, extras) || !slices.Equal(devices, []string{c.Device}) {
			t.Fatalf("got %+v of %v", c, all)
		}
		var actors []Actor
		for at, n := all["act"], 0; at != nil; n++ {
			a, ok := at.(map[string]any)
			if !ok || n == 16 {
				t.Fatalf("accepted act %v", all["act"])
			}
			sub, _ := a["sub"].(string)
			iss, _ := a["iss"].(string)
			if iss == "" {
				iss = c.Issuer
			}
			if sub != "" {
				actors = append(actors, Actor{iss, sub})
			}
			at = a["act"]
		}
		if !slices.Equal(c.Actors, actors) {
			t.Fatalf("got %+v of %v", c, all)
		}
		number, _ := all[n.Version].(stdjson.Number)
		v, err := number.Int64()
		if has := err == nil && v >= 0; c.HasVersion != has || has && c.Version != v || !has && c.Version != 0 {
			t.Fatalf("got %+v of %v", c, all)
		}
		keys := testSalt.Keys(c)
		if keys.Len() > 8+2*MaxClaimNames*16+16 {
			t.Fatalf("%d keys", keys.Len())
		}
		NewLiveSet().Match(&keys, 0)
	})
}
