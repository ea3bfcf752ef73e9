package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"unicode"
)

//go:embed report.html
var page string

// HTML writes the report as one file: no script, nothing from elsewhere, foreign text escaped by html/template.
func (r *Report) HTML(w io.Writer) error {
	t, err := template.New("report").Funcs(template.FuncMap{
		"show":    func(c Column, v any) string { return visible(r.show(c.Kind, v)) },
		"numeric": func(c Column) bool { return numeric(c.Kind) },
		"isNote":  func(c Column) bool { return c.Kind == Note },
		"isID":    func(c Column) bool { return c.Kind == Session },
		"isShort": func(s string) bool { return len(s) <= maxUnbroken },
		"draw":    draw,
	}).Parse(page)
	if err != nil {
		return fmt.Errorf("the report's page: %w", err)
	}
	return t.Execute(w, struct {
		*Report
		Headline string
	}{r, r.headline()})
}

const maxUnbroken = 20 // octets of a cell that are one line: an address or a time

// visible shows control characters and what turns the direction of writing as a sign: a page shows them as nothing.
func visible(s string) string {
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return '\ufffd'
		}
		return c
	}, strings.ToValidUTF8(s, "\ufffd"))
}

// Measures of a chart, in its own units.
const (
	chartWidth, chartHeight = 960, 220
	chartFoot, chartLeft    = 22, 60 // for labels below and on the left
	lineHeight              = 22     // of a bar that lies
	labelWidth              = 170    // beside it
	maxLabels               = 12     // below bars that stand
)

// drawing is a chart as SVG shows it.
type drawing struct {
	Title         string
	Width, Height int
	Rects         []rect
	Texts         []label
	Legend        []string
}

type rect struct {
	X, Y, W, H float64
	Series     int
	Says       string
}

type label struct {
	X, Y   float64
	Anchor string
	Text   string
}

// draw places the bars of a chart.
func draw(c *Chart) *drawing {
	d := &drawing{Title: c.Title, Width: chartWidth, Height: chartHeight}
	if len(c.Series) > 1 {
		d.Legend = c.Series
	}
	most := int64(1)
	for _, b := range c.Bars {
		most = max(most, b.sum())
	}
	if c.Across {
		d.across(c, most)
	} else {
		d.upright(c, most)
	}
	return d
}

func (b Bar) sum() (n int64) {
	for _, v := range b.Values {
		n += v
	}
	return n
}

func (d *drawing) across(c *Chart, most int64) {
	d.Height = lineHeight * len(c.Bars)
	scale := float64(chartWidth-labelWidth-chartLeft) / float64(most)
	for i, b := range c.Bars {
		y, w := float64(i*lineHeight), float64(b.sum())*scale
		d.Rects = append(d.Rects, rect{labelWidth, y + 3, max(w, 1), lineHeight - 6, 0, fmt.Sprintf("%s: %d", b.Label, b.sum())})
		d.Texts = append(d.Texts,
			label{labelWidth - 8, y + 15, "end", b.Label},
			label{labelWidth + w + 6, y + 15, "start", fmt.Sprint(b.sum())})
	}
}

func (d *drawing) upright(c *Chart, most int64) {
	step := float64(chartWidth-chartLeft) / float64(max(len(c.Bars), 1))
	scale := float64(chartHeight-chartFoot-14) / float64(most)
	floor := float64(chartHeight - chartFoot)
	every := (len(c.Bars) + maxLabels - 1) / maxLabels
	for i, b := range c.Bars {
		x, y := chartLeft+float64(i)*step, floor
		for series, v := range b.Values {
			if v == 0 {
				continue
			}
			h := max(float64(v)*scale, 0.5)
			y -= h
			says := fmt.Sprintf("%s: %d", b.Label, v)
			if len(c.Series) > 1 {
				says += " " + c.Series[series]
			}
			d.Rects = append(d.Rects, rect{x, y, max(min(step*0.9, 60), 0.5), h, series, says})
		}
		if i%every == 0 {
			d.Texts = append(d.Texts, label{x, floor + 15, "start", b.Label})
		}
	}
	d.Texts = append(d.Texts, label{chartLeft - 8, 22, "end", fmt.Sprint(most)}, label{chartLeft - 8, floor, "end", "0"})
}
