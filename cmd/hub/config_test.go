package main

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"
)

func TestUnknownNamesAreRefused(t *testing.T) {
	w := newWorld(t)
	w.run("", "--bogus").exits(2).says("unknown flag --bogus", "hub --help")
	w.run("", "--natz", "nats://x").exits(2).says("unknown flag --natz")
	w.run("", "lst").exits(2).says("unexpected argument lst", `Run "hub --help"`)
	w.run("", "key", "create", "x", "--rol=audit").exits(2).says("--rol", `Run "hub key create --help"`)
	w.with("REVOCAST_DATTA=x").run("", "config", "check").exits(2).says("REVOCAST_DATTA", "REVOCAST_DATA, ")
	w.with("REVOCAST_NATZ=x").run("", "list").exits(2).says("REVOCAST_NATZ")

	write(t, w.dir+"/hub.yaml", "listen: 127.0.0.1:0\n\nretenton: 30d\n")
	w.run("", "--config", "hub.yaml").exits(2).says(`hub.yaml:3: unknown name "retenton"`, "retention", "issuers")
	write(t, w.dir+"/hub.yaml", "issuers:\n  - iss: https://issuer.example\n    jwks_url: https://issuer.example/jwks\n")
	w.run("", "--config", "hub.yaml").exits(2).says(`hub.yaml:3: unknown name "jwks_url"`, "jwks_uri")
}

