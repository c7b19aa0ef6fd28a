package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
)

// seqs are the first words of the lines that a tail has printed.
func (p *process) seqs() string {
	var words []string
	for line := range strings.Lines(p.out.String()) {
		if strings.HasSuffix(line, "\n") {
			words = append(words, strings.Fields(line)[0])
		}
	}
	return strings.Join(words, " ")
}

func TestTailGoesOnBehindARestart(t *testing.T) {
	w := newWorld(t)
	hub := w.serve()
	w.do("revoke", "subject", "alice", "--iss", iss)
	tail := w.launch("tail")
	w.until(tail, "what was there", func() bool { return tail.seqs() == "1" })
	w.do("revoke", "subject", "bob", "--iss", iss)
	w.until(tail, "what happens", func() bool { return tail.seqs() == "1 2" })

	key, addr := w.key, w.addr()
	hub.end(syscall.SIGKILL)
	w.until(tail, "that the hub is away", func() bool { return strings.Contains(tail.err.String(), "trying again") })
	hub = w.serve("--listen", addr)
	w.key = key
	w.do("revoke", "subject", "carol", "--iss", iss)
	w.until(tail, "what happened meanwhile", func() bool { return tail.seqs() == "1 2 3" })
	w.until(tail, "that it is connected again", func() bool {
		return strings.Contains(tail.err.String(), "connected again, after record 2")
	})

	// An orderly end looks no different.
	hub.end(syscall.SIGTERM)
	w.serve("--listen", addr)
	w.key = key
	w.do("revoke", "subject", "dave", "--iss", iss)
	w.until(tail, "what happened after that", func() bool { return tail.seqs() == "1 2 3 4" })
	if code := tail.end(syscall.SIGINT); code != 0 {
		t.Errorf("exit code %d:\n%s", code, tail.err.String())
	}
}

func TestTailTellsALogThatWasMadeAnew(t *testing.T) {
	w := newWorld(t)
	hub := w.serve("--data", "one")
	w.do("revoke", "subject", "alice", "--iss", iss)
	tail := w.launch("tail")
	w.until(tail, "what was there", func() bool { return tail.seqs() == "1" })
	addr := w.addr()
	hub.end(syscall.SIGKILL)
	// The keys stay, the log goes.
	if err := os.RemoveAll(w.dir + "/one/log"); err != nil {
		t.Fatal(err)
	}
	w.serve("--data", "one", "--listen", addr)
	<-tail.done
	if code := tail.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	mustShow(t, tail.err.String(), "it was made anew", "--after 0")
}

func TestTailBeginsWhereItIsTold(t *testing.T) {
	w := newWorld(t)
	w.serve()
	for i := range 12 {
		w.do("revoke", "token", fmt.Sprint("j-", i), "--iss", iss)
	}
	for _, tail := range []*process{w.launch("tail"), w.launch("tail", "--no-follow")} {
		w.until(nil, "the last ten", func() bool { return tail.seqs() == "3 4 5 6 7 8 9 10 11 12" })
	}
	all := w.launch("tail", "--after", "0")
	w.until(all, "all", func() bool { return strings.HasPrefix(all.seqs(), "1 2 ") && strings.HasSuffix(all.seqs(), " 12") })
	w.run("", "tail", "--after", "99").exits(1).says("record 99 is not there yet")
}

// A hub that does what none should, and one whose log has forgotten.
func TestTailNeverHidesAGap(t *testing.T) {
	w := newWorld(t)
	w.key = "rvk_any"
	hash := strings.Repeat("A", 43)
	record := func(seq int) string {
		return fmt.Sprintf("event: audit\ndata: {\"seq\":%d,\"at\":\"2026-11-22T03:00:00.123Z\",\"chain\":%q,\"feed_hash\":%q,\"audit_hash\":%q,\"ops\":[]}\nid: e2e2e2e2e2e2:%d\n\n",
			seq, hash, hash, hash, seq)
	}
	hub := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("after") == "7" {
			rw.Header().Set("Content-Type", "application/problem+json")
			rw.WriteHeader(http.StatusGone)
			fmt.Fprint(rw, `{"title":"This is no longer held","status":410,"code":"gone","field":"after","first_seq":40}`)
			return
		}
		fmt.Fprint(rw, record(5)+record(6)+record(8))
	}))
	defer hub.Close()
	w.url = hub.URL
	w.run("", "tail", "--after", "0").exits(1).says("sent record 8, want 7")
	w.run("", "tail", "--after", "3").exits(1).says("sent record 5, want 4")
	w.run("", "tail", "--after", "7").exits(1).says("the records 8 to 39 are no longer held", "hub tail --after 39")
	w.run("", "tail", "--after", "7", "--no-follow").exits(1).says("the records 8 to 39 are no longer held")
}
