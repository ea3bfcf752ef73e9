package main

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// flagsFirst puts the flags of a command line before its arguments, where package cli wants them: mailwire show ID --json.
func flagsFirst(commands []*cli.Command, args []string) []string {
	at, flags := 1, []cli.Flag(nil)
	for at < len(args) {
		i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.HasName(args[at]) })
		if i < 0 {
			break
		}
		commands, flags = commands[i].Subcommands, commands[i].Flags
		at++
	}
	if flags == nil {
		return args
	}
	head, rest := slices.Clone(args[:at]), []string(nil)
	for words := args[at:]; len(words) > 0; words = words[1:] {
		word := words[0]
		if word == "--" {
			rest = append(rest, words[1:]...)
			break
		}
		if len(word) < 2 || word[0] != '-' {
			rest = append(rest, word)
			continue
		}
		head = append(head, word)
		if takesValue(flags, word) && len(words) > 1 {
			words = words[1:]
			head = append(head, words[0])
		}
	}
	if slices.ContainsFunc(rest, func(s string) bool { return len(s) > 1 && s[0] == '-' }) {
		head = append(head, "--")
	}
	return append(head, rest...)
}

// takesValue says whether the word behind a flag belongs to it.
func takesValue(flags []cli.Flag, word string) bool {
	name := strings.TrimLeft(word, "-")
	if strings.Contains(name, "=") {
		return false
	}
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			_, is := f.(*cli.BoolFlag)
			return !is
		}
	}
	return false
}
