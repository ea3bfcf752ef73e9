package report

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mailwire/mailwire/inspect/record"
)

const (
	textWidth = 100 // columns of the sentences
	cellWidth = 60  // columns of one cell of foreign text that is not the last
)

// Text writes the report for a terminal or a mail: plain, foreign text escaped.
func (r *Report) Text(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintln(b, r.headline())
	for _, s := range r.Sections {
		r.textSection(b, s)
	}
	return b.Flush()
}

// headline says what the report is about.
func (r *Report) headline() string {
	if r.Totals.Sessions == 0 {
		return "There are no sessions in that time."
	}
	const format = "2006-01-02 15:04:05"
	t := r.Totals
	return fmt.Sprintf("%s to %s: %s, %s (%d accepted), %s, %s (%d failed), %s, %s, %s",
		r.Since.Format(format), r.Until.Format(format+" MST"), plural(t.Sessions, "session"), plural(t.Messages, "mail"), t.Accepted,
		plural(t.Errors, "refusal"), plural(t.Logins, "login"), t.Failed,
		plural(t.Commands, "command"), plural(t.Replies, "reply"), octets(t.Octets))
}

func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	if stem, ok := strings.CutSuffix(what, "y"); ok {
		what = stem + "ie"
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (r *Report) textSection(b *bufio.Writer, s *Section) {
	fmt.Fprintf(b, "\n%s\n", strings.ToUpper(s.Title))
	wrap(b, s.Says)
	b.WriteByte('\n')
	var columns []int // those of the table itself
	for i, c := range s.Columns {
		if c.Kind != Note {
			columns = append(columns, i)
		}
	}
	table := make([][]string, 1, len(s.Rows)+1)
	for _, i := range columns {
		table[0] = append(table[0], strings.ToUpper(s.Columns[i].Name))
	}
	for _, row := range s.Rows {
		var line []string
		for at, i := range columns {
			cell := escape(r.show(s.Columns[i].Kind, row[i]))
			if at < len(columns)-1 {
				cell = shorten(cell, cellWidth)
			}
			line = append(line, cell)
		}
		table = append(table, line)
	}
	width := make([]int, len(columns))
	for _, line := range table {
		for i, cell := range line {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for at, line := range table {
		textLine(b, s, columns, width, line)
		if at == 0 {
			continue
		}
		for i, c := range s.Columns {
			if note := s.Rows[at-1][i]; c.Kind == Note && note != nil && note != "" {
				fmt.Fprintf(b, "      %s\n", escape(r.show(Note, note)))
			}
		}
	}
	if s.More {
		fmt.Fprintf(b, "  and more: --top %d shows them\n", 10*max(len(s.Rows), 1))
	}
}

// textLine writes one line of a table: numbers to the right, the last cell without spaces behind it.
func textLine(b *bufio.Writer, s *Section, columns, width []int, line []string) {
	var text strings.Builder
	for at, cell := range line {
		pad := strings.Repeat(" ", width[at]-utf8.RuneCountInString(cell))
		text.WriteString("  ")
		if numeric(s.Columns[columns[at]].Kind) {
			text.WriteString(pad + cell)
		} else {
			text.WriteString(cell + pad)
		}
	}
	fmt.Fprintln(b, strings.TrimRight(text.String(), " "))
}

func numeric(k Kind) bool { return k == Count || k == Octets || k == Millis }

// show is a cell in words, unescaped.
func (r *Report) show(kind Kind, v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case int64:
		if kind == Octets {
			return octets(v)
		}
		return fmt.Sprint(v)
	case float64:
		return span(v)
	case time.Time:
		return r.clock(kind, v)
	}
	return fmt.Sprint(v)
}

// clock shows a time, without its day where all sessions began on it.
func (r *Report) clock(kind Kind, t time.Time) string {
	t = t.In(r.Location)
	format := "15:04:05"
	if kind == Hour {
		format = "15:04"
	}
	day := t.Format(time.DateOnly)
	if r.Since.In(r.Location).Format(time.DateOnly) != day || r.Until.In(r.Location).Format(time.DateOnly) != day {
		format = "2006-01-02 15:04"
	}
	return t.Format(format)
}

// span shows milliseconds with three digits or so.
func span(ms float64) string {
	d := time.Duration(ms * float64(time.Millisecond))
	switch {
	case ms < 10:
		return fmt.Sprintf("%.1f ms", ms)
	case ms < 1000:
		return fmt.Sprintf("%.0f ms", ms)
	case ms < 60_000:
		return fmt.Sprintf("%.1f s", ms/1000)
	case ms < 3600_000:
		return fmt.Sprintf("%d:%02d min", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%d:%02d h", int(d.Hours()), int(d.Minutes())%60)
}

// octets shows a number of octets with three digits or so.
func octets(n int64) string {
	f, unit := float64(n), 0
	for ; f >= 999.5 && unit < 5; unit++ {
		f /= 1000
	}
	switch {
	case unit == 0:
		return fmt.Sprintf("%d B", n)
	case f < 10:
		return fmt.Sprintf("%.1f %cB", f, "BkMGTP"[unit])
	}
	return fmt.Sprintf("%.0f %cB", f, "BkMGTP"[unit])
}

// escape makes foreign text printable ASCII, but for the sign with which the index leaves out what varies.
func escape(s string) string {
	var b []byte
	for i, part := range strings.Split(s, "…") {
		if i > 0 {
			b = append(b, "…"...)
		}
		b = record.AppendEscaped(b, part)
	}
	return string(b)
}

func shorten(s string, width int) string {
	if len(s) <= width {
		return s
	}
	return s[:width-3] + "..."
}

// wrap writes a sentence in lines.
func wrap(b *bufio.Writer, s string) {
	column := 0
	for word := range strings.FieldsSeq(s) {
		switch {
		case column == 0:
		case column+1+len(word) > textWidth:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	b.WriteByte('\n')
}
