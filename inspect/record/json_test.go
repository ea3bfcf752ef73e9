package record

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
)

// encode is what AppendJSON must equal.
func encode(t testing.TB, v any) string {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

var (
	pieces = []string{
		"", "a", "EHLO mx.example.org", "\x00", "\x1b[2J", "\x7f", "\u0085", "\xff", "\xc3", "\xe2\x80", "\xed\xa0\x80", "\u2028", "\u2029",
		"\ufffd", "\U0001F4E7", "grün", "\"", "\\", "<&>", "\n", "\r\n", "\t\b\f", "</script>", `"}`, "12345678", "1234567\"", "1234567\x7f", "~~~~~~~~",
	}
	floats = []float64{
		0, math.Copysign(0, -1), 0.1, 0.2, 0.3, 103.2, 1, 10, 99.9, 1e-6, 1e-7, 1.5e-9, 1e20, 1e21, 1.1e21, 1e100, -0.1, -1e-7, 812.4, 0.15,
		math.MaxFloat64, math.SmallestNonzeroFloat64, math.Pi, 1e12 + 0.1, 1e13 - 0.1, 1e13 + 0.1, 1e14, 4503599627370497.5, 0.1 + 0.2,
	}
	zones = []*time.Location{
		time.UTC, time.FixedZone("", 3600), time.FixedZone("", -34200), time.FixedZone("", -30), time.FixedZone("", 45296),
		time.FixedZone("GMT", 0),
	}
)

func randomText(r *rand.Rand) string {
	var b strings.Builder
	for range r.IntN(6) {
		if r.IntN(4) == 0 {
			b.WriteByte(byte(r.IntN(256)))
			continue
		}
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	return b.String()
}

// fill gives v a random value: nil, empty and full fields, and what is hard to write.
func fill(r *rand.Rand, v reflect.Value) {
	if tm, ok := v.Addr().Interface().(*Time); ok {
		if r.IntN(20) == 0 {
			return // omitzero
		}
		at := time.Unix(r.Int64N(8e9)-4e9, r.Int64N(1e9)).In(zones[r.IntN(len(zones))])
		if r.IntN(20) == 0 {
			at = at.AddDate(r.IntN(30000)-15000, 0, 0)
		}
		tm.Time = at
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(r, v.Field(i))
		}
	case reflect.Pointer:
		if r.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(r, v.Elem())
		}
	case reflect.Slice:
		if n := r.IntN(5); n > 0 {
			v.Set(reflect.MakeSlice(v.Type(), n-1, n))
			for i := range n - 1 {
				fill(r, v.Index(i))
			}
		}
	case reflect.Map:
		if n := r.IntN(22); n > 0 && r.IntN(2) == 0 {
			m := map[string]string{}
			for range n - 1 {
				m[randomText(r)] = randomText(r)
			}
			v.Set(reflect.ValueOf(m))
		}
	case reflect.String:
		v.SetString(randomText(r))
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Float64:
		f := floats[r.IntN(len(floats))]
		switch r.IntN(4) {
		case 0:
			f = float64(r.Int64N(1e8)) / 10
		case 1:
			if f = math.Float64frombits(r.Uint64()); math.IsNaN(f) || math.IsInf(f, 0) {
				f = 1e21
			}
		}
		v.SetFloat(f)
	case reflect.Int, reflect.Int64:
		v.SetInt(r.Int64N(1<<62)>>r.IntN(63) - int64(r.IntN(3)))
	case reflect.Uint16:
		v.SetUint(uint64(r.IntN(1 << 16)))
	default:
		panic(v.Kind())
	}
}

// TestAppendJSON holds AppendJSON and encoding/json equal, octet by octet.
func TestAppendJSON(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 5000 {
		var s Session
		var m Message
		if i > 0 { // the first are the zero values
			fill(r, reflect.ValueOf(&s).Elem())
			fill(r, reflect.ValueOf(&m).Elem())
		}
		if got, want := string(s.AppendJSON([]byte("x"))), "x"+encode(t, &s); got != want {
			t.Fatalf("session %d:\n got %s\nwant %s", i, got, want)
		}
		if got, want := string(m.AppendJSON(nil)), encode(t, &m); got != want {
			t.Fatalf("message %d:\n got %s\nwant %s", i, got, want)
		}
	}
}

