// Package publish is the door for what anyone may fetch in the clear: roots, issuers and CRLs. All of
// it is public and signed, and who checks a certificate must be able to fetch it without checking
// another one first: hence plain HTTP (RFC 5280 section 8).
package publish

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/mayflyca/mayfly/ca"
)

// Config is what New needs.
type Config struct {
	CA  *ca.CA
	Now func() time.Time
	Log *slog.Logger // hears what a stranger is not told
}

// New gives the door. It answers GET and HEAD, and problem documents (RFC 9457) for all else.
func New(c Config) http.Handler {
	d := door{c}
	r := chi.NewRouter()
	r.HandleFunc("/roots.pem", d.serve(d.roots))
	r.HandleFunc("/roots/{sha256}", d.serve(d.root))
	r.HandleFunc("/issuers.pem", d.serve(d.issuers))
	r.HandleFunc("/issuers/{id}.cer", d.serve(d.issuer))
	r.HandleFunc("/crl/{issuer}/{shard}.crl", d.serve(d.crl))
	r.NotFound(d.serve(nothing))
	r.MethodNotAllowed(d.serve(nothing)) // chi's answer to a method that HTTP does not know
	return r
}

type door struct{ Config }

// document is what a path serves.
type document struct {
	mediaType string
	content   []byte
	modified  time.Time // zero if nothing can be said
	fresh     time.Duration
}

// serve answers with what find finds. http.ServeContent sees to HEAD, ranges and conditional
// requests.
func (d door) serve(find func(*http.Request) (document, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			writeProblem(w, http.StatusMethodNotAllowed, "This address can only be read: use GET or HEAD.")
			return
		}
		doc, err := find(r)
		if err != nil {
			d.refuse(w, r, err)
			return
		}
		sum := sha256.Sum256(doc.content)
		h := w.Header()
		h.Set("Content-Type", doc.mediaType)
		h.Set("ETag", `"`+hex.EncodeToString(sum[:16])+`"`)
		setFreshness(h, d.Now(), doc.fresh)
		http.ServeContent(w, r, "", doc.modified, bytes.NewReader(doc.content))
	}
}
