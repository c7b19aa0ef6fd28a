package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/revocast/revocast/test/chart"
)

// report is docs/performance.md while it is being written.
type report struct {
	text   strings.Builder
	raw    strings.Builder
	charts string // the directory of the charts; empty: none are drawn
}

func (r *report) section(title, text string) {
	fmt.Fprintf(&r.text, "\n## %s\n\n%s\n", title, strings.TrimSpace(text))
}

func (r *report) say(format string, args ...any) {
	fmt.Fprintf(&r.text, "\n"+format+"\n", args...)
}

func (r *report) table(head []string, rows ...[]string) {
	fmt.Fprintf(&r.text, "\n| %s |\n|%s\n", strings.Join(head, " | "), strings.Repeat("---|", len(head)))
	for _, row := range rows {
		fmt.Fprintf(&r.text, "| %s |\n", strings.Join(row, " | "))
	}
}

// figures keeps what each round of something came to.
func (r *report) figures(what, unit string, s spread) {
	fmt.Fprintf(&r.raw, "%s [%s]:", what, unit)
	for _, v := range s {
		fmt.Fprintf(&r.raw, " %.4g", v)
	}
	r.raw.WriteByte('\n')
}

// bars draws a chart and shows it in the text.
func (r *report) bars(name string, c chart.Chart, bars ...chart.Bar) error {
	return r.picture(name, c.Title, func(path string) error { return c.SaveBars(path, bars...) })
}

func (r *report) lines(name string, c chart.Chart, lines ...chart.Line) error {
	return r.picture(name, c.Title, func(path string) error { return c.SaveLines(path, lines...) })
}

func (r *report) picture(name, title string, save func(path string) error) error {
	if r.charts == "" {
		return nil
	}
	file := "performance-" + name + ".svg"
	r.say("![%s](%s)", title, file)
	return save(filepath.Join(r.charts, file))
}

func (r *report) write(path, command string, m *machine, took time.Duration) error {
	var b strings.Builder
	fmt.Fprintf(&b, `# Performance

This page is written by a program, wholly; run it to have the figures of your
own machine:

`+"```\n%s\n```"+`

It ran for %.0f s. Contenders were measured in turn, round after round, in the
same process run. A figure is the median of the rounds, with the least and the
most in parentheses; those of each round are at the end. Everything shares the
processors named here: servers, clients and load generators.

%s`, command, took.Seconds(), m)
	b.WriteString(r.text.String())
	fmt.Fprintf(&b, "\n## Raw figures\n\nEach round, in the order measured.\n\n```\n%s```\n", r.raw.String())
	return os.WriteFile(path, []byte(b.String()), 0o644)
}
