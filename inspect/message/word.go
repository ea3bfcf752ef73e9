package message

import (
	"bytes"
	"strings"

	"github.com/mailwire/mailwire/inspect/record"
)

// maxCharset is the longest name of a charset that is looked up.
const maxCharset = 64

// decodeWords decodes the encoded words in value (RFC 2047), as far as a record has room. White space between two of them is
// dropped (section 6.2). What is no encoded word, or has an unknown charset, stays as it is.
func decodeWords(value []byte) []byte {
	var j wordJoiner
	after := false // value begins after an encoded word
	lastEnd := bytes.LastIndex(value, []byte("?="))
	for base := 0; len(j.out) <= record.MaxText && len(j.octets) <= 4*record.MaxText; {
		start := bytes.Index(value, []byte("=?"))
		if start < 0 || base+start >= lastEnd {
			break
		}
		w, n := cutWord(value[start:])
		gap := value[:start]
		if n == 0 {
			after, n = false, len("=?")
			j.text(value[:start+n])
		} else {
			if !after || len(bytes.TrimSpace(gap)) > 0 {
				j.text(gap)
			}
			j.word(w, value[start:start+n])
			after = true
		}
		value = value[start+n:]
		base += start + n
	}
	j.text(value)
	return j.out
}

// wordJoiner puts text and encoded words together. The octets of words that stand side by side in the same charset are
// joined before they are decoded: programs cut characters in two.
type wordJoiner struct {
	out     []byte
	charset string
	octets  []byte // of the words that are not decoded yet
	raw     []byte // those words as they came
}

func (j *wordJoiner) text(text []byte) {
	if j.flush(); len(text) > 0 {
		j.out = append(j.out, text...)
	}
}

func (j *wordJoiner) word(w encodedWord, raw []byte) {
	if !strings.EqualFold(w.charset, j.charset) {
		j.flush()
	}
	if j.charset = w.charset; len(j.raw) > 0 {
		j.raw = append(j.raw, ' ')
	}
	j.raw = append(j.raw, raw...)
	j.octets = w.appendOctets(j.octets)
}

func (j *wordJoiner) flush() {
	if len(j.raw) > 0 {
		var ok bool
		if j.out, ok = appendCharset(j.out, j.charset, j.octets); !ok {
			j.out = append(j.out, j.raw...)
		}
		j.octets, j.raw = j.octets[:0], j.raw[:0]
	}
}

type encodedWord struct {
	charset string
	base64  bool
	text    []byte
}

// cutWord takes the encoded word that value begins with, and returns its length; 0: it begins with none. The text may
// hold what it should not, such as spaces and question marks.
func cutWord(value []byte) (w encodedWord, n int) {
	name := value[len("=?"):]
	end := bytes.IndexByte(name[:min(len(name), 2*maxCharset)], '?')
	if end < 1 || len(name) < end+3 || name[end+2] != '?' {
		return w, 0
	}
	text := name[end+3:]
	stop := bytes.Index(text, []byte("?="))
	kind := name[end+1] | 0x20
	if stop < 0 || kind != 'b' && kind != 'q' {
		return w, 0
	}
	name, _, _ = bytes.Cut(name[:end], []byte("*")) // RFC 2231 section 5: a language follows
	if len(name) > maxCharset || bytes.ContainsAny(name, " \t=") {
		return w, 0
	}
	return encodedWord{string(name), kind == 'b', text[:stop]}, len("=?") + end + 3 + stop + len("?=")
}

func (w encodedWord) appendOctets(dst []byte) []byte {
	if w.base64 {
		var d base64Decoder
		var piece [96]byte
		for text := w.text; len(text) > 0 && !d.ended; {
			n, used := d.decode(piece[:], text)
			dst = append(dst, piece[:n]...)
			text = text[used:]
		}
		return dst
	}
	for text := w.text; len(text) > 0; text = text[1:] {
		switch c := text[0]; {
		case c == '_':
			dst = append(dst, ' ')
		case c == '=' && len(text) >= 3 && isHex(text[1]) && isHex(text[2]):
			dst = append(dst, unhex(text[1])<<4|unhex(text[2]))
			text = text[2:]
		default:
			dst = append(dst, c)
		}
	}
	return dst
}
