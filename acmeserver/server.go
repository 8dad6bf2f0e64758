// Package acmeserver is the ACME door (RFC 8555): it turns signed requests into accounts, orders and
// proofs of control, and asks package ca for the certificate.
//
// A request is authenticated in request.go, answered in answer.go, and handled by one function per
// resource in between. Orders are documents that are read and written whole; what can be derived
// from them, the clock and the certificate is never stored.
package acmeserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mayflyca/mayfly/acmeserver/internal/attest"
	"github.com/mayflyca/mayfly/acmeserver/internal/validate"
	"github.com/mayflyca/mayfly/ca"
)

// Config is what New needs.
type Config struct {
	Store       Store
	CA          *ca.CA
	BaseURL     string // as clients reach us, without a trailing slash; the door lies below BaseURL/acme/
	Validation  Validation
	EABRequired bool // new accounts need an external account binding
	// TermsOfService is the URL of what new accounts must agree to; empty for nothing.
	TermsOfService string
	// RateLimits and pausing hold clients to limitTable, or to RateLimitOverrides of it, each
	// "limit=key=count/duration".
	RateLimits         bool
	RateLimitOverrides []string
	Now                func() time.Time
	Log                *slog.Logger
	Metrics            prometheus.Registerer // nil for none
}

// Validation says how challenges are proven.
type Validation struct {
	Challenges    []string            // the types that are offered; empty for http-01, dns-01, tls-alpn-01
	Resolvers     []string            // host:port of DNS servers; empty for the system's
	ZoneResolvers map[string][]string // others for a zone and what is below it
	HTTP01Port    int                 // 0 for 80
	TLSALPN01Port int                 // 0 for 443
	Allow, Deny   []netip.Prefix
	AllowLoopback bool
	Own           []netip.AddrPort // our listeners and our database: never dialled
	CAA           bool             // CAA records are honoured
	CAAIdentities []string         // our domain names in DNS records; empty for the host of BaseURL
	// AttestationRoots are PEM certificates of the CAs whose word on devices counts, for
	// device-attest-01.
	AttestationRoots []byte
}

// Server is the door: an http.Handler for everything below /acme/. Safe for concurrent use.
type Server struct {
	store       Store
	ca          *ca.CA
	base        string // BaseURL + "/acme/"
	origin      string // BaseURL
	eabRequired bool
	terms       string
	secret      *secret
	now         func() time.Time
	log         *slog.Logger
	metrics     *metrics
	nonces      *nonces
	validations *validations
	challenges  []string // the types that are offered
	issuers     []string // our domain names in DNS records
	honoursCAA  bool
	verifier    *attest.Verifier // nil where device-attest-01 is not offered
	changing    locks            // orders
	limits      limits
	directory   directory
	handler     http.Handler
}

// accountHashes is where the names lie by which dns-persist-01 records call our accounts. Nothing is
// there to be fetched.
const accountHashes = "account-hash/"

// New makes the door. It does not touch the network or the database.
func New(c Config) (*Server, error) {
	v := &c.Validation
	var err error
	if v.CAAIdentities, err = issuerNames(c); err != nil {
		return nil, err
	}
	checker, err := validate.New(validate.Config{
		Resolvers: v.Resolvers, ZoneResolvers: v.ZoneResolvers,
		HTTP01Port: v.HTTP01Port, TLSALPN01Port: v.TLSALPN01Port,
		Allow: v.Allow, Deny: v.Deny, AllowLoopback: v.AllowLoopback, Own: v.Own,
		CAA: v.CAA, CAAIdentities: v.CAAIdentities,
		AccountHashPrefix: c.BaseURL + "/acme/" + accountHashes, Now: c.Now,
	})
	if err != nil {
		return nil, fmt.Errorf("preparing validation: %w", err)
	}
	return newServer(c, checker)
}

func newServer(c Config, checker validate.Checker) (*Server, error) {
	base, err := url.Parse(c.BaseURL)
	if err != nil || base.Host == "" || strings.HasSuffix(c.BaseURL, "/") {
		return nil, fmt.Errorf("the base URL %q is not an absolute URL without a trailing slash", c.BaseURL)
	}
	if c.Store == nil || c.CA == nil || c.Now == nil || c.Log == nil {
		return nil, errors.New("acmeserver.Config lacks a Store, CA, Now or Log")
	}
	challenges, err := offered(c.Validation)
	if err != nil {
		return nil, err
	}
	verifier, err := newVerifier(c.Validation)
	if err != nil {
		return nil, err
	}
	m, err := newMetrics(c.Metrics)
	if err != nil {
		return nil, err
	}
	s := &Server{
		store: c.Store, ca: c.CA, origin: c.BaseURL, base: c.BaseURL + "/acme/",
		eabRequired: c.EABRequired, terms: c.TermsOfService,
		secret: &secret{store: c.Store, ca: c.CA}, now: c.Now, log: c.Log, metrics: m,
		nonces: newNonces(c.Store, c.Now), validations: newValidations(checker),
		challenges: challenges, issuers: c.Validation.CAAIdentities, honoursCAA: c.Validation.CAA,
		verifier: verifier, changing: locks{held: make(map[string]*lock)},
	}
	if s.limits, err = newLimits(c); err != nil {
		return nil, err
	}
	s.directory = s.newDirectory()
	s.handler = s.routes()
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := s.take(requestsPerAddress, addressKey(r)); err != nil {
		s.answer(w, r, "unknown", nil, err)
		return
	}
	s.handler.ServeHTTP(w, r)
}

