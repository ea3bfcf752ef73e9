package main

import (
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/urfave/cli/v2"
)

// set takes a value if it is one that the flag can have.
func (r *configReader) set(to settings, name string, e entry, f cli.Flag) {
	nodes := []ast.Node{e.value}
	if list, ok := e.value.(*ast.SequenceNode); ok && takesList(f) {
		if nodes = list.Values; len(nodes) == 0 {
			r.fail(e.line, "%s is an empty list; leave it out", e.key)
			return
		}
	}
	s := setting{key: e.key, line: e.line}
	for _, n := range nodes {
		value, err := scalar(n, f)
		if err == nil {
			err = accepts(f, value)
		}
		if err != nil {
			r.fail(max(e.line, lineOf(n)), "%s: %v", e.key, err)
			return
		}
		s.values = append(s.values, value)
	}
	if f.Names()[0] == "archive" {
		s.values = []string{strings.Join(s.values, ",")}
	}
	to[name] = s
}

// takesList says whether a flag can be given more than once, or is a list itself.
func takesList(f cli.Flag) bool {
	_, ok := f.(*cli.StringSliceFlag)
	return ok && !isRoute(f.Names()[0]) || f.Names()[0] == "archive"
}

// scalar returns a value as a flag would have it. A number that is to be text, as the name of a host may look like one,
// is taken as it is written.
func scalar(n ast.Node, f cli.Flag) (string, error) {
	text := n.GetToken().Value
	switch n.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
	case *ast.NullNode:
		return "", fmt.Errorf("there is no value; give one, or leave it out")
	case *ast.SequenceNode:
		return "", fmt.Errorf("give one value, not a list")
	case *ast.MappingNode, *ast.MappingValueNode:
		return "", fmt.Errorf("give a value, not settings of its own")
	default:
		return "", fmt.Errorf("give a plain value in one line; anchors, tags and blocks are not for this file")
	}
	wanted, ok := "", false
	switch f.(type) {
	case *cli.BoolFlag:
		wanted = "true or false"
		_, ok = n.(*ast.BoolNode)
	case *cli.IntFlag, *cli.Int64Flag, *cli.UintFlag, *cli.Uint64Flag:
		wanted = "a number"
		_, ok = n.(*ast.IntegerNode)
	case *cli.Float64Flag:
		wanted = "a number"
		switch n.(type) {
		case *ast.IntegerNode, *ast.FloatNode:
			ok = true
		}
	default:
		wanted = "text; if it must be this, put it in quotes"
		_, isBool := n.(*ast.BoolNode)
		ok = !isBool
	}
	if !ok {
		return "", fmt.Errorf("%s is not right here; give %s", text, wanted)
	}
	return text, nil
}

// accepts says why a flag cannot have the value, if so.
func accepts(f cli.Flag, value string) error {
	if _, ok := f.(*cli.StringSliceFlag); ok {
		return nil
	}
	set := flag.NewFlagSet("", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	if err := f.Apply(set); err != nil {
		return err
	}
	if err := set.Set(f.Names()[0], value); err != nil {
		if _, ok := f.(*cli.DurationFlag); ok {
			return fmt.Errorf("%s is not right here; give a number with its unit, like 3s or 10m", value)
		}
		return fmt.Errorf("%s is not right here; see mailwire run --help", value)
	}
	return nil
}

// nearest returns the name that is most like a word; "" if none is.
func nearest(word string, names []string) string {
	best, least := "", 1+min(2, len(word)/3)
	for _, name := range names {
		if d := distance(word, name); d < least {
			best, least = name, d
		}
	}
	return best
}

// distance counts the letters that must be added, taken away or changed to make one word of the other.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, diagonal+1, row[j]+1)
		}
	}
	return row[len(b)]
}
