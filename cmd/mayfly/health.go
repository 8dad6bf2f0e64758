package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/mayflyca/mayfly/fault"
)

// check is one thing that must work before we can issue.
type check struct {
	name string
	ok   func(ctx context.Context) error
}

// readiness is the answer of /readyz.
type readiness struct {
	Ready  bool              `json:"ready"`
	Checks map[string]string `json:"checks"` // "ok", or a sentence that a stranger may read
}

// healthy answers /healthz: the process is alive, whatever it depends on.
func healthy(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = io.WriteString(w, "ok\n") // an error means that the client has gone, here and below
}

// checkPatience bounds each check: a prober gives up soon.
const checkPatience = 3 * time.Second

// ready answers /readyz: can we issue, and if not, which part fails.
func ready(checks []check, log *slog.Logger) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), checkPatience)
		defer cancel()
		answer := readiness{Ready: true, Checks: map[string]string{}}
		status := http.StatusOK
		for _, c := range checks {
			err := c.ok(ctx)
			answer.Checks[c.name] = verdict(err)
			if err != nil {
				answer.Ready, status = false, http.StatusServiceUnavailable
				log.Warn("not ready", "check", c.name, "error", err,
					"request_id", r.Header.Get("X-Request-Id"))
			}
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		if !answer.Ready {
			w.Header().Set("Retry-After", "5")
		}
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(answer)
	}
}

// verdict says no more than a stranger may read.
func verdict(err error) string {
	var e *fault.Error
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &e) && e.Kind != fault.Internal:
		return e.Detail
	default:
		return "failed; the log tells more"
	}
}

// writeProblem answers with a problem document (RFC 9457).
func writeProblem(w http.ResponseWriter, status int, detail string) {
	body, err := json.Marshal(map[string]any{
		"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": detail,
	})
	if err != nil {
		body = []byte("{}")
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
