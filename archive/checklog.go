package archive

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
)

// open opens a regular file.
func (c *checker) open(name string) (*os.File, error) {
	info, err := c.root.Lstat(name)
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is no regular file")
	}
	if err != nil {
		return nil, err
	}
	return c.root.Open(name)
}

// log checks one file of a day. Its last line may be unfinished while somebody writes it.
func (c *checker) log(name string, of *shelf) {
	d, kind, _, _ := dayOfLog(name)
	f, err := c.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		defer f.Close()
		if kind == traceLog {
			err = c.trace(name, f)
		} else {
			err = c.lines(name, f, func(offset int64, line []byte) { c.line(name, kind, d, offset, line, of) })
		}
	}
	if err != nil {
		c.say(FoundStrange, name, noOffset, "it cannot be read: %v", err)
	}
}

func (c *checker) trace(name string, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	end, err := lastPacket(osFile{f}, info.Size())
	if err == nil && end < info.Size() && !c.sum.Running {
		c.say(FoundBroken, name, end, "the last packet is not whole; the next mailwire that writes to this file cuts it off")
	}
	return err
}

func (c *checker) lines(name string, f *os.File, do func(offset int64, line []byte)) error {
	r := bufio.NewReaderSize(f, repairBuffer)
	var line []byte
	for offset := int64(0); c.ctx.Err() == nil; {
		octets := 0
		line = line[:0]
		var err error
		for {
			var piece []byte
			piece, err = r.ReadSlice('\n')
			if octets += len(piece); octets <= maxCheckedLine {
				line = append(line, piece...)
			}
			if err != bufio.ErrBufferFull {
				break
			}
		}
		switch {
		case err == io.EOF && octets > 0 && !c.sum.Running:
			c.say(FoundBroken, name, offset, "the last line is not whole; the next mailwire that writes to this file cuts it off")
		case err == io.EOF:
		case err != nil:
			return err
		case octets > maxCheckedLine:
			c.say(FoundBroken, name, offset, "a line of %d octets is none that mailwire writes", octets)
		default:
			do(offset, line[:octets-1])
		}
		if err == io.EOF {
			return nil
		}
		offset += int64(octets)
	}
	return nil
}

// line checks a line of a log.
func (c *checker) line(name string, kind logKind, d day, offset int64, line []byte, of *shelf) {
	var t time.Time
	ok := true
	switch kind {
	case smtpLog, pop3Log:
		var said Said
		said, ok = ParseSaid(string(line))
		t = said.Time
	case authLog:
		var a Attempt
		a, ok = ParseAttempt(string(line))
		t = a.Time
	case mailLog:
		word, rest, _ := strings.Cut(string(line), " ")
		t, ok = parseTime(word)
		_, plain := record.Unescape(rest)
		ok = ok && plain && strings.HasPrefix(rest, "mailwire[")
	default:
		c.record(name, kind, d, offset, line, of)
		return
	}
	if !ok {
		c.say(FoundBroken, name, offset, "the line is none that mailwire writes")
	} else if dayOf(record.Time{Time: t}) != d {
		c.say(FoundBroken, name, offset, "the line is of another day")
	}
}

// record checks a line of a record file.
func (c *checker) record(name string, kind logKind, d day, offset int64, line []byte, of *shelf) {
	var head struct {
		V    int
		Type string
	}
	want := map[logKind]string{sessionsLog: "session", messagesLog: "message", secretsLog: "secret"}[kind]
	err := json.Unmarshal(line, &head)
	switch {
	case err == nil && head.V > record.Version:
		c.say(FoundNewer, name, offset, "the record is of version %d; update mailwire to read it", head.V)
		return
	case err != nil || head.V < 1 || head.Type != want:
		c.say(FoundBroken, name, offset, "the line is no record of a %s", want)
		return
	}
	var id string
	var begin record.Time
	switch kind {
	case sessionsLog:
		var s record.Session
		err = json.Unmarshal(line, &s)
		id, begin = s.ID, s.Begin
		c.sum.Sessions++
	case messagesLog:
		var m record.Message
		err = json.Unmarshal(line, &m)
		id, begin = m.ID, m.Begin
		c.sum.Messages++
		if err == nil && m.Stored != nil && m.Stored.Path != "" {
			c.stored(name, offset, &m, of)
		}
	default:
		return
	}
	if err != nil || id == "" || dayOf(begin) != d {
		c.say(FoundBroken, name, offset, "the line is no record of a %s of that day", want)
	}
}
