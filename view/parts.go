package view

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/emersion/go-message/charset"

	"github.com/mailwire/mailwire/inspect/message"
	"github.com/mailwire/mailwire/inspect/record"
)

// parse reads a mail from the archive and gives the content of its parts, as package message does, to content.
func (d *Data) parse(m *record.Message, content func(part int, octets []byte)) error {
	r, err := d.Mail(m)
	if err != nil {
		return err
	}
	defer r.Close()
	b := body{m: m, r: r, holes: m.Holes, buf: make([]byte, mailBuffer), warn: func(e error) { err = e }}
	p := message.Parser{Content: content}
	for {
		octets, lost := b.next(1 << 62)
		if lost == 0 && len(octets) == 0 {
			break
		}
		p.Hole(lost)
		p.Write(octets)
	}
	p.Close()
	return err
}

// WritePart writes the decoded content of the nth part of a mail, from 1. It is held against the record: a difference is
// an error, when all is written.
func (d *Data) WritePart(to io.Writer, m *record.Message, n int) error {
	if n < 1 || n > len(m.Parts) {
		return fmt.Errorf("the mail %s has no part %d, it has %s", Printable(m.ID), n, plural(len(m.Parts), "part", "parts"))
	}
	// A part may begin anew, where the parser finds that it took for content what is none. The first reading counts that.
	begins := 0
	err := d.parse(m, func(part int, octets []byte) {
		if part == n-1 && octets == nil {
			begins++
		}
	})
	if err != nil {
		return err
	}
	hash := sha256.New()
	var failed error
	err = d.parse(m, func(part int, octets []byte) {
		switch {
		case part != n-1 || failed != nil:
		case octets == nil:
			begins--
		case begins == 0:
			hash.Write(octets)
			_, failed = to.Write(octets)
		}
	})
	want := m.Parts[n-1].SHA256
	if got := hex.EncodeToString(hash.Sum(nil)); err == nil && failed == nil && want != "" && got != want {
		err = fmt.Errorf("part %d of the mail %s has the SHA-256 %s, the record says %s", n, Printable(m.ID), got, want)
	}
	return errors.Join(err, failed)
}

const maxShownText = 256 << 10 // octets of a mail's text that are shown

// text returns what a person reads first in a mail: its plain texts, or else those in HTML, without their markup.
func (d *Data) text(m *record.Message) (string, error) {
	kind := ""
	for i := range m.Parts {
		if t := shownType(&m.Parts[i]); t != "" && kind != "text/plain" {
			kind = t
		}
	}
	texts := make(map[int]*bytes.Buffer)
	for i := range m.Parts {
		if kind != "" && shownType(&m.Parts[i]) == kind {
			texts[i] = new(bytes.Buffer)
		}
	}
	room := maxShownText
	err := d.parse(m, func(part int, octets []byte) {
		b := texts[part]
		switch {
		case b == nil:
		case octets == nil:
			room += b.Len()
			b.Reset()
		default:
			n := min(room, len(octets))
			room -= n
			b.Write(octets[:n])
		}
	})
	var all []string
	for i := range m.Parts {
		if b := texts[i]; b != nil {
			text := decode(b.Bytes(), m.Parts[i].Charset)
			if kind == "text/html" {
				text = withoutMarkup(text)
			}
			all = append(all, strings.TrimRight(text, "\n")+"\n")
		}
	}
	if room == 0 {
		all = append(all, "[the rest is not shown]\n")
	}
	return strings.Join(all, "\n"), err
}

// shownType says as what a part is shown with the mail itself; "" if it is an attachment.
func shownType(p *record.Part) string {
	if (p.Type == "text/plain" || p.Type == "text/html") && p.Name == "" && p.Disposition != "attachment" {
		return p.Type
	}
	return ""
}

// decode turns a text into UTF-8 with LF line ends. An unknown charset is taken for UTF-8.
func decode(octets []byte, of string) string {
	text := string(octets)
	if of != "" {
		if r, err := charset.Reader(of, bytes.NewReader(octets)); err == nil {
			if decoded, err := io.ReadAll(io.LimitReader(r, 4*maxShownText)); err == nil {
				text = string(decoded)
			}
		}
	}
	return strings.ToValidUTF8(strings.ReplaceAll(text, "\r\n", "\n"), "\uFFFD")
}
