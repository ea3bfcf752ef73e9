package report

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mailwire/mailwire/view/explain"
	"github.com/mailwire/mailwire/view/index"
)

// query is one report's questions to the index.
type query struct {
	ctx    context.Context
	db     *sql.DB
	o      Options
	args   []any // named: every statement may use them
	hourly bool  // the report is about whole hours, but perhaps for one server: the index has the sums
	summed bool  // and it is about all of the index

	// What several sections need is found out first.
	kinds   map[explain.Kind][]shape
	first   []answer // the ranking of replies
	putOff  string   // what was put off, as JSON
	walked  walked
	strange []strange // those with the highest count first
}

const parallel = 2 // jobs that are done at once

func newQuery(ctx context.Context, db *sql.DB, o Options) (*query, error) {
	q := &query{ctx: ctx, db: db, o: o}
	clients, err := q.clients()
	if err != nil {
		return nil, err
	}
	if err := q.bounds(); err != nil {
		return nil, err
	}
	q.args = []any{sql.Named("top", o.Top+1), sql.Named("clients", clients), sql.Named("server", o.Server.String())}
	return q, nil
}

// bounds takes away bounds that leave nothing out: what is about all of the index need not look at each session.
func (q *query) bounds() error {
	var first, last sql.NullInt64
	if err := q.row(`SELECT MIN(row), MAX(row) FROM (SELECT MIN(row) row FROM sessions UNION SELECT MAX(row) FROM sessions
			UNION SELECT MIN(row) FROM messages UNION SELECT MAX(row) FROM messages)`, &first, &last); err != nil {
		return err
	}
	from, below := index.Rows(q.o.Since, q.o.Until)
	if first.Valid && from <= first.Int64 {
		q.o.Since = time.Time{}
	}
	if last.Valid && last.Int64 < below {
		q.o.Until = time.Time{}
	}
	whole := func(t time.Time) bool { return t.IsZero() || t.Equal(t.Truncate(time.Hour)) }
	q.hourly = whole(q.o.Since) && whole(q.o.Until) && !q.o.Clients.IsValid()
	q.summed = q.hourly && q.o.Since.IsZero() && q.o.Until.IsZero()
	return nil
}

// clients lists the addresses that Options.Clients holds, as JSON, since SQLite does not know networks.
func (q *query) clients() (string, error) {
	list := []string{}
	if q.o.Clients.IsValid() {
		rows, err := q.db.QueryContext(q.ctx, "SELECT DISTINCT client_net, client_ip FROM clients")
		if err != nil {
			return "", err
		}
		defer rows.Close()
		for rows.Next() {
			var net, s string
			if err := rows.Scan(&net, &s); err != nil {
				return "", err
			}
			if ip, err := netip.ParseAddr(s); err == nil && q.o.Clients.Contains(ip.Unmap().WithZone("")) {
				list = append(list, s)
			}
		}
		if err := rows.Err(); err != nil {
			return "", err
		}
	}
	b, err := json.Marshal(list)
	return string(b), err
}

// where is the condition on a table that Options make. Rows are in the order of time, so a span of time is one of rows.
func (q *query) where(table string) string { return q.span(table+".row") + q.ends(table) }

// whereSession is where for a table of what happened in sessions.
func (q *query) whereSession(table string) string {
	return q.span(table+".session_row") + q.ends(table)
}

func (q *query) span(row string) string {
	from, below := index.Rows(q.o.Since, q.o.Until)
	c := "TRUE"
	if !q.o.Since.IsZero() {
		c += fmt.Sprintf(" AND %s >= %d", row, from)
	}
	if !q.o.Until.IsZero() {
		c += fmt.Sprintf(" AND %s < %d", row, below)
	}
	return c
}

// hours is the condition on a table that knows no more than hours: those that have a part of the span.
func (q *query) hours(table string) string {
	c := "TRUE"
	if !q.o.Since.IsZero() {
		c += fmt.Sprintf(" AND %s.hour >= %d", table, q.o.Since.Unix()/3600)
	}
	if !q.o.Until.IsZero() {
		c += fmt.Sprintf(" AND %s.hour < %d", table, (q.o.Until.Unix()+3599)/3600)
	}
	return c
}

// ends is the condition on who spoke.
func (q *query) ends(table string) string {
	c := ""
	if q.o.Clients.IsValid() {
		c += " AND " + table + ".client_ip IN (SELECT value FROM json_each(@clients))"
	}
	if q.o.Server.IsValid() {
		c += " AND " + table + ".server_ip = @server"
	}
	return c
}

// prepare makes the totals, and what several sections need.
func (q *query) prepare(r *Report) error {
	var jobs []func() error
	if q.wants("load-by-client", "load-by-server", "routes") {
		jobs = append(jobs, q.walkClients)
	}
	if q.wants("never-accepted", "accepted-later") {
		jobs = append(jobs, q.findPutOff)
	}
	if q.wants("anomalies", "unmatched") {
		jobs = append(jobs, q.sumAnomalies)
	}
	jobs = append(jobs, q.rankReplies, func() error { return q.totals(r) })
	err := together(jobs)
	for _, a := range q.first {
		r.Totals.Errors += a.count
	}
	return err
}

