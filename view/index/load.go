package index

import (
	"context"
	"math"
	"strconv"

	"github.com/mailwire/mailwire/inspect/record"
)

// What reports count over all sessions and mails is counted as they are taken in: a million sessions are too many to be
// grouped anew each time. Each table can be had from sessions and messages by one GROUP BY.
const loadSchema = `
CREATE TABLE load (            -- sessions by hour
	day TEXT, hour INTEGER, protocol TEXT, server_ip TEXT, server_port INTEGER, status TEXT, tls TEXT, tls_how TEXT,
	sessions INTEGER, messages INTEGER, errors INTEGER, commands INTEGER, replies INTEGER, octets INTEGER, lost INTEGER,
	last INTEGER,              -- row of the last session
	PRIMARY KEY (day, hour, protocol, server_ip, server_port, status, tls, tls_how)) WITHOUT ROWID;

CREATE TABLE clients (         -- sessions by client
	day TEXT, client_net TEXT, client_ip TEXT,
	route TEXT,                -- address and port of the server, protocol, direction; blanks between them
	sessions INTEGER, messages INTEGER, errors INTEGER, octets INTEGER, duration INTEGER,
	unorderly INTEGER,         -- sessions that were not closed in order
	last INTEGER,
	PRIMARY KEY (client_net, client_ip, route, day)) WITHOUT ROWID;

CREATE TABLE sizes (           -- messages by size
	day TEXT, protocol TEXT, direction TEXT, server_ip TEXT,
	bucket INTEGER,            -- of 20 for each power of ten of octets; -1 for none
	messages INTEGER, accepted INTEGER, octets INTEGER,
	largest INTEGER, session TEXT, -- the largest one
	PRIMARY KEY (day, protocol, direction, server_ip, bucket)) WITHOUT ROWID;

CREATE INDEX sessions_unanswered ON sessions (unanswered) WHERE unanswered > 0;
CREATE INDEX sessions_refused ON sessions (status) WHERE status = 'refused';
CREATE INDEX sessions_user ON sessions (user, client_ip, server_ip, messages, sent, received) WHERE user <> '';
CREATE INDEX sessions_pop3 ON sessions (client_ip, hour, messages) WHERE protocol = 'pop3';
CREATE INDEX messages_put_off ON messages (code) WHERE code BETWEEN 400 AND 499;
CREATE INDEX recipients_put_off ON recipients (code) WHERE code BETWEEN 400 AND 499;
CREATE INDEX messages_taken ON messages (client_ip, server_ip) WHERE outcome = 'accepted';
CREATE INDEX messages_external ON messages (direction) WHERE direction = 'external';
CREATE INDEX messages_sent ON messages (user, outcome, client_ip, mail_from, octets, session)
	WHERE user <> '' AND protocol <> 'pop3';
`

// The statements add what one batch counted.
const (
	addLoadText = `INSERT INTO load VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
		sessions = sessions + excluded.sessions, messages = messages + excluded.messages, errors = errors + excluded.errors,
		commands = commands + excluded.commands, replies = replies + excluded.replies,
		octets = octets + excluded.octets, lost = lost + excluded.lost, last = max(last, excluded.last)`
	addClientText = `INSERT INTO clients VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
		sessions = sessions + excluded.sessions, messages = messages + excluded.messages, errors = errors + excluded.errors,
		octets = octets + excluded.octets, duration = duration + excluded.duration, unorderly = unorderly + excluded.unorderly,
		last = max(last, excluded.last)`
	addSizeText = `INSERT INTO sizes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
		messages = messages + excluded.messages, accepted = accepted + excluded.accepted, octets = octets + excluded.octets,
		session = CASE WHEN (excluded.largest, session) > (largest, excluded.session) THEN excluded.session ELSE session END,
		largest = max(largest, excluded.largest)`
)

