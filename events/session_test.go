package events

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The example key of RFC 8037 appendix A.1, and its thumbprint (A.3).
const (
	rfc8037Seed       = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
	rfc8037X          = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
	rfc8037Thumbprint = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
)

func exampleKey() SigningKey {
	return must(NewSigningKey(bytes.NewReader(must(base64.RawURLEncoding.DecodeString(rfc8037Seed)))))
}

func otherKey() SigningKey {
	return must(NewSigningKey(strings.NewReader("another seed of just the right n")))
}

func TestSigningKey(t *testing.T) {
	k := exampleKey()
	got := string(must(json.Marshal(k.Public())))
	if want := `{"kty":"OKP","crv":"Ed25519","kid":"` + rfc8037Thumbprint + `","x":"` + rfc8037X + `"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if k.ID() != rfc8037Thumbprint {
		t.Errorf("kid %s", k.ID())
	}
	if err := k.Public().Validate(); err != nil {
		t.Error(err)
	}
	if again := must(NewSigningKey(bytes.NewReader(k.Seed()))); again.Public() != k.Public() {
		t.Error("the seed does not make the same key again")
	}
	if _, err := NewSigningKey(strings.NewReader("short")); err == nil {
		t.Error("made of too little")
	}
	broken := errors.New("no entropy")
	if _, err := NewSigningKey(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Error(err)
	}
}

func TestPublicKeyValidate(t *testing.T) {
	for name, change := range map[string]func(*PublicKey){
		"kty":         func(p *PublicKey) { p.KeyType = "EC" },
		"no kty":      func(p *PublicKey) { p.KeyType = "" },
		"crv":         func(p *PublicKey) { p.Curve = "Ed448" },
		"kid":         func(p *PublicKey) { p.KeyID = "k1" },
		"no kid":      func(p *PublicKey) { p.KeyID = "" },
		"another kid": func(p *PublicKey) { p.KeyID = otherKey().ID() },
		"another x":   func(p *PublicKey) { p.X = otherKey().Public().X },
	} {
		p := exampleKey().Public()
		change(&p)
		if p.Validate() == nil {
			t.Errorf("%s: valid", name)
		}
		// And nothing is verified with it.
		tick := Tick{Seq: 1, At: 2}
		tick.Sign("default", "e", exampleKey())
		tick.KeyID = p.KeyID
		if tick.Verify("default", "e", []PublicKey{p}) == nil {
			t.Errorf("%s: verified with it", name)
		}
	}
}

// lengthAndText is how the documentation says that parts are signed.
func lengthAndText(length byte, text string) string {
	return "\x00\x00\x00" + string(rune(length)) + text
}

func TestTickGolden(t *testing.T) {
	tick := Tick{Seq: 1042, At: 1_764_000_000_123, Chain: Chain{1, 2, 3}}
	tick.Sign("default", "k3v9x2", exampleKey())
	signed := lengthAndText(15, "revocast tick 1") + lengthAndText(7, "default") + lengthAndText(6, "k3v9x2") +
		lengthAndText(4, "1042") + lengthAndText(32, "\x01\x02\x03"+strings.Repeat("\x00", 29)) + lengthAndText(13, "1764000000123")
	x := must(base64.RawURLEncoding.DecodeString(rfc8037X))
	if !ed25519.Verify(x, []byte(signed), tick.Sig[:]) {
		t.Error("the signature is not one of these bytes")
	}
	var back Tick
	text := must(json.Marshal(tick))
	want := `{"seq":1042,"at":"2025-11-24T16:00:00.123Z","chain":"AQIDAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","kid":"` + rfc8037Thumbprint + `","sig":"` +
		base64.RawURLEncoding.EncodeToString(tick.Sig[:]) + `"}`
	if string(text) != want {
		t.Errorf("got %s\nwant %s", text, want)
	}
	if err := json.Unmarshal(text, &back); err != nil || back != tick {
		t.Errorf("read as %+v, %v", back, err)
	}
}

func TestReportAnswerGolden(t *testing.T) {
	a := ReportAnswer{Epoch: "k3v9x2", Head: 1042, Nonce: "n-1", At: 1_764_000_000_123}
	a.Sign("default", exampleKey())
	signed := lengthAndText(17, "revocast report 1") + lengthAndText(7, "default") + lengthAndText(6, "k3v9x2") +
		lengthAndText(4, "1042") + lengthAndText(3, "n-1") + lengthAndText(13, "1764000000123")
	x := must(base64.RawURLEncoding.DecodeString(rfc8037X))
	if !ed25519.Verify(x, []byte(signed), a.Sig[:]) {
		t.Error("the signature is not one of these bytes")
	}
	var back ReportAnswer
	text := must(json.Marshal(a))
	want := `{"epoch":"k3v9x2","head":1042,"nonce":"n-1","at":"2025-11-24T16:00:00.123Z","kid":"` + rfc8037Thumbprint + `","sig":"` +
		base64.RawURLEncoding.EncodeToString(a.Sig[:]) + `"}`
	if string(text) != want {
		t.Errorf("got %s\nwant %s", text, want)
	}
	if err := json.Unmarshal(text, &back); err != nil || back != a {
		t.Errorf("read as %+v, %v", back, err)
	}
}

func TestTickSignatureCoversEverything(t *testing.T) {
	key, other := exampleKey(), otherKey()
	keys := []PublicKey{other.Public(), key.Public()}
	var good Tick
	reset := func() Tick {
		tick := Tick{Seq: 1042, At: 1_764_000_000_123, Chain: Chain{1, 2, 3}}
		tick.Sign("default", "k3v9x2", key)
		return tick
	}
	good = reset()
	if err := good.Verify("default", "k3v9x2", keys); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Tick){
		"seq":             func(t *Tick) { t.Seq++ },
		"seq 0":           func(t *Tick) { t.Seq = 0 },
		"at":              func(t *Tick) { t.At++ },
		"at, negative":    func(t *Tick) { t.At = -t.At },
		"chain":           func(t *Tick) { t.Chain[31] ^= 1 },
		"kid":             func(t *Tick) { t.KeyID = other.ID() },
		"no kid":          func(t *Tick) { t.KeyID = "" },
		"unknown kid":     func(t *Tick) { t.KeyID = strings.ToUpper(t.KeyID) },
		"no sig":          func(t *Tick) { t.Sig = Signature{} },
		"another's sig":   func(t *Tick) { t.Sign("default", "k3v9x2", other); t.KeyID = key.ID() },
		"sig, other form": func(t *Tick) { t.Sig = malleate(t.Sig) },
	} {
		tick := reset()
		change(&tick)
		if tick.Verify("default", "k3v9x2", keys) == nil {
			t.Errorf("%s: verified", name)
		}
	}
	for i := range good.Sig {
		tick := good
		tick.Sig[i] ^= 1 << (i % 8)
		if tick.Verify("default", "k3v9x2", keys) == nil {
			t.Errorf("sig, byte %d: verified", i)
		}
	}
	for _, c := range []struct{ feed, epoch string }{
		{"Default", "k3v9x2"}, {"", "k3v9x2"}, {"default", "k3v9x3"}, {"default", ""}, {"defaultk", "3v9x2"}, {"k3v9x2", "default"}, {"defaul", "tk3v9x2"},
	} {
		if good.Verify(c.feed, c.epoch, keys) == nil {
			t.Errorf("verified for feed %q, epoch %q", c.feed, c.epoch)
		}
	}
	if good.Verify("default", "k3v9x2", keys[:1]) == nil || good.Verify("default", "k3v9x2", nil) == nil {
		t.Error("verified without its key")
	}
}

