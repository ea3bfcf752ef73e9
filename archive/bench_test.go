package archive

import (
	"strings"
	"sync"
	"testing"

	"github.com/mailwire/mailwire/inspect/record"
)

// BenchmarkSmallMail keeps a mail of 2 kB, with its line and its record.
func BenchmarkSmallMail(b *testing.B) {
	for _, c := range []struct {
		name string
		o    Options
	}{
		{"plain", Options{Keep: All}},
		{"fsync", Options{Keep: All, Fsync: true}},
		{"none", Options{}},
		{"live", Options{Keep: All, Live: true}},
		{"live fsync", Options{Keep: All, Live: true, Fsync: true}},
	} {
		b.Run(c.name, func(b *testing.B) {
			c.o.Dir = b.TempDir()
			a := mustOpen(b, c.o)
			j := a.journal()
			octets := []byte(strings.Repeat(strings.Repeat("x", 76)+"\r\n", 26))
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				s := sample(i, at(0))
				m := sampleMail(s, 1)
				kept := j.OpenMail(m)
				if kept != nil {
					kept.Write(octets)
				}
				j.Message(m, kept)
				delete(j.asked, m.Session)
				if i++; i%1000 == 0 {
					j.Cut()
					_ = a.Commit()
				}
			}
			mustClose(b, a)
		})
	}
}

// BenchmarkSession renders and writes a session's fourteen lines and its record.
func BenchmarkSession(b *testing.B) {
	a := mustOpen(b, Options{Dir: b.TempDir()})
	j := a.journal()
	texts := [][]byte{
		[]byte("220 mx.example.net ESMTP"), []byte("EHLO mx.example.org"), []byte("250-mx.example.net\n250-PIPELINING\n250 SIZE 20480000"),
		[]byte("MAIL FROM:<a@example.org> SIZE=48000"), []byte("250 2.1.0 Ok"), []byte("RCPT TO:<c@example.net>"), []byte("250 2.1.5 Ok"),
		[]byte("RCPT TO:<d@example.net>"), []byte("550 5.1.1 <d@example.net>: Recipient address rejected"), []byte("DATA"),
		[]byte("354 End data with <CR><LF>.<CR><LF>"), []byte("250 2.0.0 Ok: queued as 4XyZ"), []byte("QUIT"), []byte("221 2.0.0 Bye"),
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		s := sample(i, at(0))
		for k, text := range texts {
			j.Stamp(int64(i*20 + k))
			j.Line(s, record.Line{Time: s.Begin, Kind: record.LineKind(1 - k%2), Text: text})
		}
		j.Session(s)
		if i++; i%200 == 0 {
			j.Cut()
			if err := a.Commit(); err != nil {
				b.Fatal(err)
			}
		}
	}
	mustClose(b, a)
}

// BenchmarkRun is a run of 20,000 sessions with a line, a mail of 2 kB and their records, on two goroutines.
func BenchmarkRun(b *testing.B) {
	octets := []byte(strings.Repeat(strings.Repeat("x", 76)+"\r\n", 26))
	for b.Loop() {
		a := mustOpen(b, Options{Dir: b.TempDir(), Keep: All})
		js := []*Journal{a.journal(), a.journal()}
		for batch := range 20 {
			var work sync.WaitGroup
			for w, j := range js {
				work.Go(func() {
					for i := batch*1000 + w; i < (batch+1)*1000; i += 2 {
						s := sample(i, at(0))
						j.Stamp(int64(i))
						j.Line(s, record.Line{Time: s.Begin, Text: []byte("DATA")})
						m := sampleMail(s, 1)
						kept := j.OpenMail(m)
						kept.Write(octets)
						j.Message(m, kept)
						j.Session(s)
					}
					j.Cut()
				})
			}
			work.Wait()
			_ = a.Commit()
		}
		mustClose(b, a)
	}
}

// BenchmarkMerge commits a batch of 16 journals whose 4,096 lines alternate.
func BenchmarkMerge(b *testing.B) {
	a := mustOpen(b, Options{Dir: b.TempDir()})
	js := make([]*Journal, 16)
	for i := range js {
		js[i] = a.journal()
	}
	s := sample(1, at(0))
	for b.Loop() {
		b.StopTimer()
		for i := range 4096 {
			js[i%16].Stamp(int64(i))
			js[i%16].Line(s, record.Line{Time: s.Begin, Text: []byte("RCPT TO:<d@example.net>")})
		}
		for _, j := range js {
			j.Cut()
		}
		b.StartTimer()
		_ = a.Commit()
	}
	mustClose(b, a)
}
