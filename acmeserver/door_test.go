package acmeserver_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/acmeserver/internal/validate"
	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/ca/catest"
	"github.com/mayflyca/mayfly/store"
)

const baseURL = "https://ca.test"

// checkFunc is a validate.Checker.
type checkFunc func(ctx context.Context, c validate.Challenge) validate.Result

func (f checkFunc) Check(ctx context.Context, c validate.Challenge) validate.Result { return f(ctx, c) }

func (f checkFunc) CAA(ctx context.Context, c validate.Challenge) validate.Result { return f(ctx, c) }

var (
	proven = validate.Result{OK: true, Trace: []string{"asked", "answered well"}}
	wrong  = validate.Result{
		ProblemType: "unauthorized", Detail: "the file holds something else", Trace: []string{"got 200"},
	}
	unreachable = validate.Result{
		ProblemType: "connection", Detail: "nothing listens there", Trace: []string{"connection refused"},
	}
)

func always(r validate.Result) checkFunc {
	return func(context.Context, validate.Challenge) validate.Result { return r }
}

// house is a door on a real store and a real CA, and asked without a network.
type house struct {
	store  *spy
	ca     *ca.CA
	door   *acmeserver.Server
	config acmeserver.Config
	ahead  atomic.Int64 // how far the door's clock is before the real one
	peer   string       // host:port from where requests come; empty for httptest's
}

func houseOf(t testing.TB, s *store.Store, authority *ca.CA, check checkFunc) *house {
	t.Helper()
	h := &house{store: &spy{Store: s}, ca: authority}
	h.config = acmeserver.Config{
		Store: h.store, CA: h.ca, BaseURL: baseURL, Log: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return time.Now().Add(time.Duration(h.ahead.Load())) },
	}
	h.reopen(t, check)
	return h
}

// reopen makes a new door on the same store, as a restart or another replica does.
func (h *house) reopen(t testing.TB, check checkFunc) {
	t.Helper()
	door, err := acmeserver.NewWith(h.config, check)
	if err != nil {
		t.Fatal(err)
	}
	h.door = door
}

func (h *house) pass(d time.Duration) { h.ahead.Add(int64(d)) }

// reply is what the door said.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (h *house) do(method, url, contentType string, body []byte) reply {
	r := httptest.NewRequest(method, url, bytes.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	if h.peer != "" {
		r.RemoteAddr = h.peer
	}
	w := httptest.NewRecorder()
	h.door.ServeHTTP(w, r)
	return reply{w.Code, w.Header(), w.Body.Bytes()}
}

// decode reads the body into a value.
func decode[T any](t testing.TB, r reply) (v T) {
	t.Helper()
	if err := json.Unmarshal(r.body, &v); err != nil {
		t.Fatalf("answer %d is not the JSON we expect: %v: %s", r.status, err, r.body)
	}
	return v
}

type problem struct {
	Type, Detail string
	Status       int
	Algorithms   []string
	Subproblems  []struct {
		Type, Detail string
		Identifier   struct{ Type, Value string }
	}
}

// refused demands a problem document of the type (RFC 8555 section 6.7).
func (r reply) refused(t testing.TB, status int, kind string) problem {
	t.Helper()
	if r.status != status || r.header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("got %d %s %s, want %d and a problem", r.status, r.header.Get("Content-Type"), r.body, status)
	}
	p := decode[problem](t, r)
	if p.Type != "urn:ietf:params:acme:error:"+kind || p.Status != status || p.Detail == "" {
		t.Fatalf("got the problem %s, want %s", r.body, kind)
	}
	if strings.Contains(string(r.body), "null") { // never #20
		t.Errorf("an empty member is written out: %s", r.body)
	}
	return p
}

// ok demands a status.
func (r reply) ok(t testing.TB, status int) reply {
	t.Helper()
	if r.status != status {
		t.Fatalf("got %d %s, want %d", r.status, r.body, status)
	}
	return r
}

// client is a small ACME client of which every part can be made to lie.
type client struct {
	t       testing.TB
	h       *house
	key     *ecdsa.PrivateKey
	account string // URL; requests are signed by jwk while it is empty
}

func newKey(t testing.TB) *ecdsa.PrivateKey { return catest.Key(t).(*ecdsa.PrivateKey) }

// stranger has a key and no account.
func (h *house) stranger(t testing.TB) *client { return &client{t: t, h: h, key: newKey(t)} }

// customer has an account.
func (h *house) customer(t testing.TB) *client {
	t.Helper()
	c := h.stranger(t)
	c.account = c.post("/acme/new-account", `{}`).ok(t, http.StatusCreated).header.Get("Location")
	return c
}

func (h *house) nonce(t testing.TB) string {
	t.Helper()
	return h.do("HEAD", baseURL+"/acme/new-nonce", "", nil).ok(t, 200).header.Get("Replay-Nonce")
}

func (c *client) header(url string) map[string]any {
	header := map[string]any{"alg": "ES256", "nonce": c.h.nonce(c.t), "url": url}
	if c.account == "" {
		header["jwk"] = jwk(c.key)
	} else {
		header["kid"] = c.account
	}
	return header
}

