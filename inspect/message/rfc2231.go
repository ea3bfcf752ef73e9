package message

import (
	"bytes"
	"slices"
	"strconv"
)

// parameter collects the forms in which one parameter may come: name=value, and RFC 2231's name*=charset'language'value
// and name*0=, name*1*= and so on, in any order. The first of each counts.
type parameter struct {
	plain    []byte
	given    bool
	sections []section
}

// section is one piece of an RFC 2231 parameter value.
type section struct {
	number  int
	percent bool // it is percent-encoded
	value   []byte
}

// take looks whether key is name in one of its forms.
func (p *parameter) take(name string, key, value []byte) {
	if len(key) < len(name) || !equalFold(key[:len(name)], name) {
		return
	}
	rest := key[len(name):]
	if len(rest) == 0 {
		if !p.given {
			p.plain, p.given = value, true
		}
		return
	}
	number, percent := rest[1:], false
	if rest[0] != '*' {
		return
	}
	if len(number) == 0 {
		p.sections = append(p.sections, section{-1, true, value})
		return
	}
	if number, percent = bytes.CutSuffix(number, []byte("*")); len(number) > 6 {
		return
	}
	if n, err := strconv.Atoi(string(number)); err == nil && n >= 0 {
		p.sections = append(p.sections, section{n, percent, value})
	}
}

// text returns the value, decoded. RFC 2231's form is preferred: the plain one beside it is for programs that do not
// know it. Encoded words have no place in a parameter (RFC 2047 section 5), but are frequent there.
func (p *parameter) text() string {
	if len(p.sections) == 0 {
		return decodeText(p.plain)
	}
	joined, percent := p.join()
	if !percent {
		return decodeText(joined)
	}
	charset, rest, ok := bytes.Cut(joined, []byte("'"))
	_, rest, ok2 := bytes.Cut(rest, []byte("'"))
	if !ok || !ok2 {
		return clean(joined)
	}
	out, ok := appendCharset(nil, string(charset[:min(len(charset), maxCharset)]), rest)
	if !ok {
		out = rest
	}
	return clean(out)
}

// raw returns the value's octets, as a boundary needs them.
func (p *parameter) raw() []byte {
	if p.given || len(p.sections) == 0 {
		return p.plain
	}
	joined, percent := p.join()
	if percent {
		if i := bytes.LastIndexByte(joined, '\''); i >= 0 {
			joined = joined[i+1:]
		}
	}
	return joined
}

// join puts the sections together, in the order of their numbers.
func (p *parameter) join() (joined []byte, percent bool) {
	slices.SortStableFunc(p.sections, func(a, b section) int { return a.number - b.number })
	last := -2
	for _, s := range p.sections {
		if s.number == last {
			continue
		}
		if last == -1 {
			break // name*= is complete in itself
		}
		last = s.number
		if s.percent {
			percent = true
			joined = appendUnescaped(joined, s.value, '%')
		} else {
			joined = append(joined, s.value...)
		}
	}
	return joined, percent
}
