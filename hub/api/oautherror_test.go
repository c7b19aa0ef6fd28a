package api

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/revocast/revocast/hub/feed"
	"github.com/revocast/revocast/hub/log"
	"github.com/revocast/revocast/internal/token"
)

// Each error as clients of OAuth get it.
func TestOAuthErrorOf(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		code   OAuthCode
		retry  bool
	}{
		{log.ErrUnknown, 503, TemporaryUnavailable, true},
		{log.ErrBusy, 503, TemporaryUnavailable, true},
		{log.ErrUnavailable, 503, TemporaryUnavailable, true},
		{log.ErrFull, 507, ServerError, false},
		{feed.ErrDraining, 503, TemporaryUnavailable, true},
		{feed.ErrNoTick, 503, TemporaryUnavailable, true},
		{&token.Error{Code: token.CodeKeysUnavailable}, 503, TemporaryUnavailable, true},
		{&feed.RefusedError{Code: feed.UnknownIssuer, Detail: "x"}, 400, InvalidRequest, false},
		{&Problem{Code: Unauthorized, basic: true}, 401, InvalidClient, false},
		{&Problem{Code: Forbidden, Detail: "limited to \"é\\\n\""}, 403, InsufficientScope, false},
		{&Problem{Code: UnsupportedTokenType}, 400, UnsupportedToken, false},
		{errPanic, 500, ServerError, false},
		{errors.New("secret"), 500, ServerError, false},
	} {
		rec := httptest.NewRecorder()
		problemOf(fmt.Errorf("somewhere: %w", c.err)).writeOAuth(rec)
		if rec.Code != c.status || !strings.HasPrefix(rec.Body.String(), `{"error":"`+string(c.code)+`","error_description":"`) || (rec.Header().Get("Retry-After") != "") != c.retry {
			t.Errorf("%v: %d %v %s", c.err, rec.Code, rec.Header(), rec.Body)
		}
		if strings.Contains(rec.Body.String(), "secret") || strings.ContainsAny(rec.Body.String(), "é\\") {
			t.Errorf("%v: %s", c.err, rec.Body)
		}
	}
	for code := range statusAndTitle {
		status, e := problemOf(&Problem{Code: code}).oauth()
		if e.Code == "" || e.Description == "" || status < 400 || (status >= 500) != (statusAndTitle[code].status >= 500) {
			t.Errorf("%s: %d %+v", code, status, e)
		}
	}
}

// What a hub that can't go on says of tokens is not that they are good.
func TestVouches(t *testing.T) {
	p := problemOf(unready(errors.New("secret")))
	if p.Code != Unavailable || p.retryAfter == 0 || strings.Contains(p.Detail, "secret") {
		t.Errorf("%+v", p)
	}
	if unready(nil) != nil || !errors.Is(unready(feed.ErrNoTick), feed.ErrNoTick) {
		t.Error("changed")
	}
}
