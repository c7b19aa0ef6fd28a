package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/revocast/revocast/hub"
)

// hubData is what a hub has left behind.
type hubData struct {
	dir         string
	revocations int
}

// filled makes the data of a hub with n live revocations.
func filled(s *suite, n int) (hubData, error) {
	dir, err := newDir(s.dir, "restart")
	if err != nil {
		return hubData{}, err
	}
	h, err := startHub(s.ctx, hub.Config{DataDir: dir})
	if err != nil {
		return hubData{}, err
	}
	s.step(fmt.Sprint("revoking ", n))
	err = h.fill(s.ctx, n, time.Now().Add(time.Hour))
	return hubData{dir, n}, errors.Join(err, h.close())
}

// restarts measures how long hubs take to start again, in turn: from the file
// that each leaves behind, and without it.
func restarts(s *suite, all ...hubData) error {
	var starts []*timing
	for _, d := range all {
		starts = append(starts,
			&timing{name: fmt.Sprintf("with %s, from `state.snap`", count(d.revocations))},
			&timing{name: fmt.Sprintf("with %s, from the log alone", count(d.revocations))})
	}
	for range s.scale.few() {
		for i, d := range all {
			for j, prepare := range []func() error{
				func() error { return nil },
				func() error { return os.Remove(filepath.Join(d.dir, "state.snap")) },
			} {
				if err := prepare(); err != nil {
					return err
				}
				start := starts[2*i+j]
				s.step("restart " + start.name)
				var h *servedHub
				if err := start.time(func() (err error) {
					h, err = startHub(s.ctx, hub.Config{DataDir: d.dir})
					return err
				}); err != nil {
					return err
				}
				if err := h.close(); err != nil {
					return err
				}
			}
		}
	}
	var rows [][]string
	for _, start := range starts {
		rows = append(rows, start.row(s, "restart"))
	}
	s.report.say("### A hub's restart\n\nAfter an orderly end, until all revocations are in force again and the hub is ready.")
	s.report.table([]string{"", "ms"}, rows...)
	return nil
}

// histories measures starts with a long history, of which most has expired.
func histories(s *suite) error {
	if s.scale.History == 0 {
		return nil
	}
	t, err := buildFeedTest(s.ctx, s.dir)
	if err != nil {
		return err
	}
	const live = 1_000_000
	s.step(fmt.Sprintf("a history of %s records", count(s.scale.History+live)))
	env := []string{"RESTART_RECORDS=" + strconv.Itoa(s.scale.History+live)}
	var rows [][]string
	if err := t.run(s.ctx, "^BenchmarkRestart$", env, func(b benchmark) {
		s.step("restart: " + b.name)
		log, fold := b.values["log-ms"], b.values["ns/op"]/1e6
		s.report.figures("restart after a long history, "+b.name+", log opened", "ms", spread{log})
		s.report.figures("restart after a long history, "+b.name+", feed opened", "ms", spread{fold})
		name := map[string]string{"replay": "from the log alone", "state": "from `state.snap`"}[b.name]
		rows = append(rows, []string{name, figure(log), figure(fold), figure(log + fold)})
	}); err != nil {
		return err
	}
	s.report.say("### A restart after a long history\n\n%s live revocations, and before them %s that have expired. Each has a record of its own, as single requests make them; they were written past the hub's committer, which would take longer. Once each. By hand:\n\n    %s",
		count(live), count(s.scale.History), t.command("Restart", env...))
	s.report.table([]string{"ms", "the log is open", "and then all is in force", "together"}, rows...)
	return nil
}
