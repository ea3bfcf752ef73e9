package index

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strings"

	"github.com/mailwire/mailwire/inspect/record"
	"github.com/mailwire/mailwire/inspect/wire"
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

// waitsOf returns how long each reply of a dialogue took, as far as it was kept: replies answer commands in their order.
func waitsOf(s *record.Session, waits []wait) []wait {
	type asked struct {
		command string
		ms      float64
	}
	var queue [8]asked
	open := append(queue[:0], asked{command: wire.Connect})
	var goOn string // the command that the last reply told to go on
	for i := range s.Dialogue {
		e := &s.Dialogue[i]
		switch {
		case e.Omitted > 0:
			return waits
		case e.From == "client" && e.Body != nil:
			if n := len(open); n > 0 && open[n-1].command == "BDAT" {
				open[n-1].ms = e.MS
			} else {
				open = append(open, asked{wire.DataEnd, e.MS})
			}
		case e.From == "client" && e.Text != nil:
			command := verb(*e.Text)
			if goOn != "" {
				command = goOn
			}
			open = append(open, asked{command, e.MS})
		case e.From == "server" && e.Text != nil && len(open) > 0:
			goOn = ""
			if command := open[0].command; goesOn(*e.Text) && command != "DATA" {
				goOn = command
			}
			if ms := e.MS - open[0].ms; ms >= 0 {
				waits = append(waits, wait{open[0].command, math.Round(10*ms) / 10}) // as exact as the record is
			}
			open = slices.Delete(open, 0, 1)
		}
	}
	return waits
}

// goesOn says that a reply asks for more: 334, or + in POP3.
func goesOn(reply string) bool {
	return strings.HasPrefix(reply, "334") || strings.HasPrefix(reply, "+ ") || reply == "+"
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
