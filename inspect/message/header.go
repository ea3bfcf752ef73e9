package message

import "bytes"

// field names the header fields that are looked at.
type field int8

const (
	otherField field = iota
	dateField
	fromField
	toField
	ccField
	replyToField
	subjectField
	messageIDField
	inReplyToField
	userAgentField
	mailerField
	receivedField
	mimeField // the MIME-Version, Return-Path and the like: known, not kept
	typeField // of every entity, from here on
	encodingField
	dispositionField
	fieldKinds
)

// known returns the field that a name stands for.
func known(name []byte) field {
	var f field
	var s string
	switch len(name) {
	case 2:
		if name[0]|0x20 == 't' {
			f, s = toField, "To"
		} else {
			f, s = ccField, "Cc"
		}
	case 4:
		if name[0]|0x20 == 'd' {
			f, s = dateField, "Date"
		} else {
			f, s = fromField, "From"
		}
	case 7:
		f, s = subjectField, "Subject"
	case 8:
		switch name[2] | 0x20 {
		case 'c':
			f, s = receivedField, "Received"
		case 'p':
			f, s = replyToField, "Reply-To"
		default:
			f, s = mailerField, "X-Mailer"
		}
	case 10:
		if name[0]|0x20 == 'm' {
			f, s = messageIDField, "Message-ID"
		} else {
			f, s = userAgentField, "User-Agent"
		}
	case 11:
		switch name[0] | 0x20 {
		case 'i':
			f, s = inReplyToField, "In-Reply-To"
		case 'r':
			f, s = mimeField, "Return-Path"
		}
	case 12:
		if name[0]|0x20 == 'c' {
			f, s = typeField, "Content-Type"
		} else {
			f, s = mimeField, "MIME-Version"
		}
	case 14:
		f, s = mimeField, "DKIM-Signature"
	case 19:
		f, s = dispositionField, "Content-Disposition"
	case 25:
		f, s = encodingField, "Content-Transfer-Encoding"
	}
	if f == otherField || !equalFold(name, s) {
		return otherField
	}
	return f
}

// equalFold compares in ASCII, where bytes.EqualFold would convert.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range b {
		if x := b[i] ^ s[i]; x != 0 && (x != 0x20 || s[i]|0x20 < 'a' || s[i]|0x20 > 'z') {
			return false
		}
	}
	return true
}

// verdict says what a line does to a header section.
type verdict uint8

const (
	more      verdict = iota // the section goes on
	bodyBegan                // the section ended without an empty line; the body begins with the lines in stray
)

// header keeps the fields of one header section that are looked at, until the section ends.
//
// A line that is no field (RFC 5322 section 2.2) does not end the section, as the grammar would have it: mail programs
// skip such a line. But two of them in a row, or one before everything else, are a body that no empty line announces.
type header struct {
	whole  bool // of the mail itself: every field counts, not only those of MIME
	mail   bool // of a mail, be it attached, not of a part
	lines  int
	fields int
	octets int

	stray []byte // lines that are no field and may begin the body

	current  field // being collected; otherField: none
	values   [fieldKinds]span
	set      [fieldKinds]bool
	text     []byte // what values point into
	received int

	torn    bool // octets are missing in the line that comes next
	damaged bool // octets are missing somewhere
}

type span struct{ from, to int }

// maxSpare is the largest buffer that is kept from one mail to the next.
const maxSpare = MaxField

func (h *header) reset(whole, mail bool) {
	text, stray := h.text[:0], h.stray[:0]
	if cap(text) > maxSpare {
		text = nil
	}
	*h = header{whole: whole, mail: mail, text: text, stray: stray}
}

// value returns the text of a field, unfolded (RFC 5322 section 2.2.3), without the white space around it. Of fields
// with the same name the first counts.
func (h *header) value(f field) []byte {
	return bytes.TrimSpace(h.text[h.values[f].from:h.values[f].to])
}

// take looks at one line, with its line end unless it was too long.
func (h *header) take(line []byte) verdict {
	h.lines++
	h.octets += len(line)
	if (line[0] == ' ' || line[0] == '\t') && h.lines > 1 {
		return h.continued(line)
	}
	h.current = otherField
	name, value, ok := cutName(line)
	if !ok {
		return h.strayLine(line)
	}
	f := known(name)
	if len(h.stray) > 0 {
		if h.fields == 0 && f == otherField {
			return h.strayLine(line)
		}
		h.stray = h.stray[:0]
	}
	h.fields++
	if h.fields > MaxFields || h.octets > MaxHeader {
		return more
	}
	if f == receivedField {
		h.received++
	} else if f != otherField && (h.whole || f >= typeField) && !h.set[f] {
		h.set[f], h.current = true, f
		h.values[f] = span{len(h.text), len(h.text)}
		h.keep(value)
	}
	return more
}

func (h *header) continued(line []byte) verdict {
	if len(h.stray) > 0 {
		h.stray = append(h.stray, line...)
		if len(h.stray) > MaxField {
			return bodyBegan
		}
	} else if h.current != otherField {
		h.keep(line)
	}
	return more
}

// strayLine holds a line that is no field until the next one says what it was.
func (h *header) strayLine(line []byte) verdict {
	if h.mail && h.lines == 1 && (bytes.HasPrefix(line, []byte("From ")) || bytes.HasPrefix(line, []byte(">From "))) {
		h.lines = 0 // a mailbox file's line before the header
		return more
	}
	second := len(h.stray) > 0
	h.stray = append(h.stray, line...)
	if second || len(h.stray) > MaxField {
		return bodyBegan
	}
	return more
}

// keep appends a line to the current field, without its line end.
func (h *header) keep(line []byte) {
	line = bytes.TrimRight(line, "\r\n")
	v := &h.values[h.current]
	line = line[:min(len(line), MaxField-(v.to-v.from))]
	h.text = append(h.text, line...)
	v.to = len(h.text)
}

// forget drops the field that is being collected: octets of it are missing.
func (h *header) forget() {
	if h.current != otherField {
		h.text = h.text[:h.values[h.current].from]
		h.values[h.current], h.set[h.current] = span{}, false
	}
}

// cutName splits a field into its name and the rest. White space before the colon is obsolete, but was never rare
// (RFC 5322 section 4.5).
func cutName(line []byte) (name, value []byte, ok bool) {
	n := 0
	for n < len(line) && line[n] > ' ' && line[n] < 0x7f && line[n] != ':' {
		n++
	}
	colon := n
	for colon < len(line) && (line[colon] == ' ' || line[colon] == '\t') {
		colon++
	}
	if colon == len(line) || line[colon] != ':' {
		return nil, nil, false
	}
	return line[:n], line[colon+1:], true
}
