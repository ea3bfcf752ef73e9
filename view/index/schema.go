package index

import "github.com/mailwire/mailwire/inspect/record"

// version is that of the tables together with that of the records: a newer program reads lines that an older one had to
// leave out, so it makes the index anew.
const version = (1+12)<<8 | record.Version

// schema has no index on what sessions are filtered by: for each filter there is a word in the table words, whose lists
// of rows are in order, so that any combination of filters is a walk along them from the newest session on.
//
// A row of sessions, messages and words is the begin in microseconds since 1970, times 1024, and then the first number
// that is free. So rows are in the order of time, and a span of time is a span of rows (see Rows).
const schema = `
CREATE TABLE files (           -- what was taken in
	day TEXT, kind TEXT,       -- sessions or messages
	read INTEGER NOT NULL,     -- octets of the file
	seen INTEGER NOT NULL,     -- octets that it had then; 0 if there is more to read
	print TEXT NOT NULL,       -- fingerprint of what was read
	broken INTEGER NOT NULL, newer INTEGER NOT NULL, said TEXT NOT NULL, -- lines that were left out
	PRIMARY KEY (day, kind)) WITHOUT ROWID;

CREATE TABLE sessions (
	row INTEGER PRIMARY KEY, id TEXT UNIQUE,
	day TEXT, place INTEGER, octets INTEGER, -- where the record is
	begin INTEGER, duration INTEGER,         -- microseconds
	protocol TEXT, mode TEXT, sensor TEXT, client_ip TEXT, client_net TEXT, client_side TEXT,
	server_ip TEXT, server_port INTEGER, direction TEXT, status TEXT, helo TEXT,
	user TEXT,                               -- the last one that logged in or tried
	tls TEXT, tls_how TEXT, messages INTEGER, errors INTEGER,
	worst INTEGER,                           -- code of the worst reply: the highest; 1 for -ERR; 0 for none
	commands INTEGER, replies INTEGER, unanswered INTEGER,
	sent INTEGER, received INTEGER,          -- octets of client and server
	lost INTEGER, hour INTEGER);             -- hours since 1970

CREATE TABLE messages (
	row INTEGER PRIMARY KEY, id TEXT, session TEXT,
	session_row INTEGER,                     -- 0 as long as the session goes on
	day TEXT, place INTEGER, octets_line INTEGER, begin INTEGER, protocol TEXT, via TEXT,
	client_ip TEXT, server_ip TEXT, user TEXT, mail_from TEXT, -- '' is the null sender, NULL one that is not known
	subject TEXT, message_id TEXT, queue_id TEXT,
	outcome TEXT, code INTEGER, enhanced TEXT, octets INTEGER, direction TEXT, stored TEXT);
CREATE INDEX messages_session ON messages (session_row);
CREATE INDEX messages_waiting ON messages (session) WHERE session_row = 0;

CREATE TABLE recipients (
	message_row INTEGER, n INTEGER, session_row INTEGER, address TEXT,
	code INTEGER, enhanced TEXT, text TEXT,  -- the reply to RCPT, or to the mail where each recipient gets one
	PRIMARY KEY (message_row, n)) WITHOUT ROWID;

CREATE TABLE errors (
	session_row INTEGER, n INTEGER, begin INTEGER, day TEXT, client_ip TEXT, server_ip TEXT, command TEXT, argument TEXT,
	code INTEGER, enhanced TEXT, text TEXT, shape TEXT,
	PRIMARY KEY (session_row, n)) WITHOUT ROWID;

CREATE TABLE logins (
	session_row INTEGER, n INTEGER, begin INTEGER, day TEXT, protocol TEXT, client_ip TEXT, client_net TEXT,
	server_ip TEXT, mechanism TEXT, user TEXT,
	outcome TEXT, -- success, failure (a wrong user or password), other or unknown
	code INTEGER, tls INTEGER,
	PRIMARY KEY (session_row, n)) WITHOUT ROWID;

CREATE TABLE anomalies (
	session_row INTEGER, kind TEXT, client_ip TEXT, count INTEGER,
	PRIMARY KEY (session_row, kind)) WITHOUT ROWID;

CREATE TABLE waits (           -- how long replies took; server_ip is '' for servers that are somebody else's
	day TEXT, hour INTEGER, server_ip TEXT, protocol TEXT, command TEXT,
	bucket INTEGER,            -- 10 for each power of ten of milliseconds: 0 is 1 to 1.26 ms
	n INTEGER,
	PRIMARY KEY (day, hour, server_ip, protocol, command, bucket)) WITHOUT ROWID;

CREATE TABLE slowest (         -- the longest waits of each
	day TEXT, hour INTEGER, server_ip TEXT, protocol TEXT, command TEXT, ms REAL, session_row INTEGER,
	PRIMARY KEY (day, hour, server_ip, protocol, command, ms, session_row)) WITHOUT ROWID;

CREATE VIRTUAL TABLE words USING fts5 (
	said, content='', contentless_delete=1, detail=none, tokenize="unicode61 remove_diacritics 2 categories 'L* N* M* Co'");
INSERT INTO words (words, rank) VALUES ('automerge', 8); -- 4 takes in fewer sessions a second, and finds them no faster
`
