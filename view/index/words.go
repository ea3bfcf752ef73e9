package index

import (
	"crypto/sha256"
	"encoding/base32"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mailwire/mailwire/inspect/record"
)

// mark begins the words that are not said by anybody but stand for a filter. It is a letter to the tokenizer, and foreign
// text never keeps one.
const mark = '\ue000'

const (
	maxWords   = 4000     // octets of one text that are looked at
	maxWord    = 64       // octets of one of its words
	maxSaid    = 64 << 10 // octets of all such words of a session
	smallDoc   = 4 << 10  // octets of all words, up to which it costs less to add one again than to know of it
	maxTags    = 1 << 18  // filter words of a session: 100 mails to 1,000 people each, or 20,000 that were fetched
	sizeSteps  = 32       // to the next power of two
	maxDomains = 8        // of an address: its own, and those above it
)

// The kinds of filter words.
const (
	byProtocol  = 'p'
	byDirection = 'd'
	byStatus    = 's'
	byClient    = 'c'
	byServer    = 'v'
	byUser      = 'u'
	bySender    = 'f'
	byRecipient = 't'
	bySubject   = 'w'
	byCode      = 'e'
	byError     = 'x' // any reply that refuses
	byFailure   = 'a' // a login that failed
	bySize      = 'o' // of a mail: power of two
	bySizeStep  = 'q' // and the step after it
	byMessageID = 'm'
	byQueueID   = 'i'
	tooMany     = 'z' // there are more than maxTags, which Problems speaks of
)

// doc gathers the words of one session.
type doc struct {
	row   int64
	text  []byte
	tags  map[string]struct{} // that a large text has
	said  int                 // octets of the text that are free text
	again bool                // the index may have words of that row

	direction string // the session's
}

// tag adds a word that stands for a filter. The value is plain ASCII of ours.
func (d *doc) tag(kind rune, value string) {
	var b [tagRoom]byte
	d.add(appendTag(b[:0], kind, value))
}

const tagRoom = 8 + maxWord

// add adds a filter word once, whatever else there is: a filter that misses a session gives a wrong answer.
func (d *doc) add(word []byte) {
	if len(d.text) > smallDoc {
		if _, has := d.tags[string(word)]; has || len(d.tags) > maxTags {
			return
		}
		if len(d.tags) == maxTags {
			word = appendTag(word[:0], tooMany, "")
		}
		if d.tags == nil {
			d.tags = map[string]struct{}{}
		}
		d.tags[string(word)] = struct{}{}
	}
	d.text = append(append(d.text, ' '), word...)
}

func appendTag(dst []byte, kind rune, value string) []byte {
	return append(append(append(dst, string(mark)...), byte(kind)), value...)
}

// hash makes any text a plain word.
func hash(s string) string {
	sum := sha256.Sum256([]byte(strings.ToLower(s)))
	return hashEncoding.EncodeToString(sum[:10])
}

var hashEncoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

// say adds the words of foreign text, as long as there is room.
func (d *doc) say(text string) {
	if d.said > maxSaid {
		return
	}
	before := len(d.text)
	for w := range splitWords(text) {
		d.text = append(append(d.text, ' '), w...)
	}
	d.said += len(d.text) - before
}

// splitWords gives the words of a text, as the tokenizer would find them, without marks.
func splitWords(text string) func(func(string) bool) {
	text = cut(text, maxWords)
	return func(yield func(string) bool) {
		start := -1
		for i, r := range text {
			inside := isWord(r)
			switch {
			case inside && start < 0:
				start = i
			case !inside && start >= 0:
				if !yield(cut(text[start:i], maxWord)) {
					return
				}
				start = -1
			}
		}
		if start >= 0 {
			yield(cut(text[start:], maxWord))
		}
	}
}

// cut returns the beginning of a text, whole characters of at most n octets.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

func isWord(r rune) bool {
	if r < 0x80 {
		return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
	}
	return unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsMark(r)
}

// address adds what an address is found by: itself, the part before the @, its domain and those above it.
func (d *doc) address(kind rune, address string) {
	d.tag(kind, hash(address))
	local, domain, ok := cutAddress(address)
	if !ok {
		return
	}
	d.tag(kind, hash(local+"@"))
	for range maxDomains {
		d.tag(kind, hash("@"+domain))
		_, above, more := strings.Cut(domain, ".")
		if !more || !strings.Contains(above, ".") {
			break
		}
		domain = above
	}
	d.say(address)
}

// user adds what a user is found by: alice@example.net is also alice.
func (d *doc) user(user string) {
	d.tag(byUser, hash(user))
	if local, _, ok := cutAddress(user); ok {
		d.tag(byUser, hash(local))
	}
}

func cutAddress(address string) (local, domain string, ok bool) {
	at := strings.LastIndexByte(address, '@')
	if at < 0 {
		return "", "", false
	}
	return address[:at], strings.TrimSuffix(address[at+1:], "."), true
}

