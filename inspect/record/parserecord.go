package record

// The two kinds of record, as record.go names their fields.

func (p *parser) session(s *Session) {
	p.object(func(name string) {
		switch name {
		case "v":
			s.V = p.int()
		case "type":
			s.Type = p.str()
		case "id":
			s.ID = p.str()
		case "community_id":
			s.CommunityID = p.str()
		case "sensor":
			s.Sensor = p.str()
		case "mode":
			s.Mode = p.str()
		case "protocol":
			s.Protocol = p.str()
		case "begin":
			s.Begin = p.time()
		case "end":
			s.End = p.time()
		case "duration_ms":
			s.DurationMS = p.float()
		case "client":
			p.endpoint(&s.Client)
		case "server":
			p.endpoint(&s.Server)
		case "direction":
			s.Direction = p.str()
		case "status":
			s.Status = p.str()
		case "via":
			s.Via = p.str()
		case "banner":
			s.Banner = p.str()
		case "helo":
			s.Helo = p.str()
		case "capabilities":
			p.strings(&s.Capabilities)
		case "tls":
			p.tls(one(p, &s.TLS))
		case "auth":
			list(p, &s.Auth, p.login)
		case "messages":
			s.Messages = p.int()
		case "recipients":
			p.recipients(one(p, &s.Recipients))
		case "errors":
			list(p, &s.Errors, p.refusal)
		case "commands":
			s.Commands = p.int()
		case "replies":
			s.Replies = p.int()
		case "unanswered":
			s.Unanswered = p.int()
		case "slowest":
			p.slowest(one(p, &s.Slowest))
		case "octets":
			p.octets(&s.Octets)
		case "lost":
			p.octets(&s.Lost)
		case "dialogue":
			list(p, &s.Dialogue, p.entry)
		case "anomalies":
			list(p, &s.Anomalies, p.anomaly)
		default:
			p.bad = true
		}
	})
}

func (p *parser) message(m *Message) {
	p.object(func(name string) {
		switch name {
		case "v":
			m.V = p.int()
		case "type":
			m.Type = p.str()
		case "id":
			m.ID = p.str()
		case "session":
			m.Session = p.str()
		case "sensor":
			m.Sensor = p.str()
		case "mode":
			m.Mode = p.str()
		case "protocol":
			m.Protocol = p.str()
		case "transaction":
			m.Transaction = p.int()
		case "via":
			m.Via = p.str()
		case "begin":
			m.Begin = p.time()
		case "end":
			m.End = p.time()
		case "client":
			p.endpoint(&m.Client)
		case "server":
			p.endpoint(&m.Server)
		case "direction":
			m.Direction = p.str()
		case "helo":
			m.Helo = p.str()
		case "user":
			m.User = p.str()
		case "tls":
			m.TLS = p.bool()
		case "from":
			*one(p, &m.From) = p.str()
		case "params":
			p.params(&m.Params)
		case "rcpt":
			list(p, &m.Rcpt, p.rcpt)
		case "recipients":
			p.recipients(one(p, &m.Recipients))
		case "uidl":
			m.UIDL = p.str()
		case "reply":
			p.reply(one(p, &m.Reply))
		case "queue_id":
			m.QueueID = p.str()
		case "outcome":
			m.Outcome = p.str()
		case "octets":
			m.Octets = p.int64()
		case "sha256":
			m.SHA256 = p.str()
		case "holes":
			list(p, &m.Holes, p.hole)
		case "header":
			p.header(one(p, &m.Header))
		case "parts":
			list(p, &m.Parts, p.part)
		case "stored":
			p.stored(one(p, &m.Stored))
		case "anomalies":
			list(p, &m.Anomalies, p.anomaly)
		default:
			p.bad = true
		}
	})
}