func TestBadValuesSayWhereTheyAre(t *testing.T) {
	w := newWorld(t)
	w.run("", "config", "check", "--retention", "soon").exits(2).says("--retention", `"soon" is not a time span, such as 90d`)
	w.with("REVOCAST_RETENTION=soon").run("", "config", "check").exits(2).says("REVOCAST_RETENTION", `"soon"`)
	w.with("REVOCAST_LOG_LEVEL=loud").run("", "config", "check").exits(2).says("--log-level", "debug")
	w.run("", "config", "check", "--config", "none.yaml").exits(2).says("none.yaml", "no such file")
	w.run("", "config", "check", "--retention", "1h").exits(2).says("retention 1h is too short", "live up to 1d")
	w.run("", "config", "check", "--tls-cert", "none", "--tls-key", "none").exits(2).says("--tls-cert", "no such file")
	w.run("", "--listen", "8080").exits(2).says("--listen \"8080\": want host and port")
	w.run("", "--listen=").exits(2).says("--listen")
	write(t, w.dir+"/bad.yaml", "issuers:\n  - iss: x\n  - jwks_uri: https://a/b\n    algorithms: [none]\n")
	w.run("", "--config", "bad.yaml", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0").exits(2).
		says(`issuer "x": jwks_uri: is empty`, `issuer "#2": iss: is empty`, `issuer "#2": algorithms: "none" is not supported`)
	for text, want := range map[string]string{
		"drain: 5s\nretention: soon\n":            "hub.yaml:2",
		"listen: [a, b]\n":                        "hub.yaml:1: listen: want one value",
		"listen: a\nlisten: b\n":                  "hub.yaml:2",
		"- listen\n":                              "want names and values",
		"listen: a\n---\nlisten: b\n":             "several documents",
		"listen: 'secret-text\n":                  "hub.yaml:1",
		"issuers:\n  - iss: x\n    skew: often\n": "hub.yaml",
		"issuers:\n  - iss: x\n":                  `issuer "x": jwks_uri: is empty`,
		"issuers:\n  - jwks_uri: http://a/b\n":    `iss: is empty`,
		"issuers:\n  - iss: x\n    jwks_uri: https://a/b\n    keys: []\n":                      "keys",
		"issuers:\n  - iss: x\n    keys: []\n    keys_file: f\n":                               "has both keys and keys_file",
		"issuers:\n  - iss: x\n    keys_file: none.json\n":                                     "none.json: no such file",
		"issuers:\n  - iss: x\n    jwks_uri: https://a/b\n    algorithms: [none]\n":            `algorithms: "none" is not supported`,
		"issuers:\n  - iss: x\n    jwks_uri: https://a/b\n    max_token_lifetime: 100d\n":      "retention 90d is too short",
		"issuers:\n  - {iss: x, jwks_uri: https://a/b}\n  - {iss: x, jwks_uri: https://a/b}\n": "configured twice",
	} {
		write(t, w.dir+"/hub.yaml", text)
		w.run("", "config", "check", "--config", "hub.yaml").exits(2).says(want).keeps("secret-text")
	}
}

func TestFlagsThenEnvironmentThenFile(t *testing.T) {
	w := newWorld(t)
	write(t, w.dir+"/hub.yaml", "data: from-file\nlisten: 127.0.0.1:1\nops-listen: 127.0.0.1:2\nretention: 30d\ntls-cert:\n")
	env := w.with("REVOCAST_CONFIG=hub.yaml", "REVOCAST_LISTEN=127.0.0.1:3", "REVOCAST_OPS_LISTEN=127.0.0.1:4", "REVOCAST_DRAIN=",
		// What Kubernetes adds near a Service called revocast.
		"REVOCAST_SERVICE_HOST=10.0.0.1", "REVOCAST_SERVICE_PORT=8080", "REVOCAST_SERVICE_PORT_API=8080", "REVOCAST_PORT=tcp://10.0.0.1:8080",
		"REVOCAST_PORT_8080_TCP=tcp://10.0.0.1:8080", "REVOCAST_PORT_8080_TCP_ADDR=10.0.0.1", "REVOCAST_HUB_SERVICE_HOST=10.0.0.2")
	out := env.do("config", "check", "--ops-listen", "127.0.0.1:5")
	for name, want := range map[string]string{
		"data": "from-file hub.yaml:1", "listen": "127.0.0.1:3 REVOCAST_LISTEN", "ops-listen": "127.0.0.1:5 --ops-listen",
		"retention": "30d hub.yaml:4", "drain": "5s default", "log-level": "info default", "tls-cert": `"" default`,
	} {
		if got := strings.Join(strings.Fields(strings.Replace(field(t, out, name+":"), "#", "", 1)), " "); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	w.with("REVOCAST_PORT=8080").run("", "config", "check").exits(2).says("REVOCAST_PORT")
}

func TestConfigCheckShowsNoSecrets(t *testing.T) {
	w := newWorld(t)
	secret := base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("very secret ", 4)))
	set := `{"keys":[{"kty":"oct","kid":"k-1","alg":"HS256","k":"` + secret + `"}]}`
	write(t, w.dir+"/keys.json", set)
	write(t, w.dir+"/hub.yaml", `
listen: 127.0.0.1:0
ops-listen: 127.0.0.1:0
issuers:
  - iss: https://a.example
    keys: `+set+`
    algorithms: [HS256]
    max_token_lifetime: 2d
  - iss: https://b.example
    keys_file: keys.json
    algorithms: [HS256]
  - iss: https://c.example
    keys:
      - {kty: oct, k: `+secret+`}
    algorithms: [HS256]
    types: [JWT, ""]
    skew: 5s
  - iss: https://d.example
    jwks_uri: https://d.example/jwks.json
`)
	key := "rvk_0123456789abcdefghijklmnopqrstuvwxyz"
	r := w.with("REVOCAST_ADMIN_KEY="+key).run("", "config", "check", "--config", "hub.yaml").exits(0).keeps(secret, key)
	mustShow(t, r.out, "- iss: https://a.example", "max_token_lifetime: 2d", "keys_file: keys.json", `types: ["JWT", ""]`, "skew: 5s",
		"jwks_uri: https://d.example/jwks.json", "algorithms: [RS256]", "# admin key: from REVOCAST_ADMIN_KEY")

	// The hub starts with it, and knows these issuers and no others.
	p := w.serve("--config", "hub.yaml")
	w.do("revoke", "subject", "alice", "--iss", "https://a.example")
	w.run("", "revoke", "subject", "alice", "--iss", iss).exits(1).says("--iss: ", "(unknown_issuer)", "configuration file")
	if strings.Contains(p.err.String()+p.out.String(), secret) {
		t.Error("the hub prints a secret")
	}
}

