package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// ask sends one request through an edge around the handler and gives the answer and the log.
func ask(t *testing.T, h http.HandlerFunc, path string, header http.Header) (*http.Response, string) {
	t.Helper()
	var log bytes.Buffer
	e := &edge{next: h, log: slog.New(slog.NewTextHandler(&log, nil)), https: true, now: time.Now}
	req := httptest.NewRequest(http.MethodGet, path, nil)
	req.Header = header
	rec := httptest.NewRecorder()
	e.ServeHTTP(rec, req)
	return rec.Result(), log.String()
}

func TestRequestID(t *testing.T) {
	for given, keep := range map[string]bool{
		"abc-1.2_Z":             true,
		strings.Repeat("x", 64): true,
		strings.Repeat("x", 65): false,
		"":                      false,
		"a b":                   false,
		"a\nlevel=ERROR":        false,
		"é":                     false,
	} {
		var seen string
		header := http.Header{"X-Request-Id": {given}}
		resp, log := ask(t, func(_ http.ResponseWriter, r *http.Request) {
			seen = r.Header.Get("X-Request-Id")
		}, "/x", header)
		got := resp.Header.Get("X-Request-Id")
		if (got == given) != keep || got == "" || seen != got {
			t.Errorf("given %q: answered %q, handler saw %q", given, got, seen)
		}
		if !strings.Contains(log, "request_id="+got) || strings.Count(log, "\n") != 1 {
			t.Errorf("given %q: log %q", given, log)
		}
	}
}

func TestSecurityHeaders(t *testing.T) {
	resp, _ := ask(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'") // as a page does
	}, "/", http.Header{})
	for name, want := range map[string]string{
		"Strict-Transport-Security": "max-age=31536000",
		"X-Content-Type-Options":    "nosniff",
		"Referrer-Policy":           "no-referrer",
		"X-Frame-Options":           "DENY",
		"Content-Security-Policy":   "default-src 'self'",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	resp, _ = ask(t, healthy, "/x", http.Header{})
	if got := resp.Header.Get("Content-Security-Policy"); !strings.Contains(got, "default-src 'none'") {
		t.Errorf("CSP of what is no page: %q", got)
	}
}

func TestRequestLog(t *testing.T) {
	_, log := ask(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		io.WriteString(w, "12345")
	}, "/tea?secret=1", http.Header{})
	for _, want := range []string{"method=GET", "path=/tea", "status=418", "bytes=5", "took="} {
		if !strings.Contains(log, want) {
			t.Errorf("%q is missing in %q", want, log)
		}
	}
	if strings.Contains(log, "secret") {
		t.Errorf("the query is in the log: %q", log)
	}
	for _, quiet := range []string{"/healthz", "/readyz", "/metrics"} {
		if _, log := ask(t, healthy, quiet, http.Header{}); log != "" {
			t.Errorf("%s is in the log: %q", quiet, log)
		}
	}
}

// never #4: a handler that panics costs one answer, not the process.
func TestPanic(t *testing.T) {
	resp, log := ask(t, func(http.ResponseWriter, *http.Request) { panic("secret detail") }, "/x",
		http.Header{})
	body, _ := io.ReadAll(resp.Body)
	var problem struct{ Status int }
	if resp.StatusCode != http.StatusInternalServerError || resp.Header.Get("Content-Type") != "application/problem+json" ||
		json.Unmarshal(body, &problem) != nil || problem.Status != 500 {
		t.Errorf("answer %d %s", resp.StatusCode, body)
	}
	if bytes.Contains(body, []byte("secret")) {
		t.Errorf("the panic's text left the house: %s", body)
	}
	if !strings.Contains(log, "secret detail") || !strings.Contains(log, "status=500") {
		t.Errorf("log %q", log)
	}

	server := httptest.NewServer(&edge{
		next: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "half an ans")
			http.NewResponseController(w).Flush() // through the recorder
			panic("late")
		}),
		log: slog.New(slog.DiscardHandler), now: time.Now,
	})
	defer server.Close()
	late, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer late.Body.Close()
	if _, err := io.ReadAll(late.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a half answer looks whole: %v", err)
	}
}

func BenchmarkEdge(b *testing.B) {
	e := &edge{
		next: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") }),
		log:  slog.New(slog.NewJSONHandler(io.Discard, nil)), https: true, now: time.Now,
	}
	req := httptest.NewRequest(http.MethodGet, "/acme/directory", nil)
	for b.Loop() {
		e.ServeHTTP(httptest.NewRecorder(), req)
	}
}
