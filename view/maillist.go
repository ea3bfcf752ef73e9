package view

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
)

// MailQuery says which mails are meant; its zero value is all. Texts are looked for in any case of their letters.
type MailQuery struct {
	Since, Until      time.Time // begin: from Since on and before Until; a zero one is open
	From, To, Subject string
	Outcome           string
	MinSize           int64
	Limit             int // the newest; 0 is all
}

// Mails gives the records of mails, the newest first.
func (d *Data) Mails(q MailQuery, p *Problems) iter.Seq[*record.Message] {
	return func(yield func(*record.Message) bool) {
		days, err := d.Days()
		if err != nil {
			p.unread("logs", err)
			return
		}
		left := q.Limit
		if left == 0 {
			left = math.MaxInt
		}
		for _, day := range slices.Backward(days) {
			if !q.mayHave(day) {
				continue
			}
			for _, at := range d.newestOf(day, &q, left, p) {
				m, err := d.Message(at)
				if err != nil {
					p.unread(fileOf("message", day), err)
					continue
				}
				if left--; !yield(m) || left == 0 {
					return
				}
			}
		}
	}
}

// mayHave says whether a day, wherever on earth that is, has a part of the span.
func (q *MailQuery) mayHave(day string) bool {
	const farthest = 14 * time.Hour // a zone's time from UTC
	begin, err := time.Parse(time.DateOnly, day)
	return err != nil || (q.Until.IsZero() || begin.Add(-farthest).Before(q.Until)) && !begin.AddDate(0, 0, 1).Add(farthest).Before(q.Since)
}

// newestOf finds the last mails of a day that are meant, the newest first. In the file they are in the order in which
// they were recorded, which is another where captures were read.
func (d *Data) newestOf(day string, q *MailQuery, most int, p *Problems) []Place {
	type dated struct {
		begin time.Time
		at    Place
	}
	var list []dated
	newest := func() {
		slices.SortStableFunc(list, func(a, b dated) int { return b.begin.Compare(a.begin) })
		list = list[:min(len(list), most)]
	}
	for at, m := range d.Messages(day, 0, p) {
		if !q.matches(m) {
			continue
		}
		if list = append(list, dated{m.Begin.Time, at}); len(list)/2 >= most {
			newest()
		}
	}
	newest()
	places := make([]Place, len(list))
	for i := range list {
		places[i] = list[i].at
	}
	return places
}

func (q *MailQuery) matches(m *record.Message) bool {
	if q.Outcome != "" && q.Outcome != m.Outcome || m.Octets < q.MinSize {
		return false
	}
	if m.Begin.Before(q.Since) || !q.Until.IsZero() && !m.Begin.Before(q.Until) {
		return false
	}
	var h record.Header
	if m.Header != nil {
		h = *m.Header
	}
	from, to := h.From, slices.Concat(h.To, h.Cc)
	if m.From != nil {
		from = append(slices.Clip(from), *m.From)
	}
	for _, r := range m.Rcpt {
		to = append(to, r.To)
	}
	return anyContains(from, q.From) && anyContains(to, q.To) && anyContains([]string{h.Subject}, q.Subject)
}

func anyContains(list []string, text string) bool {
	text = strings.ToLower(text)
	return text == "" || slices.ContainsFunc(list, func(s string) bool { return strings.Contains(strings.ToLower(s), text) })
}

// MailLine says in a line what a mail is, with the time in a zone.
func MailLine(m *record.Message, zone *time.Location) string {
	line := fmt.Sprintf("%s  %-18s  %-8s %9d  %s", m.Begin.In(zone).Format(time.DateTime), Printable(m.ID), Printable(m.Outcome), m.Octets, envelope(m))
	if m.Header != nil && m.Header.Subject != "" {
		line += "  " + Printable(m.Header.Subject)
	}
	return line
}

// ParseSize reads a number of octets as users write it: 512, 500kB, 10MiB, 2G.
func ParseSize(s string) (int64, error) {
	number := strings.TrimRight(s, "kKMGTiB")
	factor, ok := map[string]float64{
		"": 1, "B": 1, "k": 1e3, "K": 1e3, "kB": 1e3, "KB": 1e3, "M": 1e6, "MB": 1e6, "G": 1e9, "GB": 1e9, "T": 1e12, "TB": 1e12,
		"Ki": 1 << 10, "KiB": 1 << 10, "Mi": 1 << 20, "MiB": 1 << 20, "Gi": 1 << 30, "GiB": 1 << 30, "Ti": 1 << 40, "TiB": 1 << 40,
	}[s[len(number):]]
	n, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || !(n >= 0) || n*factor >= math.MaxInt64 {
		return 0, fmt.Errorf("%s: give a size like 500kB or 10MiB", s)
	}
	return int64(n * factor), nil
}
