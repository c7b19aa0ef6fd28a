package test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/subscriber"
)

// smallDisk is a file system in memory of a size, in a mount namespace of a
// process of its own, so that it needs no privilege and leaves nothing behind.
// Others reach it through that process.
func smallDisk(t testing.TB, size int) (dir string) {
	cmd := roleCommand("disk", diskPart{t.TempDir(), size})
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   unix.SIGKILL,
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) {
		t.Skipf("NOT RUN: this machine does not allow to make a namespace for a small disk: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close() // which ends it
		_ = cmd.Wait()
	})
	line, _ := bufio.NewReader(out).ReadString('\n')
	dir, ok := strings.CutPrefix(strings.TrimSpace(line), "mounted ")
	if !ok {
		t.Skipf("NOT RUN: this machine does not allow to mount a small disk: %s", line)
	}
	return fmt.Sprintf("/proc/%d/root%s", cmd.Process.Pid, dir)
}

type diskPart struct {
	Dir  string
	Size int
}

// playDisk mounts the disk and holds it until its input ends.
func playDisk(part []byte) error {
	var p diskPart
	if err := unmarshal(part, &p); err != nil {
		return err
	}
	if err := unix.Mount("revocast-test", p.Dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", p.Size)); err != nil {
		fmt.Println(err)
		return err
	}
	fmt.Println("mounted", p.Dir)
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

func init() { roles["disk"] = playDisk }

// fill leaves so many bytes of a disk free, and none if free is zero.
func fill(w *world, ballast string, free int64) {
	w.Helper()
	f, err := os.OpenFile(ballast, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	w.must(err)
	defer f.Close()
	piece := make([]byte, 1<<20)
	for {
		var st unix.Statfs_t
		w.must(unix.Statfs(ballast, &st))
		left := int64(st.Bavail)*st.Bsize - free
		if left <= 0 {
			return
		}
		if _, err := f.Write(piece[:min(left, int64(len(piece)))]); errors.Is(err, unix.ENOSPC) {
			return
		} else if err != nil {
			w.Fatal(err)
		}
	}
}

// tryRevoke revokes one more token, and returns the answer.
func (t *trial) tryRevoke() answer {
	t.Helper()
	t.mu.Lock()
	jti := fmt.Sprint("tried-", len(t.claims))
	c := claim{jti: jti, producer: -1, sent: time.Now(), outcome: unknown}
	t.mu.Unlock()
	a, err := t.call("POST", "/v1/revocations", order(events.KindToken, jti))
	t.must(err)
	if a.status == http.StatusInsufficientStorage {
		c.outcome = refused
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.claims = append(t.claims, c)
	return a
}

// Promise 1 on a disk that fills up. Before it is full new revocations are
// refused with 507, and all else goes on: ticks, streams, reads, and the
// subscribers stay fresh. There is room again, and nobody has to do anything.
func TestDiskFillsUp(t *testing.T) {
	w := newWorld(t)
	disk := smallDisk(t, 160<<20)
	w.dir = filepath.Join(disk, "data")
	ballast := filepath.Join(disk, "ballast")
	w.startHub()
	tr := newTrial(w)
	const within = 3 * time.Second
	sub := w.subscribe(func(c *subscriber.Config) { c.MaxStaleness = within })
	tr.observe("subscriber", sub, within)
	tr.produce(2)
	w.eventually("some are acknowledged", func() bool { return tr.acknowledged() > 20 })

	fill(w, ballast, 40<<20)
	w.eventually("refused", func() bool { return tr.tryRevoke().status == http.StatusInsufficientStorage })
	full := time.Now()
	if a := tr.tryRevoke(); !strings.Contains(string(a.body), `"storage_full"`) {
		t.Errorf("it says %d: %s", a.status, a.body)
	}
	w.eventually("the subscriber is fresh by a proof of meanwhile", func() bool {
		since := time.Since(full)
		s := sub.Status()
		return s.State == subscriber.Fresh && time.Duration(s.Staleness) < since
	})
	if a, err := w.call("GET", "/v1/revocations?limit=1", ""); err != nil || a.status != http.StatusOK {
		t.Errorf("reading: %v %d", err, a.status)
	}
	before := tr.acknowledged()
	w.must(os.Remove(ballast))
	w.eventually("there is room again", func() bool { return tr.acknowledged() > before+5 })
	tr.verdict()
}

// Somebody else takes the very last byte, under a hub that ticks. It may stop,
// and must not lie; with room and a restart, all is there again.
func TestDiskIsFull(t *testing.T) {
	w := newWorld(t)
	disk := smallDisk(t, 160<<20)
	w.dir = filepath.Join(disk, "data")
	ballast := filepath.Join(disk, "ballast")
	w.startHub()
	tr := newTrial(w)
	const within = 2 * time.Second
	sub := w.subscribe(func(c *subscriber.Config) { c.MaxStaleness = within })
	tr.observe("subscriber", sub, within)
	tr.produce(4)
	w.eventually("some are acknowledged", func() bool { return tr.acknowledged() > 20 })
	fill(w, ballast, 0)
	w.eventually("the hub does not say that it is ready", func() bool {
		resp, err := http.Get("http://" + w.ops + "/readyz")
		if err != nil {
			return true // it has ended
		}
		resp.Body.Close()
		return resp.StatusCode != http.StatusOK
	})
	w.must(os.Remove(ballast))
	select {
	case <-w.ended:
		if w.exit == nil {
			t.Error("the hub ended as if all were well")
		}
		w.hub = nil
	default:
		w.killHub()
	}
	w.startHub()
	before := tr.acknowledged()
	w.eventually("it takes revocations again", func() bool { return tr.acknowledged() > before+5 })
	tr.verdict()
}
