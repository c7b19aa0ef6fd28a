package events

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/go-json-experiment/json"
)

// The messages of a session. What is accepted means the same once it has been
// written again; no name may be there twice; and nothing that was not signed
// is taken for signed.
func FuzzSessionMessages(f *testing.F) {
	key := exampleKey()
	keys := []PublicKey{key.Public()}
	tick := Tick{Seq: 1042, At: 1_764_000_000_123, Chain: Chain{1, 2, 3}}
	tick.Sign("default", "k3v9x2", key)
	answer := ReportAnswer{Epoch: "k3v9x2", Head: 1042, Nonce: "n-1", At: 1_764_000_000_123}
	answer.Sign("default", key)
	hello := Hello{V: 1, Feed: "default", Epoch: "k3v9x2", Head: 1042, Mode: ModeDelta, HeartbeatMS: 2000, Salt: testSalt, Keys: keys,
		Claims: ClaimNames{Grant: []string{"family"}, Device: "hw", Version: "gen", Extra: []string{"tenant"}}}
	frame := RecordFrame{Seq: 1041, Chain: Chain{1}, Audit: Hash{2}, Feed: []byte(feedOf(revokeToken))}
	report := Report{Subscriber: "orders-1", Epoch: "k3v9x2", Applied: 7, State: "fresh", Nonce: "n"}
	for _, v := range []any{tick, answer, hello, frame, report} {
		text := must(json.Marshal(v))
		f.Add(text)
		f.Add([]byte(edit(string(text), `{`, `{"unknown":[{}],`)))
		f.Add([]byte(edit(string(text), `{`, `{"epoch":"e","epoch":"e",`)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var (
			hello  Hello
			frame  RecordFrame
			tick   Tick
			report Report
			answer ReportAnswer
		)
		for _, v := range []struct{ got, again any }{
			{&hello, new(Hello)}, {&frame, new(RecordFrame)}, {&tick, new(Tick)}, {&report, new(Report)}, {&answer, new(ReportAnswer)},
		} {
			if json.Unmarshal(data, v.got) != nil {
				continue
			}
			// The object once more, behind itself: every name is there twice.
			if object := bytes.TrimSpace(data); len(object) > 2 && object[0] == '{' {
				inside := bytes.TrimSpace(object[1 : len(object)-1])
				twice := bytes.Join([][]byte{[]byte("{"), inside, []byte(","), inside, []byte("}")}, nil)
				if len(inside) > 0 && json.Unmarshal(twice, reflect.New(reflect.TypeOf(v.got).Elem()).Interface()) == nil {
					t.Fatalf("accepted: %s", twice)
				}
			}
			// What no hub sends, and our text forms have no word for.
			switch m := v.got.(type) {
			case *RecordFrame:
				if m.Feed == nil {
					continue
				}
			case *Tick:
				if m.At == 0 {
					continue
				}
			case *ReportAnswer:
				if m.At == 0 {
					continue
				}
			}
			text, err := json.Marshal(v.got)
			if err != nil {
				t.Fatalf("%+v: %v", v.got, err)
			}
			if err := json.Unmarshal(text, v.again); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			if again := must(json.Marshal(v.again)); !bytes.Equal(again, text) {
				t.Fatalf("%s is read, and written as %s", text, again)
			}
		}
		if tick.Sig != (Signature{}) && tick.Seq != 1042 && tick.Verify("default", "k3v9x2", keys) == nil {
			t.Fatalf("nobody signed %+v", tick)
		}
		if answer.Sig != (Signature{}) && answer.Head != 1042 && answer.Verify("default", keys) == nil {
			t.Fatalf("nobody signed %+v", answer)
		}
		// Keys that are not what their name says are never used.
		for _, k := range hello.Keys {
			if k.Validate() == nil && k.KeyID != k.thumbprint() {
				t.Fatalf("valid: %+v", k)
			}
		}
		if hello.Claims.Validate() == nil {
			if names := hello.Claims.WithDefaults(); names.Device == "" || names.Version == "" || len(names.Grant) > MaxClaimNames || len(names.Extra) > MaxClaimNames {
				t.Fatalf("valid: %+v", hello.Claims)
			}
		}
	})
}

// A log message that is a record has one spelling.
func FuzzDecodeRecord(f *testing.F) {
	f.Add([]byte("a\nb"))
	f.Add([]byte("\n"))
	f.Add([]byte("a\n\nb"))
	f.Add([]byte("a\nb\n"))
	f.Add([]byte(feedOf(revokeToken) + "\n" + `{"v":1,"at":"2025-11-24T16:00:00.123Z","ops":[]}`))
	f.Fuzz(func(t *testing.T, msg []byte) {
		r, err := DecodeRecord(msg)
		if err != nil {
			if r.Feed != nil || r.Audit != nil {
				t.Fatalf("refused, with %+v", r)
			}
			return
		}
		if !bytes.Equal(r.Encode(), msg) {
			t.Fatalf("%q is written as %q", msg, r.Encode())
		}
		if len(r.Feed) == 0 || len(r.Audit) == 0 || bytes.ContainsAny(r.Feed, "\n") || bytes.ContainsAny(r.Audit, "\n") {
			t.Fatalf("accepted %q", msg)
		}
	})
}