// session adds the words of the session itself.
func (d *doc) session(s *record.Session) {
	d.tag(byProtocol, plain(s.Protocol))
	d.tag(byDirection, plain(s.Direction))
	d.direction = s.Direction
	d.tag(byStatus, plain(s.Status))
	d.ip(byClient, s.Client.IP)
	d.ip(byServer, s.Server.IP)
	d.say(s.Helo)
	failed := false
	for i := range s.Auth {
		a := &s.Auth[i]
		failed = failed || a.Outcome == record.Failure
		if a.User != "" {
			d.user(a.User)
			d.say(a.User)
		}
	}
	if failed {
		d.tag(byFailure, "")
	}
	if len(s.Errors) > 0 {
		d.tag(byError, "")
	}
	for i := range s.Errors {
		e := &s.Errors[i]
		if e.Code == 0 {
			d.tag(byCode, "err")
		}
		d.code(e.Code, e.Enhanced)
		d.say(e.Text)
	}
}

// message adds those of one of its messages.
func (d *doc) message(m *record.Message) {
	if m.Direction != d.direction {
		d.tag(byDirection, plain(m.Direction))
	}
	if m.User != "" {
		d.user(m.User)
	}
	if m.From != nil {
		d.address(bySender, *m.From)
	}
	for i := range m.Rcpt {
		d.address(byRecipient, m.Rcpt[i].To)
		r := result(&m.Rcpt[i])
		d.code(r.Code, r.Enhanced)
	}
	if m.Via != "" {
		d.size(m.Octets)
	}
	if m.QueueID != "" {
		d.tag(byQueueID, hash(m.QueueID))
		d.say(m.QueueID)
	}
	if r := m.Reply; r != nil {
		d.code(r.Code, r.Enhanced)
		d.say(r.Text)
	}
	if h := m.Header; h != nil {
		d.header(m, h)
	}
	for i := range m.Parts {
		d.say(m.Parts[i].Name)
	}
}

// header adds those of its header. In POP3 there is no envelope: the header's addresses stand for it.
func (d *doc) header(m *record.Message, h *record.Header) {
	for w := range splitWords(h.Subject) {
		d.tag(bySubject, strings.ToLower(w))
	}
	d.say(h.Subject)
	if h.MessageID != "" {
		d.tag(byMessageID, hash(strings.Trim(h.MessageID, "<>")))
	}
	envelope := m.Protocol != record.POP3
	for _, list := range []struct {
		kind      rune
		addresses []string
	}{{bySender, h.From}, {byRecipient, h.To}, {byRecipient, h.Cc}} {
		for _, a := range list.addresses {
			if !envelope {
				d.address(list.kind, bare(a))
			}
			d.say(a)
		}
	}
}

// bare returns the address of a mailbox like "A <a@example.org>".
func bare(mailbox string) string {
	if i := strings.LastIndexByte(mailbox, '<'); i >= 0 {
		mailbox = strings.TrimSuffix(strings.TrimSpace(mailbox[i+1:]), ">")
	}
	return mailbox
}

// code adds what a refusing reply is found by: 550, 5xx, 5.1.1.
func (d *doc) code(code int, enhanced string) {
	if code < 400 || code > 599 {
		return
	}
	n := strconv.Itoa(code)
	d.tag(byCode, n)
	d.tag(byCode, n[:1]+"xx")
	if enhanced != "" {
		d.tag(byCode, hash(enhanced))
	}
}

// ip adds an address and the networks that it is in, by octets.
func (d *doc) ip(kind rune, ip string) {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return
	}
	a = a.Unmap().WithZone("")
	for _, n := range netSizes(kind, a) {
		var b [tagRoom]byte
		d.add(appendNet(b[:0], kind, a, n))
	}
}

// netSizes are the sizes of networks, in octets of the address, that have a word. Servers are few.
func netSizes(kind rune, a netip.Addr) []int {
	if kind == byServer {
		return []int{a.BitLen() / 8}
	}
	if a.Is4() {
		return []int{1, 2, 3, 4}
	}
	return []int{1, 2, 3, 4, 5, 6, 7, 8, 16}
}

func appendNet(dst []byte, kind rune, a netip.Addr, octets int) []byte {
	const hex = "0123456789abcdef"
	dst = appendTag(dst, kind, "")
	for _, c := range a.AsSlice()[:octets] {
		dst = append(dst, hex[c>>4], hex[c&15])
	}
	return dst
}

// size adds the size of a mail: the power of two, and the step between it and the next one.
func (d *doc) size(octets int64) {
	power, step := sizeWords(octets)
	d.tag(bySize, strconv.Itoa(power))
	d.tag(bySizeStep, strconv.Itoa(power*sizeSteps+step))
}

func sizeWords(octets int64) (power, step int) {
	if octets < sizeSteps {
		return 0, int(max(octets, 0))
	}
	power = bits.Len64(uint64(octets)) - 1
	return power, int(octets>>(power-bits.Len(sizeSteps-1))) - sizeSteps
}

// plain is a fixed word of the schema; a forged record may have anything there.
func plain(s string) string {
	for i := range len(s) {
		if !isWord(rune(s[i])) || s[i] >= 0x80 {
			return ""
		}
	}
	return s
}
