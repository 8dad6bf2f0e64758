package publish

import (
	"cmp"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/mayflyca/mayfly/fault"
)

// retryAfter is when to ask again where the error does not say.
const retryAfter = 5 * time.Second

func nothing(*http.Request) (document, error) {
	return document{}, fault.New(fault.NotFound, "There is nothing here. This server publishes "+
		"/roots.pem, /issuers.pem, /issuers/{id}.cer, /roots/{sha256} and /crl/{issuer}/{shard}.crl.")
}

// statusOf is this door's table from kind to HTTP. Nothing here depends on the caller, so the other
// kinds cannot happen.
func statusOf(kind fault.Kind) int {
	switch kind {
	case fault.NotFound:
		return http.StatusNotFound
	case fault.Unavailable, fault.NotReady:
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}

// refuse answers with a problem document.
func (d door) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status, detail := statusOf(fault.KindOf(err)), "Something went wrong here; the log says what."
	var known *fault.Error
	if errors.As(err, &known) && status != http.StatusInternalServerError {
		detail = known.Detail
	}
	if status >= http.StatusInternalServerError && r.Context().Err() == nil {
		d.Log.Error("a document could not be served", "path", r.URL.Path, "error", err,
			"request_id", r.Header.Get("X-Request-Id"))
	}
	if status == http.StatusServiceUnavailable {
		after := cmp.Or(known.RetryAfter, retryAfter)
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
	}
	writeProblem(w, status, detail)
}

// writeProblem writes an RFC 9457 problem document.
func writeProblem(w http.ResponseWriter, status int, detail string) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// An error here means that the client has gone.
	_ = json.NewEncoder(w).Encode(map[string]any{
		"title": http.StatusText(status), "status": status, "detail": detail,
	})
}
