package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/view"
)

// Query says which sessions are wanted: those that everything holds for that is not left out.
type Query struct {
	Protocol, Direction, Status string
	Client, Server              netip.Prefix
	User                        string    // who logged in or tried, or the maildrop; alice is alice@example.net too
	From, To                    string    // an address of the envelope, its domain or one above, or its part before the @
	Subject                     string    // words
	Code                        string    // of a reply that refuses: 550, 5xx, 5.7.1, err for POP3's -ERR
	Errors                      bool      // any such reply
	AuthFailed                  bool      // a login that failed
	MinSize                     int64     // octets of a mail
	Since, Until                time.Time // of the begin; Until is not included
	Text                        string    // words of addresses, subjects, replies, file names, the first 64 KiB of a session; word* is any that begins so
	Limit                       int       // 0: all
	Before                      int64     // sessions in front of this Row.Row only, for the next page
}

// Row is one session.
type Row struct {
	Row                                 int64
	ID                                  string
	At                                  view.Place // of the record
	Begin                               time.Time
	Duration                            time.Duration
	Protocol, Mode, Direction, Status   string
	Client, Server, User                string
	Port                                uint16 // of the server
	From                                string // of the first mail
	NullSender                          bool   // From is "" since the mail has the null sender; else it is not known then
	To                                  []string
	Messages, Errors, Worst, Recipients int    // Recipients of the first mail; Worst as 550, 1 for -ERR
	WorstEnhanced, WorstText            string // of the first reply with that code
	Sent, Received                      int64
}

// maxTo is how many recipients a Row names.
const maxTo = 3

const rowColumns = `s.row, s.id, s.day, s.place, s.octets, s.begin, s.duration, s.protocol, s.mode, s.direction, s.status,
	s.client_ip, s.server_ip, s.server_port, s.user, s.messages, s.errors, s.worst, s.sent, s.received`

// Sessions gives the sessions that are wanted, the newest first.
func (x *Index) Sessions(ctx context.Context, q Query) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		text, args, err := q.statement()
		if err != nil {
			yield(Row{}, err)
			return
		}
		n := 0
		err = x.rows(ctx, text, args, func(r *Row) (bool, error) {
			if !q.holds(r) {
				return true, nil
			}
			if err := x.complete(ctx, r); err != nil {
				return false, err
			}
			n++
			return yield(*r, nil) && n != q.Limit, nil
		})
		if err != nil {
			yield(Row{}, x.Explain(err))
		}
	}
}

