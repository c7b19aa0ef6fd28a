package subscriber

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

const stoppedChild = "REVOCAST_TEST_STOPPED_CHILD"

// runStoppedChild checks a token again and again, and prints what the first
// check comes to that begins after the process has been stopped for a while.
func runStoppedChild(hub string) {
	s, err := New(Config{Hubs: []string{hub}, Credential: testKey, MaxStaleness: testStaleness, Logger: discard})
	if err != nil {
		fmt.Println(err)
		return
	}
	tok := s.Prepare(claims("t1", "alice"))
	ready := false
	for last := time.Now(); ; {
		begin := time.Now()
		v := s.CheckPrepared(tok)
		if ready && begin.Sub(last) > time.Second {
			fmt.Println("first:", v.Outcome)
			return
		}
		if v.Outcome == Allowed && s.Ready() {
			ready = true
			fmt.Println("ready")
		}
		last = begin
		time.Sleep(time.Millisecond)
	}
}

// F24: a process that was stopped says so in its very first verdict, though
// none of its goroutines has noticed anything, and though the ticks of the
// whole time wait in its socket.
func TestStoppedProcess(t *testing.T) {
	w := newWorld(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), stoppedChild+"="+w.hub.server.URL)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "ready" {
		t.Log(lines.Text())
	}
	cmd.Process.Signal(syscall.SIGSTOP)
	time.Sleep(1500 * time.Millisecond)
	cmd.Process.Signal(syscall.SIGCONT)
	for lines.Scan() {
		if first, ok := strings.CutPrefix(lines.Text(), "first: "); ok {
			if first != Unknown.String() {
				t.Errorf("the first verdict is %s", first)
			}
			return
		}
	}
	t.Error("no verdict")
}
