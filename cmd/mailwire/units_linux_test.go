package main

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// makeInstall runs `make GOAL`, with a program that is already built.
func makeInstall(t *testing.T, goal, bin, prefix, destdir string) {
	t.Helper()
	c := exec.Command("make", "-C", "../..", goal, "BIN="+bin, "PREFIX="+prefix, "DESTDIR="+destdir)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("make %s: %v: %s", goal, err, out)
	}
}

// installed returns what is under a directory, with its mode.
func installed(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		names = append(names, info.Mode().String()+" "+rel)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestInstall: what make install installs is where it belongs, systemd takes the units, and they leave the services
// little. make uninstall leaves nothing of it.
func TestInstall(t *testing.T) {
	need(t, "make")
	dir := t.TempDir()
	bin := filepath.Join(dir, "mailwire")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Run("package", func(t *testing.T) {
		root := filepath.Join(dir, "package")
		makeInstall(t, "install", bin, "/usr", root)
		want := []string{
			"-rwxr-xr-x usr/bin/mailwire",
			"-rw-r--r-- usr/lib/systemd/system/mailwire-proxy.service",
			"-rw-r--r-- usr/lib/systemd/system/mailwire-proxy.socket",
			"-rw-r--r-- usr/lib/systemd/system/mailwire-tap@.service",
			"-rw-r--r-- usr/lib/sysusers.d/mailwire.conf",
			"-rw-r--r-- usr/share/bash-completion/completions/mailwire",
		}
		if got := installed(t, root); !slices.Equal(got, want) {
			t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		for name, want := range map[string]string{
			"lib/systemd/system/mailwire-proxy.service":  "\nExecStart=/usr/bin/mailwire proxy $OPTIONS\n",
			"lib/systemd/system/mailwire-tap@.service":   "\nExecStart=/usr/bin/mailwire tap -i %i $OPTIONS\n",
			"share/bash-completion/completions/mailwire": "_mailwire",
			"lib/sysusers.d/mailwire.conf":               "u mailwire ",
			"lib/systemd/system/mailwire-proxy.socket":   "\nListenStream=25\n",
		} {
			if text, err := os.ReadFile(filepath.Join(root, "usr", name)); err != nil || !strings.Contains(string(text), want) {
				t.Errorf("%s has no %q: %v", name, want, err)
			}
		}
		text, err := os.ReadFile(filepath.Join(root, "usr/lib/systemd/system/mailwire-tap@.service"))
		allowed := text[bytes.LastIndex(text, []byte("\nSystemCallFilter="))+1:]
		if line, _, _ := bytes.Cut(allowed, []byte("\n")); err != nil || !bytes.Contains(line, []byte(" setpriority")) {
			t.Errorf("the tap's unit lets nothing give way to anything: %v", err)
		}
		makeInstall(t, "uninstall", bin, "/usr", root)
		if left := installed(t, root); left != nil {
			t.Errorf("left are %q", left)
		}
	})
	t.Run("systemd", func(t *testing.T) {
		need(t, "systemd-analyze")
		makeInstall(t, "install", bin, dir, "") // the units name a program that is there
		units := filepath.Join(dir, "lib/systemd/system")
		tap := filepath.Join(units, "mailwire-tap@eth0.service") // an instance
		if err := os.Rename(filepath.Join(units, "mailwire-tap@.service"), tap); err != nil {
			t.Fatal(err)
		}
		analyze := func(args ...string) {
			t.Helper()
			out, err := exec.Command("systemd-analyze", args...).CombinedOutput()
			// What is wrong with a unit, verify may say without failing, and what is wrong with this host's too.
			if err != nil || args[0] == "verify" && strings.Contains(string(out), "mailwire") {
				t.Errorf("systemd-analyze %s: %v: %s", strings.Join(args, " "), err, out)
			}
		}
		proxy := filepath.Join(units, "mailwire-proxy.service")
		analyze("verify", proxy, filepath.Join(units, "mailwire-proxy.socket"), tap)
		for _, unit := range []string{proxy, tap} {
			analyze("security", "--offline=true", "--threshold=25", "--no-pager", unit) // 2.5
		}
	})
}
