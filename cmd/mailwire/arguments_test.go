package main

import (
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

func TestFlagsFirst(t *testing.T) {
	commands := []*cli.Command{
		{Name: "show", Flags: []cli.Flag{&cli.BoolFlag{Name: "json"}, &cli.StringFlag{Name: "o"}, &cli.IntFlag{Name: "mail"}}},
		{Name: "mail", Subcommands: []*cli.Command{{Name: "list", Flags: []cli.Flag{&cli.StringFlag{Name: "from"}}}}},
		{Name: "bare"},
	}
	for in, want := range map[string]string{
		"":                                   "",
		"show ID --json":                     "show --json ID",
		"show ID -o file --json":             "show -o file --json ID",
		"show ID -o - --mail -1 other":       "show -o - --mail -1 ID other",
		"show ID --o=file x":                 "show --o=file ID x",
		"show ID --unknown x":                "show --unknown ID x",
		"show --json -- --not-a-flag":        "show --json -- --not-a-flag",
		"show ID --o":                        "show --o ID",
		"show -":                             "show -",
		"mail list x --from a":               "mail list --from a x",
		"mail list --from list":              "mail list --from list",
		"bare x --y":                         "bare x --y",
		"nonsense x --json":                  "nonsense x --json",
		"--json show ID":                     "--json show ID",
		"show ID --generate-bash-completion": "show --generate-bash-completion ID",
	} {
		got := flagsFirst(commands, append([]string{"mailwire"}, strings.Fields(in)...))
		if s := strings.Join(got[1:], " "); s != want {
			t.Errorf("%q became %q, want %q", in, s, want)
		}
	}
}
