package main

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/sync/errgroup"

	"github.com/revocast/revocast/hub"
	"github.com/revocast/revocast/subscriber"
	"github.com/revocast/revocast/test/chart"
)

// remembered is how many verified tokens the subscriber of this section
// remembers; a hostile stream has several times as many.
const remembered = 1024

func authenticate(s *suite) (err error) {
	s.step("keys and tokens")
	issuerKeys, err := newKeyring()
	if err != nil {
		return err
	}
	trusted, err := issuerKeys.trusted()
	if err != nil {
		return err
	}
	h, err := startHub(s.ctx, hub.Config{DataDir: s.dir, Issuers: []subscriber.Issuer{trusted}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	if err := h.fill(s.ctx, s.scale.Standing, time.Now().Add(time.Hour)); err != nil {
		return err
	}
	cfg := subscriber.Config{Hubs: []string{h.url}, Credential: adminKey, Issuers: []subscriber.Issuer{trusted}, VerifiedTokens: remembered}
	sub, err := subscribe(s.ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sub.Close()) }()
	cfg.VerifiedTokens = -1
	forgetful, err := subscribe(s.ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, forgetful.Close()) }()

	s.report.section("Authenticate", fmt.Sprintf(`
From the raw token to the answer that it is good: signature, times, audience,
and that nothing revoked it, with %s revocations in force. golang-jwt does the
same with its parser, without the revocations. The subscriber remembers the %s
tokens that it has verified last (65,536 by default).`, figure(float64(s.scale.Standing)), figure(remembered)))
	if err := seenBefore(s, issuerKeys, sub, forgetful); err != nil {
		return err
	}
	return hostile(s, issuerKeys, sub, forgetful)
}

// authenticator authenticates tokens in turn, and wants them all accepted, or
// all refused.
func authenticator(s *suite, sub *subscriber.Subscriber, raws []string, accepted bool) func(n int) error {
	next := 0
	return func(n int) error {
		for range n {
			if _, err := sub.Authenticate(s.ctx, raws[next%len(raws)], "orders"); (err == nil) != accepted {
				return fmt.Errorf("accepted is %v: %w", err == nil, err)
			}
			next++
		}
		return nil
	}
}

func peer(key signer, raws []string, accepted bool) func(n int) error {
	parser := jwt.NewParser(jwt.WithValidMethods([]string{key.method.Alg()}), jwt.WithIssuer(issuer),
		jwt.WithAudience("orders"), jwt.WithExpirationRequired())
	find := func(*jwt.Token) (any, error) { return key.public, nil }
	next := 0
	return func(n int) error {
		for range n {
			if _, err := parser.Parse(raws[next%len(raws)], find); (err == nil) != accepted {
				return fmt.Errorf("accepted is %v: %w", err == nil, err)
			}
			next++
		}
		return nil
	}
}

func seenBefore(s *suite, issuerKeys keyring, sub, forgetful *subscriber.Subscriber) error {
	var rows [][]string
	var bars []chart.Bar
	for _, key := range issuerKeys {
		alg := key.method.Alg()
		raw, err := key.sign("seen-" + alg)
		if err != nil {
			return err
		}
		one := []string{raw}
		hit := authenticator(s, sub, one, true)
		everyCore := func(n int) error {
			var g errgroup.Group
			for range runtime.GOMAXPROCS(0) {
				g.Go(func() error { return authenticator(s, sub, one, true)(n / runtime.GOMAXPROCS(0)) })
			}
			return g.Wait()
		}
		contenders := []contender{
			{"golang-jwt", peer(key, one, true)},
			{"Revocast, never seen", authenticator(s, forgetful, one, true)},
			{"Revocast, seen before", hit},
			{"Revocast, seen before, all cores", everyCore},
		}
		paces, err := race(s.ctx, s.scale, func(string) { s.step(alg) }, contenders...)
		if err != nil {
			return err
		}
		row := []string{alg}
		for i, p := range paces {
			s.report.figures("authenticate, "+alg+", "+contenders[i].name, "ns", p.ns)
			row = append(row, p.ns.String())
		}
		rows = append(rows, append(row, figure(paces[2].allocs), figure(paces[0].ns.over(paces[2].ns).median())+" ×"))
		bars = append(bars, chart.Bar{Name: "golang-jwt " + alg, Value: paces[0].ns.median() / 1e3},
			chart.Bar{Name: "seen before " + alg, Value: paces[2].ns.median() / 1e3})
	}
	s.report.say("ns for each token:")
	s.report.table([]string{"", "golang-jwt", "Revocast, never seen", "Revocast, seen before", "seen before, all cores", "allocations, seen before", "faster than golang-jwt"}, rows...)
	return s.report.bars("authenticate", chart.Chart{Title: "Authenticate a token", X: "µs"}, bars...)
}

// hostile measures streams in which no token comes twice before it is
// forgotten: good ones, and forged ones.
func hostile(s *suite, issuerKeys keyring, sub, forgetful *subscriber.Subscriber) error {
	s.step("making unique tokens")
	rsaKey, edKey := issuerKeys[0], issuerKeys[2]
	good, forged := make([]string, 8*remembered), make([]string, 8*remembered)
	signed, err := rsaKey.sign("signed")
	if err != nil {
		return err
	}
	signature := signed[strings.LastIndexByte(signed, '.'):]
	for i := range good {
		if good[i], err = edKey.sign(fmt.Sprint("unique", i)); err != nil {
			return err
		}
		claims := good[i][strings.IndexByte(good[i], '.'):strings.LastIndexByte(good[i], '.')]
		forged[i] = signed[:strings.IndexByte(signed, '.')] + claims + signature
	}
	var rows [][]string
	for _, stream := range []struct {
		name     string
		key      signer
		raws     []string
		accepted bool
	}{
		{"all different and good, EdDSA", edKey, good, true},
		{"all different and forged, RS256", rsaKey, forged, false},
	} {
		contenders := []contender{
			{"golang-jwt", peer(stream.key, stream.raws, stream.accepted)},
			{"Revocast, remembers nothing", authenticator(s, forgetful, stream.raws, stream.accepted)},
			{"Revocast", authenticator(s, sub, stream.raws, stream.accepted)},
		}
		paces, err := race(s.ctx, s.scale.paired(), func(string) { s.step(stream.name) }, contenders...)
		if err != nil {
			return err
		}
		row := []string{stream.name}
		for i, p := range paces {
			s.report.figures("authenticate, "+stream.name+", "+contenders[i].name, "ns", p.ns)
			row = append(row, p.ns.String())
		}
		ratio := paces[2].ns.over(paces[1].ns)
		s.report.figures("authenticate, "+stream.name+", Revocast over one that remembers nothing", "times", ratio)
		rows = append(rows, append(row, ratio.String()+" ×"))
	}
	s.report.say("A hostile stream of %s tokens, none of which is remembered when it comes again. What the memory of verified tokens costs shows beside a subscriber that has none; the last column compares the two round by round. ns for each token:", figure(float64(len(good))))
	s.report.table([]string{"stream", "golang-jwt", "Revocast, remembers nothing", "Revocast", "Revocast over remembering nothing"}, rows...)
	return nil
}
