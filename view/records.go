package view

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"strings"

	"github.com/mailwire/mailwire/inspect/record"
)

const (
	maxLine    = 64 << 20 // octets of a line; a record of absurd replies has tens of millions
	keepLine   = 1 << 20  // octets of a buffer that is used for the next line too
	maxPlaces  = 3        // named in Problems
	lineBuffer = 64 << 10
	printed    = 4 << 10 // octets of each end that make a fingerprint
)

// Place is where a line is in the sessions or messages file of a day. The next one begins at Offset+Octets.
type Place struct {
	Day    string
	Offset int64
	Octets int // with its line end
}

// Problems counts what could not be read. Its zero value has none.
type Problems struct {
	Broken int   // lines that are no record of their file's type: torn, forged or absurdly long
	Newer  int   // records of a newer version
	Err    error // the first file that could not be read

	// Next is where the file that was read last is to be read on: behind the last whole line that was looked at, be it a
	// record or not.
	Next int64

	broken, newer []string // the first few, as FILE:OFFSET
}

// String says it in a sentence, or nothing where there is nothing to say.
func (p *Problems) String() string {
	var said []string
	if p.Broken > 0 {
		said = append(said, fmt.Sprintf("%s no record, and left out (%s)", plural(p.Broken, "line is", "lines are"), places(p.broken, p.Broken)))
	}
	if p.Newer > 0 {
		said = append(said, fmt.Sprintf("%s from a newer mailwire, and left out (%s); update this one to read them",
			plural(p.Newer, "record is", "records are"), places(p.newer, p.Newer)))
	}
	if p.Err != nil {
		said = append(said, p.Err.Error())
	}
	return strings.Join(said, "; ")
}

func places(list []string, n int) string {
	s := strings.Join(list, ", ")
	if n > len(list) {
		s += ", …"
	}
	return s
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", many)
}

// bad notes a line that is none of ours. Like unread, it may be told so of no Problems, and does nothing.
func (p *Problems) bad(err error, name string, offset int64) {
	if p == nil {
		return
	}
	count, list := &p.Broken, &p.broken
	if errors.Is(err, errNewer) {
		count, list = &p.Newer, &p.newer
	}
	if *count++; len(*list) < maxPlaces {
		*list = append(*list, fmt.Sprintf("%s:%d", name, offset))
	}
}

// unread notes a file that cannot be read.
func (p *Problems) unread(name string, err error) {
	if p != nil && p.Err == nil {
		p.Err = fmt.Errorf("%s cannot be read: %w", name, err)
	}
}

// Sessions gives the records of the sessions of a day, from an offset on, in the order of the file. A line that has no
// end yet is left for later. P, which may be nil, hears of what could not be read.
func (d *Data) Sessions(day string, from int64, p *Problems) iter.Seq2[Place, *record.Session] {
	return records[record.Session](d, "session", day, from, p)
}

// Messages does for messages what Sessions does for sessions.
func (d *Data) Messages(day string, from int64, p *Problems) iter.Seq2[Place, *record.Message] {
	return records[record.Message](d, "message", day, from, p)
}

// Session reads the record of a session again.
func (d *Data) Session(at Place) (*record.Session, error) {
	return one[record.Session](d, "session", at)
}

// Message reads the record of a message again.
func (d *Data) Message(at Place) (*record.Message, error) {
	return one[record.Message](d, "message", at)
}

// Fingerprint returns that of the first octets of a file, so many, by its path from the data directory on. What was
// written never changes, so another fingerprint is another file. Only the two ends of the octets are read for it.
func (d *Data) Fingerprint(name string, octets int64) (string, error) {
	f, err := d.open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum, n := sha256.New(), min(octets, printed)
	for _, from := range []int64{0, octets - n} {
		if _, err := io.Copy(sum, io.NewSectionReader(f, from, n)); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(sum.Sum(nil)[:8]), nil
}

// fileOf returns the path of a day's records of one type.
func fileOf(kind, day string) string { return "logs/" + kind + "s-" + day + ".jsonl" }

func records[R any](d *Data, kind, day string, from int64, p *Problems) iter.Seq2[Place, *R] {
	if p == nil {
		p = new(Problems)
	}
	return func(yield func(Place, *R) bool) {
		p.Next = from
		name := fileOf(kind, day)
		err := d.lines(name, from, func(offset int64, octets int, line []byte) bool {
			p.Next = offset + int64(octets)
			r, err := parse[R](kind, line)
			if err != nil {
				p.bad(err, name, offset)
				return true
			}
			return yield(Place{day, offset, octets}, r)
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			p.unread(name, err)
		}
	}
}

// lines calls do for each line that has its end, until do is false. A line that is too long is nil.
func (d *Data) lines(name string, offset int64, do func(offset int64, octets int, line []byte) bool) error {
	f, err := d.open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	r := bufio.NewReaderSize(f, lineBuffer)
	var long []byte
	for {
		line, octets, err := readLine(r, long[:0])
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil || !do(offset, octets, line) {
			return err
		}
		offset += int64(octets)
		if long = line; cap(long) > keepLine || octets <= lineBuffer {
			long = nil
		}
	}
}

// readLine reads a line with its end; what it returns is in the reader's buffer or in long, and nil where it is too long
// to be kept. Octets is its length in any case.
func readLine(r *bufio.Reader, long []byte) (line []byte, octets int, err error) {
	for {
		piece, err := r.ReadSlice('\n')
		octets += len(piece)
		if err == nil && octets == len(piece) {
			return piece, octets, nil
		}
		if octets > maxLine {
			long = nil
		} else {
			long = append(long, piece...)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return long, octets, err
		}
	}
}

func one[R any](d *Data, kind string, at Place) (*R, error) {
	name := fileOf(kind, at.Day)
	r, err := func() (*R, error) {
		if !isDay(at.Day) || at.Offset < 0 || at.Octets <= 0 || at.Octets > maxLine {
			return nil, errNoRecord
		}
		f, err := d.open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		line := make([]byte, at.Octets)
		if _, err := f.ReadAt(line, at.Offset); err != nil {
			return nil, err
		}
		return parse[R](kind, line)
	}()
	if err != nil {
		return nil, fmt.Errorf("the record at %s:%d cannot be read: %w", name, at.Offset, err)
	}
	return r, nil
}

var (
	errNoRecord = errors.New("it is no record")
	errNewer    = errors.New("it is from a newer mailwire; update this one")
)

// parse reads a line. One of a newer version need not be one that this version can decode.
func parse[R any](kind string, line []byte) (*R, error) {
	r := new(R)
	err := record.Unmarshal(line, r)
	var v int
	var t, id string
	switch r := any(r).(type) {
	case *record.Session:
		v, t, id = r.V, r.Type, r.ID
	case *record.Message:
		v, t, id = r.V, r.Type, r.ID
	}
	if err != nil {
		var head struct{ V int }
		if json.Unmarshal(line, &head) != nil {
			return nil, errNoRecord
		}
		v, t, id = head.V, "", ""
	}
	switch {
	case v > record.Version:
		return nil, errNewer
	case v < 1 || t != kind || id == "":
		return nil, errNoRecord
	}
	return r, nil
}
