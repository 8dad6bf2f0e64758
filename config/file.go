package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v4"
)

// parseFile flattens the YAML text into settings by dotted key. It works on the syntax tree, not on
// a struct, so that every setting and every mistake has its line.
func parseFile(path string, text []byte) (map[string]value, error) {
	loader, err := yaml.NewLoader(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var document, second yaml.Node
	if err := loader.Load(&document); errors.Is(err, io.EOF) {
		return nil, nil // empty, or comments only
	} else if err != nil {
		return nil, syntaxError(path, err)
	}
	if err := loader.Load(&second); err != nil && !errors.Is(err, io.EOF) {
		return nil, syntaxError(path, err)
	} else if err == nil {
		return nil, fmt.Errorf("%s:%d: holds a second YAML document: keep one", path, second.Line)
	}
	f := flattener{path: path, settings: map[string]value{}, seen: map[string]string{}}
	if len(document.Content) == 1 {
		f.mapping("", document.Content[0])
	}
	return f.settings, errors.Join(f.problems...)
}

// syntaxError gives the line in the form of all other messages.
func syntaxError(path string, err error) error {
	var e *yaml.LoadError
	if errors.As(err, &e) {
		return fmt.Errorf("%s:%d: is not YAML: %s", path, max(1, e.Mark.Line), e.Message)
	}
	return fmt.Errorf("%s: is not YAML: %w", path, err)
}

type flattener struct {
	path     string
	settings map[string]value
	seen     map[string]string // where each key or section stands
	problems []error
}

func (f *flattener) problem(n *yaml.Node, format string, args ...any) {
	f.problems = append(f.problems,
		fmt.Errorf("%s: %s", f.place(n), fmt.Sprintf(format, args...)))
}

func (f *flattener) place(n *yaml.Node) string { return fmt.Sprintf("%s:%d", f.path, n.Line) }

func (f *flattener) mapping(prefix string, n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return // a section whose settings are all commented out
	}
	if n.Kind != yaml.MappingNode {
		f.problem(n, "expected settings of the form \"key: value\" here")
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			f.problem(key, "a key must be a plain word")
			continue
		}
		f.setting(prefix+key.Value, key, val)
	}
}

func (f *flattener) setting(name string, key, val *yaml.Node) {
	if before, twice := f.seen[name]; twice {
		f.problem(key, "%s stands here a second time (first at %s)", name, before)
		return
	}
	f.seen[name] = f.place(key)
	known, ok := findKey(name)
	switch {
	case !ok && isSection(name):
		f.mapping(name+".", val)
	case !ok:
		f.problem(key, "unknown key %q%s", name, suggestKey(name))
	default:
		text, ok := scalarText(known, val)
		if !ok {
			f.problem(val, "%s needs %s", name, known.form())
			return
		}
		f.settings[name] = value{text, f.place(val)}
	}
}

// scalarText gives a value as it would stand in the environment: lists joined by commas. Aliases are
// not followed: a file this small has no use for them.
func scalarText(k key, n *yaml.Node) (string, bool) {
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag != "!!null":
		return n.Value, true
	case n.Kind == yaml.SequenceNode && k.list:
		parts := make([]string, len(n.Content))
		for i, item := range n.Content {
			if item.Kind != yaml.ScalarNode || item.Tag == "!!null" {
				return "", false
			}
			parts[i] = item.Value
		}
		return strings.Join(parts, ","), true
	default:
		return "", false
	}
}
