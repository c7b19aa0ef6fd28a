package api_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/api"
)

// Each line is a body that POST /v1/revocations refuses.
func TestRevocationsRefused(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat("x", 600)
	in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
	many := func(n int, last string) string {
		list := strings.Repeat(revocation("subject", ours, "alice", "")+",", n-1)
		return `{"revocations":[` + list + last + `]}`
	}
	good := revocation("subject", ours, "alice", "")
	for name, c := range map[string]struct {
		body   string
		status int
		code   api.Code
		field  string
	}{
		"empty":                     {" ", 400, api.InvalidJSON, ""},
		"not JSON":                  {`{"target":`, 400, api.InvalidJSON, "target"},
		"garbage":                   {`hello`, 400, api.InvalidJSON, ""},
		"two documents":             {good + good, 400, api.InvalidJSON, ""},
		"comma at the end":          {strings.TrimSuffix(good, "}") + `,}`, 400, api.InvalidJSON, ""},
		"not UTF-8":                 {revocation("subject", ours, "alice", ``)[:20] + "\xff" + `"}`, 400, api.InvalidJSON, "target.kind"},
		"raw control character":     {`{"reason":"a` + "\n" + `b"}`, 400, api.InvalidJSON, "reason"},
		"an array":                  {`[]`, 400, api.InvalidField, ""},
		"a string":                  {`"x"`, 400, api.InvalidField, ""},
		"null":                      {`null`, 400, api.MissingField, "target.kind"},
		"nothing":                   {`{}`, 400, api.MissingField, "target.kind"},
		"unknown field":             {`{"targets":1}`, 400, api.UnknownField, "targets"},
		"field in capitals":         {`{"Target":{}}`, 400, api.UnknownField, "Target"},
		"unknown field below":       {`{"target":{"kind":"subject","sub":"x"}}`, 400, api.UnknownField, "target.sub"},
		"field of a later release":  {revocation("subject", ours, "alice", `,"quorum":2`), 400, api.UnknownField, "quorum"},
		"except without cutoff":     {revocation("subject", ours, "alice", `,"suspend":true,"except":{"sid":"s"}`), 400, api.InvalidField, "except"},
		"except of nobody":          {revocation("subject", ours, "alice", `,"except":{}`), 400, api.InvalidField, "except"},
		"except of two":             {revocation("subject", ours, "alice", `,"except":{"sid":"s","jti":"j"}`), 400, api.InvalidField, "except"},
		"except of an actor":        {revocation("actor", ours, "svc", `,"except":{"sid":"s"}`), 400, api.InvalidField, "except"},
		"except of all":             {revocation("session", ours, "s", `,"except":{"sid":"s"}`), 400, api.InvalidField, "except"},
		"except, unknown member":    {revocation("subject", ours, "alice", `,"except":{"sub":"s"}`), 400, api.UnknownField, "except.sub"},
		"min_version, negative":     {revocation("subject", ours, "alice", `,"min_version":-1`), 400, api.InvalidField, "min_version"},
		"min_version and cutoff":    {revocation("subject", ours, "alice", `,"min_version":3,"cutoff":"`+in(-time.Hour)+`"`), 400, api.InvalidField, "min_version"},
		"min_version of a token":    {revocation("token", ours, "t", `,"min_version":3`), 400, api.InvalidField, "min_version"},
		"suspend and cutoff":        {revocation("subject", ours, "alice", `,"suspend":true,"cutoff":"`+in(-time.Hour)+`"`), 400, api.InvalidField, "suspend"},
		"effective far ahead":       {revocation("subject", ours, "alice", `,"suspend":true,"effective_at":"`+in(25*time.Hour)+`"`), 400, api.InvalidField, "effective_at"},
		"effective after the end":   {revocation("token", ours, "t", `,"expires_at":"`+in(time.Minute)+`","effective_at":"`+in(time.Hour)+`"`), 400, api.InvalidField, "effective_at"},
		"name not fit to show":      {`{"` + long + `":1}`, 400, api.UnknownField, ""},
		"duplicate field":           {`{"reason":"logout","reason":"admin"}`, 400, api.DuplicateField, "reason"},
		"duplicate field below":     {`{"target":{"kind":"subject","kind":"token"}}`, 400, api.DuplicateField, "target.kind"},
		"duplicate, escaped":        {`{"reason":"logout","re\u0061son":"admin"}`, 400, api.DuplicateField, "reason"},
		"number for a text":         {`{"note":5}`, 400, api.InvalidField, "note"},
		"text for an object":        {`{"target":"x"}`, 400, api.InvalidField, "target"},
		"number for a kind":         {`{"target":{"kind":3}}`, 400, api.InvalidField, "target.kind"},
		"number for a time":         {`{"cutoff":1764000000}`, 400, api.InvalidField, "cutoff"},
		"object for a list":         {`{"revocations":{}}`, 400, api.InvalidField, "revocations"},
		"unknown kind":              {revocation("tokens", ours, "x", ""), 400, api.InvalidField, "target.kind"},
		"kind of a later release":   {revocation("planet", ours, "x", ""), 400, api.InvalidField, "target.kind"},
		"claim, not configured":     {`{"target":{"kind":"claim","claim":"role","iss":"` + ours + `","value":"x"},"reason":"logout"}`, 400, api.InvalidField, "target.claim"},
		"claim without a name":      {revocation("claim", ours, "x", ""), 400, api.InvalidField, "target.claim"},
		"subject_client, no client": {revocation("subject_client", ours, "x", ""), 400, api.InvalidField, "target.client"},
		"client of another kind":    {`{"target":{"kind":"subject","client":"c","iss":"` + ours + `","value":"x"},"reason":"logout"}`, 400, api.InvalidField, "target.client"},
		"no issuer":                 {`{"target":{"kind":"subject","value":"alice"},"reason":"logout"}`, 400, api.MissingField, "target.iss"},
		"no value":                  {`{"target":{"kind":"subject","iss":"x"},"reason":"logout"}`, 400, api.MissingField, "target.value"},
		"no reason":                 {`{"target":{"kind":"subject","iss":"x","value":"y"}}`, 400, api.MissingField, "reason"},
		"unknown reason":            {revocation("subject", ours, "alice", `,"reason":"because"`), 400, api.InvalidField, "reason"},
		"value for an issuer":       {revocation("issuer", ours, "x", ""), 400, api.InvalidField, "target.value"},
		"not a handle":              {revocation("handle", ours, "x", ""), 400, api.InvalidField, "target.value"},
		"control character":         {`{"target":{"kind":"subject","iss":"x","value":"a\nb"},"reason":"logout"}`, 400, api.InvalidField, "target.value"},
		"control in the issuer":     {`{"target":{"kind":"subject","iss":"x\u0000","value":"a"},"reason":"logout"}`, 400, api.InvalidField, "target.iss"},
		"control in the note":       {revocation("subject", ours, "alice", `,"note":"a\u001bb"`), 400, api.InvalidField, "note"},
		"long issuer":               {revocation("subject", long, "x", ""), 400, api.InvalidField, "target.iss"},
		"long value":                {revocation("subject", ours, long, ""), 400, api.InvalidField, "target.value"},
		"long note":                 {revocation("subject", ours, "x", `,"note":"`+long+long+`"`), 400, api.InvalidField, "note"},
		"cutoff for a token":        {revocation("token", ours, "x", `,"cutoff":"2026-01-01T00:00:00Z"`), 400, api.InvalidField, "cutoff"},
		"exp for a subject":         {revocation("subject", ours, "x", `,"expires_at":"2026-01-01T00:00:00Z"`), 400, api.InvalidField, "expires_at"},
		"not a time":                {revocation("subject", ours, "x", `,"cutoff":"yesterday"`), 400, api.InvalidField, "cutoff"},
		"time without zone":         {revocation("subject", ours, "x", `,"cutoff":"2026-01-01T00:00:00"`), 400, api.InvalidField, "cutoff"},
		"time too fine":             {revocation("subject", ours, "x", `,"cutoff":"2026-01-01T00:00:00.0001Z"`), 400, api.InvalidField, "cutoff"},
		"exp in the past":           {revocation("token", ours, "x", `,"expires_at":"`+in(-time.Hour)+`"`), 422, "already_expired", "expires_at"},
		"cutoff in the future":      {revocation("subject", ours, "x", `,"cutoff":"`+in(time.Hour)+`"`), 422, "cutoff_in_future", "cutoff"},
		"longer than the log":       {revocation("token", ours, "x", `,"expires_at":"`+in(91*24*time.Hour)+`"`), 422, "retention_exceeded", "expires_at"},
		"empty list":                {`{"revocations":[]}`, 400, api.InvalidField, "revocations"},
		"list and one":              {`{"revocations":[` + good + `],"reason":"logout"}`, 400, api.InvalidField, "revocations"},
		"1001":                      {many(1001, good), 400, api.InvalidField, "revocations"},
		"one of many":               {many(3, `{"target":{"kind":"subject","value":"x"},"reason":"logout"}`), 400, api.MissingField, "revocations[2].target.iss"},
		"one of many, refused":      {many(3, revocation("subject", ours, "x", `,"cutoff":"`+in(time.Hour)+`"`)), 422, "cutoff_in_future", "revocations[2].cutoff"},
		"one of many, type":         {many(3, `{"target":{"iss":7}}`), 400, api.InvalidField, "revocations[2].target.iss"},
		"one of many, unknown":      {many(3, `{"x":7}`), 400, api.UnknownField, "revocations[2].x"},
		"one of many, null":         {many(3, `null`), 400, api.MissingField, "revocations[2].target.kind"},
		"one of many, long":         {many(3, revocation("subject", ours, long, "")), 400, api.InvalidField, "revocations[2].target.value"},
		"list of one":               {`{"revocations":[{"reason":"logout"}]}`, 400, api.MissingField, "revocations[0].target.kind"},
		"list of one, later":        {`{"revocations":[` + revocation("subject", ours, long, "") + `]}`, 400, api.InvalidField, "revocations[0].target.value"},
	} {
		t.Run(name, func(t *testing.T) {
			g := w.ask("POST", "/v1/revocations", c.body)
			g.TB = t
			g.problem(c.status, c.code, c.field)
			if strings.Contains(string(g.body), long) {
				t.Errorf("repeats what was sent: %s", g.body)
			}
		})
	}
	if n := len(w.audit()); n != 0 {
		t.Errorf("%d operations were written", n)
	}
}

