package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/wire"
)

// compareModes holds what the proxy recorded against what the tap recorded of the same run. Every field of the records,
// and every line of the dialogue logs, is compared but for what the two cannot have in common:
//
//   - mode; id, session and stored.path, which have the begin in them, which is that of the accept for the proxy and that of
//     the first packet for the tap
//   - begin, end, duration_ms, slowest, dialogue[].ms, auth[].time, errors[].time
//   - what unordered and lateReset say, and what a client said when the server had hung up
func compareModes(t *testing.T, proxy, tap recorded) {
	t.Helper()
	names := map[string]string{} // by id
	sessions, messages := map[string]record.Session{}, map[string]record.Message{}
	name := func(m record.Message) string { return fmt.Sprint(names[m.Session], " message ", m.Transaction) }
	nameSessions(names, proxy.sessions)
	nameSessions(names, tap.sessions)
	for _, s := range tap.sessions {
		sessions[names[s.ID]] = s
	}
	for _, m := range tap.messages {
		messages[name(m)] = m
	}
	for _, s := range proxy.sessions {
		other, ok := sessions[names[s.ID]]
		if !ok {
			t.Errorf("%s: the tap has no such session", names[s.ID])
			continue
		}
		delete(sessions, names[s.ID])
		if hungUp(other) && s.Octets.Client < other.Octets.Client {
			if s.Replies != other.Replies { // what the client said to nobody need not have reached the proxy
				t.Errorf("%s: the proxy saw %d replies, the tap %d", names[s.ID], s.Replies, other.Replies)
			}
			continue
		}
		ours, theirs := proxy.said[s.ID], tap.said[other.ID]
		if unordered(s) || unordered(other) {
			s, ours = bySides(s, ours)
			other, theirs = bySides(other, theirs)
		}
		if lateReset(s, other, tap.messages) {
			s.Status = other.Status
			ours, theirs = ours[:len(ours)-1], theirs[:len(theirs)-1]
		}
		report(t, names[s.ID], timeless(s), timeless(other))
		if a, b := undated(ours), undated(theirs); a != b {
			t.Errorf("%s: the proxy's log says\n%sthe tap's\n%s", names[s.ID], a, b)
		}
	}
	for name := range sessions {
		t.Errorf("%s: the proxy has no such session", name)
	}
	for _, m := range proxy.messages {
		other, ok := messages[name(m)]
		if !ok {
			t.Errorf("%s: the tap has no such message", name(m))
			continue
		}
		delete(messages, name(m))
		report(t, name(m), timelessMail(m), timelessMail(other))
	}
	for name := range messages {
		t.Errorf("%s: the proxy has no such message", name)
	}
}

// unordered says whether a client went on without waiting for a reply. What it said, and what the server said meanwhile, met
// on their way: there is no order between them that everybody sees, not even whether it spoke before the greeting.
func unordered(s record.Session) bool {
	for i, e := range s.Dialogue {
		if e.From == "client" && (i == 0 || s.Dialogue[i-1].From == "client") && e.Body == nil {
			return true
		}
	}
	return false
}

// bySides keeps the order of what each side said, and puts the one side before the other.
func bySides(s record.Session, said []string) (record.Session, []string) {
	anomalies := s.Anomalies
	s.Dialogue, s.Anomalies = slices.Clone(s.Dialogue), nil
	slices.SortStableFunc(s.Dialogue, func(a, b record.Entry) int { return strings.Compare(a.From, b.From) })
	for _, a := range anomalies {
		if a.Kind != wire.EarlyTalker {
			s.Anomalies = append(s.Anomalies, a)
		}
	}
	said = slices.DeleteFunc(slices.Clone(said), func(line string) bool { return line == "=== anomaly: "+wire.EarlyTalker })
	slices.SortStableFunc(said, func(a, b string) int { return strings.Compare(a[:2], b[:2]) })
	return s, said
}

// lateReset says whether one calls reset what the other calls closed, or aborted by a server that said so (421), and no mail
// was cut. Who has closed its end answers what still comes by a reset. A proxy's legs are two connections: that reset may be
// on the other one, or come when the proxy has already passed on all that both sides had to say.
func lateReset(proxy, tap record.Session, messages []record.Message) bool {
	one, other := min(proxy.Status, tap.Status), max(proxy.Status, tap.Status)
	return (one == record.Closed || one == record.Aborted && hungUp(tap)) && other == record.Reset &&
		!slices.ContainsFunc(messages, func(m record.Message) bool { return m.Session == tap.ID && m.Outcome == record.Aborted })
}

// hungUp says whether the server ended the conversation (421).
func hungUp(s record.Session) bool { return len(s.Errors) > 0 && s.Errors[len(s.Errors)-1].Code == 421 }

// nameSessions names sessions by what they are called in both: the client's address, which the kernel may give twice.
func nameSessions(names map[string]string, sessions []record.Session) {
	again := map[string]int{}
	for _, s := range slices.SortedFunc(slices.Values(sessions), func(a, b record.Session) int { return a.Begin.Compare(b.Begin.Time) }) {
		name := fmt.Sprintf("%s:%d", s.Client.IP, s.Client.Port)
		again[name]++
		names[s.ID] = fmt.Sprint(name, "#", again[name])
	}
}

func timeless(s record.Session) record.Session {
	s.ID, s.Mode, s.Begin, s.End, s.DurationMS, s.Slowest = "", "", record.Time{}, record.Time{}, 0, nil
	s.Auth, s.Errors, s.Dialogue = slices.Clone(s.Auth), slices.Clone(s.Errors), slices.Clone(s.Dialogue)
	for i := range s.Auth {
		s.Auth[i].Time = record.Time{}
	}
	for i := range s.Errors {
		s.Errors[i].Time = record.Time{}
	}
	for i := range s.Dialogue {
		s.Dialogue[i].MS = 0
	}
	return s
}

func timelessMail(m record.Message) record.Message {
	m.ID, m.Session, m.Mode, m.Begin, m.End = "", "", "", record.Time{}, record.Time{}
	if m.Stored != nil {
		m.Stored = &record.Stored{Exact: m.Stored.Exact, Error: m.Stored.Error}
	}
	return m
}

var duration = regexp.MustCompile(`after \S+ ms`)

func undated(lines []string) string {
	return duration.ReplaceAllString(strings.Join(lines, "\n"), "after ... ms") + "\n"
}

// report says which fields of two records are not the same.
func report(t *testing.T, what string, proxy, tap any) {
	t.Helper()
	p, q := reflect.ValueOf(proxy), reflect.ValueOf(tap)
	for i := range p.NumField() {
		if a, b := p.Field(i).Interface(), q.Field(i).Interface(); !reflect.DeepEqual(a, b) {
			t.Errorf("%s: %s: the proxy says %s, the tap %s", what, p.Type().Field(i).Name, asJSON(a), asJSON(b))
		}
	}
}

func asJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
