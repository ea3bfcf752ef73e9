package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
	"github.com/urfave/cli/v2"
)

const (
	maxConfig  = 256 << 10 // octets of a configuration file
	maxNesting = 100       // lists in lists, for which the parser takes the square of their number in time and memory
	maxWrong   = 50        // complaints that are shown
)

// configFile is what a configuration file says: what the flags of the same names would. Settings of all ways to watch are
// at its top; those of the proxy, with a list of listeners, and of the tap, with a list of interfaces, in sections.
type configFile struct {
	name      string
	settings  settings
	listeners []fileListener
}

// settings are by the names of their flags.
type settings map[string]setting

// setting is what a flag would say.
type setting struct {
	key    string // in the file
	values []string
	line   int
}

// fileListener is a route, with settings that are its own.
type fileListener struct {
	flag  string // one of listeners
	route setting
	own   settings
}

// keys are those of a mapping in the file, with the flags that they stand for.
type keys map[string]cli.Flag

// The names of keys that are no flags.
const (
	proxyKey     = "proxy"
	listenersKey = "listeners"
	tapKey       = "tap"
	interfaceKey = "interfaces"
)

// ownTerms are the settings that a listener may have of its own.
var ownTerms = []string{
	"tls", "tls-cert", "tls-key", "upstream-ca", "upstream-name", "upstream-insecure", "send-proxy", "accept-proxy", "transparent",
	"connect-timeout", "idle-timeout",
}

// configKeys are the keys of a file, of its sections, and of a listener.
func configKeys() (top, inProxy, inTap, inListener keys) {
	top, inProxy, inTap, inListener = keys{}, keys{}, keys{}, keys{}
	for _, f := range recordFlags(true) {
		top[f.Names()[0]] = f
	}
	for _, f := range proxyCommand().Flags {
		inProxy[f.Names()[0]] = f
	}
	for _, f := range tapCommand().Flags {
		inTap[f.Names()[0]] = f
	}
	top["http"] = inProxy["http"]
	for _, name := range ownTerms {
		inListener[name] = inProxy[name]
	}
	for _, l := range listeners {
		inListener[l.flag] = inProxy[l.flag]
		delete(inProxy, l.flag)
	}
	inTap[interfaceKey] = inTap["i"]
	for _, once := range []string{"i", "r", "c", "duration"} {
		delete(inTap, once)
	}
	for name := range inProxy {
		if top[name] != nil || name == configFlag {
			delete(inProxy, name)
		}
	}
	for name := range inTap {
		if top[name] != nil || name == configFlag {
			delete(inTap, name)
		}
	}
	top[proxyKey], inProxy[listenersKey], top[tapKey] = nil, nil, nil
	return top, inProxy, inTap, inListener
}

// readConfig reads a file. The error has a sentence for all that is wrong, each with its FILE:LINE.
func readConfig(name string) (*configFile, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("the configuration file cannot be read: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxConfig+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("the configuration file cannot be read: %w", err)
	case len(text) > maxConfig:
		return nil, usage("%s is longer than %d octets, and so no configuration file", name, maxConfig)
	}
	return parseConfig(name, text)
}

func parseConfig(name string, text []byte) (*configFile, error) {
	r := &configReader{file: &configFile{name: name, settings: settings{}}}
	tokens := lexer.Tokenize(string(text))
	if line := nested(tokens); line != 0 {
		return nil, usage("%s:%d: more than %d lists or settings begin inside each other", name, line, maxNesting)
	}
	tree, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if wrong, ok := errors.AsType[*yaml.SyntaxError](err); ok && wrong.Token != nil {
		r.fail(wrong.Token.Position.Line, "%s", strings.ReplaceAll(wrong.Message, "\n", " "))
	} else if err != nil {
		r.fail(1, "%s", strings.ReplaceAll(err.Error(), "\n", " "))
	}
	if err == nil {
		r.read(tree)
	}
	if r.wrong == nil {
		return r.file, nil
	}
	slices.SortStableFunc(r.wrong, func(a, b complaint) int { return cmp.Compare(a.line, b.line) })
	var all []error
	for _, w := range r.wrong[:min(len(r.wrong), maxWrong)] {
		all = append(all, fmt.Errorf("%s:%d: %s", name, w.line, w.text))
	}
	if more := len(r.wrong) - maxWrong; more > 0 {
		all = append(all, fmt.Errorf("%s: and %d more", name, more))
	}
	return nil, usageError{errors.Join(all...)}
}

// nested returns the line where too much begins inside each other; 0: nowhere. What is indented needs no look: the file is
// too short.
func nested(tokens token.Tokens) int {
	brackets, entries := 0, 0
	for _, t := range tokens {
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			brackets++
		case token.SequenceEndType, token.MappingEndType:
			brackets--
		}
		if entries++; t.Type != token.SequenceEntryType {
			entries = 0
		}
		if max(brackets, entries) > maxNesting {
			return t.Position.Line
		}
	}
	return 0
}