func TestRequestsRefused(t *testing.T) {
	w := newWorld(t)
	id := w.revokeOne("subject", ours, "alice")
	good := revocation("subject", ours, "bob", "")
	unknown := string(id[:len(id)-1]) + "0"
	if unknown == string(id) {
		unknown = string(id[:len(id)-1]) + "1"
	}
	for _, c := range []struct {
		method, path, body string
		header             string
		status             int
		code               api.Code
		field              string
	}{
		{"GET", "/", "", "", 404, api.NotFound, ""},
		{"GET", "/v1", "", "", 404, api.NotFound, ""},
		{"GET", "/v1/revocations/", "", "", 404, api.NotFound, ""},
		{"GET", "//v1/revocations", "", "", 404, api.NotFound, ""},
		{"GET", "/v1/x/../revocations", "", "", 404, api.NotFound, ""},
		{"GET", "/v1/revocations/a/b", "", "", 404, api.NotFound, ""},
		{"PUT", "/v1/revocations", good, "", 405, api.MethodUnknown, ""},
		{"HEAD", "/v1/status", "", "", 405, api.MethodUnknown, ""},
		{"POST", "/v1/feed", good, "", 405, api.MethodUnknown, ""},
		{"POST", "/v1/revocations", good, "Content-Type: text/plain", 415, api.MediaType, "Content-Type"},
		{"POST", "/v1/revocations", good, "Content-Type: ", 415, api.MediaType, "Content-Type"},
		{"POST", "/v1/revocations", good, "Content-Type: application/json; charset=latin1", 415, api.MediaType, "Content-Type"},
		{"POST", "/v1/revocations", good, "Content-Encoding: gzip", 415, api.MediaType, "Content-Type"},
		{"POST", "/v1/check", `{}`, "Content-Type: application/x-www-form-urlencoded", 415, api.MediaType, "Content-Type"},
		{"POST", "/v1/revocations?wait=seen", good, "", 400, api.InvalidField, "wait"},
		{"POST", "/v1/revocations?timeout=2s", good, "", 400, api.InvalidField, "timeout"},
		{"POST", "/v1/revocations?wait=applied&timeout=31s", good, "", 400, api.InvalidField, "timeout"},
		{"POST", "/v1/revocations?wait=applied&timeout=-1s", good, "", 400, api.InvalidField, "timeout"},
		{"POST", "/v1/revocations?wait=applied&timeout=2", good, "", 400, api.InvalidField, "timeout"},
		{"POST", "/v1/revocations?force=1", good, "", 400, api.UnknownField, "force"},
		{"POST", "/v1/revocations", good, "Idempotency-Key: a b", 400, api.InvalidField, "Idempotency-Key"},
		{"POST", "/v1/revocations", good, "Idempotency-Key: " + strings.Repeat("k", 129), 400, api.InvalidField, "Idempotency-Key"},
		{"POST", "/v1/revocations", good, "Idempotency-Key: ü", 400, api.InvalidField, "Idempotency-Key"},
		{"GET", "/v1/revocations?limit=0", "", "", 400, api.InvalidField, "limit"},
		{"GET", "/v1/revocations?limit=1001", "", "", 400, api.InvalidField, "limit"},
		{"GET", "/v1/revocations?limit=ten", "", "", 400, api.InvalidField, "limit"},
		{"GET", "/v1/revocations?limit=1&limit=2", "", "", 400, api.DuplicateField, "limit"},
		{"GET", "/v1/revocations?offset=1", "", "", 400, api.UnknownField, "offset"},
		{"GET", "/v1/revocations?a;b", "", "", 400, api.InvalidField, ""},
		{"GET", "/v1/revocations?kind=", "", "", 400, api.InvalidField, "kind"},
		{"GET", "/v1/revocations?kind=planet", "", "", 400, api.InvalidField, "kind"},
		{"GET", "/v1/revocations?reason=because", "", "", 400, api.InvalidField, "reason"},
		{"GET", "/v1/revocations?value=alice", "", "", 400, api.MissingField, "iss"},
		{"GET", "/v1/revocations?actor=a%0Ab", "", "", 400, api.InvalidField, "actor"},
		{"GET", "/v1/revocations?cursor=x", "", "", 400, api.InvalidField, "cursor"},
		{"GET", "/v1/revocations?cursor=AQAAAAAAAAAAAAAAAA", "", "", 400, api.InvalidField, "cursor"},
		{"GET", "/v1/revocations?cursor=AgAAAAAAAAABAAAAAA", "", "", 400, api.InvalidField, "cursor"},
		{"GET", "/v1/revocations?cursor=" + strings.Repeat("A", 100), "", "", 400, api.InvalidField, "cursor"},
		{"GET", "/v1/revocations/rev_x", "", "", 400, api.InvalidField, "id"},
		{"GET", "/v1/revocations/" + strings.ToLower(string(id)), "", "", 400, api.InvalidField, "id"},
		{"GET", "/v1/revocations/" + unknown, "", "", 404, api.NotFound, ""},
		{"GET", "/v1/revocations/" + string(id) + "?full=1", "", "", 400, api.UnknownField, "full"},
		{"DELETE", "/v1/revocations/rev_x", "", "", 400, api.InvalidField, "id"},
		{"DELETE", "/v1/revocations/" + unknown, "", "", 404, api.NotFound, ""},
		{"DELETE", "/v1/revocations/" + string(id), `{"reason":"because"}`, "", 400, api.InvalidField, "reason"},
		{"DELETE", "/v1/revocations/" + string(id), `{"force":"yes"}`, "", 400, api.InvalidField, "force"},
		{"DELETE", "/v1/revocations/" + string(id), `{"why":"x"}`, "", 400, api.UnknownField, "why"},
		{"DELETE", "/v1/revocations/" + string(id), `{"note":"\u0001"}`, "", 400, api.InvalidField, "note"},
		{"GET", "/v1/feed", "", "Last-Event-ID: garbage", 400, api.InvalidField, "Last-Event-ID"},
		{"GET", "/v1/feed", "", "Last-Event-ID: abc:-1", 400, api.InvalidField, "Last-Event-ID"},
		{"GET", "/v1/feed?from=1", "", "", 400, api.UnknownField, "from"},
		{"GET", "/v1/audit?after=x", "", "", 400, api.InvalidField, "after"},
		{"GET", "/v1/audit?after=-1", "", "", 400, api.InvalidField, "after"},
		{"GET", "/v1/audit?after=99999999999999999999", "", "", 400, api.InvalidField, "after"},
		{"GET", "/v1/audit?limit=0", "", "", 400, api.InvalidField, "limit"},
		{"GET", "/v1/audit?format=csv", "", "", 400, api.UnknownField, "format"},
		{"GET", "/v1/audit/stream", "", "Last-Event-ID: garbage", 400, api.InvalidField, "Last-Event-ID"},
		{"GET", "/v1/audit/stream", "", "Last-Event-ID: nosuchepoch:1", 409, api.Conflict, "Last-Event-ID"},
		{"POST", "/v1/feed/report", `{"subscriber":"s","nonce":"","state":"fresh"}`, "", 400, api.InvalidField, "nonce"},
		{"POST", "/v1/feed/report", `{"subscriber":"s","nonce":"n","state":"fresh","applied":-1}`, "", 400, api.InvalidField, "applied"},
		{"POST", "/v1/feed/report", `{"subscriber":"s","subscriber":"t"}`, "", 400, api.DuplicateField, "subscriber"},
		{"POST", "/v1/check", `{}`, "", 400, api.MissingField, "token"},
		{"POST", "/v1/check", `{"token":"x","claims":{}}`, "", 400, api.InvalidField, "token"},
		{"POST", "/v1/check", `{"claims":"x"}`, "", 400, api.InvalidField, "claims"},
		{"POST", "/v1/check", `{"claims":null}`, "", 400, api.InvalidField, "claims"},
		{"POST", "/v1/check", `{"claims":{"sub":"alice"}}`, "", 400, api.MissingField, "claims.iss"},
		{"POST", "/v1/check", `{"claims":{"iss":"x","exp":"soon"}}`, "", 400, api.InvalidField, "claims"},
		{"POST", "/v1/check", `{"claims":{"iss":"x","sub":"a","sub":"b"}}`, "", 400, api.DuplicateField, "claims.sub"},
		{"POST", "/v1/check", `{"jwt":"x"}`, "", 400, api.UnknownField, "jwt"},
		{"POST", "/v1/keys", `{"roles":["audit"]}`, "", 400, api.MissingField, "name"},
		{"POST", "/v1/keys", `{"name":"x"}`, "", 400, api.MissingField, "roles"},
		{"POST", "/v1/keys", `{"name":"x","roles":["root"]}`, "", 400, api.InvalidField, "roles[0]"},
		{"POST", "/v1/keys", `{"name":"x","roles":["audit","audit"]}`, "", 400, api.InvalidField, "roles[1]"},
		{"POST", "/v1/keys", `{"name":"a b","roles":["audit"]}`, "", 400, api.InvalidField, "name"},
		{"POST", "/v1/keys", `{"name":"a\u0007","roles":["audit"]}`, "", 400, api.InvalidField, "name"},
		{"POST", "/v1/keys", `{"name":"` + strings.Repeat("n", 65) + `","roles":["audit"]}`, "", 400, api.InvalidField, "name"},
		{"POST", "/v1/keys", `{"name":"x","roles":["audit"],"issuers":[""]}`, "", 400, api.InvalidField, "issuers[0]"},
		{"POST", "/v1/keys", `{"name":"x","roles":["audit"],"kinds":["planet"]}`, "", 400, api.InvalidField, "kinds[0]"},
		{"POST", "/v1/keys", `{"name":"x","roles":["audit"],"key":"rvk_mine"}`, "", 400, api.UnknownField, "key"},
		{"POST", "/v1/keys", `{"name":"admin","roles":["audit"]}`, "", 409, api.Conflict, "name"},
		{"DELETE", "/v1/keys/x", "", "", 400, api.InvalidField, "id"},
		{"DELETE", "/v1/keys/key_AAAAAAAAAAAAAAAA", "", "", 404, api.NotFound, ""},
	} {
		var headers []string
		if c.header != "" {
			headers = append(headers, c.header)
		}
		g := w.ask(c.method, c.path, c.body, headers...)
		if c.method == "HEAD" { // has no body
			if g.status != c.status || g.header.Get("Allow") != "GET" {
				t.Errorf("HEAD: %d, Allow %q", g.status, g.header.Get("Allow"))
			}
			continue
		}
		g.problem(c.status, c.code, c.field)
		if c.status == 405 && g.header.Get("Allow") == "" {
			t.Errorf("%s %s: no Allow", c.method, c.path)
		}
	}
	if n := len(w.audit()); n != 1 {
		t.Errorf("the audit has %d operations, want the one", n)
	}
}