func TestReportAnswerSignatureCoversEverything(t *testing.T) {
	key, other := exampleKey(), otherKey()
	keys := []PublicKey{other.Public(), key.Public()}
	reset := func() ReportAnswer {
		a := ReportAnswer{Epoch: "k3v9x2", Head: 1042, Nonce: "n-1", At: 1_764_000_000_123}
		a.Sign("default", key)
		return a
	}
	good := reset()
	if err := good.Verify("default", keys); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*ReportAnswer){
		"epoch":         func(a *ReportAnswer) { a.Epoch = "k3v9x3" },
		"epoch, nonce":  func(a *ReportAnswer) { a.Epoch, a.Nonce = a.Nonce, a.Epoch },
		"head":          func(a *ReportAnswer) { a.Head-- },
		"nonce":         func(a *ReportAnswer) { a.Nonce = "n-2" },
		"no nonce":      func(a *ReportAnswer) { a.Nonce = "" },
		"at":            func(a *ReportAnswer) { a.At-- },
		"kid":           func(a *ReportAnswer) { a.KeyID = other.ID() },
		"no sig":        func(a *ReportAnswer) { a.Sig = Signature{} },
		"another's sig": func(a *ReportAnswer) { a.Sign("default", other); a.KeyID = key.ID() },
		"head 1, nonce": func(a *ReportAnswer) { a.Head, a.Nonce = 104, "2"+a.Nonce },
	} {
		a := reset()
		change(&a)
		if a.Verify("default", keys) == nil {
			t.Errorf("%s: verified", name)
		}
	}
	for i := range good.Sig {
		a := good
		a.Sig[i] ^= 1 << (i % 8)
		if a.Verify("default", keys) == nil {
			t.Errorf("sig, byte %d: verified", i)
		}
	}
	if good.Verify("other", keys) == nil || good.Verify("", keys) == nil {
		t.Error("verified for another feed")
	}
	if good.Verify("default", keys[:1]) == nil || good.Verify("default", nil) == nil {
		t.Error("verified without its key")
	}
}

