package test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestDemoHoldsEveryStep(t *testing.T) {
	cmd := exec.Command(filepath.Join(bin, "demo-resource"), "-exit")
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Every step held.") {
		t.Fatalf("demo-resource -exit: %v\n%s", err, out)
	}
	t.Logf("\n%s", out)
}

func TestDemoWalks(t *testing.T) {
	for _, walk := range []string{"devices", "exchange", "key", "phantom", "rotation", "versioning"} {
		t.Run(walk, func(t *testing.T) {
			out, err := exec.Command(filepath.Join(bin, "demo-resource"), "-walk", walk).CombinedOutput()
			if err != nil || !strings.Contains(string(out), "Every step held.") {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
}

func TestDemoSaysWhatIsWrongWithItsFlags(t *testing.T) {
	for _, args := range [][]string{
		{"-hub", "http://127.0.0.1:1"},
		{"-iss", "https://issuer.example"},
		{"-name", "x"},
		{"extra"},
		{"-walk", "nowhere"},
		{"-hub", "http://127.0.0.1:1", "-key", "k", "-walk", "key"},
		{"-hub", "http://127.0.0.1:1", "-key", "k", "-exit"},
	} {
		cmd := exec.Command(filepath.Join(bin, "demo-resource"), args...)
		cmd.Env = []string{"PATH=/usr/bin:/bin"}
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.HasPrefix(string(out), "demo-resource: ") {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}
