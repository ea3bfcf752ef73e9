package inspect

import "github.com/mailwire/mailwire/inspect/record"

// Sink takes what a session says, in the order in which it says it. One goroutine calls it for one session; what a call
// borrows it may not keep, what it is given it owns. A Sink never fails: what it could not keep it says in the records.
type Sink interface {
	// Line is one line of the dialogue, as it happens. Both arguments are borrowed; of s, the identity (id, protocol,
	// mode, endpoints) is final, all else is still growing.
	Line(s *record.Session, l record.Line)
	// Login is the attempt-th login attempt of the session (from 1), written at its result. All is borrowed.
	Login(s *record.Session, attempt int, l record.Login)
	// Secret is called only where secrets are wanted (Config.Secrets). All is borrowed.
	Secret(s *record.Session, secret record.Secret)
	// OpenMail begins to keep the octets of m, which has its id and its begin so far; nil: they are not wanted.
	OpenMail(m *record.Message) Mail
	// Message ends m, whose outcome is known, with the mail opened for it (nil: none was). The sink owns both now, and
	// fills in m.Stored.
	Message(m *record.Message, mail Mail)
	// Session ends s. The sink owns it now.
	Session(s *record.Session)
}

// Mail keeps the octets of one mail.
type Mail interface {
	// Write takes the next octets, borrowed. It never blocks for long and never fails: what could not be kept is told in
	// the record.
	Write(p []byte)
	// Discard drops what was kept: the mail's record will not have it, or there is none.
	Discard()
}
