package report

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestHTMLInBrowser: a browser shows the page with nothing to complain of, and foreign text as text.
func TestHTMLInBrowser(t *testing.T) {
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed")
	}
	dir := t.TempDir()
	name := filepath.Join(dir, "report.html")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := troubled(t, Options{Top: 100}).HTML(f); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--user-data-dir="+filepath.Join(dir, "profile"),
		"--enable-logging=stderr", "--dump-dom", "file://"+name)
	var log strings.Builder
	cmd.Stderr = &log
	page, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, log.String())
	}
	if strings.Contains(log.String(), ":CONSOLE") {
		t.Errorf("the browser complains: %s", log.String())
	}
	for what, want := range map[string]int{"<svg": 3, "<script": 0, "<h1>mailwire report</h1>": 1} {
		if n := strings.Count(string(page), what); n != want {
			t.Errorf("the browser sees %d of %s", n, what)
		}
	}
	if !strings.Contains(string(page), "&lt;script&gt;alert('1')&lt;/script&gt;") {
		t.Error("foreign text is not shown as it is")
	}
}
