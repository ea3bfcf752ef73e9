package index

import (
	"strings"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/view"
	"github.com/mailwire/mailwire/view/explain"
)

// The statements that fill the index.
const (
	addSession statement = iota
	addMessage
	addRecipient
	addError
	addLogin
	addAnomaly
	addWords
	changeWords
	addWait
	addSlow
	cutSlow
	addLoad
	addClient
	addSize
	statements
)

type statement int

var statementText = [statements]string{
	addSession:   "INSERT OR IGNORE INTO sessions VALUES (" + marks(31) + ")",
	addMessage:   "INSERT OR IGNORE INTO messages VALUES (" + marks(23) + ")",
	addRecipient: "INSERT OR IGNORE INTO recipients VALUES (" + marks(7) + ")",
	addError:     "INSERT OR IGNORE INTO errors VALUES (" + marks(12) + ")",
	addLogin:     "INSERT OR IGNORE INTO logins VALUES (" + marks(13) + ")",
	addAnomaly:   "INSERT OR IGNORE INTO anomalies VALUES (" + marks(4) + ")",
	addWords:     "INSERT INTO words (rowid, said) VALUES (?, ?)",
	changeWords:  "INSERT OR REPLACE INTO words (rowid, said) VALUES (?, ?)",
	addWait:      "INSERT INTO waits VALUES (" + marks(7) + ") ON CONFLICT DO UPDATE SET n = n + excluded.n",
	addSlow:      "INSERT OR IGNORE INTO slowest VALUES (" + marks(7) + ")",
	cutSlow: `DELETE FROM slowest WHERE ` + ofSlow + ` AND (ms, session_row) IN (
		SELECT ms, session_row FROM slowest WHERE ` + ofSlow + ` ORDER BY ms DESC, session_row LIMIT -1 OFFSET ?6)`,
	addLoad:   addLoadText,
	addClient: addClientText,
	addSize:   addSizeText,
}

const ofSlow = "day = ?1 AND hour = ?2 AND server_ip = ?3 AND protocol = ?4 AND command = ?5"

func marks(n int) string { return strings.TrimSuffix(strings.Repeat("?, ", n), ", ") }

// most is more than there is of anything that is counted, and so little that a million of it is a number.
const most = 1 << 42

func bound[N int | int64](n ...*N) {
	for _, n := range n {
		*n = N(min(max(int64(*n), 0), most))
	}
}

// tame bounds the numbers of a session, which may be forged: SQLite gives up a sum that is too large for it.
func tame(s *record.Session) {
	bound(&s.Messages, &s.Commands, &s.Replies, &s.Unanswered)
	bound(&s.Octets.Client, &s.Octets.Server, &s.Lost.Client, &s.Lost.Server)
	for i := range s.Anomalies {
		bound(&s.Anomalies[i].Count)
	}
}

func durationOf(s *record.Session) int64 {
	took := s.End.Sub(s.Begin.Time).Microseconds()
	bound(&took)
	return took
}

// sessionRow returns the columns of a session.
func sessionRow(at view.Place, s *record.Session) []any {
	tls, how := "", ""
	if s.TLS != nil {
		tls, how = s.TLS.Version, s.TLS.How
	}
	begin := s.Begin.UnixMicro()
	return []any{
		nil, s.ID, at.Day, at.Offset, at.Octets, begin, durationOf(s),
		s.Protocol, s.Mode, s.Sensor, s.Client.IP, netOf(s.Client.IP), s.Client.Side, s.Server.IP, int(s.Server.Port),
		s.Direction, s.Status, s.Helo, userOf(s), tls, how, s.Messages, len(s.Errors), worstOf(s),
		s.Commands, s.Replies, s.Unanswered, s.Octets.Client, s.Octets.Server, s.Lost.Client + s.Lost.Server, hourOf(begin),
	}
}

const microsecondsAnHour = 3600e6

func hourOf(begin int64) int64 { return begin / microsecondsAnHour }

// userOf returns who logged in last, or else who tried last.
func userOf(s *record.Session) string {
	user := ""
	for i := len(s.Auth) - 1; i >= 0; i-- {
		switch a := &s.Auth[i]; {
		case a.Outcome == record.Success && a.User != "":
			return a.User
		case user == "":
			user = a.User
		}
	}
	return user
}

// worstOf returns the highest code of a reply that refuses, 1 for an -ERR, 0 for none.
func worstOf(s *record.Session) int {
	worst := 0
	for i := range s.Errors {
		worst = max(worst, s.Errors[i].Code, 1)
	}
	return worst
}

// messageRow returns the columns of a message.
func messageRow(at view.Place, m *record.Message, sessionRow int64) []any {
	var subject, id, enhanced, stored string
	var from any // NULL: not known
	code := 0
	if m.From != nil {
		from = *m.From
	}
	if m.Header != nil {
		subject, id = m.Header.Subject, m.Header.MessageID
		if m.Protocol == record.POP3 && len(m.Header.From) > 0 {
			from = bare(m.Header.From[0])
		}
	}
	if m.Reply != nil {
		code, enhanced = m.Reply.Code, m.Reply.Enhanced
	}
	if m.Stored != nil {
		stored = m.Stored.Path
	}
	return []any{
		nil, m.ID, m.Session, sessionRow, at.Day, at.Offset, at.Octets, m.Begin.UnixMicro(), m.Protocol, m.Via,
		m.Client.IP, m.Server.IP, m.User, from, subject, id, m.QueueID, m.Outcome, code, enhanced, m.Octets, m.Direction, stored,
	}
}

// result is what the server said last to a recipient: where each gets a reply to the mail (LMTP, PRDR), that one.
func result(r *record.Rcpt) record.Reply {
	if r.Delivered != nil {
		return *r.Delivered
	}
	return record.Reply{Code: r.Code, Enhanced: r.Enhanced, Text: r.Text}
}

// errorRow returns the columns of the nth reply that refuses.
func errorRow(row int64, n int, day string, s *record.Session) []any {
	e := &s.Errors[n]
	_, argument, _ := strings.Cut(e.Command, " ")
	command := e.Command
	if command != "" {
		command = verb(command)
	}
	text, _, _ := strings.Cut(e.Text, "\n")
	return []any{
		row, n, e.Time.UnixMicro(), day, s.Client.IP, s.Server.IP, command, argument, e.Code, e.Enhanced, text, shape(text),
	}
}

// loginRow returns the columns of the nth login.
func loginRow(row int64, n int, day string, s *record.Session) []any {
	a := &s.Auth[n]
	return []any{
		row, n, a.Time.UnixMicro(), day, s.Protocol, s.Client.IP, netOf(s.Client.IP), s.Server.IP, a.Mechanism, a.User,
		outcomeOf(s.Protocol, a), a.Code, a.TLS,
	}
}

// outcomeOf says how a login ended for who looks for guessed passwords: a failure that says nothing about the password, as
// one of a server in trouble or of a login that was given up, is "other".
func outcomeOf(protocol string, a *record.Login) string {
	if a.Outcome != record.Failure || a.Code == 535 {
		return a.Outcome
	}
	switch kind := explain.Of(protocol, a.Code, a.Enhanced, a.Text); {
	case kind != explain.None && kind != explain.WrongPassword, a.Code/100 == 4:
		return "other"
	}
	return a.Outcome
}