// together does jobs, several at a time, and says the first thing that went wrong.
func together(jobs []func() error) error {
	errs := make([]error, len(jobs))
	slots := make(chan struct{}, parallel)
	var wait sync.WaitGroup
	for i, job := range jobs {
		slots <- struct{}{}
		wait.Go(func() {
			errs[i] = job()
			<-slots
		})
	}
	wait.Wait()
	return cmp.Or(errs...)
}

// totals counts what there is, and finds its first and last time.
func (q *query) totals(r *Report) error {
	var first, last sql.NullInt64
	if err := q.row(`SELECT (SELECT MIN(s.row) FROM sessions s WHERE `+q.where("s")+`), (SELECT MAX(s.row) FROM sessions s WHERE `+
		q.where("s")+`)`, &first, &last); err != nil {
		return err
	}
	r.Since, r.Until = q.time(first.Int64/rowsAMicrosecond), q.time(last.Int64/rowsAMicrosecond)
	if err := q.row(`SELECT COALESCE(SUM(sessions), 0), COALESCE(SUM(commands), 0), COALESCE(SUM(replies), 0), COALESCE(SUM(octets), 0) FROM `+
		q.load(), &r.Totals.Sessions, &r.Totals.Commands, &r.Totals.Replies, &r.Totals.Octets); err != nil {
		return err
	}
	if err := q.row(`SELECT COALESCE(SUM(messages), 0), COALESCE(SUM(accepted), 0) FROM `+q.sizes(), &r.Totals.Messages, &r.Totals.Accepted); err != nil {
		return err
	}
	return q.row(`SELECT COUNT(*), COALESCE(SUM(outcome = 'failure'), 0) FROM logins l WHERE `+q.whereSession("l"),
		&r.Totals.Logins, &r.Totals.Failed)
}

func (q *query) row(statement string, into ...any) error {
	return q.db.QueryRowContext(q.ctx, statement, q.args...).Scan(into...)
}

// session says when the session of a row began, as a cell, and its id; nothing of one that was forgotten meanwhile.
func (q *query) session(row int64) (begin any, id string, err error) {
	var micros int64
	err = q.row(fmt.Sprint("SELECT begin, id FROM sessions WHERE row = ", row), &micros, &id)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, "", nil
	case err != nil:
		return nil, "", err
	}
	return q.time(micros), id, nil
}

func (q *query) time(micros int64) time.Time { return time.UnixMicro(micros).In(q.o.Location) }

// wants says whether one of the sections is asked for.
func (q *query) wants(names ...string) bool {
	return len(q.o.Only) == 0 || slices.ContainsFunc(names, func(name string) bool { return slices.Contains(q.o.Only, name) })
}

// all makes the sections, and leaves out the empty ones.
func (q *query) all() ([]*Section, error) {
	made := make([]*Section, len(makers))
	var jobs []func() error
	for i, m := range slices.Backward(makers) { // the last ones take longest
		if !q.wants(m.name) {
			continue
		}
		jobs = append(jobs, func() (err error) {
			if made[i], err = m.make(q); err != nil {
				return fmt.Errorf("the section %s of the report cannot be made: %w", m.name, err)
			}
			return nil
		})
	}
	if err := together(jobs); err != nil {
		return nil, err
	}
	var sections []*Section
	for i, s := range made {
		if s != nil && len(s.Rows) > 0 {
			s.Name = makers[i].name
			sections = append(sections, s)
		}
	}
	return sections, nil
}

// fill runs a statement whose columns are those of s, as far as it has them, and adds its rows. What each is given may
// add the cells of the remaining columns. A statement should have LIMIT @top, which is one more than is shown.
func (q *query) fill(s *Section, statement string, each func(row []any) []any, args ...any) (*Section, error) {
	rows, err := q.db.QueryContext(q.ctx, statement, slices.Concat(q.args, args)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		if len(s.Rows) == q.o.Top {
			s.More = true
			break
		}
		cells := make([]any, len(names))
		into := make([]any, len(names))
		for i := range cells {
			into[i] = &cells[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		for i := range min(len(cells), len(s.Columns)) {
			cells[i] = q.cell(s.Columns[i].Kind, cells[i])
		}
		if each != nil {
			if cells = each(cells); cells == nil {
				continue
			}
		}
		s.Rows = append(s.Rows, cells[:len(s.Columns)])
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return s, nil
}

// cell makes what SQLite gave what a column of that kind holds.
func (q *query) cell(kind Kind, v any) any {
	switch n := v.(type) {
	case nil:
		return nil
	case int64:
		switch kind {
		case Time:
			return q.time(n)
		case Hour:
			return q.time(n * int64(time.Hour/time.Microsecond))
		case Millis:
			return float64(n)
		case Text, Session, Note:
			return fmt.Sprint(n)
		}
		return n
	case float64:
		if kind == Millis {
			return n
		}
		return int64(n)
	case []byte:
		return string(n)
	}
	return v
}

// quote makes a text of ours a literal of SQL.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
