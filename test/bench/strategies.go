package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/revocast/revocast/test/chart"
)

// bearer is a token that requests come with.
type bearer struct{ jti, raw string }

// strategy is one way for a resource server to learn that a token is revoked.
type strategy struct {
	name  string
	calls string // network calls for each request
	down  string // what happens while the store is down

	// revoke takes a token back and returns when that is acknowledged.
	revoke func(ctx context.Context, jti string) error
	// prepare returns the check of a token whose signature has been verified.
	prepare func(bearer) check
	// local checks need no network, and waiting ones learn of a revocation only
	// after a while.
	local, waiting bool
	// close releases what the strategy has. May be nil.
	close func() error
}

// check reports whether the token is revoked.
type check func(ctx context.Context) (bool, error)

func strategies(s *suite) (err error) {
	s.report.section("Strategies", fmt.Sprintf(`
The ways of taking tokens back that people know, each with a real server on
loopback, and %s revocations in force. The signature has been verified; *added*
is what asking about revocation adds to a request, asked one after the other by
one caller; checks that need no network call are timed 100 at a time, and where
answers are cached, p99 shows what asking costs. *Until enforced* is the time
from the acknowledgement of a revocation to the first check that refuses, of %d
revocations. Stores are durable: each write is synced before it is acknowledged,
except in the NATS server of the hub that pushes over NATS. The hubs, that
server, the services that push over WebSocket and renew tokens (both keep what
they have in JetStream), the subscribers and the clients are one process; Redis
and PostgreSQL have their own. Caches and pollers have an interval of %v; what they take to
enforce grows with it, and usual intervals are longer. On loopback a network call
costs no distance. What happens while the store is down is told, not measured.`, figure(float64(s.scale.Standing)), s.scale.Trials, s.scale.Interval))
	var all []*strategy
	defer func() {
		for i := len(all) - 1; i >= 0; i-- {
			if all[i].close != nil {
				err = errors.Join(err, all[i].close())
			}
		}
	}()
	issuerKeys, err := newKeyring()
	if err != nil {
		return err
	}
	var skipped [][]string
	for _, start := range []func(*suite, keyring) ([]*strategy, error){startHubStrategies, startNATSPush, startWebSocket, startRedis, startPostgres} {
		started, err := start(s, issuerKeys)
		all = append(all, started...)
		if missing := (*missingError)(nil); errors.As(err, &missing) {
			skipped = append(skipped, []string{missing.strategy, "skipped: " + missing.program + " is not installed"})
		} else if err != nil {
			return err
		}
	}
	key := issuerKeys[2]
	costs, err := costsOf(s, key, all)
	if err != nil {
		return err
	}
	delays, err := delaysOf(s, key, all)
	if err != nil {
		return err
	}
	short, err := shortLived(s, key)
	if err != nil {
		return err
	}
	var rows [][]string
	var bars []chart.Bar
	for _, st := range all {
		cost, delay := costs[st], delays[st]
		rows = append(rows, []string{st.name, span(cost.at(.5)), span(cost.at(.99)), span(delay.at(.5)), span(delay.at(.99)), span(delay.at(1)), st.calls, st.down})
		bars = append(bars, chart.Bar{Name: st.name, Value: float64(delay.at(.5)) / 1e6})
	}
	rows = append(rows, short)
	for _, row := range skipped {
		rows = append(rows, []string{row[0], row[1], "", "", "", "", "", ""})
	}
	s.report.table([]string{"", "added, p50", "added, p99", "until enforced, p50", "p99", "worst", "calls for each request", "when the store is down"}, rows...)
	return s.report.bars("strategies", chart.Chart{Title: "Until a revocation is enforced, median", X: "ms"}, bars...)
}

// missingError says that a peer can't be measured here.
type missingError struct{ strategy, program string }

func (e *missingError) Error() string { return e.program + " is not installed" }

