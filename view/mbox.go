package view

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
)

// WriteMbox writes a mail as the next one of an mbox (RFC 4155, with the quoting of mboxrd, which can be undone).
func (d *Data) WriteMbox(to io.Writer, m *record.Message) error {
	r, err := d.Mail(m)
	if err != nil {
		return err
	}
	defer r.Close()
	w := bufio.NewWriter(to)
	fmt.Fprintf(w, "From %s %s\n", mboxSender(m), m.Begin.UTC().Format(time.ANSIC))
	lines := bufio.NewReaderSize(r, lineBuffer)
	begins := true // the next octet is a line's first
	for {
		piece, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) && piece[len(piece)-1] == '\r' { // LF may follow
			_ = lines.UnreadByte() // an octet was read
			piece = piece[:len(piece)-1]
		}
		if begins && bytes.HasPrefix(bytes.TrimLeft(piece, ">"), []byte("From ")) {
			w.WriteByte('>')
		}
		if text, ok := bytes.CutSuffix(piece, []byte("\r\n")); ok {
			w.Write(text)
			w.WriteByte('\n')
		} else {
			w.Write(piece)
		}
		if len(piece) > 0 {
			begins = piece[len(piece)-1] == '\n'
		}
		if err == nil || errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if !begins {
			w.WriteByte('\n')
		}
		w.WriteByte('\n')
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return errors.Join(err, w.Flush())
	}
}

// mboxSender is the envelope's sender as a word.
func mboxSender(m *record.Message) string {
	if m.From == nil || *m.From == "" {
		return "MAILER-DAEMON"
	}
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '_'
		}
		return r
	}, *m.From)
}
