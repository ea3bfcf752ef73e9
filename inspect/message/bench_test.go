package message

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
)

func benchmarkParse(b *testing.B, mail []byte, chunk int) {
	var p Parser
	b.ReportAllocs()
	b.SetBytes(int64(len(mail)))
	for b.Loop() {
		p.Reset()
		for rest := mail; len(rest) > 0; {
			n := min(chunk, len(rest))
			p.Write(rest[:n])
			rest = rest[n:]
		}
		p.Close()
	}
}

const benchHeader = "Received: from mx.example.org (mx.example.org [192.0.2.7])\r\n\tby mx.example.net (Postfix) with ESMTPS id 4XyZ\r\n\tfor <c@example.net>; Mon, 23 Nov 2026 03:04:05 +0100 (CET)\r\n" +
	"Date: Mon, 23 Nov 2026 03:04:05 +0100\r\nFrom: Alice Example <alice@example.org>\r\nTo: Bob <bob@example.net>, carol@example.net\r\n" +
	"Subject: Minutes of the meeting on Monday\r\nMessage-ID: <20261123020405.4711@example.org>\r\nUser-Agent: Mutt/2.2.9\r\nMIME-Version: 1.0\r\n"

func benchLines(n int) string {
	return strings.Repeat(strings.Repeat("The quick brown fox ", 4)[:76]+"\r\n", n/78)
}

func BenchmarkSmallMail(b *testing.B) {
	mail := benchHeader + "Content-Type: text/plain; charset=utf-8\r\n\r\n"
	benchmarkParse(b, []byte(mail+benchLines(2048-len(mail))), 64<<10)
}

func BenchmarkText(b *testing.B) {
	benchmarkParse(b, []byte(benchHeader+"\r\n"+benchLines(2<<20)), 64<<10)
}

func BenchmarkMultipartText(b *testing.B) {
	mail := benchHeader + "Content-Type: multipart/mixed; boundary=\"----=_Part_1\"\r\n\r\n------=_Part_1\r\n\r\n" + benchLines(2<<20) + "------=_Part_1--\r\n"
	b.Run("blocks", func(b *testing.B) { benchmarkParse(b, []byte(mail), 64<<10) })
	b.Run("segments", func(b *testing.B) { benchmarkParse(b, []byte(mail), 1448) })
}

func BenchmarkBase64Attachment(b *testing.B) {
	var body bytes.Buffer
	text := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("\x00\xffattachment"), 2<<20/12))
	for len(text) > 76 {
		body.WriteString(text[:76] + "\r\n")
		text = text[76:]
	}
	mail := benchHeader + "Content-Type: multipart/mixed; boundary=b1\r\n\r\n--b1\r\nContent-Type: application/pdf; name=scan.pdf\r\n" +
		"Content-Transfer-Encoding: base64\r\n\r\n" + body.String() + text + "\r\n--b1--\r\n"
	benchmarkParse(b, []byte(mail), 64<<10)
}

func BenchmarkQuotedPrintable(b *testing.B) {
	for _, name := range []string{"", "; name=a.txt"} {
		mail := benchHeader + "Content-Type: text/plain; charset=utf-8" + name + "\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" +
			strings.Repeat("Gr=C3=BC=C3=9Fe aus dem sch=C3=B6nen M=C3=BCnchen, und bis morgen um acht Uhr=\r\n", 1<<20/78)
		b.Run(fmt.Sprintf("name%t", name != ""), func(b *testing.B) { benchmarkParse(b, []byte(mail), 64<<10) })
	}
}

func BenchmarkManyParts(b *testing.B) {
	mail := benchHeader + "Content-Type: multipart/mixed; boundary=b1\r\n\r\n" + strings.Repeat("--b1\r\nContent-Type: text/plain; name=x\r\n\r\nhello\r\n", 10000) + "--b1--\r\n"
	benchmarkParse(b, []byte(mail), 64<<10)
}

func BenchmarkNesting(b *testing.B) {
	for _, depth := range []int{1000, 10000} {
		var mail strings.Builder
		for i := range depth {
			fmt.Fprintf(&mail, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
		}
		for i := depth - 1; i >= 0; i-- {
			fmt.Fprintf(&mail, "--b%d--\r\n", i)
		}
		b.Run(fmt.Sprint(depth), func(b *testing.B) { benchmarkParse(b, []byte(mail.String()), 64<<10) })
	}
}

func BenchmarkBoundaryBomb(b *testing.B) {
	var mail strings.Builder
	for i := range 99 {
		fmt.Fprintf(&mail, "Content-Type: multipart/mixed; boundary=%s%03d\r\n\r\n--%s%03d\r\n", strings.Repeat("x", 60), i, strings.Repeat("x", 60), i)
	}
	mail.WriteString("\r\n")
	for _, line := range []string{"--\r\n", "--" + strings.Repeat("x", 60) + "999\r\n"} {
		b.Run(fmt.Sprint(len(line)), func(b *testing.B) {
			benchmarkParse(b, []byte(mail.String()+strings.Repeat(line, 1<<20/len(line))), 64<<10)
		})
	}
}
