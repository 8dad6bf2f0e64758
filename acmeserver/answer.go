package acmeserver

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// answer is what a handler says. Its zero value is an empty 200.
type answer struct {
	status     int           // 0 for 200
	body       any           // for JSON; nil for none
	chain      []byte        // PEM, instead of body
	text       string        // plain, instead of body
	alternates []string      // other chains of the same certificate, for Link
	cache      time.Duration // how long caches may keep it; 0 for not at all
	location   string
	up         string // the resource above this one, for Link
	next       string // the next page, for Link
	retryAfter time.Duration
}

// answer is the one place that writes an answer to a request.
func (s *Server) answer(
	w http.ResponseWriter, r *http.Request, endpoint string, a *answer, err error,
) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Add("Link", link(s.url("directory"), "index"))
	if r.Method == http.MethodPost {
		s.addNonce(w, r)
	}
	if err != nil {
		s.answerProblem(w, r, endpoint, refusalOf(err))
		return
	}
	s.metrics.requests.WithLabelValues(endpoint, "").Inc()
	if a.cache > 0 {
		h.Set("Cache-Control", "public, max-age="+strconv.Itoa(int(a.cache/time.Second)))
	}
	for _, url := range a.alternates {
		h.Add("Link", link(url, "alternate"))
	}
	if a.up != "" {
		h.Add("Link", link(a.up, "up"))
	}
	if a.next != "" {
		h.Add("Link", link(a.next, "next"))
	}
	setHeaders(h, a.location, a.retryAfter)
	status := a.status
	if status == 0 {
		status = http.StatusOK
	}
	switch {
	case a.chain != nil:
		write(w, status, "application/pem-certificate-chain", a.chain)
	case a.text != "":
		write(w, status, "text/plain; charset=utf-8", []byte(a.text))
	case a.body != nil:
		s.writeJSON(w, status, "application/json", a.body)
	default:
		w.WriteHeader(status)
	}
}

// addNonce puts a fresh nonce on the answer to a POST, whatever it says: a client whose nonce was bad
// needs no extra round trip (never #20). If there is none to be had, the answer goes without: the
// client asks newNonce, which says why.
func (s *Server) addNonce(w http.ResponseWriter, r *http.Request) {
	if nonce, err := s.nonces.mint(r.Context()); err == nil {
		w.Header().Set("Replay-Nonce", nonce)
	}
}

func (s *Server) answerProblem(w http.ResponseWriter, r *http.Request, endpoint string, p *refusal) {
	s.metrics.requests.WithLabelValues(endpoint, p.Type).Inc()
	if p.Status >= http.StatusInternalServerError && r.Context().Err() == nil {
		s.log.ErrorContext(r.Context(), "ACME request failed", "endpoint", endpoint, "error", p)
	}
	setHeaders(w.Header(), p.location, p.retryAfter)
	if p.terms != "" {
		w.Header().Add("Link", link(p.terms, "terms-of-service"))
	}
	if p.allow != "" {
		w.Header().Set("Allow", p.allow)
	}
	s.writeJSON(w, p.Status, "application/problem+json", p.onWire())
}

func (s *Server) writeJSON(w http.ResponseWriter, status int, contentType string, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		s.log.Error("encoding an ACME answer", "error", err)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	write(w, status, contentType, text)
}

// write sends the body. If the client is gone there is nobody to tell.
func write(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// setHeaders sets what both answers and problems may have. Retry-After counts seconds: several
// clients cannot read a date there.
func setHeaders(h http.Header, location string, retryAfter time.Duration) {
	if location != "" {
		h.Set("Location", location)
	}
	if retryAfter > 0 {
		seconds := int((retryAfter + time.Second - 1) / time.Second)
		h.Set("Retry-After", strconv.Itoa(seconds))
	}
}

func link(target, relation string) string { return "<" + target + ">;rel=\"" + relation + "\"" }
