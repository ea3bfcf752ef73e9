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
	keepSlowest = 10 // of an hour, a server, a protocol and a command
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

// waitKey is what the keys of the tables waits and slowest begin with, waited what a batch adds to both.
type (
	waitKey struct {
		day                       string
		hour                      int64
		server, protocol, command string
	}
	waited struct {
		buckets map[int]int64
		slowest []slow
	}
	slow struct {
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
		key := waitKey{day, hour, server, s.Protocol, w.command}
		of := b.waits[key]
		if of == nil {
			of = &waited{buckets: map[int]int64{}}
			b.waits[key] = of
		}
		of.buckets[bucketOf(w.ms)]++
		of.slowest = longest(of.slowest, slow{w.ms, row})
	}
}

// writeWaits adds what was counted to the tables.
func (b *batch) writeWaits(ctx context.Context) error {
	for k, of := range b.waits {
		for bucket, n := range of.buckets {
			if err := b.exec(ctx, addWait, k.day, k.hour, k.server, k.protocol, k.command, bucket, n); err != nil {
				return err
			}
		}
		for _, s := range of.slowest {
			if err := b.exec(ctx, addSlow, k.day, k.hour, k.server, k.protocol, k.command, s.ms, s.row); err != nil {
				return err
			}
		}
		if err := b.exec(ctx, cutSlow, k.day, k.hour, k.server, k.protocol, k.command, keepSlowest); err != nil {
			return err
		}
	}
	clear(b.waits)
	return nil
}