// costsOf takes the latencies of checks of good tokens, of each strategy in
// turn.
func costsOf(s *suite, key signer, all []*strategy) (map[*strategy]quantiles, error) {
	costs := make(map[*strategy]quantiles)
	checks := make(map[*strategy][]check)
	for i := range 64 {
		b := bearer{jti: fmt.Sprint("good", i)}
		var err error
		if b.raw, err = key.sign(b.jti); err != nil {
			return nil, err
		}
		for _, st := range all {
			checks[st] = append(checks[st], st.prepare(b))
		}
	}
	const together = 100
	for round := range s.scale.Rounds + 1 {
		for _, st := range all {
			s.step(st.name)
			times, samples := 1, s.scale.Requests/s.scale.Rounds
			if st.local {
				times = together
			}
			for i := range samples {
				c := checks[st][i%len(checks[st])]
				begun := time.Now()
				for range times {
					if revoked, err := c(s.ctx); err != nil || revoked {
						return nil, fmt.Errorf("%s: %w: a good token is revoked: %v, %w", st.name, errWrongAnswer, revoked, err)
					}
				}
				if round > 0 { // the first one warms up
					costs[st] = append(costs[st], time.Since(begun)/time.Duration(times))
				}
			}
		}
	}
	return costs, nil
}

// delaysOf takes the times until revocations are enforced. Strategies that wait
// are measured together: each revocation at a moment of its own, so that they
// meet the intervals anywhere. The others follow, one at a time, in turn.
func delaysOf(s *suite, key signer, all []*strategy) (map[*strategy]quantiles, error) {
	delays := make(map[*strategy]quantiles)
	for i := range s.scale.Trials {
		for _, st := range all {
			if st.waiting {
				continue
			}
			if i%50 == 0 {
				s.step("until enforced: " + st.name)
			}
			took, err := untilEnforced(s, key, st, fmt.Sprint("trial", i, st.name), 0)
			if err != nil {
				return nil, err
			}
			delays[st] = append(delays[st], took)
		}
	}
	var late []*strategy
	for _, st := range all {
		if st.waiting {
			late = append(late, st)
		}
	}
	s.step("until enforced: caches and pollers")
	took := make([][]time.Duration, len(late)) // each of its own goroutine
	for i := range took {
		took[i] = make([]time.Duration, s.scale.Trials)
	}
	g, ctx := errgroup.WithContext(s.ctx)
	for i, st := range late {
		for j := range s.scale.Trials {
			g.Go(func() error {
				if err := sleep(ctx, rand.N(20*s.scale.Interval)); err != nil {
					return err
				}
				d, err := untilEnforced(s, key, st, fmt.Sprint("late", j, st.name), time.Millisecond)
				took[i][j] = d
				return err
			})
		}
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for i, st := range late {
		delays[st] = took[i]
	}
	return delays, nil
}

// patience is how long anything may take on a machine that is busy.
const patience = 30 * time.Second

// untilEnforced revokes a token that is in use, and checks it, with a pause
// between checks if there is one, until it is refused.
func untilEnforced(s *suite, key signer, st *strategy, jti string, pause time.Duration) (time.Duration, error) {
	raw, err := key.sign(jti)
	if err != nil {
		return 0, err
	}
	revoked := st.prepare(bearer{jti, raw})
	if is, err := revoked(s.ctx); err != nil || is {
		return 0, fmt.Errorf("%s: %w: revoked before it was: %v, %w", st.name, errWrongAnswer, is, err)
	}
	if st.waiting { // what was remembered by then is of any age
		if err := sleep(s.ctx, rand.N(s.scale.Interval)); err != nil {
			return 0, err
		}
		if _, err := revoked(s.ctx); err != nil {
			return 0, err
		}
	}
	if err := st.revoke(s.ctx, jti); err != nil {
		return 0, fmt.Errorf("%s: revoke: %w", st.name, err)
	}
	acknowledged := time.Now()
	for {
		is, err := revoked(s.ctx)
		took := time.Since(acknowledged)
		switch {
		case err != nil:
			return 0, fmt.Errorf("%s: %w", st.name, err)
		case is:
			return took, nil
		case took > patience:
			return 0, fmt.Errorf("%s: %w: not enforced within %v", st.name, errWrongAnswer, patience)
		case pause > 0:
			if err := sleep(s.ctx, pause); err != nil {
				return 0, err
			}
		default:
			runtime.Gosched()
		}
	}
}