// configReader reads a file, and goes on after what is wrong.
type configReader struct {
	file  *configFile
	wrong []complaint
}

// complaint is what is wrong in a line.
type complaint struct {
	line int
	text string
}

func (r *configReader) fail(line int, format string, args ...any) {
	r.wrong = append(r.wrong, complaint{line, fmt.Sprintf(format, args...)})
}

// entry is a key with its value.
type entry struct {
	key   string
	value ast.Node
	line  int
}

// read takes the whole file.
func (r *configReader) read(tree *ast.File) {
	top, inProxy, inTap, inListener := configKeys()
	var documents []*ast.DocumentNode
	for _, d := range tree.Docs {
		if d.Body != nil && d.Body.Type() != ast.CommentType {
			documents = append(documents, d)
		}
	}
	switch len(documents) {
	case 0:
		return
	case 1:
	default:
		r.fail(lineOf(documents[1].Body), "a second document begins here; put everything into one")
		return
	}
	for _, e := range r.entries(documents[0].Body, "the file", top) {
		switch e.key {
		case proxyKey:
			r.section(e, inProxy, listenersKey, func(list ast.Node) { r.listeners(list, inListener) })
		case tapKey:
			r.section(e, inTap, interfaceKey, func(list ast.Node) {
				e := entry{interfaceKey, list, lineOf(list)}
				r.set(r.file.settings, "i", e, inTap[interfaceKey])
			})
		default:
			r.set(r.file.settings, e.key, e, top[e.key])
		}
	}
}

// section reads a section: its settings, or only the list that it is about.
func (r *configReader) section(of entry, known keys, listKey string, list func(ast.Node)) {
	if of.value.Type() == ast.SequenceType {
		list(of.value)
		return
	}
	for _, e := range r.entries(of.value, of.key, known) {
		if e.key == listKey {
			list(e.value)
		} else {
			r.set(r.file.settings, e.key, e, known[e.key])
		}
	}
}

// listeners reads the list of listeners.
func (r *configReader) listeners(list ast.Node, known keys) {
	sequence, ok := list.(*ast.SequenceNode)
	if !ok {
		r.fail(lineOf(list), "%s are a list; begin each with a line like: - smtp: :25=mail.example.net:25", listenersKey)
		return
	}
	for _, item := range sequence.Values {
		l := fileListener{own: settings{}}
		for _, e := range r.entries(item, "a listener", known) {
			switch {
			case !isRoute(e.key):
				r.set(l.own, e.key, e, known[e.key])
			case l.flag != "":
				r.fail(e.line, "%s: this listener is one for %s already; begin another with a line of its own: - %s: ...", e.key, l.flag, e.key)
			default:
				l.flag = e.key
				route := settings{}
				r.set(route, e.key, e, known[e.key])
				l.route = route[e.key]
			}
		}
		if l.flag == "" {
			r.fail(lineOf(item), "this listener has no route; give one like smtp: :25=mail.example.net:25")
		}
		r.file.listeners = append(r.file.listeners, l)
	}
}

func isRoute(key string) bool {
	for _, l := range listeners {
		if l.flag == key {
			return true
		}
	}
	return false
}

// entries returns those of a mapping whose keys are known.
func (r *configReader) entries(n ast.Node, what string, known keys) []entry {
	var pairs []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		pairs = m.Values
	case *ast.MappingValueNode:
		pairs = append(pairs, m)
	default:
		r.fail(lineOf(n), "%s must have settings, each in a line like KEY: VALUE", what)
		return nil
	}
	var list []entry
	seen := map[string]int{}
	for _, pair := range pairs {
		e := entry{pair.Key.GetToken().Value, pair.Value, lineOf(pair.Key)}
		if _, ok := known[e.key]; !ok {
			r.fail(e.line, "%s", unknownKey(e.key, what, known))
			continue
		}
		if first := seen[e.key]; first != 0 {
			r.fail(e.line, "%s was set in line %d already", e.key, first)
			continue
		}
		seen[e.key] = e.line
		list = append(list, e)
	}
	return list
}

// unknownKey says what is allowed in its place.
func unknownKey(key, what string, known keys) string {
	if near := nearest(key, slices.Sorted(maps.Keys(known))); near != "" {
		return fmt.Sprintf("there is no setting %q; did you mean %s?", key, near)
	}
	top, inProxy, inTap, inListener := configKeys()
	for _, place := range []struct {
		name string
		keys keys
	}{{"at the top of the file", top}, {"under proxy", inProxy}, {"under tap", inTap}, {"in a listener, under proxy", inListener}} {
		if _, ok := place.keys[key]; ok {
			return fmt.Sprintf("%s does not belong here, but %s", key, place.name)
		}
	}
	return fmt.Sprintf("there is no setting %q; %s can have %s", key, what, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
}

func lineOf(n ast.Node) int {
	if n == nil || n.GetToken() == nil {
		return 1
	}
	return n.GetToken().Position.Line
}
