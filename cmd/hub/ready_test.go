package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"
)

func TestReadySaysWhetherTheHubTakesWork(t *testing.T) {
	w := newWorld(t)
	p := w.serve()
	ops := regexp.MustCompile(`ops  http://(\S+)`).FindStringSubmatch(p.out.String())
	if ops == nil {
		t.Fatalf("no address:\n%s", p.out.String())
	}
	mustShow(t, w.do("ready", "--ops-listen", ops[1], "--timeout", "20s"), "ready")
	_, port, _ := net.SplitHostPort(ops[1])
	w.with("REVOCAST_OPS_LISTEN=0.0.0.0:"+port).run("", "ready", "--timeout", "20s").exits(0)

	w.run("", "ready", "--ops-listen", freeAddr(t)).exits(1).says("nothing answers at")
	w.run("", "ready", "--ops-listen", "no port").exits(2).says("--ops-listen", "want host and port")
	stopping := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		http.Error(rw, "draining", http.StatusServiceUnavailable)
	}))
	defer stopping.Close()
	w.run("", "ready", "--ops-listen", stopping.Listener.Addr().String()).exits(1).says("not ready: draining")
}

func freeAddr(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
