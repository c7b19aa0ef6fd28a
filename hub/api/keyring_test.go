package api

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"
)

const testSecret = "rvk_0123456789abcdefghijklmnopqrstuv"

// keptIn is a store that keeps the keys in a variable, unless that fails.
func keptIn(stored *[]byte, fails *error) KeyStore {
	return func(change func([]byte) ([]byte, error)) error {
		next, err := change(*stored)
		if err == nil && fails != nil && string(next) != string(*stored) {
			err = *fails
		}
		if err == nil {
			*stored = next
		}
		return err
	}
}

func TestKeyringStart(t *testing.T) {
	var stored []byte
	save := keptIn(&stored, nil)
	k, made, err := NewKeyring(save, nil, "")
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
	if k, made, err = NewKeyring(save, nil, ""); err != nil || made != "" || len(k.keys) != 1 {
		t.Errorf("%q %v", made, err)
	}
	// One that is given replaces it, once.
	before := stored
	if k, made, err = NewKeyring(save, nil, testSecret); err != nil || made != "" || len(k.keys) != 1 {
		t.Errorf("%q %v", made, err)
	}
	if _, ok := k.find(testSecret); !ok {
		t.Error("it is not there")
	}
	if string(before) == string(stored) {
		t.Error("nothing was stored")
	}
	before = stored
	if _, _, err = NewKeyring(save, nil, testSecret); err != nil {
		t.Error(err)
	}
	if string(before) != string(stored) {
		t.Error("it is there already")
	}
}

func TestKeyringRefusesSecrets(t *testing.T) {
	for _, s := range []string{"secret", "rvk_short", "rvk_" + strings.Repeat("x", 31), "rvk_" + strings.Repeat("x", 257),
		"rvk_" + strings.Repeat("x", 32) + "\n", "rvk_" + strings.Repeat("x", 20) + " " + strings.Repeat("x", 20), "RVK_" + strings.Repeat("x", 40)} {
		_, _, err := NewKeyring(keptIn(new([]byte), nil), nil, s)
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
	take := func(text, secret string) error {
		stored := []byte(text)
		_, _, err := NewKeyring(keptIn(&stored, nil), nil, secret)
		return err
	}
	if err := take(good, ""); err != nil {
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
		if take(bad, testSecret[:len(testSecret)-1]+"0") == nil {
			t.Errorf("accepted: %s", bad)
		}
	}
}

// What can't be stored did not happen.
func TestKeyringStores(t *testing.T) {
	var fails error
	var stored []byte
	k, secret, err := NewKeyring(keptIn(&stored, &fails), nil, "")
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
	full := make([]ringKey, maxKeys)
	for i := range full {
		full[i] = KeyRequest{Name: strconv.Itoa(i), Roles: []Role{RoleAudit}}.key(hashSecret(strconv.Itoa(i)), time.Now())
	}
	if err := k.change(func([]ringKey) ([]ringKey, error) { return full, nil }); err != nil {
		t.Fatal(err)
	}
	if _, _, err := k.make(KeyRequest{Name: "x", Roles: []Role{RoleAudit}}, time.Now()); err == nil {
		t.Error("there is no end to them")
	}
}

// Keys that are configured are there on every hub, and stay.
func TestFixedKeys(t *testing.T) {
	fixed := []FixedKey{
		{KeyRequest{Name: "orders", Roles: []Role{RoleSubscribe}}, hashSecret("rvk_orders")},
		{KeyRequest{Name: "ops", Roles: []Role{RoleAdmin}}, hashSecret("rvk_ops")},
	}
	var stored []byte
	k, made, err := NewKeyring(keptIn(&stored, nil), fixed, "")
	if err != nil || made != "" || stored != nil {
		t.Fatalf("an admin key was made though there is one: %q, %q, %v", made, stored, err)
	}
	key, ok := k.find("rvk_orders")
	if !ok || key.Name != "orders" || !keyIDPattern.MatchString(key.ID) {
		t.Errorf("%+v", key)
	}
	other, _, err := NewKeyring(keptIn(new([]byte), nil), fixed, "")
	if again, _ := other.find("rvk_orders"); err != nil || again.ID != key.ID {
		t.Errorf("another hub calls it %s, %v", again.ID, err)
	}
	if err := k.remove(key.ID); !errors.Is(err, errFixed) {
		t.Errorf("deleted: %v", err)
	}
	if _, _, err := k.make(KeyRequest{Name: "orders", Roles: []Role{RoleAudit}}, time.Now()); err == nil {
		t.Error("its name was given away")
	}
	for _, bad := range [][]FixedKey{
		{fixed[0], fixed[0]}, {{KeyRequest: fixed[0].KeyRequest}}, {{KeyRequest{Name: "admin", Roles: []Role{RoleAdmin}}, fixed[0].Hash}},
		{{KeyRequest{Name: "a b", Roles: []Role{RoleAdmin}}, fixed[0].Hash}}, {{KeyRequest{Name: "x"}, fixed[0].Hash}},
	} {
		if _, _, err := NewKeyring(keptIn(new([]byte), nil), bad, ""); err == nil {
			t.Errorf("taken: %+v", bad)
		}
	}
}

// Hubs that share a store see what the others do, and never undo it.
func TestKeyringsShareAStore(t *testing.T) {
	var stored []byte
	a, secret, err := NewKeyring(keptIn(&stored, nil), nil, "")
	if err != nil {
		t.Fatal(err)
	}
	b, made, err := NewKeyring(keptIn(&stored, nil), nil, "")
	if err != nil || made != "" {
		t.Fatalf("a second admin key: %q, %v", made, err)
	}
	if _, ok := b.find(secret); !ok {
		t.Error("the other hub's admin key is refused")
	}
	one, oneSecret, err := a.make(KeyRequest{Name: "one", Roles: []Role{RoleAudit}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.make(KeyRequest{Name: "two", Roles: []Role{RoleAudit}}, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := a.Refresh(); err != nil || len(a.list()) != 3 || len(b.list()) != 3 {
		t.Errorf("%v, %+v and %+v", err, a.list(), b.list())
	}
	if err := b.remove(one.ID); err != nil {
		t.Fatal(err)
	}
	if err := a.Refresh(); err != nil {
		t.Fatal(err)
	}
	if _, ok := a.find(oneSecret); ok {
		t.Error("a key that was deleted is taken by the other hub")
	}
}
