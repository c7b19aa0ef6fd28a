package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/feed"
	"github.com/revocast/revocast/hub/log"
	"github.com/revocast/revocast/internal/token"
)

// Each error that the layers below are known to return, and how it is told.
func TestProblemOf(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("somewhere: %w", err) }
	for _, c := range []struct {
		err     error
		status  int
		code    Code
		retry   bool
		outcome string
	}{
		{&events.FieldError{Field: "f", Problem: "p"}, 400, InvalidField, false, ""},
		{&feed.RefusedError{Code: feed.UnknownIssuer}, 422, "unknown_issuer", false, ""},
		{&feed.RefusedError{Code: feed.AlreadyExpired}, 422, "already_expired", false, ""},
		{&feed.RefusedError{Code: feed.FutureCutoff}, 422, "cutoff_in_future", false, ""},
		{&feed.RefusedError{Code: feed.RetentionExceeded}, 422, "retention_exceeded", false, ""},
		{&feed.RefusedError{Code: feed.KeyReused}, 422, "idempotency_key_reused", false, ""},
		{&feed.RefusedError{Code: feed.NotFound}, 404, "not_found", false, ""},
		{&feed.RefusedError{Code: feed.Protected}, 409, "compromised", false, ""},
		{&feed.RefusedError{Code: "new"}, 500, Internal, false, ""},
		{log.ErrUnknown, 503, OutcomeUnknown, true, "unknown"},
		{fmt.Errorf("%w: %w", log.ErrUnknown, context.DeadlineExceeded), 503, OutcomeUnknown, true, "unknown"},
		{fmt.Errorf("%w: %w", log.ErrUnknown, log.ErrClosed), 503, OutcomeUnknown, true, "unknown"},
		{log.ErrFull, 507, StorageFull, false, ""},
		{log.ErrTooLarge, 413, BodyTooLarge, false, ""},
		{log.ErrBusy, 503, Busy, true, ""},
		{feed.ErrFull, 503, Busy, true, ""},
		{feed.ErrDraining, 503, Draining, true, ""},
		{log.ErrClosed, 503, Draining, true, ""},
		{log.ErrUnavailable, 503, Unavailable, true, ""},
		{feed.ErrNoTick, 503, Unavailable, true, ""},
		{context.DeadlineExceeded, 503, Unavailable, true, ""},
		{&token.Error{Code: token.CodeKeysUnavailable}, 503, Unavailable, true, ""},
		{&token.Error{Code: token.CodeExpired}, 500, Internal, false, ""},
		{&log.HistoryError{Detail: "secret"}, 500, Internal, false, ""},
		{errors.New("secret"), 500, Internal, false, ""},
		{&Problem{Code: Gone, FirstSeq: 3}, 410, Gone, false, ""},
	} {
		rec := httptest.NewRecorder()
		p := problemOf(wrap(c.err))
		p.write(rec)
		if rec.Code != c.status || p.Code != c.code || p.Outcome != c.outcome || (rec.Header().Get("Retry-After") != "") != c.retry {
			t.Errorf("%v: %d %v %s", c.err, rec.Code, rec.Header(), rec.Body)
		}
		if strings.Contains(rec.Body.String(), "secret") || strings.Contains(rec.Body.String(), "somewhere") {
			t.Errorf("%v: tells too much: %s", c.err, rec.Body)
		}
	}
	for code, how := range statusAndTitle {
		if how.status < 400 || how.title == "" {
			t.Errorf("%s: %+v", code, how)
		}
	}
}

func TestFieldPath(t *testing.T) {
	for pointer, want := range map[jsontext.Pointer]string{
		"":                                  "",
		"/target":                           "target",
		"/revocations/3/target/iss":         "revocations[3].target.iss",
		"/a~1b/c":                           "a/b.c",
		"/a/" + jsontext.Pointer([]byte{7}): "a",
		"/a/" + jsontext.Pointer(strings.Repeat("x", 65)) + "/c": "a",
		jsontext.Pointer(strings.Repeat("/x", 500)):              strings.TrimSuffix(strings.Repeat("x.", 101), "."),
	} {
		if got := fieldPath(pointer); got != want {
			t.Errorf("%.40q: %q, want %q", pointer, got, want)
		}
	}
}

func newRing(t testing.TB) *Keyring {
	k, _, err := NewKeyring(keptIn(new([]byte), nil), nil, "")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestPanic(t *testing.T) {
	a := New(Config{Keys: newRing(t)})
	a.mux.HandleFunc("/boom", func(http.ResponseWriter, *http.Request) { panic("secret") })
	a.mux.HandleFunc("/late", func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte("half of "))
		panic("secret")
	})
	rec := httptest.NewRecorder()
	a.ServeHTTP(rec, httptest.NewRequest("GET", "/boom", nil))
	if rec.Code != 500 || !strings.Contains(rec.Body.String(), `"internal"`) || strings.Contains(rec.Body.String(), "secret") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	mustCut(t, a, "/late")
}

// An error that comes when half of the answer is out cuts it off: half is not
// to be taken for the whole.
func TestErrorTooLate(t *testing.T) {
	a := New(Config{Keys: newRing(t)})
	a.mux.HandleFunc("/late", func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte("half of "))
		a.fail(w.(*response), errForgotten)
	})
	mustCut(t, a, "/late")
}

func mustCut(t *testing.T, a *API, path string) {
	t.Helper()
	rec := httptest.NewRecorder()
	defer func() {
		if v := recover(); v != http.ErrAbortHandler || rec.Body.String() != "half of " {
			t.Errorf("recovered %v after %s", v, rec.Body)
		}
	}()
	a.ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
	t.Error("the answer was completed")
}

func TestFailuresAreCounted(t *testing.T) {
	f := newFailures()
	from := func(addr string) address { return addressOf(&http.Request{RemoteAddr: addr}) }
	if from("[2001:db8::1]:1") != from("[2001:db8::ffff:2]:9") || from("[2001:db8::1]:1") == from("[2001:db8:0:1::1]:1") {
		t.Error("the addresses of a /64 are one")
	}
	if from("192.0.2.1:1") != from("[::ffff:192.0.2.1]:2") || from("192.0.2.1:1") == from("192.0.2.2:1") {
		t.Error("IPv4 addresses are told apart, however they are written")
	}
	now := time.Now()
	one, two := from("192.0.2.1:1"), from("192.0.2.2:1")
	for i := range failuresBurst {
		if _, ok := f.add(one, now); !ok {
			t.Fatalf("failure %d is too many", i)
		}
	}
	if _, ok := f.add(one, now); ok {
		t.Error("one too many is not")
	}
	if _, ok := f.free(one, now); ok {
		t.Error("there is room")
	}
	if _, ok := f.add(two, now); !ok {
		t.Error("another address pays for it")
	}
	if _, ok := f.free(one, now.Add(failuresEvery)); !ok {
		t.Error("it is not forgiven")
	}
	for i := range 2 * failuresTracked {
		f.add(from(fmt.Sprintf("10.%d.%d.1:1", i>>8, i&255)), now)
	}
	if n := f.byAddress.Len(); n != failuresTracked {
		t.Errorf("%d addresses are remembered", n)
	}
}
