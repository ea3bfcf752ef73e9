package report

import "fmt"

// The index keeps sums of sessions and messages. What is not about all of it is summed up here, by the same columns, so
// that the sections need not know.

// load is a table of sessions: hour, protocol, server_ip, server_port, status, tls, tls_how; sessions, messages, errors,
// commands, replies, octets, lost, last.
func (q *query) load() string {
	if q.hourly {
		return "(SELECT * FROM load s WHERE " + q.hours("s") + q.ends("s") + ")"
	}
	return `(SELECT s.hour, s.protocol, s.server_ip, s.server_port, s.status, s.tls, s.tls_how, 1 sessions, s.messages, s.errors,
		s.commands, s.replies, s.sent + s.received octets, s.lost, s.row last FROM sessions s WHERE ` + q.where("s") + ")"
}

// clientLoad is a table of sessions: client_net, client_ip, route (see index); sessions, messages, errors, octets,
// duration, unorderly, last.
func (q *query) clientLoad() string {
	if q.summed {
		server := ""
		if q.o.Server.IsValid() {
			server = " WHERE substr(s.route, 1, length(@server) + 1) = @server || ' '"
		}
		return "(SELECT * FROM clients s" + server + ")"
	}
	return `(SELECT s.client_net, s.client_ip, s.server_ip || ' ' || s.server_port || ' ' || s.protocol || ' ' || s.direction route,
		1 sessions, s.messages, s.errors, s.sent + s.received octets, s.duration, s.status <> 'closed' unorderly, s.row last
		FROM sessions s WHERE ` + q.where("s") + ")"
}

// sizes is a table of messages: protocol, direction, bucket; messages, accepted, octets, largest, session.
func (q *query) sizes() string {
	if q.summed {
		return "(SELECT * FROM sizes s WHERE TRUE" + q.ends("s") + ")"
	}
	return fmt.Sprintf(`(SELECT m.protocol, m.direction, CASE WHEN m.octets > 0 THEN CAST(log10(m.octets) * %d AS INTEGER) ELSE -1 END bucket,
		1 messages, m.outcome = 'accepted' accepted, m.octets, m.octets largest, m.session
		FROM messages m WHERE %s)`, sizeBuckets, q.where("m"))
}

const rowsAMicrosecond = 1 << 10 // of the index: what a row is divided by to get its time
