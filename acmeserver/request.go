package acmeserver

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/go-chi/chi/v5"

	"github.com/mayflyca/mayfly/fault"
)

// maxBody bounds a request. A finalize with 100 of the longest names has about 50 KB.
const maxBody = 64 << 10

// request is a POST whose URL, signature and nonce are good (RFC 8555 section 6).
type request struct {
	http    *http.Request
	url     string // as signed
	account Account
	key     key
	payload []byte // empty to read the resource
}

func (r *request) isGet() bool { return len(r.payload) == 0 }

// param gives a part of the path.
func (r *request) param(name string) string { return chi.URLParam(r.http, name) }

// decode reads the payload, which must be a JSON object. Members that we do not know are ignored, as
// extensions want it.
func (r *request) decode(into any) error { return decodeObject(r.payload, into) }

func decodeObject(payload []byte, into any) error {
	text := strings.TrimLeft(string(payload[:min(len(payload), 100)]), " \t\r\n")
	if !strings.HasPrefix(text, "{") {
		return refuse(malformed, "the payload is not a JSON object")
	}
	err := json.Unmarshal(payload, into)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return refuse(malformed, "the payload's %q is of the wrong JSON type", wrong.Field)
	}
	if err != nil {
		return refuse(malformed, "the payload is not JSON that can be read")
	}
	return nil
}

// signer says who may sign a request for a resource.
type signer int

const (
	anAccount      signer = iota // by "kid"
	aNewKey                      // by "jwk", fit for an account
	anAccountOrKey               // by either; any key
)

// authenticate reads a request and sees who signed it. The order of checks keeps garbage cheap: what
// needs no database comes first, the nonce's MAC among it; then one row is read for the account's
// key; and only a request with a good signature uses a nonce up, which is the one thing that is
// written. So nobody can spend another's nonce, or make us write, without an account.
func (s *Server) authenticate(w http.ResponseWriter, hr *http.Request, by signer) (*request, error) {
	j, err := s.readJWS(w, hr)
	if err != nil {
		return nil, err
	}
	good, result, err := s.nonces.check(hr.Context(), j.header.Nonce)
	if err := s.nonceProblem(result, err); err != nil {
		return nil, err
	}
	r := &request{http: hr, url: j.header.URL, payload: j.payload}
	if err := s.identify(hr.Context(), r, j.header, by); err != nil {
		return nil, err
	}
	if err := j.verify(r.key); err != nil {
		return nil, err
	}
	if r.account.ID != "" {
		if err := r.account.standing(); err != nil {
			return nil, err
		}
	}
	result, err = s.nonces.redeem(hr.Context(), good)
	if err := s.nonceProblem(result, err); err != nil {
		return nil, err
	}
	s.metrics.nonces.WithLabelValues(nonceGood).Inc()
	return r, nil
}

// readJWS reads the body, and sees that it was signed for this URL.
func (s *Server) readJWS(w http.ResponseWriter, hr *http.Request) (*jws, error) {
	contentType, _, err := mime.ParseMediaType(hr.Header.Get("Content-Type"))
	if err != nil || contentType != "application/jose+json" {
		return nil, refuse(malformed, "the Content-Type must be application/jose+json").
			withStatus(http.StatusUnsupportedMediaType)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, hr.Body, maxBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, refuse(malformed, "the request is larger than %d octets", maxBody).
			withStatus(http.StatusRequestEntityTooLarge)
	}
	if err != nil {
		return nil, refuse(malformed, "the request could not be read to its end")
	}
	j, err := parseJWS(body)
	if err != nil {
		return nil, err
	}
	if url := s.requestURL(hr); j.header.URL != url { // section 6.4
		return nil, refuse(unauthorized, "the request is signed for the URL %.200q, but this is %.200q",
			j.header.URL, url)
	}
	return j, nil
}

// requestURL is the URL of the request as we hand it out. None of ours needs an escape in its path.
func (s *Server) requestURL(hr *http.Request) string {
	url := s.origin + hr.URL.Path
	if hr.URL.RawQuery != "" {
		url += "?" + hr.URL.RawQuery
	}
	return url
}

// identify finds the key that must have signed, and its account if it is one's.
func (s *Server) identify(ctx context.Context, r *request, h header, by signer) (err error) {
	switch {
	case h.JWK != nil && by == anAccount:
		return refuse(malformed, `this resource wants requests signed by an account, named in "kid"`)
	case h.KeyID != "" && by == aNewKey:
		return refuse(malformed, `this resource wants requests signed by the key in "jwk"`)
	case h.JWK != nil:
		if r.key, err = parseKey(h.JWK); err == nil && by == aNewKey {
			err = r.key.checkAccountKey()
		}
		return err
	}
	unknown := refuse(accountDoesNotExist, "there is no account with the URL %.200q", h.KeyID)
	id, ok := strings.CutPrefix(h.KeyID, s.url("acct", ""))
	if !ok || !isID(id) {
		return unknown
	}
	r.account, err = s.store.Account(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return unknown
	}
	if err != nil {
		return err
	}
	r.key, err = parseKey(r.account.JWK)
	return err
}

// nonceProblem counts what became of a nonce that is not good, and turns it into an answer.
func (s *Server) nonceProblem(result string, err error) error {
	if result == nonceGood {
		return nil
	}
	if result != "" {
		s.metrics.nonces.WithLabelValues(result).Inc()
	}
	if err != nil {
		return err
	}
	return refuse(badNonce, "the nonce is %s; take the one in this answer", result)
}
