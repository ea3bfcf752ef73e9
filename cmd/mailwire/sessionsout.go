package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/mailwire/mailwire/view"
	"github.com/mailwire/mailwire/view/index"
)

// maxRows are aligned with each other; more need no more memory.
const maxRows = 200

// sessionsWriter shows sessions as a table, as records, or as comma separated values.
type sessionsWriter struct {
	out     io.Writer
	data    *view.Data
	tell    func(string)
	zone    *time.Location
	style   view.Style
	columns int // of the terminal; 0 is any number
	json    bool
	csv     *csv.Writer // nil: not so
	rows    [][]string  // that wait to be aligned
	widths  []int       // of the columns, at least
	headed  bool
}

func newSessionsWriter(c *cli.Context, d *view.Data) *sessionsWriter {
	w := &sessionsWriter{
		out: c.App.Writer, data: d, tell: func(s string) { tell(c, s) }, zone: location(c), style: styleOf(c), json: c.Bool("json"),
	}
	if c.Bool("csv") {
		w.csv = csv.NewWriter(c.App.Writer)
	}
	if f, ok := c.App.Writer.(*os.File); ok && isTerminal(f) {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil {
			w.columns = columns
		}
	}
	return w
}

func (w *sessionsWriter) write(r index.Row) error {
	switch {
	case w.json:
		s, err := w.data.Session(r.At)
		if err != nil {
			w.tell(err.Error())
			return nil
		}
		_, err = io.WriteString(w.out, view.PrintableJSON(s.AppendJSON(nil))+"\n")
		return err
	case w.csv != nil:
		return w.writeCSV(r)
	}
	if w.rows = append(w.rows, w.cells(r)); len(w.rows) == maxRows {
		return w.flush()
	}
	return nil
}

// The columns of the table. Those in the middle give way where a terminal is too narrow.
const (
	idColumn = iota
	timeColumn
	clientColumn
	serverColumn
	userColumn
	mailColumn
	worstColumn
	statusColumn
)

var (
	titles = []string{"ID", "TIME", "CLIENT", "SERVER", "USER", "FROM → TO", "WORST REPLY", "STATUS"}
	// givingWay are the columns that are cut, the first one first, and to what width.
	givingWay = []struct{ column, width int }{
		{mailColumn, 30},
		{idColumn, 8},
		{userColumn, 10},
		{mailColumn, 16},
		{worstColumn, 9},
		{serverColumn, 12},
		{clientColumn, 15},
		{userColumn, 4},
		{mailColumn, 9},
		{serverColumn, 0},
		{userColumn, 0},
		{worstColumn, 3},
	}
)

func (w *sessionsWriter) cells(r index.Row) []string {
	cells := []string{
		r.ID, r.Begin.In(w.zone).Format(time.DateTime), r.Client, r.Server, r.User, mailOf(r), worstReply(r), r.Status,
	}
	for i := range cells {
		cells[i] = view.Printable(cells[i])
	}
	return cells
}

// mailOf is the first mail of a session: from whom to whom, and how many others.
func mailOf(r index.Row) string {
	if r.Messages == 0 {
		return ""
	}
	from := r.From
	switch {
	case r.NullSender:
		from = "<>"
	case from == "":
		from = "?"
	}
	var b strings.Builder
	b.WriteString(from)
	if len(r.To) > 0 {
		b.WriteString(" → " + r.To[0])
	}
	if more := r.Recipients - 1; more > 0 {
		fmt.Fprintf(&b, " +%d", more)
	}
	if more := r.Messages - 1; more > 0 {
		fmt.Fprintf(&b, ", %d more", more)
	}
	return b.String()
}

func worstReply(r index.Row) string {
	switch r.Worst {
	case 0:
		return ""
	case 1:
		return "-ERR"
	}
	return strings.TrimSpace(strconv.Itoa(r.Worst) + " " + r.WorstEnhanced)
}