// loadKey, clientKey and sizeKey are the keys of the tables.
type (
	loadKey struct {
		day              string
		hour             int64
		protocol, server string
		port             uint16
		status, tls, how string
	}
	clientKey struct {
		day, client, server string
		port                uint16
		protocol, direction string
	}
	sizeKey struct {
		day, protocol, direction, server string
		bucket                           int
	}
	sum     struct{ sessions, messages, errors, commands, replies, octets, lost, duration, unorderly, last int64 }
	sizeSum struct {
		messages, accepted, octets, largest int64
		session                             string
	}
)

func (k clientKey) route() string {
	return k.server + " " + strconv.Itoa(int(k.port)) + " " + k.protocol + " " + k.direction
}

// load is what a batch adds to the tables.
type load struct {
	hours   map[loadKey]sum
	clients map[clientKey]sum
	sizes   map[sizeKey]sizeSum
}

func newLoad() load {
	return load{map[loadKey]sum{}, map[clientKey]sum{}, map[sizeKey]sizeSum{}}
}

func (l *load) session(row int64, day string, s *record.Session) {
	n := sum{
		1, int64(s.Messages), int64(len(s.Errors)), int64(s.Commands), int64(s.Replies), s.Octets.Client + s.Octets.Server, s.Lost.Client + s.Lost.Server,
		durationOf(s), 0, row,
	}
	if s.Status != record.Closed {
		n.unorderly = 1
	}
	tls, how := "", ""
	if s.TLS != nil {
		tls, how = s.TLS.Version, s.TLS.How
	}
	hour := loadKey{day, hourOf(s.Begin.UnixMicro()), s.Protocol, s.Server.IP, s.Server.Port, s.Status, tls, how}
	l.hours[hour] = l.hours[hour].and(n)
	client := clientKey{day, s.Client.IP, s.Server.IP, s.Server.Port, s.Protocol, s.Direction}
	l.clients[client] = l.clients[client].and(n)
}

func (a sum) and(b sum) sum {
	return sum{
		a.sessions + b.sessions, a.messages + b.messages, a.errors + b.errors, a.commands + b.commands,
		a.replies + b.replies, a.octets + b.octets, a.lost + b.lost, a.duration + b.duration, a.unorderly + b.unorderly, max(a.last, b.last),
	}
}

func (l *load) message(day string, m *record.Message) {
	key := sizeKey{day, m.Protocol, m.Direction, m.Server.IP, sizeBucket(m.Octets)}
	n := l.sizes[key]
	n.messages++
	if m.Outcome == record.Accepted {
		n.accepted++
	}
	n.octets += m.Octets
	if m.Octets > n.largest || m.Octets == n.largest && (n.session == "" || m.Session < n.session) {
		n.largest, n.session = m.Octets, m.Session
	}
	l.sizes[key] = n
}

func sizeBucket(octets int64) int {
	if octets <= 0 {
		return -1
	}
	return int(20 * math.Log10(float64(octets)))
}

// writeLoad adds what was counted to the tables.
func (b *batch) writeLoad(ctx context.Context) error {
	for k, n := range b.load.hours {
		if err := b.exec(ctx, addLoad, k.day, k.hour, k.protocol, k.server, int(k.port), k.status, k.tls, k.how,
			n.sessions, n.messages, n.errors, n.commands, n.replies, n.octets, n.lost, n.last); err != nil {
			return err
		}
	}
	for k, n := range b.load.clients {
		if err := b.exec(ctx, addClient, k.day, netOf(k.client), k.client, k.route(),
			n.sessions, n.messages, n.errors, n.octets, n.duration, n.unorderly, n.last); err != nil {
			return err
		}
	}
	for k, n := range b.load.sizes {
		if err := b.exec(ctx, addSize, k.day, k.protocol, k.direction, k.server, k.bucket,
			n.messages, n.accepted, n.octets, n.largest, n.session); err != nil {
			return err
		}
	}
	b.load = newLoad()
	return nil
}
