package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub"
	"github.com/revocast/revocast/subscriber"
)

// timing is something that takes long enough to be timed once in a round.
type timing struct {
	name   string
	rounds spread // milliseconds
}

func (t *timing) time(f func() error) error {
	begun := time.Now()
	if err := f(); err != nil {
		return fmt.Errorf("%s: %w", t.name, err)
	}
	t.rounds = append(t.rounds, float64(time.Since(begun))/float64(time.Millisecond))
	return nil
}

func (t *timing) row(s *suite, section string) []string {
	s.report.figures(section+", "+t.name, "ms", t.rounds)
	return []string{t.name, t.rounds.String()}
}

func snapshot(s *suite) error {
	s.report.section("Snapshot and start", `
What a subscriber needs that starts with nothing, and a hub that is started
again. *Built and transferred* is the first request for a snapshot after the set
has changed; *transferred* is another one, for which nothing is built; both over
HTTP on loopback.`)
	large, err := snapshotOf(s, s.scale.Snapshot)
	if err != nil {
		return err
	}
	small, err := filled(s, s.scale.Restart)
	if err != nil {
		return err
	}
	if err := restarts(s, small, large); err != nil {
		return err
	}
	if err := histories(s); err != nil {
		return err
	}
	return coldStarts(s)
}

// snapshotOf returns the data of the hub whose snapshots it has measured.
func snapshotOf(s *suite, n int) (_ hubData, err error) {
	dir, err := newDir(s.dir, "snapshot")
	if err != nil {
		return hubData{}, err
	}
	h, err := startHub(s.ctx, hub.Config{DataDir: dir})
	if err != nil {
		return hubData{}, err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	s.step(fmt.Sprint("revoking ", n))
	exp := time.Now().Add(time.Hour)
	begun := time.Now()
	if err := h.fill(s.ctx, n, exp); err != nil {
		return hubData{}, err
	}
	filled := time.Since(begun)
	var data []byte
	fetch := func() (err error) {
		data, err = h.request(s.ctx, "GET", "/v1/snapshot", "", nil, 200)
		return err
	}
	built, again := timing{name: "built and transferred"}, timing{name: "transferred"}
	load, cold := timing{name: "loaded"}, timing{name: "a subscriber's start, until it is fresh"}
	for i := range s.scale.few() {
		s.step("snapshot")
		if _, err := h.revoke(s.ctx, exp, fmt.Sprint("another", i)); err != nil {
			return hubData{}, err
		}
		if i > 0 { // a snapshot is handed out for two more seconds when the log has moved on
			if err := sleep(s.ctx, 2100*time.Millisecond); err != nil {
				return hubData{}, err
			}
		}
		if err := errors.Join(built.time(fetch), again.time(fetch)); err != nil {
			return hubData{}, err
		}
		if err := load.time(func() error {
			snap, err := events.ReadSnapshot(bytes.NewReader(data), 1<<30)
			if err == nil && snap.Set.Len() < n {
				err = fmt.Errorf("%w: %d of %d revocations", errWrongAnswer, snap.Set.Len(), n)
			}
			return err
		}); err != nil {
			return hubData{}, err
		}
		s.step("a subscriber starts")
		if err := cold.time(func() error {
			sub, err := subscribe(s.ctx, subscriber.Config{Hubs: []string{h.url}, Credential: adminKey})
			if err != nil {
				return err
			}
			if held := sub.Status().Live["token"]; held < n {
				err = fmt.Errorf("%w: %d of %d revocations", errWrongAnswer, held, n)
			}
			return errors.Join(err, sub.Close())
		}); err != nil {
			return hubData{}, err
		}
	}
	s.report.say("%s revocations. They came in requests of 1,000 on 8 connections, in %s: %s a second. The snapshot has %s bytes, %s for each.",
		figure(float64(n)), span(filled), figure(float64(n)/filled.Seconds()), figure(float64(len(data))), figure(float64(len(data))/float64(n)))
	section := fmt.Sprintf("snapshot of %d", n)
	s.report.table([]string{"", "ms"}, built.row(s, section), again.row(s, section), load.row(s, section), cold.row(s, section))
	return hubData{dir, n}, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
