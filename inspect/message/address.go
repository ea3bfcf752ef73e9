package message

import (
	"bytes"
	"strings"

	"github.com/mailwire/mailwire/inspect/record"
)

// maxWord is the longest encoded word that may hold a separator. RFC 2047 section 2 allows 75 octets.
const maxWord = 1 << 10

// addresses returns the addresses of a field (RFC 5322 section 3.4), each as `Name <local@domain>` or the bare address,
// decoded. Nothing is checked: what is between two separators is an address, whatever it looks like. Groups lose their
// name unless they are empty: then the field is shown as it is ("undisclosed-recipients:;").
func addresses(value []byte) []string {
	if len(value) == 0 {
		return nil
	}
	var list []string
	for rest := value; len(rest) > 0 && len(list) < MaxAddresses; {
		var a address
		a, rest = cutAddress(rest)
		if s := a.String(); s != "" {
			list = append(list, s)
		}
	}
	if len(list) == 0 {
		if s := decodeText(value); s != "" {
			list = []string{s}
		}
	}
	return list
}

// address is one element of an address list, in pieces of the field.
type address struct {
	raw     []byte // all of it
	angle   []byte // between < and >
	hasAddr bool   // there was a <
	before  []byte // what stands before <, with its quotes
	comment []byte // within the first parentheses
}

// cutAddress takes one element and its separator off list.
func cutAddress(list []byte) (a address, rest []byte) {
	from, open, angle, depth := 0, 0, 0, 0
	quoted, literal, at := false, false, false
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case quoted && c == '\\', depth > 0 && c == '\\':
			i++
		case c == '"' && depth == 0:
			quoted = !quoted
		case quoted:
		case c == '=' && depth == 0:
			i += wordLength(list[i:])
		case c == '(':
			if depth == 0 {
				open = i
			}
			depth++
		case c == ')' && depth > 0:
			if depth--; depth == 0 && a.comment == nil {
				a.comment = list[open+1 : i]
			}
		case depth > 0:
		case c == '<' && !a.hasAddr:
			a.hasAddr, a.before, angle = true, list[from:i], i+1
		case c == '>' && a.hasAddr && a.angle == nil:
			a.angle = list[angle:i]
			literal = false
		case c == '[' || c == ']':
			literal = c == '['
		case c == '@':
			at = true
		case c == ':' && !at && !literal && !a.hasAddr:
			from, a.comment = i+1, nil // the name of a group
		case (c == ',' || c == ';') && !literal && (!a.hasAddr || a.angle != nil):
			a.raw = list[from:i]
			return a, list[i+1:]
		}
	}
	a.raw = list[from:]
	return a, nil
}

// wordLength returns how many octets to pass over for an encoded word, which may hold what separates addresses.
func wordLength(value []byte) int {
	value = value[:min(len(value), maxWord)]
	if len(value) < 2 || value[1] != '?' {
		return 0
	}
	_, n := cutWord(value)
	if bytes.ContainsAny(value[:n], " \t") {
		return 0
	}
	return max(n-1, 0)
}

// String returns the address as the record has it. A name that could be taken for an address is quoted.
func (a address) String() string {
	if a.angle == nil {
		addr := bytes.TrimSpace(a.raw)
		if a.comment == nil || !bytes.HasSuffix(addr, []byte(")")) {
			return decodeText(addr)
		}
		bare, _, _ := bytes.Cut(addr, []byte("(")) // local@domain (Name)
		return nameAndAddress(decodeText(a.comment), clean(bare))
	}
	return nameAndAddress(phrase(a.before), clean(a.angle))
}

func nameAndAddress(name, addr string) string {
	if name == "" {
		return addr
	}
	addr = " <" + addr + ">"
	if strings.ContainsAny(name, `<>"`) {
		name = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
	}
	if len(name)+len(addr) > record.MaxText {
		return cut(name, max(record.MaxText-len(addr), 0)) + cut(addr, record.MaxText)
	}
	return name + addr
}

// phrase decodes a display name, of which parts may stand in quotes.
func phrase(value []byte) string {
	value = bytes.TrimSpace(value)
	if bytes.IndexByte(value, '"') < 0 {
		return decodeText(value)
	}
	out := make([]byte, 0, len(value))
	quoted := false
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted && i+1 < len(value):
			i++
			out = append(out, value[i])
		default:
			out = append(out, c)
		}
	}
	return decodeText(out)
}
