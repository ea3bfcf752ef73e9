package message

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/mailwire/mailwire/inspect/record"
)

func addSeeds(f *testing.F) {
	for name := range bombs {
		f.Add([]byte(bombs[name](700)), uint64(1))
	}
	for _, mail := range []string{
		"", "\r\n", "Subject: x\r\n\r\nbody", "From x\nstray\nSubject: =?utf-8?q?=C3=A9?=\n\nbody",
		"Content-Type: multipart/mixed; boundary=b\n\nx\n--b\nContent-Type: message/rfc822\n\nContent-Type: multipart/digest; boundary=c\n\n--c\n\nTo: x\n\ny\n--c--\n\n--b\nContent-Transfer-Encoding: base64\n\nYWJj\n--b--\n",
		"Content-Type: message/rfc822; name=f\nContent-Transfer-Encoding: quoted-printable\n\nSubject: x\n=\n\ny=3D \n",
		"Content-Disposition: attachment; filename*1*=%A9; filename*0*=utf-8''%C3\nContent-Transfer-Encoding: x-uuencode\n\nbegin 644 f\n#QQQQ\nend\n",
	} {
		f.Add([]byte(mail), uint64(2))
		f.Add(bytes.ReplaceAll([]byte(mail), []byte("\n"), []byte("\r\n")), uint64(3))
	}
}

// FuzzCuts: where the octets are cut does not matter, no part has more octets than the mail, and all that comes out is
// bounded and valid UTF-8.
func FuzzCuts(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, mail []byte, seed uint64) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		var p Parser
		whole := feed(&p, string(mail), func() int { return 1 << 20 })
		if got := feed(&p, string(mail), func() int { return 1 }); !reflect.DeepEqual(got, whole) {
			t.Errorf("octet by octet:\n got %v\nwant %v", got, whole)
		}
		if got := feed(&p, string(mail), func() int { return 1 + rnd.IntN(1+rnd.IntN(100)) }); !reflect.DeepEqual(got, whole) {
			t.Errorf("at random:\n got %v\nwant %v", got, whole)
		}
		checkBounded(t, whole.Header, whole.Parts)
		checkOctets(t, whole, mail)
		checkContent(t, string(mail))
	})
}

// checkOctets: no more comes out than went in, but for uuencoded lines, which announce their length and may have lost the
// blanks at their end: two octets announce up to 63.
func checkOctets(t *testing.T, r result, mail []byte) {
	t.Helper()
	octets := len(mail)
	if bytes.Contains(bytes.ToLower(mail), []byte("uu")) {
		octets *= 32
	}
	leaves := int64(0)
	for _, p := range r.Parts {
		if p.Octets > int64(octets) {
			t.Errorf("%s of %d", partText(p), octets)
		}
		if p.Type != typeMessage && p.Type != "message/global" {
			leaves += p.Octets
		}
	}
	if leaves > int64(octets) {
		t.Errorf("%d octets of leaves in %d", leaves, octets)
	}
}

// FuzzHoles: a hole anywhere does no harm, and whoever was touched by it claims no digest.
func FuzzHoles(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, mail []byte, seed uint64) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		var p Parser
		read := func(holes bool) result {
			p.Reset()
			for rest := mail; len(rest) > 0; {
				n := min(1+rnd.IntN(60), len(rest))
				p.Write(bytes.Clone(rest[:n]))
				if rest = rest[n:]; holes && rnd.IntN(3) == 0 {
					p.Hole(int64(rnd.IntN(3) - 1))
				}
			}
			if holes {
				p.Hole(-1)
			}
			h, parts, omitted := p.Close()
			return result{h, parts, omitted}
		}
		got := read(true)
		checkBounded(t, got.Header, got.Parts)
		checkOctets(t, got, []byte(mail))
		for _, part := range got.Parts {
			if part.Damaged && part.SHA256 != "" && part.Type == typeText && part.Name == "" && part.Disposition == "" {
				t.Errorf("digest of inline text: %s", partText(part))
			}
		}
		a, b := read(false), read(false) // the parser is as good as new
		if !reflect.DeepEqual(a, b) {
			t.Errorf("got %v\nthen %v", a, b)
		}
	})
}

// FuzzText: text that is decoded is bounded and valid, whatever it was.
func FuzzText(f *testing.F) {
	for _, s := range []string{"=?utf-8?q?a?= =?utf-8?b?w6k=?=", "=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "\"a\\\"\" <b@c>, (x) g: d@e;", "x; charset*0*=a'b'c; name=\"=?gbk?q?=B2?=\""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		h := header{}
		h.reset(true, true)
		for _, name := range []string{"Subject: ", "To: ", "Content-Type: a/b;", "Content-Disposition: "} {
			h.take(append([]byte(name), value...))
		}
		e := h.entity(false)
		checkBounded(t, h.record(), []record.Part{e.Part})
	})
}
