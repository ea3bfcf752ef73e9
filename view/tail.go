package view

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strings"
)

const (
	tailBuffer = 64 << 10 // octets read at a time; a longer line is none that mailwire writes
	lingering  = 5        // looks for which a file that lost its name is read on: who writes it may not have noticed yet
)

// tail reads a file that grows, as tail -F does: it may come later, be renamed, removed, made anew or truncated.
type tail struct {
	name     string // from the data directory on
	f        *os.File
	at       int64 // the beginning of the first line that has no end yet
	torn     bool  // at is within a line
	nameless int   // looks since the file lost its name
}

// look calls line for each whole line that has come since the last look. Of a file that it finds at the first look it reads
// the last octets only, so many as past says; later, all. The lines are in buf.
func (t *tail) look(d *Data, buf []byte, past int64, line func(line []byte)) error {
	if t.f == nil {
		f, err := d.open(t.name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		t.f, t.at, t.torn, t.nameless = f, 0, false, 0
		if info, err := f.Stat(); err == nil && past > 0 && info.Size() > past {
			t.at, t.torn = info.Size()-past, true
		}
	}
	info, err := t.f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < t.at { // truncated; what was cut off of a torn line was not read yet
		t.at, t.torn = 0, false
	}
	t.read(buf, line)
	if named, err := d.root.Lstat(t.name); err == nil && os.SameFile(named, info) {
		t.nameless = 0
	} else if t.nameless++; t.nameless > lingering {
		t.close()
	}
	return nil
}

func (t *tail) read(buf []byte, line func([]byte)) {
	for {
		n, _ := t.f.ReadAt(buf, t.at) // an error comes again, or is the end
		end := bytes.LastIndexByte(buf[:n], '\n') + 1
		if end == 0 {
			if n < len(buf) {
				return
			}
			t.torn, end = true, n
		} else {
			for whole := range bytes.Lines(buf[:end]) {
				if !t.torn {
					line(whole[:len(whole)-1])
				}
				t.torn = false
			}
		}
		t.at += int64(end)
	}
}

func (t *tail) close() {
	if t.f != nil {
		_ = t.f.Close() // it was only read
		t.f = nil
	}
}

// isUser says whether a user is the one asked for: alice is also alice@example.net, in capitals or not.
func isUser(user, asked string) bool {
	if !strings.Contains(asked, "@") {
		user, _, _ = strings.Cut(user, "@")
	}
	return strings.EqualFold(user, asked)
}
