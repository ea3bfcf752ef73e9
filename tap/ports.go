package tap

import "github.com/mailwire/mailwire/inspect"

// ports knows which ports are looked at, and what they promise.
type ports struct {
	any  bool
	hint [1 << 16]inspect.Hint
}

func newPorts(o *Options) *ports {
	p := &ports{any: o.AnyPort || len(o.SMTPPorts)+len(o.POP3Ports) == 0}
	if p.any {
		for _, port := range []uint16{25, 587, 2525, 465} {
			p.hint[port] = inspect.SMTP
		}
		for _, port := range []uint16{110, 995} {
			p.hint[port] = inspect.POP3
		}
	}
	for _, port := range o.POP3Ports {
		p.hint[port] = inspect.POP3
	}
	for _, port := range o.SMTPPorts {
		p.hint[port] = inspect.SMTP
	}
	return p
}

func (p *ports) wanted(k *flowKey) bool {
	return p.any || p.hint[k.port(0)] != inspect.AnyProtocol || p.hint[k.port(1)] != inspect.AnyProtocol
}
