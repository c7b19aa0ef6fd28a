package feed

import (
	"reflect"
	"testing"

	"github.com/revocast/revocast/events"
)

// Whatever is read quickly, the library reads as the same; what the hub writes
// is read so.
func FuzzReadAudit(f *testing.F) {
	f.Add([]byte(`{"v":2,"at":"2026-11-22T03:00:00.123Z","ops":[]}`))
	f.Add([]byte(`{"v":1,"ops":[{"target":{"iss":"a"}},{"target":{"iss":"a","iss":"b"}},{"target":null}]}`))
	var d events.Draft
	for _, note := range []string{"", "x", "ä"} {
		op := events.AuditOp{
			Verb: events.Revoke, ID: events.IDFrom([16]byte{1}), Target: target(events.KindSubject, "alice"), Cutoff: 1000,
			Except: &events.Except{SID: "s"}, EffectiveAt: 2000, ExpiresAt: 3000, RetainUntil: 4000, MinVersion: 3, Suspend: true,
			Reason: events.Logout, Note: note, Actor: "shop", Source: "api", Forced: true, Request: &events.Request{Key: events.Key{1}, Ops: 3},
		}
		if err := d.Add(events.Op{Kind: events.KindSubject}, op); err != nil {
			f.Fatal(err)
		}
		part := d.Record(1000).Audit
		if _, ok := readAudit(part); !ok {
			f.Fatalf("%s is odd", part)
		}
		f.Add(part)
	}
	f.Fuzz(func(t *testing.T, part []byte) {
		quick, ok := readAudit(part)
		if !ok {
			return
		}
		ops, err := decodeAudit(part)
		if err != nil || len(quick) != len(ops) || len(ops) > 0 && !reflect.DeepEqual(quick, ops) {
			t.Fatalf("%s is read as %+v; by the library as %+v, %v", part, quick, ops, err)
		}
	})
}