// raw sends bytes on a connection of its own and returns the answer's status
// and body.
func (w *world) raw(send func(io.Writer)) (int, string) {
	w.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		w.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	send(c)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

const rawHead = "POST /v1/revocations HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer " + adminKey + "\r\nContent-Type: application/json\r\n"

// A body that is too large is refused when it is announced, or when it has
// become too large; it is never read to its end.
func TestBodyTooLarge(t *testing.T) {
	w := newWorld(t)
	status, body := w.raw(func(c io.Writer) { fmt.Fprint(c, rawHead+"Content-Length: 10485760\r\n\r\n") })
	if status != 413 || !strings.Contains(body, `"body_too_large"`) {
		t.Errorf("announced: %d %s", status, body)
	}
	status, body = w.raw(func(c io.Writer) {
		fmt.Fprintf(c, rawHead+"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s", 10<<20, strings.Repeat(" ", api.MaxBody+1))
	})
	if status != 413 || !strings.Contains(body, `"body_too_large"`) {
		t.Errorf("chunked: %d %s", status, body)
	}
	// The largest that is read, with room between the tokens.
	g := revocation("subject", ours, "alice", "")
	w.mustRevoke(g + strings.Repeat(" ", api.MaxBody-len(g)))
	w.ask("POST", "/v1/revocations", g+strings.Repeat(" ", api.MaxBody+1-len(g))).problem(413, api.BodyTooLarge, "")
}

func TestBodyTooSlow(t *testing.T) {
	w := newWorld(t, func(s *setup) { s.api.BodyTimeout = 100 * time.Millisecond })
	status, body := w.raw(func(c io.Writer) { fmt.Fprint(c, rawHead+"Content-Length: 100\r\n\r\n{") })
	if status != 408 || !strings.Contains(body, `"body_too_slow"`) {
		t.Errorf("%d %s", status, body)
	}
	// What is in time is not cut off later, while the answer takes long.
	begun := time.Now()
	s := w.open("/v1/feed", feedName("never-reports"))
	s.next(events.EventHello)
	a := w.mustRevokeAt("?wait=applied&timeout=300ms", revocation("subject", ours, "alice", ""))
	if a.Reach == nil || a.Reach.Applied != 0 || a.Reach.Connected != 1 || time.Since(begun) < 300*time.Millisecond {
		t.Errorf("reach %v after %v", a.Reach, time.Since(begun))
	}
}

// A record is smaller than a body may be; what fits the one and not the other
// is refused as a whole.
func TestRecordTooLarge(t *testing.T) {
	w := newWorld(t)
	one := revocation("subject", ours, strings.Repeat("v", 256), `,"note":"`+strings.Repeat("n", 600)+`"`)
	list := strings.Repeat(one+",", 899) + one
	w.ask("POST", "/v1/revocations", `{"revocations":[`+list+`]}`).problem(413, api.BodyTooLarge, "")
	if n := len(w.audit()); n != 0 {
		t.Errorf("%d operations were written", n)
	}
}

func feedName(name string) string { return "Revocast-Subscriber: " + name }

func (w *world) mustRevokeAt(query, body string, headers ...string) api.RevokeAnswer {
	w.Helper()
	return must[api.RevokeAnswer](w.ask("POST", "/v1/revocations"+query, body, headers...), 201)
}