// flush shows the rows that wait.
func (w *sessionsWriter) flush() error {
	if w.csv != nil {
		w.csv.Flush()
		return w.csv.Error()
	}
	if len(w.rows) == 0 {
		return nil
	}
	if w.widths == nil {
		w.widths = make([]int, len(titles))
	}
	if !w.headed {
		w.rows = append([][]string{titles}, w.rows...)
	}
	for _, row := range w.rows {
		for i, cell := range row {
			w.widths[i] = max(w.widths[i], utf8.RuneCountInString(cell))
		}
	}
	w.fit()
	var b strings.Builder
	for _, row := range w.rows {
		w.line(&b, row)
	}
	w.rows, w.headed = w.rows[:0], true
	_, err := io.WriteString(w.out, b.String())
	return err
}

// fit makes the table as wide as the terminal at most. A column without any width is left out.
func (w *sessionsWriter) fit() {
	if w.columns == 0 {
		return
	}
	total := 2 * (len(w.widths) - 1)
	for _, n := range w.widths {
		total += n
	}
	for _, g := range givingWay {
		less := min(total-w.columns, w.widths[g.column]-g.width)
		if less > 0 && g.width == 0 {
			less = w.widths[g.column]
			total -= 2
		}
		if less > 0 {
			w.widths[g.column] -= less
			total -= less
		}
	}
}

// line appends a row. An id is found by its beginning too: it is cut without a word.
func (w *sessionsWriter) line(b *strings.Builder, row []string) {
	for i, cell := range row {
		if w.widths[i] == 0 {
			continue
		}
		if i == idColumn {
			cell = cell[:min(len(cell), w.widths[i])]
		}
		cell = shorten(cell, w.widths[i])
		pad := w.widths[i] - utf8.RuneCountInString(cell)
		b.WriteString(w.paint(i, cell, row))
		if i < len(row)-1 {
			b.WriteString(strings.Repeat(" ", pad+2))
		}
	}
	b.WriteByte('\n')
}

// paint colours what went wrong.
func (w *sessionsWriter) paint(column int, cell string, row []string) string {
	switch {
	case row[timeColumn] == titles[timeColumn]:
		return w.paintAs("1", cell)
	case column == worstColumn && strings.HasPrefix(cell, "4"), column == statusColumn && row[column] != "closed":
		return w.paintAs("33", cell)
	case column == worstColumn:
		return w.paintAs("31", cell)
	case column == idColumn:
		return w.paintAs("2", cell)
	}
	return cell
}

func (w *sessionsWriter) paintAs(code, cell string) string {
	if !w.style.Colour || cell == "" {
		return cell
	}
	return "\x1b[" + code + "m" + cell + "\x1b[0m"
}

// shorten cuts a text to so many characters.
func shorten(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	if n < 1 {
		return ""
	}
	return string([]rune(s)[:n-1]) + "…"
}

var csvTitles = []string{
	"id", "time", "duration_ms", "protocol", "direction", "client", "server", "port", "user", "from", "to", "recipients", "mails",
	"errors", "worst", "enhanced", "text", "status", "octets_client", "octets_server",
}

func (w *sessionsWriter) writeCSV(r index.Row) error {
	if !w.headed {
		w.headed = true
		if err := w.csv.Write(csvTitles); err != nil {
			return err
		}
	}
	worst, _, _ := strings.Cut(worstReply(r), " ")
	cells := []string{
		r.ID, r.Begin.In(w.zone).Format("2006-01-02T15:04:05.000000Z07:00"), fmt.Sprintf("%.1f", float64(r.Duration)/1e6), r.Protocol,
		r.Direction, r.Client, r.Server, strconv.Itoa(int(r.Port)), r.User, r.From, strings.Join(r.To, " "), strconv.Itoa(r.Recipients),
		strconv.Itoa(r.Messages), strconv.Itoa(r.Errors), worst, r.WorstEnhanced, r.WorstText, r.Status,
		strconv.FormatInt(r.Sent, 10), strconv.FormatInt(r.Received, 10),
	}
	for i := range cells {
		cells[i] = defuse(cells[i])
	}
	return w.csv.Write(cells)
}

// defuse makes foreign text no formula of a spreadsheet, and no control sequence of a terminal.
func defuse(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
		cell = "'" + cell
	}
	return view.PrintableLines(cell)
}
