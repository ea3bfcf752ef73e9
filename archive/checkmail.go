package archive

import (
	"crypto/sha256"
	"encoding/hex"
	"hash/maphash"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/mailwire/mailwire/inspect/record"
)

// shelf is a set of mail folders and what of the mails in them no record has named yet: by a hash of the path that a record
// would have, what a mail program has put behind it if it moved the mail.
type shelf struct {
	folders []mailFolder
	mails   map[uint64]string
}

func (c *checker) newShelf() *shelf { return &shelf{mails: map[uint64]string{}} }

// fill lists the mails of a shelf.
func (c *checker) fill(s *shelf) {
	for _, f := range s.folders {
		for _, part := range mailParts {
			c.list(path.Join(f.dir, part), func(name string, info fs.FileInfo) {
				n, ok := parseMailName(path.Base(name))
				switch {
				case !ok:
					return
				case !info.Mode().IsRegular():
					c.say(FoundStrange, name, noOffset, "it is no regular file, but has the name of a mail")
					return
				case info.Size() != n.octets:
					c.say(FoundSize, name, noOffset, "it has %d octets, its name says %d", info.Size(), n.octets)
				}
				c.sum.Mails++
				c.sum.Octets += info.Size()
				s.mails[c.hash(f.dir+"/new/"+n.base)] = c.suffix(part, path.Base(name)[len(n.base):])
			})
		}
	}
}

func (c *checker) hash(name string) uint64 { return maphash.String(c.seed, name) }

// suffix returns what a path in new has to get to be that of the mail, in few strings of their own.
func (c *checker) suffix(part, flags string) string {
	if part == "new" {
		return flags
	}
	s := "/" + flags // it is in cur
	if known, ok := c.suffixes[s]; ok {
		return known
	}
	if len(c.suffixes) < 1000 {
		c.suffixes[strings.Clone(s)] = strings.Clone(s)
	}
	return s
}

// stored checks the mail that a record names.
func (c *checker) stored(name string, offset int64, m *record.Message, of *shelf) {
	file := m.Stored.Path
	dir, base := path.Split(file)
	folder, isNew := strings.CutSuffix(dir, "/new/")
	n, ok := parseMailName(base)
	if f, known := parseFolder(path.Base(folder)); !ok || !isNew || n.base != base || folder != "mail" && (!known || f.dir != folder) {
		c.say(FoundBroken, name, offset, "the record names %s, which is no path of a mail", record.AppendQuoted(nil, file))
		return
	}
	shelf, key := of, c.hash(file)
	suffix, there := shelf.mails[key]
	if !there {
		shelf = c.flat
		suffix, there = shelf.mails[key]
	}
	delete(shelf.mails, key)
	actual := file + suffix
	if strings.HasPrefix(suffix, "/") {
		actual = folder + "/cur/" + base + suffix[1:]
	}
	if !there { // it may have come since it was listed, or be named twice; or the day may just be removed
		_, err := c.root.Lstat(file)
		if err != nil && c.sum.Running {
			if _, err := c.root.Lstat(name); err != nil {
				return
			}
		}
		if err != nil {
			c.say(FoundMissing, name, offset, "the record of %s names %s, which is not there", record.AppendEscaped(nil, m.ID), file)
			return
		}
	}
	if m.Octets != n.octets && (m.Stored.Exact || m.Octets < n.octets) {
		c.say(FoundSize, file, noOffset, "it has %d octets, its record at %s:%d says %d", n.octets, name, offset, m.Octets)
		return
	}
	if c.deep {
		c.octets(actual, m)
	}
}

// octets reads a mail.
func (c *checker) octets(file string, m *record.Message) {
	f, err := c.open(file)
	if err != nil {
		if !c.sum.Running { // else somebody may have moved or removed it
			c.say(FoundStrange, file, noOffset, "it cannot be read: %v", err)
		}
		return
	}
	defer f.Close()
	hash := sha256.New()
	n, err := io.Copy(hash, WireReader(f, m.Stored.Exact))
	switch sum := hex.EncodeToString(hash.Sum(nil)); {
	case err != nil:
		c.say(FoundStrange, file, noOffset, "it cannot be read: %v", err)
	case n != m.Octets:
		c.say(FoundSize, file, noOffset, "it has %d octets of the wire, its record says %d", n, m.Octets)
	case m.SHA256 != "" && sum != m.SHA256:
		c.say(FoundSHA256, file, noOffset, "its SHA-256 is %s, its record says %s", sum, record.AppendEscaped(nil, m.SHA256))
	}
}

// unrecorded says which mails of a shelf no record has named.
func (c *checker) unrecorded(s *shelf) {
	if len(s.mails) == 0 || c.ctx.Err() != nil {
		return
	}
	for _, f := range s.folders {
		for _, part := range mailParts {
			_ = c.entries(path.Join(f.dir, part), func(name string, info fs.FileInfo) { // what cannot be read was said
				n, _ := parseMailName(path.Base(name))
				_, left := s.mails[c.hash(f.dir+"/new/"+n.base)]
				if left && !(c.sum.Running && c.begin.Sub(info.ModTime()) < settled) {
					c.say(FoundUnrecorded, name, noOffset, "no record names this mail")
				}
			})
		}
	}
}
