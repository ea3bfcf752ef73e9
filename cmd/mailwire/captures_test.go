package main

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestOwnCaptures holds the records against what the servers themselves say: their queues, their logs, their maildrops.
func TestOwnCaptures(t *testing.T) {
	captures, err := filepath.Glob("../../testdata/pcap/*.pcap")
	if err != nil || len(captures) == 0 {
		t.Fatal("no captures", err)
	}
	for _, capture := range captures {
		t.Run(strings.TrimSuffix(filepath.Base(capture), ".pcap"), func(t *testing.T) {
			want := readOracle(t, strings.TrimSuffix(capture, "pcap")+"json")
			want.check(t, record1(t, capture))
		})
	}
}

// record1 reads one capture.
func record1(t *testing.T, capture string, flags ...string) recorded {
	t.Helper()
	dir := t.TempDir()
	status, _, stderr := mailwire(t, nil, append([]string{"tap", "-r", capture, "--data", dir}, flags...)...)
	if status != 0 {
		t.Fatalf("status %d: %s", status, stderr)
	}
	return load(t, dir)
}

// TestForeignCaptures compares with the truths of captures that are not part of the project, by their own script.
func TestForeignCaptures(t *testing.T) {
	dir := os.Getenv("MAILWIRE_CAPTURES")
	if dir == "" {
		t.Skip("MAILWIRE_CAPTURES names no directory of captures with compare.py")
	}
	bin := filepath.Join(t.TempDir(), "mailwire")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := exec.Command("python3", filepath.Join(dir, "compare.py"), bin, dir).CombinedOutput()
	last := ""
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		last = s.Text()
		t.Log(last)
	}
	if !strings.HasSuffix(last, "conversations exact") {
		t.Fatalf("compare.py: %v", err)
	}
}
