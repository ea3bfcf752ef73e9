package record

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"reflect"
	"testing"
)

// asJSON holds Unmarshal against encoding/json, for any line.
func asJSON[R any](t *testing.T, line []byte) {
	t.Helper()
	var got, want R
	err, wantErr := Unmarshal(line, &got), json.Unmarshal(line, &want)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%q: %v, not %v", line, err, wantErr)
	}
	if err == nil && !reflect.DeepEqual(got, want) {
		t.Fatalf("%q:\n%+v, not\n%+v", line, got, want)
	}
}

func both(t *testing.T, line []byte) {
	t.Helper()
	asJSON[Session](t, line)
	asJSON[Message](t, line)
}

func TestUnmarshal(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	fast := 0
	for range 3000 {
		var s Session
		var m Message
		fill(r, reflect.ValueOf(&s).Elem())
		fill(r, reflect.ValueOf(&m).Elem())
		for _, line := range [][]byte{s.AppendJSON(nil), m.AppendJSON(nil)} {
			both(t, line)
			p := parser{bytes: line, text: string(line)}
			if p.session(new(Session)); p.done() {
				fast++
			}
			damaged := bytes.Clone(line)
			damaged[r.IntN(len(line))] = "{}[]\",:0n\\ -.e"[r.IntN(14)]
			both(t, damaged)
			both(t, line[:r.IntN(len(line))])
			i, j := r.IntN(len(line)), r.IntN(len(line))
			both(t, append(line[:max(i, j):max(i, j)], line[min(i, j):]...)) // something is there twice
		}
	}
	if fast < 500 {
		t.Errorf("only %d sessions of 3000 are read without encoding/json", fast)
	}
}

// frozen are the lines of the frozen records.
func frozen(t testing.TB) [][]byte {
	data, err := os.ReadFile("../../testdata/records/v1/records.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Split(bytes.TrimSpace(data), []byte("\n"))
}

// TestUnmarshalAtOnce: encoding/json is not needed for what mailwire writes.
func TestUnmarshalAtOnce(t *testing.T) {
	for _, line := range frozen(t) {
		both(t, line)
		p, q := parser{bytes: line, text: string(line)}, parser{bytes: line, text: string(line)}
		p.session(new(Session))
		q.message(new(Message))
		if !p.done() && !q.done() {
			t.Errorf("%.200s: octets %d and %d", line, p.at, q.at)
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, line := range frozen(f) {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line []byte) { both(t, line) })
}

func BenchmarkUnmarshal(b *testing.B) {
	lines := frozen(b)
	octets := 0
	for _, line := range lines {
		octets += len(line)
	}
	b.SetBytes(int64(octets / len(lines)))
	i := 0
	for b.Loop() {
		line := lines[i%len(lines)]
		i++
		var err error
		if bytes.Contains(line[:30], []byte(`"session"`)) {
			err = Unmarshal(line, new(Session))
		} else {
			err = Unmarshal(line, new(Message))
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
