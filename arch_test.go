// Package mailwire_test holds the tests of the whole: that the packages' arrows point one way.
package mailwire_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/mailwire/mailwire/"

// allowed says which packages of this module a package may import, besides what lies under it.
var allowed = map[string][]string{
	"cmd/mailwire": {
		"archive", "inspect", "inspect/record", "inspect/wire", "proxy", "tap",
		"view", "view/explain", "view/index", "view/replay", "view/report",
	},
	"proxy":           {"inspect", "inspect/pop3", "inspect/record", "inspect/segment", "inspect/smtp", "inspect/tlsinfo", "inspect/wire"},
	"tap":             {"inspect", "inspect/record", "inspect/wire"},
	"archive":         {"inspect", "inspect/record"},
	"inspect":         {"inspect/message", "inspect/pop3", "inspect/record", "inspect/smtp", "inspect/tlsinfo", "inspect/wire"},
	"inspect/message": {"inspect/record"},
	"inspect/smtp":    {"inspect/sasl", "inspect/wire"},
	"inspect/pop3":    {"inspect/sasl", "inspect/wire"},
	"inspect/wire":    {},
	"inspect/sasl":    {"inspect/wire"},
	"inspect/record":  {},
	"inspect/segment": {"inspect/wire"},
	"inspect/tlsinfo": {"inspect/record"},
	"view":            {"archive", "inspect/message", "inspect/record", "inspect/segment", "inspect/wire"},
	"view/explain":    {},
	"view/replay":     {"inspect/record", "inspect/wire", "view", "view/explain"},
	"view/index":      {"inspect/record", "inspect/wire", "view", "view/explain"},
	"view/report":     {"inspect/record", "view/explain", "view/index"},
}

// sansIO are the packages that do no input or output, read no clock and share nothing; forbidden is what would.
var (
	sansIO    = []string{"inspect/wire", "inspect/smtp", "inspect/pop3", "inspect/record", "inspect/sasl", "inspect/message", "inspect/segment"}
	forbidden = []string{"net", "os", "io/fs", "sync", "sync/atomic", "log", "log/slog", "github.com/sirupsen/logrus", "syscall"}
)

func TestArrows(t *testing.T) {
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			checkFile(t, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkFile(t *testing.T, path string) {
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), path, source, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.ToSlash(filepath.Dir(path))
	may, known := allowed[dir]
	if !known {
		t.Errorf("%s: a new package %s; say in arch_test.go what it may import", path, dir)
	}
	for _, i := range file.Imports {
		name, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		ours, own := strings.CutPrefix(name, module)
		switch {
		case own && !strings.HasPrefix(ours, dir+"/") && !slices.Contains(may, ours):
			t.Errorf("%s imports %s, against the arrows", path, ours)
		case slices.Contains(sansIO, dir) && slices.Contains(forbidden, name):
			t.Errorf("%s imports %s, but parsers and records do no input or output", path, name)
		}
	}
	if slices.Contains(sansIO, dir) && strings.Contains(string(source), "time.Now(") {
		t.Errorf("%s reads a clock, but time is an input", path)
	}
}