// TestAppendMS goes through the tenths, which have a way of their own.
func TestAppendMS(t *testing.T) {
	check := func(f float64) {
		want, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		if got := appendMS(nil, "", f); !bytes.Equal(got, want) {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
	for n := range 30000 {
		check(float64(n) / 10)
		check(float64(n) * 0.1)
		check(math.Nextafter(float64(n)/10, 1e300))
		check((1e13 - float64(n)) / 10 * 10)
		check(1e13 - float64(n)/10)
	}
	for _, f := range floats {
		check(f)
		check(-f)
	}
	for _, f := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		if got := string(appendMS(nil, "", f)); got != "0" {
			t.Errorf("%v is written %s", f, got)
		}
	}
}

func TestTimeAppend(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 20000 {
		var at Time
		fill(r, reflect.ValueOf(&at).Elem())
		if got, want := string(at.Append(nil)), at.Format(layout); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
}

func TestSecretJSON(t *testing.T) {
	at := Time{time.Date(2026, 11, 22, 3, 4, 5, 123456789, time.FixedZone("", 3600))}
	s := &Session{ID: "abc", Protocol: SMTP, Client: Endpoint{IP: "192.0.2.7", Port: 51514}, Server: Endpoint{IP: "2001:db8::1", Port: 25}}
	x := &Secret{Time: at, Mechanism: "PLAIN", User: "al\"ice", Secret: "p\xffw\n"}
	want := `{"v":1,"type":"secret","time":"2026-11-22T03:04:05.123456+01:00","session":"abc","protocol":"smtp",` +
		`"client":{"ip":"192.0.2.7","port":51514},"server":{"ip":"2001:db8::1","port":25},"mechanism":"PLAIN","user":"al\"ice","secret":"p\ufffdw\n"}`
	if got := string(x.AppendJSON(nil, s)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func benchSession() *Session {
	at := func(ms int) Time {
		return Time{time.Date(2026, 11, 22, 3, 4, 5, ms*1e6, time.FixedZone("", 3600))}
	}
	s := &Session{
		V: 1, Type: "session", ID: "k3m9abcdefghjkmn", CommunityID: "1:LQU9qZlK+B5F3KDmev6m5PMibrg=", Sensor: "mx1", Mode: ModeTap, Protocol: SMTP,
		Begin: at(1), End: at(812), DurationMS: 811, Client: Endpoint{"192.0.2.7", 51514, Remote}, Server: Endpoint{"198.51.100.9", 25, Local},
		Direction: Inbound, Status: Closed, Banner: "220 mx.example.net ESMTP", Helo: "mx.example.org", Capabilities: []string{"PIPELINING", "SIZE 20480000"},
		Messages: 1, Recipients: &Recipients{Accepted: 1, Rejected: 1}, Commands: 6, Replies: 7, Slowest: &Slowest{"DATA-END", 812.4},
		Errors: []Error{{at(100), "RCPT TO:<d@example.net>", 550, "5.1.1", "no such user"}},
		Octets: Octets{48733, 412},
	}
	for i, text := range []string{
		"220 mx.example.net ESMTP", "EHLO mx.example.org", "250-mx.example.net\n250-PIPELINING\n250 SIZE 20480000",
		"MAIL FROM:<a@example.org> SIZE=48000", "250 2.1.0 Ok", "RCPT TO:<c@example.net>", "250 2.1.5 Ok", "RCPT TO:<d@example.net>",
		"550 5.1.1 <d@example.net>: Recipient address rejected", "DATA", "354 End data with <CR><LF>.<CR><LF>", "250 2.0.0 Ok: queued as 4XyZ", "QUIT", "221 2.0.0 Bye",
	} {
		s.Dialogue = append(s.Dialogue, Entry{MS: float64(i*7) / 10, From: "client", Text: &text})
	}
	return s
}

func BenchmarkAppendJSON(b *testing.B) {
	s := benchSession()
	dst := s.AppendJSON(nil)
	b.SetBytes(int64(len(dst)))
	b.ReportAllocs()
	for b.Loop() {
		dst = s.AppendJSON(dst[:0])
	}
}

func BenchmarkEncodingJSON(b *testing.B) {
	s := benchSession()
	b.ReportAllocs()
	for b.Loop() {
		encode(b, s)
	}
}

func BenchmarkTimeAppend(b *testing.B) {
	at := benchSession().Begin
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = at.Append(buf[:0])
	}
}