func TestWhatHubsShareIsChecked(t *testing.T) {
	w := newWorld(t)
	const hash = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
	for text, want := range map[string]string{
		"nats: nats://a,nats://me:SECRET@b\n":                                      "server number 2 has a user or password",
		"nats: http://a\n":                                                         "want nats://host:port",
		"nats-creds: f\n":                                                          "without --nats",
		"nats-home: home\n":                                                        "without --nats",
		"nats: nats://a\nnats-home: a.b\n":                                         "--nats-home: domain \"a.b\"",
		"nats: nats://a\nnats-creds: none.creds\n":                                 "none.creds: no such file",
		"nats: nats://a\nnats-replicas: 7\n":                                       "--nats-replicas 7: want 1 to 5",
		"nats: nats://a\nnats-tls-ca: none.pem\n":                                  "none.pem: no such file",
		"signing-key: none.key\n":                                                  "none.key: no such file",
		"keys:\n  - {name: a, sha256: rvk_SECRET, roles: [audit]}\n":               "sha256: want 64 hexadecimal digits",
		"keys:\n  - {name: a, sha256: " + hash + ", roles: [root]}\n":              `key "a": roles: want one of`,
		"keys:\n  - {name: a, sha256: " + hash + "}\n":                             "roles",
		"keys:\n  - {name: a b, sha256: " + hash + ", roles: [audit]}\n":           "no spaces",
		"keys:\n  - {name: admin, sha256: " + hash + ", roles: [admin]}\n":         "the hub makes itself",
		"keys:\n  - {name: a, sha256: " + hash + ", roles: [audit], kinds: [x]}\n": `key "a": kinds`,
		"keys:\n  - {name: a, secret: SECRET}\n":                                   `unknown name "secret"`,
		"hub_keys:\n  - {kty: RSA, crv: Ed25519, kid: x, x: y}\n":                  "hub_keys: number 1",
	} {
		write(t, w.dir+"/hub.yaml", text)
		w.run("", "config", "check", "--config", "hub.yaml").exits(2).says(want).keeps("SECRET")
	}
	write(t, w.dir+"/own.key", strings.Repeat("A", 43)+"\n")
	write(t, w.dir+"/hub.yaml", `
name: hub-1
nats: nats://127.0.0.1:1,tls://127.0.0.1:2
nats-home: home
nats-replicas: 1
signing-key: own.key
keys:
  - {name: orders, sha256: `+hash+`, roles: [subscribe]}
hub_keys:
  - {kty: OKP, crv: Ed25519, kid: kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k, x: 11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo}
`)
	out := w.do("config", "check", "--config", "hub.yaml")
	mustShow(t, out, "name: hub-1", "nats: nats://127.0.0.1:1,tls://127.0.0.1:2", "nats-home: home", "nats-replicas: 1", "# API key: orders, which may subscribe",
		"# key of another hub: kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", "# key that signs: ", "printed by the first hub that starts")
}

func TestAPeriodIsWrittenAsItIsRead(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90d": 90 * day, "0s": 0, "90m": 90 * time.Minute, "1h30m": 90 * time.Minute, "12h": 12 * time.Hour, "24h": day,
		"1.5s": 1500 * time.Millisecond, "10m": 10 * time.Minute, "1h0m30s": time.Hour + 30*time.Second, "20s": 20 * time.Second,
	} {
		var p, again period
		if err := p.UnmarshalText([]byte(text)); err != nil || time.Duration(p) != want {
			t.Errorf("%s: %v, %v", text, time.Duration(p), err)
		}
		if err := again.UnmarshalText([]byte(p.String())); err != nil || again != p {
			t.Errorf("%s is written %s", text, p)
		}
	}
	for _, text := range []string{"", "d", "-1d", "1.5d", "-5s", "90", "1d1h", "99999999d"} {
		if err := new(period).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestSecretsAreTakenOutOfErrors(t *testing.T) {
	for _, secret := range []string{"rvk_abc-DEF_1", jwtOf(`{"iss":"x"}`), "eyJhbGciOiJub25lIn0.eyJpc3MiOiJ4In0."} {
		if got := redact("unexpected argument " + secret); strings.Contains(got, secret[4:]) {
			t.Error(got)
		}
	}
}

func TestValuesAreTakenAsTheyAreWritten(t *testing.T) {
	for text, want := range map[string]string{
		"1.10": "1.10", "0x10": "0x10", "1_000": "1_000", "true": "true", "'it''s'": "it's", `"a\tb"`: "a\tb", "a b # c": "a b",
		"|\n  a\n  b\n": "a\nb\n", ">-\n  a\n  b\n": "a b",
	} {
		c, err := parseConfig("hub.yaml", []byte("data: "+text+"\n"), fuzzNames)
		if err != nil || c.values["data"].text != want {
			t.Errorf("%q: %+v, %v, want %q", text, c, err, want)
		}
	}
	for _, text := range []string{
		"data: &a x\n", "data: &a x\nlisten: *a\n", "data: !!str 5\n", "issuers:\n  - &a {iss: x}\n  - *a\n", "issuers:\n  - {iss: x, <<: {skew: 5s}}\n",
		"issuers:\n  - iss: x\n    keys: {a: &a [x, x], b: [*a, *a]}\n",
	} {
		if _, err := parseConfig("hub.yaml", []byte(text), fuzzNames); err == nil || !strings.Contains(err.Error(), "want plain YAML") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := parseConfig("hub.yaml", []byte("data: \xff\n"), fuzzNames); err == nil {
		t.Error("not UTF-8, and taken")
	}
	w := newWorld(t)
	write(t, w.dir+"/long.yaml", "data: x\n"+strings.Repeat("#", maxConfig))
	w.run("", "config", "check", "--config", "long.yaml").exits(2).says("long.yaml is longer than")
}
