package index

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strings"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/wire"
	"github.com/mailwire/mailwire/view"
)

const (
	keepSlowest = 10 // of a day, a server and a command
	maxVerb     = 16
)

// wait is how long a reply took.
type wait struct {
	command string
	ms      float64
}

// waitsOf returns how long each reply of a dialogue took, as far as it was kept, and it is known what it answers.
func waitsOf(s *record.Session, waits []wait) []wait {
	for _, a := range view.Answers(s) {
		waits = append(waits, wait{verb(a.Command), math.Round(10*a.Wait) / 10}) // as exact as the record is
	}
	return waits
}

// verb returns the command's first word in capitals, or OTHER for one that is not known: clients could say any.
func verb(line string) string {
	v, _, _ := strings.Cut(line, " ")
	if len(v) > maxVerb {
		return wire.Other
	}
	v = strings.ToUpper(v)
	if !slices.Contains(verbs, v) {
		return wire.Other
	}
	return v
}

var verbs = []string{
	"MAIL", "RCPT", "DATA", "BDAT", "EHLO", "HELO", "LHLO", "QUIT", "RSET", "NOOP", "AUTH", "STARTTLS", "VRFY", "EXPN", "HELP", "ETRN",
	"XCLIENT", "XFORWARD", "USER", "PASS", "APOP", "STAT", "LIST", "UIDL", "RETR", "TOP", "DELE", "CAPA", "STLS", "UTF8", "LANG",
	wire.Connect, wire.DataEnd,
}

// bucketOf returns the bucket of a time in milliseconds: ten for each power of ten.
func bucketOf(ms float64) int {
	return int(math.Floor(10 * math.Log10(max(ms, 0.1))))
}

// waitKey and slowKey are the keys of the tables waits and slowest.
type (
	waitKey struct {
		day                       string
		hour                      int64
		server, protocol, command string
		bucket                    int
	}
	slowKey struct{ day, server, command string }
	slow    struct {
		ms  float64
		row int64
	}
)

// longest keeps the longest of one key.
func longest(list []slow, n slow) []slow {
	i, same := slices.BinarySearchFunc(list, n, func(a, b slow) int {
		return cmp.Or(cmp.Compare(b.ms, a.ms), cmp.Compare(a.row, b.row))
	})
	if same || i == keepSlowest {
		return list
	}
	list = slices.Insert(list, i, n)
	return list[:min(len(list), keepSlowest)]
}

// addWaits counts what a session's dialogue says.
func (b *batch) addWaits(row, hour int64, day string, s *record.Session) {
	server := s.Server.IP
	if s.Server.Side == record.Remote {
		server = ""
	}
	b.waitList = waitsOf(s, b.waitList[:0])
	for _, w := range b.waitList {
		b.waits[waitKey{day, hour, server, s.Protocol, w.command, bucketOf(w.ms)}]++
		key := slowKey{day, server, w.command}
		b.slowest[key] = longest(b.slowest[key], slow{w.ms, row})
	}
}

// writeWaits adds what was counted to the tables.
func (b *batch) writeWaits(ctx context.Context) error {
	for k, n := range b.waits {
		if err := b.exec(ctx, addWait, k.day, k.hour, k.server, k.protocol, k.command, k.bucket, n); err != nil {
			return err
		}
	}
	for k, list := range b.slowest {
		for _, s := range list {
			if err := b.exec(ctx, addSlow, k.day, k.server, k.command, s.ms, s.row); err != nil {
				return err
			}
		}
		if err := b.exec(ctx, cutSlow, k.day, k.server, k.command, k.day, k.server, k.command, keepSlowest); err != nil {
			return err
		}
	}
	clear(b.waits)
	clear(b.slowest)
	return nil
}
