// Package chart draws what tests and benchmarks measured, as SVG files for
// the documentation.
package chart

import (
	"fmt"
	"math"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Chart is a title and two axes. Log axes show only positive values.
type Chart struct {
	Title, X, Y string
	LogX, LogY  bool
}

// Line is one curve: the points (X[i], Y[i]), in order.
type Line struct {
	Name string
	X, Y []float64
}

// Bar is one bar with its label.
type Bar struct {
	Name  string
	Value float64
}

const width, height = 18 * vg.Centimeter, 10 * vg.Centimeter

// SaveLines draws lines into an SVG file.
func (c Chart) SaveLines(path string, lines ...Line) error {
	p := c.plot()
	p.Add(plotter.NewGrid())
	for i, l := range lines {
		points := make(plotter.XYs, len(l.X))
		for j := range l.X {
			points[j] = plotter.XY{X: l.X[j], Y: l.Y[j]}
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			return fmt.Errorf("chart %q, line %q: %w", c.Title, l.Name, err)
		}
		line.Color, line.Width = plotutil.Color(i), vg.Points(1.5)
		p.Add(line)
		if l.Name != "" {
			p.Legend.Add(l.Name, line)
		}
	}
	p.Legend.Top, p.Legend.Left = true, true
	headroom := .08 * float64(len(lines)) // for the legend
	if c.LogY {
		p.Y.Max *= math.Pow(p.Y.Max/p.Y.Min, headroom)
	} else {
		p.Y.Max += headroom * (p.Y.Max - p.Y.Min)
	}
	return save(p, path, height)
}

// SaveBars draws bars from left to right, the first at the top, into an SVG
// file.
func (c Chart) SaveBars(path string, bars ...Bar) error {
	p := c.plot()
	values := make(plotter.Values, len(bars))
	names := make([]string, len(bars))
	for i, b := range bars {
		values[len(bars)-1-i], names[len(bars)-1-i] = b.Value, b.Name
	}
	drawn, err := plotter.NewBarChart(values, vg.Points(12))
	if err != nil {
		return fmt.Errorf("chart %q: %w", c.Title, err)
	}
	drawn.Horizontal, drawn.Color = true, plotutil.Color(2)
	p.Add(drawn)
	p.NominalY(names...)
	return save(p, path, vg.Points(40)+vg.Length(len(bars))*vg.Points(22))
}

func (c Chart) plot() *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = c.Title, c.X, c.Y
	if c.LogX {
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	if c.LogY {
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	return p
}

func save(p *plot.Plot, path string, height vg.Length) error {
	w, err := draw.NewFormattedCanvas(width, height, "svg")
	if err != nil {
		return fmt.Errorf("chart %q: %w", p.Title.Text, err)
	}
	margin := vg.Points(16) // the last label of an axis is as long beyond it as before
	p.Draw(draw.Crop(draw.New(w), 0, -margin, 0, -margin/4))
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if _, err := w.WriteTo(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
