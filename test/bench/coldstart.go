package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/revocast/revocast/hub"
)

// longLog has more records than a hub that is started again makes frames of,
// so that who has nothing needs a snapshot.
const longLog = 5000

// coldStarts measures subscribers that all start at once with nothing.
func coldStarts(s *suite) error {
	if limit := openFiles(s.ctx); s.scale.Newcomers+500 > limit {
		s.report.say("### Cold starts\n\nSkipped: %d subscribers, but a process may open %d files.", s.scale.Newcomers, limit)
		return nil
	}
	var rows [][]string
	for _, live := range s.scale.ColdLive {
		row, err := coldStart(s, live)
		if err != nil {
			return fmt.Errorf("cold starts with %d: %w", live, err)
		}
		rows = append(rows, row)
	}
	s.report.say("### Cold starts\n\n%s subscribers that start with nothing, at the same moment, at one hub that was just started again itself. They are light: one process that speaks the protocol for each of them (feed, hello, snapshot, feed again from its position, all records up to the head), and reads everything but keeps no set; a real one takes the time of *loaded* more, on a machine of its own. %d connections at a time are being made or fetch; the others wait, and that counts. Their process shares the processors.",
		count(s.scale.Newcomers), s.scale.AtOnce)
	s.report.table([]string{"live revocations", "snapshots", "half of them ready, s", "99 %", "all", "bytes to each", "the hub's CPU, ms for each", "their CPU, ms for each"}, rows...)
	return nil
}

func coldStart(s *suite, live int) (row []string, err error) {
	dir, err := newDir(s.dir, "cold")
	if err != nil {
		return nil, err
	}
	s.step(fmt.Sprint("cold starts: revoking ", live))
	if err := longFilled(s, dir, live); err != nil {
		return nil, err
	}
	h, err := startHub(s.ctx, hub.Config{DataDir: dir, MaxStreamsPerCredential: s.scale.Newcomers + 100})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.close()) }()

	s.step(fmt.Sprintf("cold starts: %d with %d live", s.scale.Newcomers, live))
	plan, err := json.Marshal(crowdPlan{strings.TrimPrefix(h.url, "http://"), s.scale.Newcomers, s.scale.AtOnce, live})
	if err != nil {
		return nil, err
	}
	crowd := exec.CommandContext(s.ctx, os.Args[0])
	crowd.Env = append(os.Environ(), crowdEnv+"="+string(plan))
	var stderr bytes.Buffer
	crowd.Stderr = &stderr
	before := cpuTime()
	out, err := crowd.Output()
	used := cpuTime() - before
	if err != nil {
		return nil, fmt.Errorf("the crowd: %w: %s", err, stderr.Bytes())
	}
	var found newcomers
	if err := json.Unmarshal(out, &found); err != nil {
		return nil, err
	}
	ready := quantiles(found.Ready)
	what := fmt.Sprintf("cold starts of %d, %d live", s.scale.Newcomers, live)
	s.report.figures(what+", half, 99 %, all", "s", spread{ready.at(.5).Seconds(), ready.at(.99).Seconds(), ready.at(1).Seconds()})
	each := func(total float64) string { return figure(total / float64(s.scale.Newcomers)) }
	return []string{count(live), count(found.Snapshots), figure(ready.at(.5).Seconds()), figure(ready.at(.99).Seconds()), figure(ready.at(1).Seconds()),
		each(float64(found.Bytes)), each(used.Seconds() * 1e3), each(found.CPU.Seconds() * 1e3)}, nil
}

// longFilled makes the data of a hub with some live revocations and a long log.
// Nothing of that is measured, so it is not synced.
func longFilled(s *suite, dir string, live int) error {
	h, err := startHub(s.ctx, hub.Config{DataDir: dir, DangerouslySkipSync: true})
	if err != nil {
		return err
	}
	exp := time.Now().Add(time.Hour)
	err = h.fill(s.ctx, live, exp)
	g, ctx := errgroup.WithContext(s.ctx)
	for range 4 { // few, so that not many share a record
		g.Go(func() error {
			for i := 0; ; i++ {
				if seq, err := h.revoke(ctx, exp, fmt.Sprint("t", i%live)); err != nil || seq > longLog {
					return err // of what is revoked already
				}
			}
		})
	}
	return errors.Join(err, g.Wait(), h.close())
}
