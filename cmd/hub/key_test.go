package main

import (
	"strings"
	"testing"

	"github.com/revocast/revocast/hub/api"
)

func TestTheLifeOfAKey(t *testing.T) {
	w := newWorld(t)
	w.serve()
	r := w.run("", "key", "create", "login", "--role", "revoke", "-r", "audit", "--iss", iss, "--kind", "session,subject").exits(0).says("only time")
	secret, id := field(t, r.out, "key"), field(t, r.out, "id")
	if !strings.HasPrefix(secret, "rvk_") {
		t.Fatal(r.out)
	}
	list := w.run("", "key", "list").exits(0).keeps(secret, w.key).out
	mustShow(t, list, id, "login", "revoke,audit", iss, "session,subject", "admin")

	login := w.as(secret)
	login.do("revoke", "session", "s-1", "--iss", iss)
	mustShow(t, login.do("list"), "login")
	login.run("", "revoke", "client", "c", "--iss", iss).exits(1).says("KIND: ", "(forbidden)", "session")
	login.run("", "revoke", "session", "s", "--iss", "https://other.example").exits(1).says("--iss: ", "(forbidden)")
	login.run("", "key", "list").exits(1).says("(forbidden)", "admin")

	mustShow(t, w.do("key", "delete", id), "deleted  "+id)
	login.run("", "list").exits(1).says("(unauthorized)", "REVOCAST_KEY").keeps(secret)
	w.run("", "key", "delete", id).exits(1).says("(not_found)", "hub key list")
}

func TestKeysForMachines(t *testing.T) {
	w := newWorld(t)
	w.serve()
	made := parse[api.NewKey](t, w.do("key", "create", "ops", "--role", "audit,restore", "--json"))
	if len(made.Roles) != 2 || made.Secret == "" {
		t.Errorf("%+v", made.Key)
	}
	if keys := parse[api.KeyList](t, w.do("key", "list", "--json")).Keys; len(keys) != 2 {
		t.Errorf("%+v", keys)
	}
	if got := parse[map[string]string](t, w.do("key", "delete", made.ID, "--json")); got["deleted"] != made.ID {
		t.Errorf("%v", got)
	}
}

func TestMistakesWithKeys(t *testing.T) {
	w := newWorld(t)
	w.serve()
	w.run("", "key", "create", "ops", "--role", "boss").exits(2).says("revoke", "admin")
	w.run("", "key", "create", "ops").exits(2).says("--role")
	w.run("", "key", "create", "two words", "--role", "audit").exits(1).says("name: ", "no spaces", "(invalid_field)")
	w.run("", "key", "create", "admin", "--role", "audit").exits(1).says("name: ", "(conflict)")
	w.run("", "key", "delete", w.key).exits(2).says("this is the key itself").keeps(w.key)
	w.run("", "key", "delete", "key_1/../2").exits(1)
}

func TestWhereTheKeyComesFrom(t *testing.T) {
	w := newWorld(t)
	w.serve()
	write(t, w.dir+"/good", w.key+"\n")
	nobody := w.as("")
	nobody.do("list", "--key-file", "good")
	nobody.with("REVOCAST_KEY_FILE=good").do("list")
	nobody.do("list", "--key", w.key)
	// What was asked for on the command line is what is used.
	w.as("rvk_wrong").do("list", "--key-file", "good")
	w.as("rvk_wrong").do("list", "--key", w.key)
	nobody.run("", "list", "--key-file", "none").exits(2).says("--key-file: ", "no such file")
	nobody.run("", "list", "--key", w.key, "--key-file", "good").exits(2).says("can't be used together").keeps(w.key)
	w.with("REVOCAST_KEY_FILE=good").run("", "list").exits(2).says("can't be used together").keeps(w.key)
	nobody.run("", "list", "--key", w.key+" x").exits(2).says("an odd character").keeps(w.key)
}
