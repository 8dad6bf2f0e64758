package api_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/api"
	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/ca/catest"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/identity/signin"
	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

const certificates = "/api/v1/certificates"

// clock is a fake one. Safe for concurrent use.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// server is a real CA on SQLite behind the API.
type server struct {
	http.Handler
	ca    *ca.CA
	acme  *acmeserver.Server
	store *store.Store
	clock *clock
	token string // an administrator's
	log   *bytes.Buffer
}

func newServer(t testing.TB) *server {
	t.Helper()
	return newServerWith(t, func(*store.Store, *ca.Config) {})
}

// newServerWith is newServer with a change to the CA.
func newServerWith(t testing.TB, change func(*store.Store, *ca.Config)) *server {
	t.Helper()
	s := &server{
		store: storetest.SQLite(t), log: &bytes.Buffer{},
		clock: &clock{now: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)},
	}
	config := catest.Config(t, s.store)
	config.Now = s.clock.Now
	change(s.store, &config)
	s.ca = catest.Open(t, config)
	s.token = s.newToken(t, "ops", identity.RoleAdmin)
	var err error
	s.acme, err = acmeserver.New(acmeserver.Config{
		Store: s.store, CA: s.ca, BaseURL: "https://ca.test",
		Now: s.clock.Now, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Handler = api.New(api.Config{
		CA: s.ca, ACME: s.acme.Operator(), Tokens: s.store, Now: s.clock.Now, Version: "1.2.3",
		Log: slog.New(slog.NewTextHandler(s.log, nil)),
	})
	return s
}

func (s *server) newToken(t testing.TB, name string, role identity.Role) string {
	t.Helper()
	secret, token := signin.NewToken(s.clock.Now(), name, role)
	if err := s.store.AddToken(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	return secret
}

// answer is what the API said.
type answer struct {
	*httptest.ResponseRecorder
	t testing.TB
}

// call sends a request with the administrator's token; headers come in pairs and replace.
func (s *server) call(t testing.TB, method, path, body string, headers ...string) answer {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+s.token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return answer{w, t}
}

// certificate is what a client reads.
type certificate struct {
	Serial           string
	Status           string
	Profile          string
	Owner            string
	Names            []string
	Issuer           string
	NotBefore        time.Time  `json:"not_before"`
	NotAfter         time.Time  `json:"not_after"`
	IssuedAt         *time.Time `json:"issued_at"`
	SHA256           string
	RevokedAt        *time.Time `json:"revoked_at"`
	RevocationReason string     `json:"revocation_reason"`
	Certificate      string
	Chain            string
}

// read checks the status and reads the answer into into, with no field unknown.
func (a answer) read(status int, into any) {
	a.t.Helper()
	if a.Code != status {
		a.t.Fatalf("status %d, want %d: %s", a.Code, status, a.Body)
	}
	d := json.NewDecoder(bytes.NewReader(a.Body.Bytes()))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		a.t.Fatalf("%v in %s", err, a.Body)
	}
	if got := a.Header().Get("Content-Type"); got != "application/json" {
		a.t.Errorf("content type %q", got)
	}
}

type problem struct {
	Title  string
	Status int
	Detail string
	Errors []struct{ Message, Location string }
}

// problem checks that the answer is a problem document with the status, and gives it.
func (a answer) problem(status int) problem {
	a.t.Helper()
	var p problem
	if err := json.Unmarshal(a.Body.Bytes(), &p); err != nil {
		a.t.Fatalf("%v in %q", err, a.Body)
	}
	if a.Code != status || p.Status != status || p.Title != http.StatusText(status) || p.Detail == "" ||
		a.Header().Get("Content-Type") != "application/problem+json" {
		a.t.Fatalf("want %d, got %d %v: %s", status, a.Code, a.Header(), a.Body)
	}
	return p
}

func csrBody(t testing.TB, names ...string) string {
	t.Helper()
	return body(t, map[string]string{"csr": csrPEM(catest.CSR(t, catest.Key(t), names...))})
}

func csrPEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func body(t testing.TB, fields map[string]string) string {
	t.Helper()
	text, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (s *server) issue(t testing.TB, names ...string) certificate {
	t.Helper()
	var issued certificate
	s.call(t, "POST", certificates, csrBody(t, names...)).read(http.StatusCreated, &issued)
	return issued
}

// openAPI is the part of the document that tests look at.
type openAPI struct {
	OpenAPI  string
	Info     struct{ Title, Version, Description string }
	Security []map[string][]string
	Paths    map[string]map[string]struct {
		OperationID string
		Summary     string
		Security    []map[string][]string
		Responses   map[string]any
	}
	Components struct {
		SecuritySchemes map[string]map[string]string
		Schemas         map[string]struct {
			Properties map[string]struct{ Enum []string }
		}
	}
}

func (s *server) openAPI(t testing.TB) openAPI {
	t.Helper()
	w := s.call(t, "GET", "/openapi.json", "", "Authorization", "")
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/openapi+json" {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	var doc openAPI
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestOpenAPI(t *testing.T) {
	s := newServer(t)
	doc := s.openAPI(t)
	if !strings.HasPrefix(doc.OpenAPI, "3.1.") || doc.Info.Version != "1.2.3" {
		t.Errorf("OpenAPI %s of version %s", doc.OpenAPI, doc.Info.Version)
	}
	if len(doc.Security) != 1 || doc.Security[0]["token"] == nil ||
		doc.Components.SecuritySchemes["token"]["scheme"] != "bearer" {
		t.Errorf("security %v, schemes %v", doc.Security, doc.Components.SecuritySchemes)
	}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			if op.OperationID == "" || op.Summary == "" || op.Security != nil || op.Responses["401"] == nil ||
				op.Responses["503"] == nil {
				t.Errorf("%s %s is not well described: %+v", method, path, op)
			}
		}
	}
	enums := 0
	for _, schema := range doc.Components.Schemas {
		for _, reason := range schema.Properties["reason"].Enum {
			enums++
			if _, err := ca.ParseReason(reason); err != nil {
				t.Errorf("the document names the reason %q: %v", reason, err)
			}
		}
	}
	if enums != 6 {
		t.Errorf("%d reasons in the document", enums)
	}
	// Whatever answers is in the document.
	err := chi.Walk(s.Handler.(chi.Routes), func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		if _, ok := doc.Paths[route][strings.ToLower(method)]; !ok && route != "/openapi.json" {
			t.Errorf("%s %s is not in the document", method, route)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// never #1: every operation refuses who has no token, a wrong one, or one without the role, before
// it looks at anything else, and does nothing.
func TestEveryOperationNeedsAToken(t *testing.T) {
	s := newServer(t)
	issued := s.issue(t, "a.internal")
	plain := s.newToken(t, "plain", identity.RoleNone)
	unknown, _ := signin.NewToken(s.clock.Now(), "unknown", identity.RoleAdmin)
	expired, token := signin.NewToken(s.clock.Now(), "expired", identity.RoleAdmin)
	token.ExpiresAt = s.clock.Now()
	if err := s.store.AddToken(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	key := s.newEABKey(t, `{"owner":"team a"}`)
	s.pause(t, "some account", "a.internal")
	operations := 0
	for path, methods := range s.openAPI(t).Paths {
		path = strings.ReplaceAll(path, "{serial}", issued.Serial)
		path = strings.ReplaceAll(path, "{id}", key.ID)
		for method := range methods {
			operations++
			good := csrBody(t, "b.internal")
			switch {
			case strings.HasSuffix(path, "/revoke"):
				good = `{"reason":"keyCompromise"}`
			case path == grants:
				good = `{"eab_key":"` + key.ID + `","names":[".internal"],"expires_at":"2027-01-01T00:00:00Z"}`
			case path == eabKeys:
				good = `{"owner":"me"}`
			}
			for _, sent := range []string{good, `{}`, "\x00", ""} {
				for _, header := range []string{
					"", "Bearer", "Bearer " + unknown, "Bearer " + expired, "Basic " + s.token, s.token,
				} {
					w := s.call(t, strings.ToUpper(method), path, sent, "Authorization", header)
					w.problem(http.StatusUnauthorized)
					if got := w.Header().Get("WWW-Authenticate"); got != `Bearer realm="mayfly"` {
						t.Errorf("%s %s: WWW-Authenticate %q", method, path, got)
					}
				}
				p := s.call(t, strings.ToUpper(method), path, sent, "Authorization", "Bearer "+plain).
					problem(http.StatusForbidden)
				if !strings.Contains(p.Detail, "administrator") {
					t.Errorf("%s %s: %q", method, path, p.Detail)
				}
			}
		}
	}
	if operations != 19 {
		t.Errorf("the document has %d operations", operations)
	}
	var page struct{ Items []certificate }
	s.call(t, "GET", certificates, "").read(http.StatusOK, &page)
	if len(page.Items) != 1 || page.Items[0].Status != "valid" {
		t.Errorf("something was done: %+v", page.Items)
	}
	if got := storetest.CountEntries(t, s.store, audit.EABKeyCreated); got != 1 {
		t.Errorf("%d EAB keys were made", got)
	}
	for _, kind := range []audit.Kind{audit.EABKeyRevoked, audit.GrantCreated, audit.GrantWithdrawn, audit.AccountChanged, audit.NameUnpaused} {
		if got := storetest.CountEntries(t, s.store, kind); got != 0 {
			t.Errorf("something was done: %s", kind)
		}
	}
}

func TestIssue(t *testing.T) {
	s := newServer(t)
	key := catest.Key(t)
	der := catest.CSR(t, key, "a.internal", "*.B.internal", "10.0.0.1")
	var got certificate
	w := s.call(t, "POST", certificates, body(t, map[string]string{"csr": csrPEM(der), "profile": "peer"}))
	w.read(http.StatusCreated, &got)
	if want := certificates + "/" + got.Serial; w.Header().Get("Location") != want {
		t.Errorf("location %q, want %q", w.Header().Get("Location"), want)
	}
	block, rest := pem.Decode([]byte(got.Certificate))
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil || len(rest) > 0 {
		t.Fatalf("%v, and %d octets more", err, len(rest))
	}
	if !key.Public().(*ecdsa.PublicKey).Equal(leaf.PublicKey) {
		t.Error("the certificate is for another key")
	}
	roots, chain := x509.NewCertPool(), x509.NewCertPool()
	for _, issuer := range s.ca.Issuers() {
		if issuer.Kind == ca.Root {
			root, err := x509.ParseCertificate(issuer.Certificate)
			if err != nil {
				t.Fatal(err)
			}
			roots.AddCert(root)
		}
	}
	if !chain.AppendCertsFromPEM([]byte(got.Chain)) {
		t.Error("no chain")
	}
	for _, name := range []string{"a.internal", "x.b.internal", "10.0.0.1"} {
		_, err := leaf.Verify(x509.VerifyOptions{
			DNSName: name, Roots: roots, Intermediates: chain, CurrentTime: s.clock.Now(),
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	serial, err := ca.SerialFromBig(leaf.SerialNumber)
	if err != nil || got.Serial != serial.String() || got.Status != "valid" || got.Profile != "peer" ||
		got.Owner != "ops" || !slices.Equal(got.Names, []string{"a.internal", "*.b.internal", "10.0.0.1"}) ||
		!got.NotBefore.Equal(leaf.NotBefore) || !got.NotAfter.Equal(leaf.NotAfter) ||
		got.IssuedAt == nil || !got.IssuedAt.Equal(s.clock.Now()) || len(got.SHA256) != 64 ||
		got.RevokedAt != nil || got.RevocationReason != "" {
		t.Errorf("%+v", got)
	}
	if issuer := s.ca.Issuers()[1]; got.Issuer != issuer.ID {
		t.Errorf("issuer %s, want %s", got.Issuer, issuer.ID)
	}
	if !strings.Contains(w.Body.String(), `"not_after":"2026-11-25T`) || !strings.Contains(w.Body.String(), `59Z"`) {
		t.Errorf("times are not RFC 3339 in UTC: %s", w.Body)
	}
}

func TestIdempotencyKey(t *testing.T) {
	s := newServer(t)
	first := csrBody(t, "a.internal")
	post := func(token, key, sent string) answer {
		return s.call(t, "POST", certificates, sent, "Idempotency-Key", key, "Authorization", "Bearer "+token)
	}
	serials := make([]string, 20)
	var wg sync.WaitGroup
	for i := range serials {
		wg.Go(func() {
			if w := post(s.token, "deploy-1", first); w.Code == http.StatusCreated {
				serials[i] = w.Header().Get("Location")
			} else {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
	wg.Wait()
	if got := slices.Compact(slices.Sorted(slices.Values(serials))); len(got) != 1 {
		t.Errorf("one key gave %v", got)
	}
	post(s.token, "deploy-1", csrBody(t, "a.internal")).problem(http.StatusConflict)
	other := s.newToken(t, "other", identity.RoleAdmin)
	for what, w := range map[string]answer{
		"another key":        post(s.token, "deploy-2", first),
		"another caller":     post(other, "deploy-1", first),
		"no key":             post(s.token, "", first),
		"no key, once again": post(s.token, "", first),
	} {
		if w.Code != http.StatusCreated || slices.Contains(serials, w.Header().Get("Location")) {
			t.Errorf("%s: %d %s", what, w.Code, w.Header().Get("Location"))
		}
		serials = append(serials, w.Header().Get("Location"))
	}
	for _, key := range []string{"a b", "a/b", "ä", `"a"`, strings.Repeat("k", 129)} {
		p := post(s.token, key, first).problem(http.StatusUnprocessableEntity)
		if len(p.Errors) != 1 || p.Errors[0].Location != "header.Idempotency-Key" {
			t.Errorf("%q: %+v", key, p)
		}
	}
}

// Garbage gets an answer that names what is wrong; nothing is a 5xx, and nothing is repeated.
func TestBadRequests(t *testing.T) {
	s := newServer(t)
	issued := s.issue(t, "a.internal")
	one := certificates + "/" + issued.Serial
	field := func(name, value string) string { return body(t, map[string]string{name: value}) }
	for _, test := range []struct {
		method, path, body string
		headers            []string
		status             int
		location, want     string // of the first error; want is the detail's if location is empty
	}{
		{"POST", certificates, "", nil, 415, "", "application/json"},
		{"POST", certificates, "", []string{"Content-Type", "application/json"}, 400, "", "body is required"},
		{"POST", certificates, "{", nil, 400, "body", "unexpected end"},
		{"POST", certificates, "\x00{[", nil, 400, "body", "invalid character"},
		{"POST", certificates, strings.Repeat("[", 50000), nil, 400, "body", "depth"},
		{"POST", certificates, "[]", nil, 422, "body", "object"},
		{"POST", certificates, "null", nil, 422, "body", ""},
		{"POST", certificates, "{}", nil, 422, "body", "csr"},
		{"POST", certificates, `{"csr":17}`, nil, 422, "body.csr", "string"},
		{"POST", certificates, `{"csr":"x","crs":"x"}`, nil, 422, "body.crs", "unexpected"},
		{"POST", certificates, field("csr", strings.Repeat("x", 65537)), nil, 422, "body.csr", "65536"},
		{"POST", certificates, field("csr", strings.Repeat("x", 1<<20)), nil, 413, "", "96 KiB"},
		{"POST", certificates, "<csr/>", []string{"Content-Type", "application/xml"}, 415, "", "application/json"},
		{"POST", certificates, "a=b", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "", "application/json"},
		{"POST", certificates, "{}", []string{"Content-Type", "application/problem+json"}, 415, "", "application/json"},
		{"POST", certificates, "{}", []string{"Content-Type", "application/json; charset"}, 415, "", "application/json"},
		{"POST", certificates, field("csr", "hello"), nil, 422, "body.csr", "is not PEM"},
		{"POST", certificates, field("csr", issued.Certificate), nil, 422, "body.csr", "is a certificate"},
		{"POST", certificates, field("csr", csrPEM([]byte("hello"))), nil, 422, "body.csr", "PKCS#10"},
		{"POST", certificates, csrBody(t), nil, 422, "body.csr", "at least one"},
		{"POST", certificates, csrBody(t, "under_score.internal"), nil, 422, "body.csr", "underscore"},
		{"POST", certificates, body(t, map[string]string{
			"csr": csrPEM(catest.CSR(t, catest.Key(t), "a.internal")), "profile": "nothing",
		}), nil, 422, "body.profile", "does not exist"},
		{"POST", certificates + "?x=1", csrBody(t, "a.internal"), nil, 422, "query.x", "unknown"},
		{"GET", certificates + "?nonsense=1", "", nil, 422, "query.nonsense", "unknown"},
		{"GET", certificates + "?limit=0", "", nil, 422, "query.limit", ">= 1"},
		{"GET", certificates + "?limit=1001", "", nil, 422, "query.limit", "<= 1000"},
		{"GET", certificates + "?limit=-1", "", nil, 422, "query.limit", ">= 1"},
		{"GET", certificates + "?limit=x", "", nil, 422, "query.limit", "integer"},
		{"GET", certificates + "?status=sleepy", "", nil, 422, "query.status", "valid"},
		{"GET", certificates + "?cursor=%00%ff", "", nil, 422, "query.cursor", "next"},
		{"GET", certificates + "?cursor=AAAA", "", nil, 422, "query.cursor", "next"},
		{"GET", certificates + "?cursor=AAAAAAAAAAAAAAAA", "", nil, 422, "query.cursor", "next"},
		{"GET", certificates + "?name=%00", "", nil, 422, "query.name", "character"},
		{"GET", certificates + "?name=a_b", "", nil, 422, "query.name", "underscore"},
		{"GET", certificates + "?suffix=.", "", nil, 422, "query.suffix", "empty"},
		{"GET", certificates + "?suffix=%ff", "", nil, 422, "query.suffix", "ASCII"},
		{"GET", certificates + "?owner=%00", "", nil, 422, "query.owner", "text"},
		{"GET", certificates + "?owner=%ff", "", nil, 422, "query.owner", "text"},
		{"GET", certificates + "?profile=a%0Ab", "", nil, 422, "query.profile", "text"},
		{"GET", certificates + "?expires_before=tomorrow", "", nil, 422, "query.expires_before", "2006"},
		{"GET", certificates + "/zz", "", nil, 422, "path.serial", "hexadecimal"},
		{"GET", certificates + "/zz.pem", "", nil, 422, "path.serial", "hexadecimal"},
		{"GET", certificates + "/" + strings.Repeat("1", 129), "", nil, 422, "path.serial", "128"},
		{"GET", certificates + "/00112233445566778899aabbccddeeff", "", nil, 404, "", "no such certificate"},
		{"GET", certificates + "/00112233445566778899aabbccddeeff.pem", "", nil, 404, "", "no such certificate"},
		{"POST", certificates + "/00112233445566778899aabbccddeeff/revoke", "{}", nil, 404, "", "no such certificate"},
		{"POST", one + "/revoke", `{"reason":"boredom"}`, nil, 422, "body.reason", "keyCompromise"},
		{"POST", one + "/revoke", `{"reason":"certificateHold"}`, nil, 422, "body.reason", "keyCompromise"},
		{"POST", one + "/revoke", `{"why":"x"}`, nil, 422, "body.why", "unexpected"},
		{"DELETE", certificates, "", nil, 405, "", "DELETE"},
		{"BREW", certificates, "", nil, 405, "", "BREW"},
		{"POST", one, "{}", nil, 405, "", "POST"},
		{"GET", "/api/v1/nothing", "", nil, 404, "", "/openapi.json"},
		{"GET", "/api/", "", nil, 404, "", "/openapi.json"},
	} {
		p := s.call(t, test.method, test.path, test.body, test.headers...)
		got := p.problem(test.status)
		where, said := "", got.Detail
		if len(got.Errors) > 0 {
			where, said = got.Errors[0].Location, got.Errors[0].Message
		}
		if where != test.location || !strings.Contains(said, test.want) {
			t.Errorf("%s %.80s %.80s: at %q %q; want at %q %q", test.method, test.path, test.body, where, said,
				test.location, test.want)
		}
		if p.Body.Len() > 2000 || strings.Contains(p.Body.String(), `"value"`) {
			t.Errorf("%s %.80s: the answer repeats the request: %.300s", test.method, test.path, p.Body)
		}
	}
	if allow := s.call(t, "DELETE", certificates, "").Header().Values("Allow"); !slices.Equal(allow, []string{"GET", "POST"}) {
		t.Errorf("Allow %v", allow)
	}
	// A body whose connection breaks off is the client's affair.
	r := httptest.NewRequestWithContext(t.Context(), "POST", certificates,
		io.MultiReader(strings.NewReader(`{"csr":"`), brokenReader{}))
	r.Header.Set("Authorization", "Bearer "+s.token)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	answer{w, t}.problem(http.StatusBadRequest)
	if s.log.Len() > 0 {
		t.Errorf("the log took them for faults of ours: %s", s.log)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// What only the log may tell is not told, from wherever it comes.
func TestInternalErrors(t *testing.T) {
	var failure error
	s := newServerWith(t, func(s *store.Store, config *ca.Config) {
		config.Store = &storetest.Faulty{Store: s, Fault: func(method string) (before, after error) {
			if method == "Promise" {
				before = failure
			}
			return before, nil
		}}
	})
	for _, failure = range []error{
		errors.New("secret"), fault.New(fault.Internal, "secret"),
		&fault.Error{Field: "secret", Detail: "secret", RetryAfter: time.Minute},
	} {
		s.log.Reset()
		w := s.call(t, "POST", certificates, csrBody(t, "a.internal"), "X-Request-Id", "request-7")
		p := w.problem(http.StatusInternalServerError)
		if strings.Contains(w.Body.String(), "secret") || p.Errors != nil || w.Header().Get("Retry-After") != "" {
			t.Errorf("%#v: %v %s", failure, w.Header(), w.Body)
		}
		if log := s.log.String(); !strings.Contains(log, "secret") || !strings.Contains(log, "request-7") {
			t.Errorf("%#v: the log is %q", failure, log)
		}
	}
}

// What is our affair is not told; what depends on others says when to ask again.
func TestFaultsOfOurs(t *testing.T) {
	s := newServer(t)
	sent := csrBody(t, "a.internal")
	if err := s.store.Close(); err != nil {
		t.Fatal(err)
	}
	for _, w := range []answer{
		s.call(t, "POST", certificates, sent), s.call(t, "GET", certificates, ""),
	} {
		p := w.problem(http.StatusServiceUnavailable)
		if w.Header().Get("Retry-After") != "3" || strings.Contains(p.Detail, "sql") {
			t.Errorf("%v %q", w.Header(), p.Detail)
		}
	}
	if !strings.Contains(s.log.String(), "level=ERROR") || strings.Contains(s.log.String(), s.token) {
		t.Errorf("log: %s", s.log)
	}
}
