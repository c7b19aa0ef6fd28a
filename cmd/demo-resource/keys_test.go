package main

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestServersThatStartAtOnceShareTheirKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "issuer.pem")
	var got [4]keyPair
	var all sync.WaitGroup
	for i := range got {
		all.Go(func() {
			keys, err := sharedKeys(path)
			if err != nil {
				t.Error(err)
			}
			got[i] = keys
		})
	}
	all.Wait()
	for _, keys := range got {
		for kid, key := range got[0] {
			if !key.Equal(keys[kid]) {
				t.Fatalf("the key %s differs", kid)
			}
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, %v; want it for its owner only", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".keys-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestAKeyFileThatIsNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "issuer.pem")
	if err := os.WriteFile(path, []byte("not PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sharedKeys(path); err == nil {
		t.Fatal("taken for keys")
	}
}
