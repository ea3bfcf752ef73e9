package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
)

// TestRareLog: each message of a cause is said or counted, also at the end.
func TestRareLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := logrus.New()
		log.SetOutput(&out)
		log.SetFormatter(plainText{})
		r := newRareLog(log, func() bool { return false })
		for range 3 {
			r.warn("disk", "the disk is full")
			r.warn("server", "the server is down")
		}
		time.Sleep(sayAgain)
		r.warn("disk", "the disk is full")
		r.warn("disk", "the disk is still full")
		r.end()
		r.end()
		want := []string{
			"the disk is full",
			"the server is down",
			"the disk is full (and 2 times more since this was said last)",
			"the disk is still full",
			"the server is down (and 1 times more since this was said last)",
		}
		if got := strings.Split(strings.TrimSpace(out.String()), "\n"); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("the log says:\n%s\nwant:\n%s", out.String(), strings.Join(want, "\n"))
		}
	})
}

// plainText writes messages as they are.
type plainText struct{}

func (plainText) Format(e *logrus.Entry) ([]byte, error) { return []byte(e.Message + "\n"), nil }
