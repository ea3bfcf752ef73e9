package view

import (
	"bufio"
	"container/list"
	"context"
	"fmt"
	"hash/maphash"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/mailwire/mailwire/archive"
	"github.com/mailwire/mailwire/inspect/record"
)

const (
	followEvery  = 100 * time.Millisecond // as often as a mailwire writes
	followPast   = 4 << 20                // octets of each file that are gone through at first, for who is talking already
	maxFollowed  = 20000                  // sessions known at a time; the one silent for longest is forgotten first
	maxHeld      = 500                    // lines held of a session that may be shown yet; the first and the last ones are kept
	firstHeld    = 20                     // of them
	heldOctets   = 32 << 20               // in the lines of all sessions
	awaitAttempt = 20                     // looks at the auth log for a session that has ended
)

// FollowOptions say which dialogues are shown, and how. The zero value shows all.
type FollowOptions struct {
	Client     []netip.Prefix // only of these clients
	Server     netip.Prefix   // only with these servers
	ServerPort uint16         // and this port
	User       string         // only where this user tries to log in
	Protocol   string         // only record.SMTP (with LMTP) or record.POP3
	Errors     bool           // only sessions in which a reply refuses, from their beginning on
	OnlyNew    bool           // only sessions that begin from now on
	OnlyOne    bool           // the first one, and then no more
	Terse      bool           // only how sessions begin and end, and what is refused in between
	Style      Style
	Warn       func(string) // hears once of each file that cannot be read; nil: no one listens
}

// Followed counts what Follow could not show.
type Followed struct {
	Broken    int // lines that mailwire did not write
	Forgotten int // sessions given up, since there were too many
}

// Follow shows what clients and servers say from now on, as any mailwire records it in this directory, until ctx ends.
// What it needs of sessions under way it reads from what was recorded before.
func (d *Data) Follow(ctx context.Context, o FollowOptions, out io.Writer) (Followed, error) {
	f := newFollower(d, o, out)
	defer f.close()
	f.look(time.Now())
	f.begin()
	again := time.NewTicker(followEvery)
	defer again.Stop()
	for ended := false; !ended && !f.done; {
		select {
		case <-ctx.Done():
			ended = true
		case <-again.C:
		}
		f.look(time.Now())
		if err := f.out.Flush(); err != nil {
			return f.count, err
		}
	}
	return f.count, nil
}

type follower struct {
	d      *Data
	o      FollowOptions
	out    *bufio.Writer
	buf    []byte
	tails  map[string]*tail
	warned map[string]bool
	seed   maphash.Seed
	past   bool // what is read was said before we began
	count  Followed

	dialogues map[string]*list.Element // by session
	order     list.List                // of *dialogue; the one silent for longest is first
	ended     []*dialogue              // that may be shown yet
	octets    int                      // held
	one       string                   // the session that is shown, of OnlyOne
	done      bool
}

func newFollower(d *Data, o FollowOptions, out io.Writer) *follower {
	return &follower{
		d: d, o: o, out: bufio.NewWriter(out), buf: make([]byte, tailBuffer), tails: map[string]*tail{}, warned: map[string]bool{},
		dialogues: map[string]*list.Element{}, seed: maphash.MakeSeed(), past: true,
	}
}

func (f *follower) close() {
	for _, t := range f.tails {
		t.close()
	}
}

// dialogue is a session under way.
type dialogue struct {
	id             string
	client, server string // as its first line has it
	fresh          bool   // it began after we did
	hidden         bool   // it is none of those asked for
	failed, user   bool   // a reply refused; the user tried to log in
	shown          bool
	talk           talk // of Terse
	held           []archive.Said
	left           int // lines that could not be held
	looks          int // since it ended
}

// look reads what has come: the logs of today, of yesterday and of tomorrow, wherever on earth that is.
func (f *follower) look(now time.Time) {
	for n := -1; n <= 1; n++ {
		day := now.UTC().AddDate(0, 0, n).Format(time.DateOnly)
		if f.o.Protocol != record.POP3 {
			f.read("logs/smtp-sessions-"+day+".log", f.said)
		}
		if f.o.Protocol != record.SMTP {
			f.read("logs/pop3-sessions-"+day+".log", f.said)
		}
		if f.o.User != "" {
			f.read("logs/auth-"+day+".log", f.attempt)
		}
	}
	for name, t := range f.tails { // of days that are over
		if day := name[len(name)-len("2006-01-02.log") : len(name)-len(".log")]; day < now.UTC().AddDate(0, 0, -1).Format(time.DateOnly) {
			t.close()
			delete(f.tails, name)
		}
	}
	ended := f.ended
	f.ended = nil
	for _, s := range ended {
		if s.looks++; s.shown || s.looks > awaitAttempt {
			f.forget(s)
		} else {
			f.ended = append(f.ended, s)
		}
	}
}

func (f *follower) read(name string, line func(string) bool) {
	t := f.tails[name]
	if t == nil {
		t = &tail{name: name}
		f.tails[name] = t
	}
	past := int64(0)
	if f.past {
		past = followPast
	}
	err := t.look(f.d, f.buf, past, func(text []byte) {
		if f.done {
			return
		}
		if !line(string(text)) && !f.past {
			f.count.Broken++
		}
	})
	if err != nil && !f.warned[name] && f.o.Warn != nil {
		f.warned[name] = true
		f.o.Warn(fmt.Sprintf("%s cannot be read: %v", name, err))
	}
}

