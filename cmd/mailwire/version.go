package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

// version is set by the Makefile: go build -ldflags "-X main.version=...".
var version = ""

func versionCommand() *cli.Command {
	return &cli.Command{
		Name:        "version",
		Usage:       "say which version this is, and what it was built with",
		Description: "   mailwire version",
		Action: func(c *cli.Context) error {
			_, err := fmt.Fprintf(c.App.Writer, "mailwire %s %s %s/%s\n", buildVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

// buildVersion is what the Makefile says, or else what Go knows.
func buildVersion() string {
	v := version
	if info, ok := debug.ReadBuildInfo(); ok {
		v = cmp.Or(v, info.Main.Version)
	}
	return cmp.Or(v, "unknown")
}

func completionCommand() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print a script that completes commands and flags in your shell",
		ArgsUsage: "bash|zsh|fish",
		Description: `   source <(mailwire completion bash)
   mailwire completion fish > ~/.config/fish/completions/mailwire.fish`,
		Action: func(c *cli.Context) error {
			script := ""
			switch shell := c.Args().First(); shell {
			case "bash":
				script = bashCompletion
			case "zsh":
				script = zshCompletion
			case "fish":
				script = fishCompletion
			default:
				return usage("completion %s: name your shell, bash, zsh or fish", shell)
			}
			_, err := fmt.Fprint(c.App.Writer, script)
			return err
		},
	}
}

const bashCompletion = `_mailwire() {
  local cur=${COMP_WORDS[COMP_CWORD]} words=("${COMP_WORDS[@]:0:COMP_CWORD}")
  [[ $cur == -* ]] && words+=("$cur")
  COMPREPLY=($(compgen -W "$("${words[@]}" --generate-bash-completion 2>/dev/null | cut -d: -f1)" -- "$cur"))
}
complete -o bashdefault -o default -o nospace -F _mailwire mailwire
`

const fishCompletion = `function __mailwire_complete
  set -l words (commandline -opc)
  set -l current (commandline -ct)
  string match -q -- '-*' $current; and set -a words $current
  $words --generate-bash-completion 2>/dev/null | string replace -r ':.*' ''
end
complete -c mailwire -a '(__mailwire_complete)'
`

const zshCompletion = `#compdef mailwire
_mailwire() {
  local -a opts
  local cur=${words[-1]}
  if [[ $cur == -* ]]; then
    opts=("${(@f)$(${words[@]:0:#words[@]-1} $cur --generate-bash-completion 2>/dev/null)}")
  else
    opts=("${(@f)$(${words[@]:0:#words[@]-1} --generate-bash-completion 2>/dev/null)}")
  fi
  [[ -n ${opts[1]} ]] && _describe values opts || _files
}
compdef _mailwire mailwire
`
