package hub_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/revocast/revocast/hub"
)

type answer struct {
	Revocations []struct {
		ID string `json:"id"`
	} `json:"revocations"`
}

// The state file saves time, and nothing depends on it.
func TestStateFile(t *testing.T) {
	w := newWorld(t, func(c *hub.Config) { c.DataDir = t.TempDir() })
	path := filepath.Join(w.cfg.DataDir, "state.snap")
	live := func() int { return len(must[answer](w, "GET", "/v1/revocations", "", 200).Revocations) }
	started := func(want string) {
		t.Helper()
		w.log.mu.Lock()
		w.log.buf.Reset()
		w.log.mu.Unlock()
		w.start(nil)
		for _, line := range []string{"took up the state file", "state file is not used"} {
			if got := strings.Contains(w.log.String(), line); got != (line == want) {
				t.Errorf("%q was logged: %v, want only %q", line, got, want)
			}
		}
	}
	started("")
	must[any](w, "POST", "/v1/revocations", subject, 201)
	for _, tt := range []struct {
		name, want string
		meanwhile  func([]byte) error
	}{
		{"as it is", "took up the state file", func([]byte) error { return nil }},
		{"a bit is flipped", "state file is not used", func(b []byte) error {
			b = bytes.Clone(b)
			b[len(b)/2] ^= 4
			return os.WriteFile(path, b, 0o600)
		}},
		{"it is removed", "", func([]byte) error { return os.Remove(path) }},
		{"written again", "took up the state file", func([]byte) error { return nil }},
	} {
		if err := w.mustStop(); err != nil {
			t.Fatal(err)
		}
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if err := tt.meanwhile(file); err != nil {
			t.Fatal(err)
		}
		started(tt.want)
		if n := live(); n != 1 {
			t.Errorf("%s: %d revocations are live", tt.name, n)
		}
		// Something new, so that the file is written at the end.
		id := must[answer](w, "POST", "/v1/revocations", subject, 201).Revocations[0].ID
		if got, b := w.ask("DELETE", "/v1/revocations/"+id, `{"reason":"admin"}`); got != 200 {
			t.Fatalf("restore: %d %s", got, b)
		}
	}
	if err := w.mustStop(); err != nil {
		t.Fatal(err)
	}
}
