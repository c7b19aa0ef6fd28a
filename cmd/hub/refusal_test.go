package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestWhatIsWrongAndWhatToDo(t *testing.T) {
	w := newWorld(t)
	w.serve()
	w.as("").run("", "list").exits(2).says("set REVOCAST_KEY", "was printed when the hub first started")
	w.as("rvk_wrong").run("", "list").exits(1).says("(unauthorized)", "check REVOCAST_KEY", "was printed when the hub first started").keeps("rvk_wrong")
	w.run("", "list", "--hub", "localhost:8080").exits(2).says("--hub: want an address such as http://127.0.0.1:8080")
	w.run("", "restore", "alice").exits(2).says("ID: not a revocation id", "hub list")
	w.run("", "revoke", "subject", "alice").exits(2).says("--iss is missing")
	w.run("", "revoke", "subject", "--iss", iss).exits(2).says("subject needs a VALUE")
	w.run("", "revoke", "issuer", "x", "--iss", iss).exits(2).says("issuer takes no VALUE")
	w.run("", "revoke", "nose", "x", "--iss", iss).exits(2).says("subject", `"nose"`)
	w.run("", "revoke", "token", "x", "--iss", iss, "--cutoff", "2026-01-01T00:00:00Z").exits(1).says("--cutoff: ", "(invalid_field)")
	w.run("", "revoke", "subject", "x", "--iss", iss, "--cutoff", "yesterday").exits(2).says("--cutoff", "RFC 3339")
	w.run("", "revoke", "subject", "x", "--iss", iss, "--cutoff", "2999-01-01T00:00:00Z").exits(1).says("--cutoff: ", "(cutoff_in_future)")
	w.run("", "revoke", "token", "x", "--iss", iss, "--expires-at", "2999-01-01T00:00:00Z").exits(1).says("(retention_exceeded)", "--retention")
	w.run("", "check", "--claims", "alice").exits(2).says("want a JSON object")
	w.run("", "check", "--kid", "k").exits(2).says("--kid goes with --claims")
}

func TestNoHub(t *testing.T) {
	w := newWorld(t)
	w.key = "rvk_any"
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.url = "http://" + l.Addr().String()
	l.Close()
	for _, args := range [][]string{
		{"list"}, {"status"}, {"tail"}, {"tail", "--after", "0"}, {"revoke", "subject", "alice", "--iss", iss}, {"key", "list"},
	} {
		w.run("", args...).exits(1).says("nothing listens at "+w.url, "is the hub running?", "hub serve")
	}
	w.run("", "list", "--hub", "http://no-such-host.invalid").exits(1).says("no-such-host.invalid", "in the clear")
}

func TestSomethingElseAtTheAddress(t *testing.T) {
	w := newWorld(t)
	w.key = "rvk_any"
	other := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/keys" {
			http.Redirect(rw, r, "/login", http.StatusFound)
			return
		}
		_, _ = rw.Write([]byte("<html>hello</html>"))
	}))
	defer other.Close()
	w.url = other.URL
	w.run("", "list").exits(1).says("as no hub does", "is --hub right?")
	w.run("", "key", "list").exits(1).says("302 Found", "as no hub does")

	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer silent.Close()
	w.url = silent.URL
	w.run("", "status", "--timeout", "100ms").exits(1).says("did not answer in time", "--timeout")
}

func TestEveryCommandShowsExamples(t *testing.T) {
	w := newWorld(t)
	mustShow(t, w.do("--help"), "hub runs a hub", "revoke", "key create", "REVOCAST_KEY")
	for _, cmd := range newParser(newSettings(nil)).Model.Leaves(false) {
		if help := w.do(append(strings.Fields(cmd.Path()), "--help")...); cmd.Name != "version" {
			mustShow(t, help, "Examples:\n")
		}
	}
	mustShow(t, w.do("list", "--help"), "Others on this machine can see", "$REVOCAST_KEY")
	mustShow(t, w.do("version"), "hub ", "go1.")
}
