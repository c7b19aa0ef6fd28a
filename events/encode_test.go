package events

import (
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"pgregory.net/rapid"
)

// The encoder may not differ from the library in a byte, nor take what the
// library refuses.
func TestTheEncoderWritesWhatTheLibraryWrites(t *testing.T) {
	kind := func(k Kind) Kind { return k % (numKinds + 1) } // few that are none
	rapid.Check(t, func(t *rapid.T) {
		op, full := rapid.Make[Op]().Draw(t, "op"), rapid.Make[AuditOp]().Draw(t, "audit op")
		op.Kind, full.Target.Kind = kind(op.Kind), kind(full.Target.Kind)
		full.Note = genText.Draw(t, "note")
		if rapid.IntRange(0, 9).Draw(t, "broken") == 0 {
			full.Actor += "\xff"
		}
		mustEncode(t, &op, &full)
	})
}

// Every field alone, so that one that is new can't be forgotten.
func TestTheEncoderKnowsEveryField(t *testing.T) {
	var op Op
	var full AuditOp
	for _, v := range []reflect.Value{reflect.ValueOf(&op).Elem(), reflect.ValueOf(&full).Elem()} {
		eachField(v, func(set func()) {
			op, full = Op{Kind: KindToken}, AuditOp{Target: Target{Kind: KindToken}}
			set()
			mustEncode(t, &op, &full)
		})
	}
}

// eachField gives f what sets a field, at any depth, to something.
func eachField(v reflect.Value, f func(set func())) {
	for i := range v.NumField() {
		field := v.Field(i)
		switch field.Kind() {
		case reflect.Struct:
			eachField(field, f)
		case reflect.Pointer:
			f(func() { field.Set(reflect.New(field.Type().Elem())) })
			inner := reflect.New(field.Type().Elem())
			eachField(inner.Elem(), func(set func()) { f(func() { field.Set(inner); set() }) })
		case reflect.String:
			f(func() { field.SetString("x") })
		case reflect.Bool:
			f(func() { field.SetBool(true) })
		case reflect.Array:
			f(func() { field.Index(0).SetUint(7) })
		case reflect.Uint8, reflect.Uint32:
			f(func() { field.SetUint(7) })
		default:
			f(func() { field.SetInt(7) })
		}
	}
}

type fataler interface {
	Fatalf(format string, args ...any)
	Helper()
}

func mustEncode(t fataler, op *Op, full *AuditOp) {
	t.Helper()
	for _, c := range []struct {
		encode func(*encoder)
		v      any
	}{
		{func(e *encoder) { e.op(op) }, op},
		{func(e *encoder) { e.auditOp(full) }, full},
	} {
		var e encoder
		e.Text = []byte("before it,")
		c.encode(&e)
		want, err := json.Marshal(c.v)
		if (err != nil) != (e.Err != nil) {
			t.Fatalf("%+v: the error is %v, the library's %v", c.v, e.Err, err)
		}
		if got, _ := strings.CutPrefix(string(e.Text), "before it,"); err == nil && got != string(want) {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
	}
}

// What the hub writes, it reads without the library.
func TestHubsWritePlainly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d Draft
		for range rapid.IntRange(1, 5).Draw(t, "n") {
			op, full := drawOp(t)
			if err := d.Add(op, full); err != nil {
				t.Fatal(err)
			}
		}
		if rec := d.Record(genTime.Draw(t, "at")); !isPlain(rec.Feed) {
			t.Fatalf("%s is odd", rec.Feed)
		}
	})
}

func isPlain(feed []byte) bool {
	_, ok := readFeed(feed)
	return ok
}
