package inspect

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
)

// maxNotes bounds what is said before the session has begun; more is not shown.
const maxNotes = 10

// note is a line of the log that is no dialogue.
type note struct {
	time record.Time
	text []byte
}

// Note says in the log what the source of the chunks has to say. Foreign text in it does no harm.
func (s *Session) Note(t time.Time, format string, args ...any) {
	if !s.ignored && !s.closed {
		s.note(s.at(t), format, args...)
	}
}

// note says a line now, or when the session has begun: until then nobody knows whose log it is for.
func (s *Session) note(t record.Time, format string, args ...any) {
	text := fmt.Appendf(nil, format, args...)
	switch n := (note{t, text[:min(len(text), record.MaxText)]}); {
	case s.begun:
		s.sayNote(n)
	case len(s.notes) < maxNotes:
		s.notes = append(s.notes, n)
	}
}

func (s *Session) sayNote(n note) {
	s.line(record.Line{Time: n.time, Kind: record.Note, Text: n.text})
}

// missing says that octets were lost.
func (s *Session) missing(t record.Time, lost int64, of string) {
	if lost < 0 {
		s.note(t, "octets of the %s are missing", of)
	} else {
		s.note(t, "%d octets of the %s are missing", lost, of)
	}
}

// Anomaly counts an anomaly that the source of the chunks saw.
func (s *Session) Anomaly(kind string, t time.Time) {
	if !s.ignored && !s.closed {
		s.at(t)
		s.anomaly(kind, 1)
	}
}

// anomaly counts an anomaly; its first one is a line in the log.
func (s *Session) anomaly(kind string, count int64) {
	known := len(s.rec.Anomalies)
	s.rec.Anomalies = addAnomaly(s.rec.Anomalies, kind, count)
	if len(s.rec.Anomalies) > known {
		s.note(s.rec.End, "anomaly: %s", kind)
	}
}

func addAnomaly(list []record.Anomaly, kind string, count int64) []record.Anomaly {
	for i := range list {
		if list[i].Kind == kind {
			list[i].Count += int(count)
			return list
		}
	}
	return append(list, record.Anomaly{Kind: kind, Count: int(count)})
}

// summary says how the session ended, in the style that administrators know from Postfix.
func (s *Session) summary() {
	text := append(make([]byte, 0, 256), s.rec.Status...)
	text = append(strconv.AppendFloat(append(text, " after "...), s.rec.DurationMS, 'f', 1, 64), " ms:"...)
	for _, v := range s.verbs {
		text = append(append(text, ' '), strings.ToLower(v.verb)...)
		text = append(text, '=')
		if v.ok != v.all {
			text = append(strconv.AppendInt(text, int64(v.ok), 10), '/')
		}
		text = strconv.AppendInt(text, int64(v.all), 10)
	}
	count := func(name string, n int64) {
		text = strconv.AppendInt(append(text, name...), n, 10)
	}
	count(" commands=", int64(s.rec.Commands))
	count(" replies=", int64(s.rec.Replies))
	if s.rec.Unanswered > 0 {
		count(" unanswered=", int64(s.rec.Unanswered))
	}
	count(" messages=", int64(s.rec.Messages))
	count(" octets=", s.rec.Octets.Client)
	count("+", s.rec.Octets.Server)
	if n := s.rec.Lost.Client + s.rec.Lost.Server; n > 0 {
		count(" lost=", n)
	}
	s.line(record.Line{Time: s.rec.End, Kind: record.Note, Text: text})
}

func (s *Session) line(l record.Line) {
	l.TLS = s.tls
	s.sink.Line(s.rec, l)
}
