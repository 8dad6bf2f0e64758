package main

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"
)

// edge wraps a door's handler: request id, security headers, recovery from panics, and one log line
// per request. Handlers below find the request id in the request's X-Request-Id header.
type edge struct {
	next  http.Handler
	log   *slog.Logger
	https bool
	now   func() time.Time
}

// Shared header values: they are only ever replaced, never appended to.
var (
	nosniff       = []string{"nosniff"}
	noReferrer    = []string{"no-referrer"}
	deny          = []string{"DENY"}
	nothingInside = []string{"default-src 'none'; frame-ancestors 'none'"} // pages set their own
	httpsOnly     = []string{"max-age=31536000"}
)

func (e *edge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := e.now()
	id := r.Header.Get("X-Request-Id")
	if !usableID(id) {
		id = rand.Text()
		r.Header.Set("X-Request-Id", id)
	}
	h := w.Header()
	h["X-Request-Id"] = []string{id}
	h["X-Content-Type-Options"] = nosniff
	h["Referrer-Policy"] = noReferrer
	h["X-Frame-Options"] = deny
	h["Content-Security-Policy"] = nothingInside
	if e.https {
		h["Strict-Transport-Security"] = httpsOnly
	}
	rec := &recorder{ResponseWriter: w}
	defer e.finish(rec, r, id, start)
	e.next.ServeHTTP(rec, r)
}

// finish answers for a handler that panicked, and writes the log line.
func (e *edge) finish(rec *recorder, r *http.Request, id string, start time.Time) {
	level := slog.LevelInfo
	if p := recover(); p != nil {
		if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(p) // the way to cut a connection; net/http knows it
		}
		e.log.Error("a handler panicked", "request_id", id, "panic", p, "stack", string(debug.Stack()))
		if rec.status != 0 {
			panic(http.ErrAbortHandler) // too late for an answer: cut the connection
		}
		writeProblem(rec, http.StatusInternalServerError, "An error of ours; the log tells more.")
	}
	if isQuiet(r.URL.Path) {
		level = slog.LevelDebug
	}
	ctx := context.Background()
	if !e.log.Enabled(ctx, level) {
		return
	}
	if rec.status == 0 {
		rec.status = http.StatusOK // net/http sends it for a handler that wrote nothing
	}
	e.log.LogAttrs(ctx, level, "request",
		slog.String("method", r.Method), slog.String("path", r.URL.Path),
		slog.Int("status", rec.status), slog.Int64("bytes", rec.bytes),
		slog.Duration("took", e.now().Sub(start)), slog.String("remote", r.RemoteAddr),
		slog.String("request_id", id))
}

// isQuiet names what monitoring asks every few seconds.
func isQuiet(path string) bool {
	return path == "/healthz" || path == "/readyz" || path == "/metrics"
}

const idCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

// usableID tells whether a client's request id may go into our log and answer.
func usableID(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	for i := range len(id) {
		if strings.IndexByte(idCharacters, id[i]) < 0 {
			return false
		}
	}
	return true
}

// recorder remembers what was answered. status is 0 until something is.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= 200 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