// url gives the URL of a resource, exactly as clients must sign it.
func (s *Server) url(path ...string) string { return s.base + strings.Join(path, "/") }

// handler deals with an authenticated request.
type handler func(ctx context.Context, r *request) (*answer, error)

// routes is the one list of resources: who may sign a request for each, and what it does. Everything
// but the directory, newNonce and renewalInfo is POST only (RFC 8555 section 6.3).
func (s *Server) routes() http.Handler {
	router := chi.NewRouter()
	router.NotFound(s.unsigned("unknown", func(*http.Request) (*answer, error) {
		return nil, refuse(malformed, "there is nothing here; the directory is at %s", s.url("directory")).
			withStatus(http.StatusNotFound)
	}))
	router.MethodNotAllowed(s.unsigned("unknown", func(r *http.Request) (*answer, error) {
		return nil, wrongMethod(router, r)
	}))
	for _, route := range []struct {
		path, endpoint string
		handle         func(*http.Request) (*answer, error)
	}{
		{"directory", "directory", s.getDirectory},
		{"renewal-info/{certID}", "renewalInfo", s.renewal},
		{"renewal-info/{certID}/explanation", "explanation", s.explanation},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			router.Method(method, "/acme/"+route.path, s.unsigned(route.endpoint, route.handle))
		}
	}
	router.Get("/acme/new-nonce", s.newNonce(http.StatusNoContent))
	router.Head("/acme/new-nonce", s.newNonce(http.StatusOK))
	for _, route := range []struct {
		path, endpoint string
		signer         signer
		handle         handler
	}{
		{"directory", "directory", anAccount, asGet(s.postDirectory)},
		{"new-nonce", "newNonce", anAccount, asGet(s.postNewNonce)},
		{"new-account", "newAccount", aNewKey, s.newAccount},
		{"new-order", "newOrder", anAccount, s.newOrder},
		{"revoke-cert", "revokeCert", anAccountOrKey, s.revokeCert},
		{"key-change", "keyChange", anAccount, s.keyChange},
		{"acct/{account}", "account", anAccount, s.account},
		{"acct/{account}/orders", "orders", anAccount, asGet(s.orders)},
		{"order/{order}", "order", anAccount, asGet(s.order)},
		{"order/{order}/finalize", "finalize", anAccount, s.finalize},
		{"authz/{order}/{index}", "authorization", anAccount, s.authorization},
		{"chall/{order}/{index}/{type}", "challenge", anAccount, s.challenge},
		{"cert/{serial}", "certificate", anAccount, asGet(s.certificate)},
		{"cert/{serial}/{chain}", "certificate", anAccount, asGet(s.certificate)},
	} {
		router.Post("/acme/"+route.path, s.signed(route.endpoint, route.signer, route.handle))
	}
	return router
}

// signed wraps the handler of a signed request.
func (s *Server) signed(endpoint string, by signer, handle handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		req, err := s.authenticate(w, r, by)
		var a *answer
		if err == nil {
			a, err = handle(r.Context(), req)
		}
		s.answer(w, r, endpoint, a, err)
	}
}

// unsigned wraps the handler of a request that anybody may make.
func (s *Server) unsigned(
	endpoint string, handle func(*http.Request) (*answer, error),
) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a, err := handle(r)
		s.answer(w, r, endpoint, a, err)
	}
}

// wrongMethod says which methods the resource takes instead.
func wrongMethod(router chi.Routes, r *http.Request) *refusal {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
		if router.Match(chi.NewRouteContext(), method, r.URL.Path) {
			allowed = append(allowed, method)
		}
	}
	why := refuse(malformed, "this resource does not take %.20s requests", r.Method)
	if slices.Equal(allowed, []string{http.MethodPost}) {
		why = refuse(malformed, "this resource takes signed POST requests only; to read it, POST an empty "+
			"payload (RFC 8555 section 6.3)")
	}
	why.allow = strings.Join(allowed, ", ")
	return why.withStatus(http.StatusMethodNotAllowed)
}

// asGet refuses a payload where there is nothing but to read (RFC 8555 section 6.3).
func asGet(handle handler) handler {
	return func(ctx context.Context, r *request) (*answer, error) {
		if !r.isGet() {
			return nil, refuse(malformed, "the payload must be empty: this resource can only be read")
		}
		return handle(ctx, r)
	}
}
