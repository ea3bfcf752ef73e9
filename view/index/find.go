package index

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/view"
)

// maxFound is how many that an id may mean are returned, of each kind.
const maxFound = 20

// Find returns all that an id may mean: the beginning of a session's id, a message's id (SESSION.N, where the session's
// may be cut short too), a Message-ID or a queue id. It finds what Find of the data finds, but no more than 20 of a kind.
func (x *Index) Find(ctx context.Context, id string) (all []view.Found, err error) {
	if id == "" {
		return nil, nil
	}
	for _, find := range []func(context.Context, string) ([]view.Found, error){x.bySession, x.byMessage, x.byOther} {
		found, err := find(ctx, id)
		if err != nil {
			return nil, x.Explain(err)
		}
		all = append(all, found[:min(len(found), maxFound)]...)
	}
	return all, nil
}

func (x *Index) bySession(ctx context.Context, id string) ([]view.Found, error) {
	rows, err := x.DB().QueryContext(ctx, `SELECT id, day, place, octets, begin, protocol, client_ip, server_ip, status FROM sessions
		WHERE id >= ?1 AND id < ?1 || char(0x10ffff) ORDER BY id LIMIT ?2`, strings.ToLower(id), maxFound)
	return collect(rows, err, func(r *sql.Rows, f *view.Found) error {
		var begin int64
		var protocol, client, server, status string
		err := r.Scan(&f.ID, &f.Place.Day, &f.Place.Offset, &f.Place.Octets, &begin, &protocol, &client, &server, &status)
		f.Session = f.ID
		f.Text = view.Printable(fmt.Sprintf("%s  %s %s to %s, %s", timeOf(begin), protocol, client, server, status))
		return err
	})
}

// messages returns those for which a condition holds.
func (x *Index) messages(ctx context.Context, where string, args ...any) ([]view.Found, error) {
	rows, err := x.DB().QueryContext(ctx, `SELECT m.id, m.session, m.day, m.place, m.octets_line, m.begin, m.outcome, coalesce('<' || m.mail_from || '>', '?'), m.subject
		FROM messages m WHERE `+where+" ORDER BY m.row LIMIT "+strconv.Itoa(maxFound), args...)
	return collect(rows, err, func(r *sql.Rows, f *view.Found) error {
		var begin int64
		var outcome, from, subject string
		err := r.Scan(&f.ID, &f.Session, &f.Place.Day, &f.Place.Offset, &f.Place.Octets, &begin, &outcome, &from, &subject)
		f.Message = true
		f.Text = view.Printable(fmt.Sprintf("%s  %s from %s: %s", timeOf(begin), outcome, from, subject))
		return err
	})
}

func timeOf(begin int64) record.Time { return record.Time{Time: time.UnixMicro(begin)} }

// byMessage finds SESSION.N, also of a session that goes on.
func (x *Index) byMessage(ctx context.Context, id string) ([]view.Found, error) {
	session, n, ok := strings.Cut(strings.ToLower(id), ".")
	if !ok || session == "" || strings.Trim(n, "0123456789") != "" {
		return nil, nil
	}
	const named = ` AND m.session >= ?1 AND m.session < ?1 || char(0x10ffff) AND m.id = m.session || '.' || ?2`
	found, err := x.messages(ctx, `m.session_row IN (SELECT row FROM sessions
		WHERE id >= ?1 AND id < ?1 || char(0x10ffff) LIMIT 1000)`+named, session, n)
	if err != nil {
		return nil, err
	}
	going, err := x.messages(ctx, `m.session_row = 0`+named, session, n)
	return append(found, going...), err
}

// byOther finds a Message-ID or a queue id.
func (x *Index) byOther(ctx context.Context, id string) ([]view.Found, error) {
	bare := strings.Trim(id, "<>")
	const same = ` AND (lower(trim(m.message_id, '<>')) = lower(?1) OR lower(m.queue_id) = lower(?1))`
	found, err := x.messages(ctx, `m.session_row IN (SELECT rowid FROM words WHERE words MATCH ?2)`+same,
		bare, term(byMessageID, hash(bare))+" OR "+term(byQueueID, hash(bare)))
	if err != nil {
		return nil, err
	}
	going, err := x.messages(ctx, `m.session_row = 0`+same, bare)
	return append(found, going...), err
}
