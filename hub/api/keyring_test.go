package api

import (
	"errors"
	"strings"
	"testing"
	"time"
)

const testSecret = "rvk_0123456789abcdefghijklmnopqrstuv"

func TestKeyringStart(t *testing.T) {
	var stored []byte
	save := func(b []byte) error { stored = b; return nil }
	k, made, err := NewKeyring(nil, save, "")
	if err != nil || !strings.HasPrefix(made, keyPrefix) || len(made) != 47 {
		t.Fatalf("%q %v", made, err)
	}
	if key, ok := k.find(made); !ok || key.Name != adminName || !key.everything() {
		t.Errorf("%+v", key)
	}
	if strings.Contains(string(stored), made) || strings.Contains(string(stored), made[4:]) {
		t.Error("the secret is stored")
	}

	// The next start makes none.
	if k, made, err = NewKeyring(stored, save, ""); err != nil || made != "" || len(k.keys) != 1 {
		t.Errorf("%q %v", made, err)
	}
	// One that is given replaces it, once.
	before := stored
	if k, made, err = NewKeyring(stored, save, testSecret); err != nil || made != "" || len(k.keys) != 1 {
		t.Errorf("%q %v", made, err)
	}
	if _, ok := k.find(testSecret); !ok {
		t.Error("it is not there")
	}
	if string(before) == string(stored) {
		t.Error("nothing was stored")
	}
	before = stored
	if _, _, err = NewKeyring(stored, func([]byte) error { return errors.New("unexpected") }, testSecret); err != nil {
		t.Error(err)
	}
	if string(before) != string(stored) {
		t.Error("it is there already")
	}
}

func TestKeyringRefusesSecrets(t *testing.T) {
	for _, s := range []string{"secret", "rvk_short", "rvk_" + strings.Repeat("x", 31), "rvk_" + strings.Repeat("x", 257),
		"rvk_" + strings.Repeat("x", 32) + "\n", "rvk_" + strings.Repeat("x", 20) + " " + strings.Repeat("x", 20), "RVK_" + strings.Repeat("x", 40)} {
		_, _, err := NewKeyring(nil, func([]byte) error { return nil }, s)
		if err == nil {
			t.Errorf("%q is accepted", s)
		} else if strings.Contains(err.Error(), s) {
			t.Errorf("%v repeats it", err)
		}
	}
}

func TestKeyringRefusesFiles(t *testing.T) {
	hash := hashSecret(testSecret).String()
	key := `{"id":"key_AAAAAAAAAAAAAAAA","name":"a","roles":["audit"],"created_at":"2026-01-01T00:00:00.000Z","hash":"` + hash + `"}`
	change := func(old, new string) string { return `{"v":1,"keys":[` + strings.Replace(key, old, new, 1) + `]}` }
	good := change("", "")
	if _, _, err := NewKeyring([]byte(good), func([]byte) error { return nil }, ""); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		"", "{}", "null", good + "x", good[:len(good)-1],
		`{"v":2,"keys":[]}`,
		change(`"name"`, `"x":1,"name"`), change(`"name":"a"`, `"name":"a","name":"a"`),
		change(`"a"`, `""`), change(`"a"`, `"a b"`), change("audit", "root"), change(`["audit"]`, `[]`),
		change("key_A", "key_a"), change("key_", ""), change(hash, hash[1:]), change(`"`+hash+`"`, `null`),
		`{"v":1,"keys":[` + key + "," + key + `]}`,
		`{"v":1,"keys":[` + key + "," + strings.Replace(key, `"a"`, `"b"`, 1) + `]}`,
		`{"v":1,"keys":[` + key + "," + strings.NewReplacer(`"a"`, `"b"`, hash, hashSecret("x").String()).Replace(key) + `]}`,
	} {
		if _, _, err := NewKeyring([]byte(bad), func([]byte) error { return nil }, testSecret[:len(testSecret)-1]+"0"); err == nil {
			t.Errorf("accepted: %s", bad)
		}
	}
}

// What can't be stored did not happen.
func TestKeyringStores(t *testing.T) {
	var fails error
	k, secret, err := NewKeyring(nil, func([]byte) error { return fails }, "")
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := k.make(KeyRequest{Name: "other", Roles: []Role{RoleAudit}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	fails = errors.New("disk full")
	if _, s, err := k.make(KeyRequest{Name: "x", Roles: []Role{RoleAudit}}, time.Now()); !errors.Is(err, fails) || s != "" {
		t.Errorf("%q %v", s, err)
	}
	if err := k.remove(other.ID); !errors.Is(err, fails) || !k.has(other.ID) {
		t.Errorf("%v", err)
	}
	if _, ok := k.find(secret); !ok || len(k.list()) != 2 {
		t.Errorf("%+v", k.list())
	}
	fails = nil
	if err := k.remove(other.ID); err != nil || k.has(other.ID) {
		t.Errorf("%v", err)
	}
	for i := len(k.list()); i < maxKeys; i++ {
		k.keys = append(k.keys, ringKey{})
	}
	if _, _, err := k.make(KeyRequest{Name: "x", Roles: []Role{RoleAudit}}, time.Now()); err == nil {
		t.Error("there is no end to them")
	}
}
