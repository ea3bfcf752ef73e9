package record_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/mailwire/mailwire/inspect/record"
)

// TestFrozen: records that were released stay readable, and say the same when they are written again. The samples of a
// version are never changed once it is released; a new field gets a sample of its own.
func TestFrozen(t *testing.T) {
	f, err := os.Open("../../testdata/records/v1/records.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for ; s.Scan(); n++ {
		var head struct{ Type string }
		if err := json.Unmarshal(s.Bytes(), &head); err != nil {
			t.Fatalf("line %d: %v", n+1, err)
		}
		var again []byte
		switch d := strict(s.Bytes()); head.Type {
		case "session":
			var r record.Session
			err = d.Decode(&r)
			again = r.AppendJSON(nil)
		case "message":
			var r record.Message
			err = d.Decode(&r)
			again = r.AppendJSON(nil)
		default:
			t.Fatalf("line %d: a record of type %q", n+1, head.Type)
		}
		if err != nil {
			t.Fatalf("line %d: %v", n+1, err)
		}
		if !bytes.Equal(again, s.Bytes()) {
			t.Errorf("line %d, written again:\n%s\nwas:\n%s", n+1, again, s.Bytes())
		}
	}
	if s.Err() != nil || n < 10 {
		t.Fatalf("%d samples, %v", n, s.Err())
	}
}

func strict(line []byte) *json.Decoder {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	return d
}
