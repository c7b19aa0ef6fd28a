//go:build amd64 || arm64

package test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tracer runs a process and sees every call that it makes to the kernel that
// writes or syncs a file: when it begins, and when it has ended. The kernel
// holds the thread meanwhile, so what was seen to end before something was
// seen to begin has ended before. It is ptrace(2), all of it on one thread.
type tracer struct {
	// begins and ends are called by the tracer's goroutine. The error that
	// ends returns is what the process is told instead of the outcome.
	begins func(*kernelCall)
	ends   func(*kernelCall) syscall.Errno

	ended chan struct{} // closed when the process has ended
	err   error         // why it could not be traced; set before ended is closed
	state syscall.WaitStatus
	pid   int
}

type kernelCall struct {
	nr     uint64
	path   string // of the file, "socket:[…]" for a socket
	data   []byte // what is written, at most a MiB
	failed bool   // once it has ended
	began  int    // grows with each call that begins, whichever thread makes it
}

func (c *kernelCall) writes() bool {
	return c.nr == unix.SYS_WRITE || c.nr == unix.SYS_PWRITE64 || c.nr == unix.SYS_WRITEV || c.nr == unix.SYS_PWRITEV
}

func (c *kernelCall) syncs() bool { return c.nr == unix.SYS_FSYNC || c.nr == unix.SYS_FDATASYNC }

// start starts the command under trace. It skips the test, and says why, where
// that is not allowed.
func (t *tracer) start(tb testing.TB, cmd *exec.Cmd) {
	tb.Helper()
	t.ended = make(chan struct{})
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the kernel takes orders from the thread that began it only
		defer runtime.UnlockOSThread()
		cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		t.pid = cmd.Process.Pid
		err := t.attach()
		started <- err
		if err == nil {
			t.err = t.run()
			_ = cmd.Wait() // for its output; the process itself was waited for
		}
		close(t.ended)
	}()
	err := <-started
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EIO) {
		tb.Skipf("NOT RUN: this machine does not allow to trace a process (ptrace): %v", err)
	}
	if err != nil {
		tb.Fatal("trace:", err)
	}
	tb.Cleanup(func() {
		_ = unix.Kill(t.pid, unix.SIGKILL)
		<-t.ended
	})
}

// wait waits until the process has ended.
func (t *tracer) wait(tb testing.TB, most time.Duration) syscall.WaitStatus {
	tb.Helper()
	select {
	case <-t.ended:
	case <-time.After(most):
		tb.Fatalf("the process has not ended within %v", most)
	}
	if t.err != nil {
		tb.Fatal("trace:", t.err)
	}
	return t.state
}

func (t *tracer) attach() error {
	var ws syscall.WaitStatus
	if _, err := syscall.Wait4(t.pid, &ws, 0, nil); err != nil {
		return fmt.Errorf("wait for the start: %w", err)
	}
	const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL
	if err := unix.PtraceSetOptions(t.pid, options); err != nil {
		return fmt.Errorf("set options: %w", err)
	}
	if _, err := syscallInfo(t.pid); err != nil {
		return fmt.Errorf("ask for a call: %w", err)
	}
	return unix.PtraceSyscall(t.pid, 0)
}

func (t *tracer) run() error {
	calls := make(map[int]*kernelCall) // by thread: the one it is in
	seen := map[int]bool{t.pid: true}
	n := 0
	for {
		var ws syscall.WaitStatus
		tid, err := syscall.Wait4(-1, &ws, unix.WALL|unix.WNOTHREAD, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("wait: %w", err)
		case ws.Exited() || ws.Signaled():
			if tid == t.pid {
				t.state = ws
				return nil
			}
			continue
		}
		signal := 0
		switch stop := ws.StopSignal(); {
		case stop == syscall.SIGTRAP|0x80:
			n++
			if err := t.call(tid, n, calls); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		case stop == syscall.SIGTRAP: // a thread was made
		case stop == syscall.SIGSTOP && !seen[tid]: // the first of a thread
			seen[tid] = true
		default:
			signal = int(stop)
		}
		if err := unix.PtraceSyscall(tid, signal); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("go on: %w", err)
		}
	}
}

// call handles the begin or the end of one.
func (t *tracer) call(tid, n int, calls map[int]*kernelCall) error {
	info, err := syscallInfo(tid)
	if err != nil {
		return err
	}
	switch info.op {
	case 1:
		c := &kernelCall{nr: info.u[0], began: n}
		if !c.writes() && !c.syncs() {
			return nil
		}
		c.path, _ = os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", t.pid, int32(info.u[1])))
		if c.writes() {
			c.data = t.written(c.nr, info.u[2], info.u[3])
		}
		calls[tid] = c
		if t.begins != nil {
			t.begins(c)
		}
	case 2:
		c := calls[tid]
		if c == nil {
			return nil
		}
		delete(calls, tid)
		c.failed = int64(info.u[0]) < 0
		if t.ends != nil {
			if errno := t.ends(c); errno != 0 {
				return setResult(tid, -int64(errno))
			}
		}
	}
	return nil
}

// written reads what the process is about to write.
func (t *tracer) written(nr, addr, size uint64) []byte {
	if nr == unix.SYS_WRITE || nr == unix.SYS_PWRITE64 {
		return t.memory(addr, size)
	}
	var all []byte
	vector := t.memory(addr, size*16)
	for ; len(vector) >= 16; vector = vector[16:] {
		iov := (*[2]uint64)(unsafe.Pointer(unsafe.SliceData(vector)))
		all = append(all, t.memory(iov[0], iov[1])...)
	}
	return all
}

func (t *tracer) memory(addr, size uint64) []byte {
	b := make([]byte, min(size, 1<<20))
	if len(b) == 0 {
		return nil
	}
	local := []unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}
	n, err := unix.ProcessVMReadv(t.pid, local, []unix.RemoteIovec{{Base: uintptr(addr), Len: len(b)}}, 0)
	if err != nil {
		return nil
	}
	return b[:n]
}

// info is struct ptrace_syscall_info of linux/ptrace.h.
type info struct {
	op     uint8 // 1: it begins, 2: it has ended
	_      [3]uint8
	arch   uint32
	ip, sp uint64
	u      [8]uint64 // number and arguments; or result
}

func syscallInfo(tid int) (i info, err error) {
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid), unsafe.Sizeof(i), uintptr(unsafe.Pointer(&i)), 0, 0)
	if errno != 0 {
		err = errno
	}
	return i, err
}