// post signs the payload and sends it; nil reads the resource.
func (c *client) post(url string, payload any) reply {
	c.t.Helper()
	if strings.HasPrefix(url, "/") {
		url = baseURL + url
	}
	return c.send(url, sign(c.key, c.header(url), text(payload)))
}

func (c *client) send(url string, body []byte) reply {
	c.t.Helper()
	r := c.h.do("POST", url, "application/jose+json", body)
	if r.header.Get("Replay-Nonce") == "" { // never #20
		c.t.Errorf("answer %d to %s has no nonce", r.status, url)
	}
	if !strings.Contains(r.header.Get("Link"), "<"+baseURL+`/acme/directory>;rel="index"`) {
		c.t.Errorf("answer %d to %s has no Link to the directory", r.status, url)
	}
	return r
}

func text(payload any) []byte {
	switch p := payload.(type) {
	case nil:
		return nil
	case string:
		return []byte(p)
	case []byte:
		return p
	}
	out, err := json.Marshal(payload)
	if err != nil {
		panic(err)
	}
	return out
}

func b64(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

func jwk(key *ecdsa.PrivateKey) map[string]any {
	point, err := key.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	return map[string]any{"kty": "EC", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])}
}

// sign makes a JWS with ES256 (RFC 7515 section 7.2.2).
func sign(key *ecdsa.PrivateKey, header map[string]any, payload []byte) []byte {
	return text(flatten(key, header, payload))
}

func flatten(key *ecdsa.PrivateKey, header map[string]any, payload []byte) map[string]any {
	protected := b64(text(header))
	digest := sha256.Sum256([]byte(protected + "." + b64(payload)))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		panic(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return map[string]any{"protected": protected, "payload": b64(payload), "signature": b64(signature)}
}

// The objects, as a client sees them.
type (
	order struct {
		url            string
		Status         string
		Expires        time.Time
		Identifiers    []struct{ Type, Value string }
		Profile        string
		Replaces       string
		Error          *problem
		Authorizations []string
		Finalize       string
		Certificate    string
	}
	authorization struct {
		Status     string
		Identifier struct{ Type, Value string }
		Expires    time.Time
		Wildcard   bool
		Challenges []challenge
	}
	challenge struct {
		Type, URL, Status, Token string
		Validated                time.Time
		Error                    *problem
		Trace                    []string
	}
)

func identifiers(names ...string) map[string]any {
	list := []map[string]string{}
	for _, name := range names {
		kind := "dns"
		if strings.ContainsRune(name, ':') || strings.Trim(name, "0123456789.") == "" {
			kind = "ip"
		}
		list = append(list, map[string]string{"type": kind, "value": name})
	}
	return map[string]any{"identifiers": list}
}

func (c *client) newOrder(names ...string) order {
	c.t.Helper()
	r := c.post("/acme/new-order", identifiers(names...)).ok(c.t, http.StatusCreated)
	o := decode[order](c.t, r)
	o.url = r.header.Get("Location")
	return o
}

func (c *client) order(url string) order {
	c.t.Helper()
	o := decode[order](c.t, c.post(url, nil).ok(c.t, 200))
	o.url = url
	return o
}

func (c *client) authorization(url string) authorization {
	c.t.Helper()
	return decode[authorization](c.t, c.post(url, nil).ok(c.t, 200))
}

// readyOrder is an order with everything proven.
func (c *client) readyOrder(names ...string) order {
	c.t.Helper()
	o := c.newOrder(names...)
	for _, url := range o.Authorizations {
		ch := decode[challenge](c.t, c.post(c.authorization(url).Challenges[0].URL, `{}`).ok(c.t, 200))
		if ch.Status != "valid" {
			c.t.Fatalf("the challenge is %s", ch.Status)
		}
	}
	return c.order(o.url)
}

// settled waits for the verdict on a challenge.
func (c *client) settled(url string) {
	c.t.Helper()
	for range 10_000 {
		if decode[challenge](c.t, c.post(url, nil).ok(c.t, 200)).Status != "processing" {
			return
		}
	}
	c.t.Fatal("the challenge is never settled")
}

func (c *client) finalize(o order, key crypto.Signer, names ...string) reply {
	c.t.Helper()
	return c.post(o.Finalize, map[string]string{"csr": b64(catest.CSR(c.t, key, names...))})
}

// issue walks the whole way and gives the certificate's DER, and its URL.
func (c *client) issue(key crypto.Signer, names ...string) (der []byte, url string) {
	c.t.Helper()
	done := decode[order](c.t, c.finalize(c.readyOrder(names...), key, names...).ok(c.t, 200))
	chain := c.post(done.Certificate, nil).ok(c.t, 200)
	block, _ := pem.Decode(chain.body)
	if block == nil {
		c.t.Fatalf("the certificate is not PEM: %s", chain.body)
	}
	return block.Bytes, done.Certificate
}