// begin ends the past: of what is shown without a condition, only what follows.
func (f *follower) begin() {
	f.past = false
	for e := f.order.Front(); e != nil; e = e.Next() {
		if s := e.Value.(*dialogue); f.wanted(s) {
			s.shown = true
			f.release(s)
		}
	}
}

// attempt takes a line of the auth log.
func (f *follower) attempt(line string) bool {
	a, ok := archive.ParseAttempt(line)
	if !ok {
		return false
	}
	if e := f.dialogues[a.Session]; e != nil && isUser(a.User, f.o.User) {
		s := e.Value.(*dialogue)
		s.user = true
		f.show(s)
	}
	return true
}

// said takes a line of a dialogue log.
func (f *follower) said(line string) bool {
	l, ok := archive.ParseSaid(line)
	if !ok || len(l.Session) > len("0123456789abcdef") {
		return false
	}
	s := f.dialogue(&l)
	if s.hidden {
		if isEnd(&l) {
			f.forget(s)
		}
		return true
	}
	s.failed = s.failed || l.Kind == record.Refusal && !f.past
	if s.shown {
		f.print(s, &l)
	} else {
		f.hold(s, l)
		f.show(s)
	}
	if isEnd(&l) {
		switch {
		case f.o.OnlyOne && f.one == s.id:
			f.done = true
		case s.shown || f.o.User == "" || f.past || f.o.Errors && !s.failed:
			f.forget(s)
		default:
			f.ended = append(f.ended, s)
		}
	}
	return true
}

// dialogue returns the one that a line is of.
func (f *follower) dialogue(l *archive.Said) *dialogue {
	if e := f.dialogues[l.Session]; e != nil {
		f.order.MoveToBack(e)
		return e.Value.(*dialogue)
	}
	s := &dialogue{id: l.Session}
	if peers, ok := opening(l); ok {
		s.client, s.server, _ = strings.Cut(peers, " to ")
		s.fresh = !f.past
	}
	s.hidden = f.o.OnlyNew && !s.fresh || !f.among(s)
	for len(f.dialogues) >= maxFollowed {
		f.giveUp()
	}
	f.dialogues[s.id] = f.order.PushBack(s)
	return s
}

// opening returns who talks to whom, if a line says that.
func opening(l *archive.Said) (peers string, ok bool) {
	if l.Kind == record.Note {
		for _, word := range []string{"connected ", "connecting "} {
			if peers, ok = strings.CutPrefix(l.Text, word); ok {
				return peers, true
			}
		}
	}
	return "", false
}

// isEnd says whether a line is the last one of a session.
func isEnd(l *archive.Said) bool {
	words := strings.SplitN(l.Text, " ", 5)
	if l.Kind != record.Note || len(words) < 5 || words[1] != "after" || words[3] != "ms:" {
		return false
	}
	switch words[0] {
	case record.Closed, record.Aborted, record.Reset, record.Timeout, record.Refused, record.Unknown:
		_, err := strconv.ParseFloat(words[2], 64)
		return err == nil
	}
	return false
}

// among says whether a session is between the peers that were asked for.
func (f *follower) among(s *dialogue) bool {
	server, err := netip.ParseAddrPort(s.server)
	if f.o.Server.IsValid() && (err != nil || !f.o.Server.Contains(server.Addr().Unmap().WithZone(""))) ||
		f.o.ServerPort != 0 && (err != nil || server.Port() != f.o.ServerPort) {
		return false
	}
	client, err := netip.ParseAddrPort(s.client)
	for _, net := range f.o.Client {
		if err == nil && net.Contains(client.Addr().Unmap().WithZone("")) {
			return true
		}
	}
	return len(f.o.Client) == 0
}

// wanted says whether a session has done what was asked for.
func (f *follower) wanted(s *dialogue) bool {
	return !s.hidden && (s.failed || !f.o.Errors) && (s.user || f.o.User == "")
}

// show shows a session from now on, and what is held of it, if it is one to show.
func (f *follower) show(s *dialogue) {
	if s.shown || f.past || !f.wanted(s) {
		return
	}
	s.shown = true
	held, left := s.held, s.left
	f.release(s)
	for i := range held {
		if i == firstHeld && left > 0 {
			f.print(s, &archive.Said{Time: held[i].Time, Session: s.id, Mark: "=== ", Kind: record.Note, Text: fmt.Sprintf("(%d lines are left out)", left)})
		}
		f.print(s, &held[i])
	}
	if f.o.OnlyOne && f.one == s.id && len(held) > 0 && isEnd(&held[len(held)-1]) {
		f.done = true
	}
}

// hold keeps a line of a session that may be shown yet.
func (f *follower) hold(s *dialogue, l archive.Said) {
	s.held = append(s.held, l)
	f.octets += len(l.Text)
	if len(s.held) > maxHeld {
		f.octets -= len(s.held[firstHeld].Text)
		s.held = append(s.held[:firstHeld], s.held[firstHeld+1:]...)
		s.left++
	}
	for f.octets > heldOctets {
		f.giveUp()
	}
}

func (f *follower) release(s *dialogue) {
	for i := range s.held {
		f.octets -= len(s.held[i].Text)
	}
	s.held, s.left = nil, 0
}

// giveUp forgets the session that has been silent for longest.
func (f *follower) giveUp() {
	s := f.order.Front().Value.(*dialogue)
	f.forget(s)
	if !f.past && !s.hidden {
		f.count.Forgotten++
	}
}

func (f *follower) forget(s *dialogue) {
	if e := f.dialogues[s.id]; e != nil && e.Value == s {
		f.order.Remove(e)
		delete(f.dialogues, s.id)
	}
	f.release(s)
}
