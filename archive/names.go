package archive

import (
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
)

// sessionID is the length of a session's id.
const sessionID = len("0123456789abcdef")

// parseDay reads a day as a file's name has it.
func parseDay(s string) (day, bool) {
	t, err := time.Parse(time.DateOnly, s)
	return dayOf(record.Time{Time: t}), err == nil
}

// dayOfLog reads the name of a log, a record file or a trace, from the data directory on; buried: of one whose day is
// being removed.
func dayOfLog(name string) (d day, kind logKind, buried, ok bool) {
	dir, base := path.Split(name)
	base, buried = strings.CutPrefix(base, buriedPrefix)
	stem := strings.TrimSuffix(base, path.Ext(base))
	d, ok = parseDay(stem[max(0, len(stem)-len(time.DateOnly)):])
	for kind := range logKinds {
		if ok && kind.fileName(d) == dir+base {
			return d, kind, buried, true
		}
	}
	return d, 0, buried, false
}

// mailFolder is a folder that the archive made.
type mailFolder struct {
	dir  string // from the data directory on
	flat bool   // for the mails of all days
	day  day    // if it is not
}

// parseFolder reads the name of a directory under mail.
func parseFolder(name string) (mailFolder, bool) {
	const dated = len(".2006-01-02")
	f := mailFolder{dir: "mail/" + name, flat: true}
	if d, ok := parseDay(strings.TrimPrefix(name[:min(dated, len(name))], ".")); ok {
		f.flat, f.day = false, d
	}
	for _, kind := range []Kinds{Accepted, Rejected, Incomplete, POP3} {
		if name == folder(f.flat, f.day, kind) {
			return f, true
		}
	}
	return f, false
}

// dayOf returns the day of a mail in the folder.
func (f mailFolder) dayOf(name mailName, l *time.Location) day {
	if !f.flat {
		return f.day
	}
	return dayOf(record.Time{Time: time.Unix(name.unix, 0).In(l)})
}

// mailName is what the name of a mail's file says.
type mailName struct {
	base   string // without what a mail program has put behind it
	unix   int64  // when the mail began
	octets int64  // of the file
}

// parseMailName reads a name that a delivery has made, behind which a mail program may have put flags.
func parseMailName(name string) (n mailName, ok bool) {
	n.base = name
	if i := strings.IndexAny(name, ":;!"); i >= 0 {
		n.base = name[:i]
	}
	stem, size, _ := strings.Cut(n.base, ",S=")
	words := strings.SplitN(stem, ".", 4) // time, session, number, sensor
	if len(words) < 4 || len(words[1]) != sessionID || words[3] == "" {
		return n, false
	}
	var errs [3]error
	n.unix, errs[0] = strconv.ParseInt(words[0], 10, 64)
	_, errs[1] = strconv.ParseUint(words[2], 10, 32)
	n.octets, errs[2] = strconv.ParseInt(size, 10, 64)
	return n, errs == [3]error{} && n.octets >= 0
}
