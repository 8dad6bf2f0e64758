package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"path"
	"strings"
)

//go:embed assets templates
var files embed.FS

var assetTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

// addAssets puts each asset under a name that holds its hash, so that browsers may keep it for
// ever, and gives these addresses by the files' own names.
func (d door) addAssets() (map[string]string, error) {
	entries, err := files.ReadDir("assets")
	if err != nil {
		return nil, fmt.Errorf("listing the pages' assets: %w", err)
	}
	links := map[string]string{}
	for _, entry := range entries {
		name, ext := entry.Name(), path.Ext(entry.Name())
		content, err := files.ReadFile("assets/" + name)
		if err != nil {
			return nil, fmt.Errorf("reading the pages' asset %q: %w", name, err)
		}
		sum := sha256.Sum256(content)
		link := "/assets/" + strings.TrimSuffix(name, ext) + "." + hex.EncodeToString(sum[:6]) + ext
		links[name] = link
		d.documents[link] = newDocument(assetTypes[ext], "public, max-age=31536000, immutable", content)
	}
	return links, nil
}

// render fills the layout with the template of that name.
func render(name string, links map[string]string, data any) ([]byte, error) {
	asset := func(file string) (string, error) {
		link, ok := links[file]
		if !ok {
			return "", fmt.Errorf("there is no asset %q", file)
		}
		return link, nil
	}
	functions := template.FuncMap{"asset": asset, "shell": shell}
	t, err := template.New("layout.html").Funcs(functions).
		ParseFS(files, "templates/layout.html", "templates/"+name+".html")
	if err != nil {
		return nil, fmt.Errorf("reading the template of page %q: %w", name, err)
	}
	var text bytes.Buffer
	if err := t.Execute(&text, data); err != nil {
		return nil, fmt.Errorf("rendering page %q: %w", name, err)
	}
	return text.Bytes(), nil
}