// A tick and an answer about the same things are never taken for each other,
// even where a nonce is chosen to look like a chain.
func TestTickIsNoAnswer(t *testing.T) {
	key := exampleKey()
	keys := []PublicKey{key.Public()}
	chain := Chain([]byte(strings.Repeat("c", 32)))
	tick := Tick{Seq: 7, At: 8000, Chain: chain}
	tick.Sign("default", "e", key)
	answer := ReportAnswer{Epoch: "e", Head: 7, Nonce: string(chain[:]), At: 8000}
	answer.Sign("default", key)
	if tick.Sig == answer.Sig {
		t.Error("they have the same signature")
	}
	tick.Sig, answer.Sig = answer.Sig, tick.Sig
	if tick.Verify("default", "e", keys) == nil {
		t.Error("an answer's signature is good for a tick")
	}
	if answer.Verify("default", keys) == nil {
		t.Error("a tick's signature is good for an answer")
	}
}

// malleate makes another signature of the same message that a lax verifier
// takes: the scalar plus the order of the group (RFC 8032 section 5.1.7).
func malleate(sig Signature) Signature {
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	s := slices.Clone(sig[32:])
	slices.Reverse(s)
	s = new(big.Int).Add(new(big.Int).SetBytes(s), order).FillBytes(make([]byte, 32))
	slices.Reverse(s)
	copy(sig[32:], s)
	return sig
}

// The other messages, as they are on the wire.
func TestSessionMessages(t *testing.T) {
	check := func(v, back any, want string) {
		t.Helper()
		got, err := json.Marshal(v)
		if err != nil || string(got) != want {
			t.Errorf("got %s, %v\nwant %s", got, err, want)
		}
		if err := json.Unmarshal([]byte(edit(want, `{`, `{"unknown":{},`)), back); err != nil {
			t.Errorf("with an unknown field: %v", err)
		}
		if again := must(json.Marshal(back)); string(again) != want {
			t.Errorf("read back: %s", again)
		}
	}
	check(Hello{V: 1, Feed: "default", Epoch: "k3v9x2", Head: 1042, Mode: ModeDelta, HeartbeatMS: 2000, Salt: testSalt, Keys: []PublicKey{exampleKey().Public()}}, new(Hello),
		`{"v":1,"feed":"default","epoch":"k3v9x2","head":1042,"mode":"delta","heartbeat_ms":2000,"salt":"ABEiM0RVZneImaq7zN3u_w","keys":[{"kty":"OKP","crv":"Ed25519","kid":"`+
			rfc8037Thumbprint+`","x":"`+rfc8037X+`"}]}`)
	check(RecordFrame{Seq: 1041, Chain: Chain{1}, Audit: Hash{2}, Feed: jsontext.Value(feedOf(revokeToken))}, new(RecordFrame),
		`{"seq":1041,"chain":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","audit":"AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","feed":`+feedOf(revokeToken)+`}`)
	check(Report{Subscriber: "orders-1", Epoch: "k3v9x2", Applied: 7, State: "fresh", Nonce: "n"}, new(Report),
		`{"subscriber":"orders-1","epoch":"k3v9x2","applied":7,"state":"fresh","nonce":"n"}`)
	check(Report{Subscriber: "orders-1", State: "starting", Nonce: "n"}, new(Report),
		`{"subscriber":"orders-1","applied":0,"state":"starting","nonce":"n"}`)
}