// rows calls do for each row until it is false.
func (x *Index) rows(ctx context.Context, text string, args []any, do func(*Row) (bool, error)) error {
	rows, err := x.DB().QueryContext(ctx, text, args...)
	if err != nil {
		return err
	}
	for more := true; more && rows.Next(); {
		var r Row
		var begin, duration int64
		err := rows.Scan(&r.Row, &r.ID, &r.At.Day, &r.At.Offset, &r.At.Octets, &begin, &duration, &r.Protocol, &r.Mode, &r.Direction,
			&r.Status, &r.Client, &r.Server, &r.Port, &r.User, &r.Messages, &r.Errors, &r.Worst, &r.Sent, &r.Received)
		if err == nil {
			r.Begin, r.Duration = time.UnixMicro(begin), time.Duration(duration)*time.Microsecond
			more, err = do(&r)
		}
		if err != nil {
			return errors.Join(err, rows.Close())
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}

// complete adds what the row of a session does not have itself.
func (x *Index) complete(ctx context.Context, r *Row) error {
	db := x.DB()
	if r.Worst > 0 {
		code := r.Worst
		if code == 1 {
			code = 0
		}
		err := db.QueryRowContext(ctx, "SELECT enhanced, text FROM errors WHERE session_row = ? AND code = ? ORDER BY n LIMIT 1", r.Row, code).
			Scan(&r.WorstEnhanced, &r.WorstText)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
	}
	if r.Messages == 0 {
		return nil
	}
	var message int64
	var user string
	var from sql.NullString
	err := db.QueryRowContext(ctx, "SELECT row, mail_from, user FROM messages WHERE session_row = ? ORDER BY row LIMIT 1", r.Row).
		Scan(&message, &from, &user)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	r.From, r.NullSender = from.String, from.Valid && from.String == ""
	if r.User == "" {
		r.User = user
	}
	if r.To, err = texts(db.QueryContext(ctx, "SELECT address FROM recipients WHERE message_row = ? ORDER BY n LIMIT ?", message, maxTo)); err != nil {
		return err
	}
	if r.Recipients = len(r.To); r.Recipients == maxTo {
		return db.QueryRowContext(ctx, "SELECT count(*) FROM recipients WHERE message_row = ?", message).Scan(&r.Recipients)
	}
	return nil
}

// statement makes the SQL of a query. Its words alone say what is wanted, but for what holds looks at, and small
// differences of size.
func (q *Query) statement() (text string, args []any, err error) {
	expression, err := q.expression()
	if err != nil {
		return "", nil, err
	}
	from, below := Rows(q.Since, q.Until)
	if q.Before != 0 {
		below = min(below, q.Before)
	}
	if expression == "" {
		return "SELECT " + rowColumns + " FROM sessions s WHERE s.row >= ? AND s.row < ? ORDER BY s.row DESC", []any{from, below}, nil
	}
	text = "SELECT " + rowColumns + ` FROM words w CROSS JOIN sessions s ON s.row = w.rowid
		WHERE words MATCH ? AND w.rowid >= ? AND w.rowid < ?`
	args = []any{expression, from, below}
	if q.MinSize > 0 {
		text += " AND EXISTS (SELECT 1 FROM messages m WHERE m.session_row = w.rowid AND m.octets >= ? AND m.via <> '')"
		args = append(args, q.MinSize)
	}
	return text + " ORDER BY w.rowid DESC", args, nil
}

// Check returns an error, a sentence, for a query that cannot be asked.
func (q *Query) Check() error {
	_, err := q.expression()
	return err
}

// holds looks at what no words say: networks that end between the sizes that have one.
func (q *Query) holds(r *Row) bool {
	return within(q.Client, r.Client) && within(q.Server, r.Server)
}

func within(net netip.Prefix, ip string) bool {
	if !net.IsValid() {
		return true
	}
	a, err := netip.ParseAddr(ip)
	return err == nil && net.Contains(a.Unmap().WithZone(""))
}

// expression makes the query in the language of FTS5: all of some words, each of them one of several.
func (q *Query) expression() (string, error) {
	var all []string
	want := func(words ...string) {
		if len(words) > 0 {
			all = append(all, "("+strings.Join(words, " OR ")+")")
		}
	}
	for _, t := range []struct {
		kind  rune
		value string
	}{{byProtocol, q.Protocol}, {byDirection, q.Direction}, {byStatus, q.Status}} {
		if t.value != "" {
			want(term(t.kind, plain(t.value)))
		}
	}
	want(netTerms(byClient, q.Client)...)
	want(netTerms(byServer, q.Server)...)
	if q.User != "" {
		want(term(byUser, hash(q.User)))
	}
	want(addressTerms(bySender, q.From)...)
	want(addressTerms(byRecipient, q.To)...)
	if q.Errors {
		want(term(byError, ""))
	}
	if q.AuthFailed {
		want(term(byFailure, ""))
	}
	if q.Code != "" {
		t, err := codeTerm(q.Code)
		if err != nil {
			return "", err
		}
		want(t)
	}
	if q.MinSize > 0 {
		want(sizeTerms(q.MinSize)...)
	}
	for _, t := range []struct{ what, text string }{{"subject", q.Subject}, {"text", q.Text}} {
		words, err := textTerms(t.text, t.what == "subject")
		if err != nil {
			return "", err
		}
		for _, w := range words {
			want(w)
		}
	}
	return strings.Join(all, " AND "), nil
}

// term is a filter's word, as FTS5 reads it.
func term(kind rune, value string) string { return `"` + string(appendTag(nil, kind, value)) + `"` }

// textTerms are the words of a text.
func textTerms(text string, subject bool) ([]string, error) {
	var terms []string
	for field := range strings.FieldsSeq(text) {
		words := slices.Collect(splitWords(field))
		for i, w := range words {
			t := `"` + w + `"`
			if subject {
				t = term(bySubject, strings.ToLower(w))
			}
			if i == len(words)-1 && strings.HasSuffix(field, "*") {
				t += " *"
			}
			terms = append(terms, t)
		}
	}
	if len(terms) == 0 && strings.TrimSpace(text) != "" {
		return nil, fmt.Errorf("%q has no word to search for", text)
	}
	return terms, nil
}

// addressTerms are the words that an address, a domain or a part before the @ may have.
func addressTerms(kind rune, address string) []string {
	switch {
	case address == "":
		return nil
	case address == "<>":
		return []string{term(kind, hash(""))}
	}
	address = strings.TrimSuffix(strings.TrimPrefix(address, "<"), ">")
	if strings.Contains(address, "@") {
		return []string{term(kind, hash(address))}
	}
	return []string{term(kind, hash(address)), term(kind, hash("@"+address)), term(kind, hash(address+"@"))}
}

func codeTerm(code string) (string, error) {
	lower := strings.ToLower(strings.TrimPrefix(code, "-"))
	n, err := strconv.Atoi(lower)
	switch {
	case lower == "err", lower == "4xx", lower == "5xx", err == nil && n >= 400 && n <= 599:
		return term(byCode, lower), nil
	case isEnhanced(lower):
		return term(byCode, hash(lower)), nil
	}
	return "", fmt.Errorf("%q is no code of a reply that refuses: give one like 550, 5xx, 5.7.1, or err for -ERR", code)
}

// sizeTerms are the words of all sizes from there on, and of few that are a little smaller.
func sizeTerms(octets int64) []string {
	var terms []string
	power, step := sizeWords(octets)
	for ; step < sizeSteps; step++ {
		terms = append(terms, term(bySizeStep, strconv.Itoa(power*sizeSteps+step)))
	}
	for power++; power < 63; power++ {
		terms = append(terms, term(bySize, strconv.Itoa(power)))
	}
	return terms
}

// netTerms are the words of the networks that a network consists of, or that it is in. There are none where only holds
// can tell.
func netTerms(kind rune, net netip.Prefix) []string {
	if !net.IsValid() || net.Bits() == 0 {
		return nil
	}
	net = net.Masked()
	sizes := netSizes(kind, net.Addr())
	n := (net.Bits() + 7) / 8
	for !slices.Contains(sizes, n) { // a larger network that it is in
		if n--; n <= 0 {
			return nil
		}
	}
	var terms []string
	octets := net.Addr().AsSlice()
	for i := range 1 << max(8*n-net.Bits(), 0) { // what the last octet may be
		part := slices.Clone(octets)
		part[n-1] |= byte(i)
		some, _ := netip.AddrFromSlice(part)
		terms = append(terms, `"`+string(appendNet(nil, kind, some, n))+`"`)
	}
	return terms
}

// Directions, Protocols and Statuses are what can be asked for.
var (
	Protocols  = []string{record.SMTP, record.LMTP, record.POP3, record.Unknown}
	Directions = []string{record.Inbound, record.Outbound, record.Internal, record.External, record.Unknown}
	Statuses   = []string{record.Closed, record.Aborted, record.Reset, record.Timeout, record.Refused, record.Unknown}
)
