//go:build linux

package main

import (
	"context"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailwire/mailwire/inspect/record"
)

// relaying is a running mailwire proxy.
type relaying struct {
	t    *testing.T
	dir  string
	log  *output
	stop func() recorded
}

// relay starts mailwire proxy with args; stop ends it and reads what it recorded.
func relay(t *testing.T, args ...string) *relaying {
	t.Helper()
	r := &relaying{t: t, dir: t.TempDir(), log: &output{}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, append([]string{"mailwire", "proxy", "--data", r.dir, "--drain-timeout", "1s"}, args...), strings.NewReader(""), r.log, r.log)
	}()
	stop := sync.OnceFunc(func() {
		cancel()
		select {
		case status := <-ended:
			if status != 0 {
				t.Errorf("status %d: %s", status, r.log)
			}
		case <-time.After(patience):
			t.Error("the proxy does not end")
		}
	})
	t.Cleanup(stop)
	r.stop = func() recorded {
		stop()
		got := load(t, r.dir)
		slices.SortFunc(got.messages, func(a, b record.Message) int { return a.Begin.Compare(b.Begin.Time) })
		return got
	}
	await(t, "the proxy", func() bool {
		if len(ended) > 0 {
			t.Fatalf("the proxy does not begin: %s", r.log)
		}
		return strings.Contains(r.log.String(), "relaying")
	})
	return r
}

// client runs a mail program, which has to succeed.
func client(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := tryClient(t, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// tryClient is client for one that may be refused.
func tryClient(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	need(t, name)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := underKnownName(ctx, name, args...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	return string(out), err
}
