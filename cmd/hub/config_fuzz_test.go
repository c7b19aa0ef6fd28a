package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var fuzzNames = []string{"listen", "data", "retention"}

// Whatever the file: no panic, errors that name the file and show no value,
// the same reading each time, nothing said twice, and what is accepted means
// the same once it has been written again in the plainest way.
func FuzzConfig(f *testing.F) {
	for _, text := range []string{
		"", "#\n", "---\n", "~", "listen: 127.0.0.1:0\n\ndata: 'it''s'\nretention:\n", `{"listen": "a", "data": 1.10}`,
		"data: 1.10\nlisten: 0x10\nretention: 1_000\n", "data: |\n  a\n  b\nlisten: >-\n  c\n  d\n", "data: &a x\nlisten: *a\n", "data: !!str 5\n",
		"issuers: &x []\n<<: {listen: a}\n", "issuers:\n  - &a {iss: x}\n  - *a\n", "listen: a\nlisten: b\n", "\"listen\": a\nlisten: b\n", "listen: a\n---\nlisten: b\n",
		"listen: [a]\n", "listen: {a: SECRET}\n", "issuers: SECRET\n", "issuers:\n  - iss: [SECRET]\n", "issuers:\n  - {iss: a, iss: b}\n", "claims: {grant: {a: SECRET}}\n",
		"issuers:\n  - iss: https://a.example\n    keys: {keys: [{kty: oct, k: SECRET}]}\n    algorithms: [HS256]\n    max_token_lifetime: 2d\n    skew: often\n",
		"issuers:\n  - iss: https://a.example\n    keys: '{\"keys\":[]}'\n    types: [JWT, \"\"]\n    audience: [a, b]\n",
		"claims:\n  grant: [family]\n  device: hw\n  version: gen\n  extra: [tenant]\nlisten: a\n", "listen: 'SECRET\n", "data: \"\\u0000\\x7f\"\n", "? listen\n: a\n", "listen: a\r\ndata: b\r\n",
	} {
		f.Add([]byte(text))
	}
	const mark = "hunter2hunter2"
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4096 {
			return // deeply nested ones take long
		}
		data = []byte(strings.ReplaceAll(string(data), "SECRET", mark))
		c, err := parseConfig("hub.yaml", data, fuzzNames)
		again, err2 := parseConfig("hub.yaml", data, fuzzNames)
		if (err == nil) != (err2 == nil) || !reflect.DeepEqual(c, again) {
			t.Fatalf("%+v, %v, then %+v, %v", c, err, again, err2)
		}
		if err != nil {
			// What is no name of ours is shown; it stands where no secret is.
			if text := err.Error(); c != nil || !strings.HasPrefix(text, "hub.yaml:") || strings.Contains(text, mark) && !strings.Contains(text, "unknown name") {
				t.Fatalf("%+v, %v", c, err)
			}
			return
		}
		if err := c.claims.Validate(); err != nil {
			t.Fatalf("accepted claims %+v: %v", c.claims, err)
		}
		lines := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + 1
		plain := map[string]any{"claims": map[string]any{"grant": c.claims.Grant, "device": c.claims.Device, "version": c.claims.Version, "extra": c.claims.Extra}}
		var issuers []any
		for name, v := range c.values {
			if !slices.Contains(fuzzNames, name) || v.line < 1 || v.line > lines {
				t.Fatalf("%s: %+v", name, v)
			}
			plain[name] = v.text
			// Nothing can be said a second time.
			if _, err := parseConfig("hub.yaml", fmt.Appendf(slices.Clip(data), "\n%s: twice\n", name), fuzzNames); err == nil {
				t.Fatalf("%s may be there twice in\n%s", name, data)
			}
		}
		for _, i := range c.issuers {
			issuers = append(issuers, map[string]any{
				"iss": i.Iss, "jwks_uri": i.JWKSURI, "keys": i.Keys, "keys_file": i.KeysFile, "algorithms": i.Algorithms,
				"max_token_lifetime": i.MaxTokenLifetime.String(), "skew": i.Skew.String(), "types": i.Types, "audience": i.Audience,
			})
			if i.KeysFile != "" {
				continue // it would be read
			}
			if _, err := i.keySet(); err != nil {
				t.Fatal(err)
			}
		}
		plain["issuers"] = issuers
		text, err := json.Marshal(plain) // which is YAML, too
		if err != nil {
			t.Fatal(err)
		}
		back, err := parseConfig("hub.yaml", text, fuzzNames)
		if err != nil {
			t.Fatalf("written as\n%s\nit is refused: %v", text, err)
		}
		for _, c := range []*configFile{c, back} {
			for name, v := range c.values {
				c.values[name] = fileValue{text: v.text}
			}
		}
		if got, want := fmt.Sprintf("%+v", *back), fmt.Sprintf("%+v", *c); got != want {
			t.Fatalf("%s\nis read as\n%s, want\n%s", text, got, want)
		}
	})
}
