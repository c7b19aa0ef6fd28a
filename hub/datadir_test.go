package hub

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// content is what one rewrite writes: many pieces of one byte, so that a mixed
// or a short file shows.
const (
	pieces    = 64
	pieceLen  = 1 << 10
	wholeFile = pieces * pieceLen
)

func writes(b byte, upTo int, then error) func(io.Writer) error {
	return func(w io.Writer) error {
		for range upTo {
			if _, err := w.Write(bytes.Repeat([]byte{b}, pieceLen)); err != nil {
				return err
			}
		}
		return then
	}
}

func mustBeWhole(t *testing.T, d dataDir) byte {
	t.Helper()
	data, err := d.read(stateName)
	if err != nil || len(data) != wholeFile || !bytes.Equal(data, bytes.Repeat(data[:1], wholeFile)) {
		t.Fatalf("a file of %d bytes, %v", len(data), err)
	}
	return data[0]
}

// A write that fails, at whatever step, leaves the old file and nothing else.
func TestRewriteThatFails(t *testing.T) {
	d := dataDir(t.TempDir())
	if err := d.rewrite(stateName, writes('a', pieces, nil)); err != nil {
		t.Fatal(err)
	}
	full := errors.New("the disk is full")
	for n := range pieces + 1 {
		if err := d.rewrite(stateName, writes('b', n, full)); !errors.Is(err, full) {
			t.Fatal(err)
		}
		if mustBeWhole(t, d) != 'a' {
			t.Fatalf("after %d pieces it is the new file", n)
		}
	}
	entries, err := os.ReadDir(string(d))
	if err != nil || len(entries) != 1 {
		t.Errorf("left over: %v, %v", entries, err)
	}
	if info, err := os.Stat(d.path(stateName)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

// What a crash leaves behind is in nobody's way.
func TestRewriteAfterACrash(t *testing.T) {
	d := dataDir(t.TempDir())
	for n, left := range map[string][]byte{"a": nil, "b": []byte("half"), "c": bytes.Repeat([]byte("x"), 2*wholeFile)} {
		if err := os.WriteFile(d.path(stateName+".tmp"), left, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := d.rewrite(stateName, writes(n[0], pieces, nil)); err != nil {
			t.Fatal(err)
		}
		if got := mustBeWhole(t, d); got != n[0] {
			t.Errorf("it is %c, want %s", got, n)
		}
		if info, err := os.Stat(d.path(stateName)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
	}
}

// rewriterDir makes the test binary a process that does nothing but rewrite.
const rewriterDir = "REVOCAST_TEST_REWRITER"

// A process that is killed at any moment leaves a whole file, old or new.
func TestRewriteSurvivesKill(t *testing.T) {
	if dir := os.Getenv(rewriterDir); dir != "" {
		for n := 0; ; n++ {
			if err := dataDir(dir).rewrite(stateName, writes('a'+byte(n%26), pieces, nil)); err != nil {
				t.Fatal(err)
			}
		}
	}
	d := dataDir(t.TempDir())
	if err := d.rewrite(stateName, writes('A', pieces, nil)); err != nil {
		t.Fatal(err)
	}
	var seen []byte
	for range 10 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestRewriteSurvivesKill$")
		cmd.Env = append(os.Environ(), rewriterDir+"="+string(d))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		before := mustBeWhole(t, d)
		for deadline := time.Now().Add(30 * time.Second); mustBeWhole(t, d) == before; {
			if time.Now().After(deadline) {
				t.Fatal("the process does not write")
			}
			time.Sleep(time.Millisecond)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		seen = append(seen, mustBeWhole(t, d))
	}
	if slices.Contains(seen, 'A') {
		t.Error("the first file is still there")
	}
	left, err := filepath.Glob(d.path("*.tmp"))
	if err != nil || len(left) > 1 {
		t.Errorf("left over: %v, %v", left, err)
	}
}
