// Package web is the door for people: pages rendered here, which need no JavaScript.
package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/mayflyca/mayfly/ca"
)

// Config is what New needs.
type Config struct {
	CA         *ca.CA
	BaseURL    string // of the HTTPS door, no trailing slash
	PublishURL string // of the plain door, no trailing slash
	HTTP01Port int    // where the CA looks for http-01 answers
	Version    string
	Trial      bool // started without a configuration file, to try it out on one machine
}

// New gives the door. Nothing on its pages changes while the program runs, so they are rendered
// once, here, and a page that cannot be rendered keeps the program from starting.
func New(c Config) (http.Handler, error) {
	d := door{documents: map[string]document{}}
	links, err := d.addAssets()
	if err != nil {
		return nil, err
	}
	issuers, roots, err := authorities(c.CA.Issuers(), c.PublishURL)
	if err != nil {
		return nil, err
	}
	start, err := render("start", links, newStartPage(c, roots, issuers))
	if err != nil {
		return nil, err
	}
	d.documents["/"] = newDocument("text/html; charset=utf-8", "no-cache", start)
	d.missing, err = render("missing", links, page{
		Title: "Not found", Version: c.Version, Trial: c.Trial,
	})
	return d, err
}

// door answers by exact path, and has nothing below or beside that.
type door struct {
	documents map[string]document
	missing   []byte // the page for browsers that ask for anything else
}

type document struct {
	mediaType string
	cache     string
	etag      string
	content   []byte
}

func newDocument(mediaType, cache string, content []byte) document {
	sum := sha256.Sum256(content)
	return document{mediaType, cache, `"` + hex.EncodeToString(sum[:16]) + `"`, content}
}

// policy lets a page load what comes from this server as a file of its own, and nothing else: text
// of a certificate that got past the escaping could still not run, send or load anything.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; " +
	"form-action 'none'; frame-ancestors 'none'; base-uri 'none'"

func (d door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	doc, found := d.documents[r.URL.Path]
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		writeProblem(w, http.StatusMethodNotAllowed, "This address can only be read: use GET or HEAD.")
	case found:
		h.Set("Content-Type", doc.mediaType)
		h.Set("Cache-Control", doc.cache)
		h.Set("ETag", doc.etag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(doc.content))
	case strings.Contains(r.Header.Get("Accept"), "text/html"):
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write(d.missing) // an error here means that the client has gone
	default:
		writeProblem(w, http.StatusNotFound, "There is nothing at this address. ACME starts at "+
			"/acme/directory, REST at /api/v1/, and /openapi.json describes the latter.")
	}
}

// writeProblem writes an RFC 9457 problem document.
func writeProblem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"title": http.StatusText(status), "status": status, "detail": detail,
	})
}
