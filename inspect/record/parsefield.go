package record

// The fields of each part of a record, as record.go names them.

func (p *parser) endpoint(e *Endpoint) {
	p.object(func(name string) {
		switch name {
		case "ip":
			e.IP = p.str()
		case "port":
			e.Port = p.port()
		case "side":
			e.Side = p.str()
		default:
			p.bad = true
		}
	})
}

func (p *parser) tls(t *TLS) {
	p.object(func(name string) {
		switch name {
		case "how":
			t.How = p.str()
		case "ended":
			t.Ended = p.bool()
		case "upstream":
			p.handshake(one(p, &t.Upstream))
		default:
			p.handshakeField(&t.Handshake, name)
		}
	})
}

func (p *parser) handshake(h *Handshake) {
	p.object(func(name string) { p.handshakeField(h, name) })
}

func (p *parser) handshakeField(h *Handshake, name string) {
	switch name {
	case "version":
		h.Version = p.str()
	case "cipher":
		h.Cipher = p.str()
	case "sni":
		h.SNI = p.str()
	case "certificate":
		p.certificate(one(p, &h.Certificate))
	default:
		p.bad = true
	}
}

func (p *parser) certificate(c *Certificate) {
	p.object(func(name string) {
		switch name {
		case "subject":
			c.Subject = p.str()
		case "issuer":
			c.Issuer = p.str()
		case "names":
			p.strings(&c.Names)
		case "not_before":
			c.NotBefore = p.time()
		case "not_after":
			c.NotAfter = p.time()
		case "sha256":
			c.SHA256 = p.str()
		default:
			p.bad = true
		}
	})
}

func (p *parser) login(l *Login) {
	p.object(func(name string) {
		switch name {
		case "time":
			l.Time = p.time()
		case "mechanism":
			l.Mechanism = p.str()
		case "user":
			l.User = p.str()
		case "tls":
			l.TLS = p.bool()
		case "outcome":
			l.Outcome = p.str()
		case "code":
			l.Code = p.int()
		case "enhanced":
			l.Enhanced = p.str()
		case "text":
			l.Text = p.str()
		default:
			p.bad = true
		}
	})
}

func (p *parser) recipients(r *Recipients) {
	p.object(func(name string) {
		switch name {
		case "accepted":
			r.Accepted = p.int()
		case "rejected":
			r.Rejected = p.int()
		case "unknown":
			r.Unknown = p.int()
		default:
			p.bad = true
		}
	})
}

func (p *parser) refusal(e *Error) {
	p.object(func(name string) {
		switch name {
		case "time":
			e.Time = p.time()
		case "command":
			e.Command = p.str()
		case "code":
			e.Code = p.int()
		case "enhanced":
			e.Enhanced = p.str()
		case "text":
			e.Text = p.str()
		default:
			p.bad = true
		}
	})
}

func (p *parser) slowest(s *Slowest) {
	p.object(func(name string) {
		switch name {
		case "command":
			s.Command = p.str()
		case "ms":
			s.MS = p.float()
		default:
			p.bad = true
		}
	})
}

func (p *parser) octets(o *Octets) {
	p.object(func(name string) {
		switch name {
		case "client":
			o.Client = p.int64()
		case "server":
			o.Server = p.int64()
		default:
			p.bad = true
		}
	})
}

func (p *parser) entry(e *Entry) {
	p.object(func(name string) {
		switch name {
		case "ms":
			e.MS = p.float()
		case "from":
			e.From = p.str()
		case "text":
			*one(p, &e.Text) = p.str()
		case "body":
			*one(p, &e.Body) = p.int64()
		case "raw":
			*one(p, &e.Raw) = p.str()
		case "omitted":
			e.Omitted = p.int()
		default:
			p.bad = true
		}
	})
}

func (p *parser) anomaly(a *Anomaly) {
	p.object(func(name string) {
		switch name {
		case "kind":
			a.Kind = p.str()
		case "count":
			a.Count = p.int()
		default:
			p.bad = true
		}
	})
}

func (p *parser) rcpt(r *Rcpt) {
	p.object(func(name string) {
		switch name {
		case "to":
			r.To = p.str()
		case "params":
			p.params(&r.Params)
		case "code":
			r.Code = p.int()
		case "enhanced":
			r.Enhanced = p.str()
		case "text":
			r.Text = p.str()
		case "delivered":
			p.reply(one(p, &r.Delivered))
		default:
			p.bad = true
		}
	})
}

func (p *parser) reply(r *Reply) {
	p.object(func(name string) {
		switch name {
		case "code":
			r.Code = p.int()
		case "enhanced":
			r.Enhanced = p.str()
		case "text":
			r.Text = p.str()
		default:
			p.bad = true
		}
	})
}

func (p *parser) hole(h *Hole) {
	p.object(func(name string) {
		switch name {
		case "offset":
			h.Offset = p.int64()
		case "octets":
			h.Octets = p.int64()
		default:
			p.bad = true
		}
	})
}

func (p *parser) header(h *Header) {
	p.object(func(name string) {
		switch name {
		case "date":
			h.Date = p.str()
		case "from":
			p.strings(&h.From)
		case "to":
			p.strings(&h.To)
		case "cc":
			p.strings(&h.Cc)
		case "reply_to":
			p.strings(&h.ReplyTo)
		case "subject":
			h.Subject = p.str()
		case "message_id":
			h.MessageID = p.str()
		case "in_reply_to":
			h.InReplyTo = p.str()
		case "user_agent":
			h.UserAgent = p.str()
		case "received":
			h.Received = p.int()
		default:
			p.bad = true
		}
	})
}

func (p *parser) part(x *Part) {
	p.object(func(name string) {
		switch name {
		case "type":
			x.Type = p.str()
		case "charset":
			x.Charset = p.str()
		case "name":
			x.Name = p.str()
		case "disposition":
			x.Disposition = p.str()
		case "octets":
			x.Octets = p.int64()
		case "sha256":
			x.SHA256 = p.str()
		case "damaged":
			x.Damaged = p.bool()
		default:
			p.bad = true
		}
	})
}

func (p *parser) stored(s *Stored) {
	p.object(func(name string) {
		switch name {
		case "path":
			s.Path = p.str()
		case "exact":
			s.Exact = p.bool()
		case "error":
			s.Error = p.str()
		default:
			p.bad = true
		}
	})
}
