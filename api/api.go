// Package api is the REST door: a program's way to get, list and revoke certificates. The OpenAPI
// document that it serves is its contract.
package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"
	"github.com/go-chi/chi/v5"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/identity/signin"
)

// Config is what New needs.
type Config struct {
	CA      *ca.CA
	ACME    acmeserver.Operator
	Tokens  signin.Store
	Now     func() time.Time
	Version string       // of the program, for the OpenAPI document
	Log     *slog.Logger // for what strangers are not told; nil for none
}

// door is what the operations share.
type door struct {
	Config
	api    huma.API
	chains map[string]string // the PEM chain behind a leaf, by issuer
}

// New makes the handler of everything below /api/ and of /openapi.json.
func New(c Config) http.Handler {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	router := chi.NewMux()
	d := &door{Config: c, api: humachi.New(router, document(c.Version)), chains: chains(c.CA)}
	router.NotFound(d.notFound)
	router.MethodNotAllowed(d.notAllowed(router))
	d.api.UseMiddleware(d.authenticate, d.readBody)
	d.registerCertificates()
	d.registerACME()
	router.Get("/openapi.json", serveDocument(d.api.OpenAPI()))
	return router
}

// document describes the API; register adds the operations.
func document(version string) huma.Config {
	config := huma.DefaultConfig("Mayfly", version)
	config.CreateHooks = nil
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.RejectUnknownQueryParameters = true
	config.Transformers = []huma.Transformer{withoutValues}
	config.Info.Description = "Certificates from an internal certificate authority. Times are RFC 3339 " +
		"in UTC. Errors are problem documents (RFC 9457) whose `errors` name what is wrong and where."
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {
			Type: "http", Scheme: "bearer",
			Description: "An API token. The first start of the server writes one, with the " +
				"administrator's role, to the file `admin-token` in its data directory.",
		},
	}
	config.Security = []map[string][]string{{"token": {}}}
	return config
}

// serveDocument needs no token: it holds nothing that the source code does not.
func serveDocument(document *huma.OpenAPI) http.HandlerFunc {
	text, err := json.Marshal(document)
	if err != nil {
		panic("api: the OpenAPI document cannot be encoded: " + err.Error())
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(text)
	}
}

// session is what authenticate learns of a request.
type session struct {
	caller    identity.Caller
	requestID string
}

type sessionKey struct{}

// authenticate stands before every operation. For now only administrators may do anything here.
func (d *door) authenticate(ctx huma.Context, next func(huma.Context)) {
	who, err := signin.Bearer(ctx.Context(), d.Tokens, d.Now(), ctx.Header("Authorization"))
	if fault.Is(err, fault.Denied) {
		ctx.SetHeader("WWW-Authenticate", `Bearer realm="mayfly"`)
		d.refuse(ctx, http.StatusUnauthorized, explain(err).Detail)
		return
	}
	s := session{caller: who, requestID: ctx.Header("X-Request-Id")}
	inside := huma.WithValue(ctx, sessionKey{}, s)
	if err == nil && who.Role != identity.RoleAdmin {
		err = fault.New(fault.Denied, "refused: %s has not the administrator's role", who.ID)
	}
	if err != nil {
		problem, header := d.problem(inside.Context(), err)
		for name := range header {
			ctx.SetHeader(name, header.Get(name))
		}
		d.refuse(ctx, problem.Status, problem.Detail)
		return
	}
	next(inside)
}

// maxBody bounds a request's body: a CSR of the greatest size, with its line ends escaped.
const maxBody = 96 << 10

// readBody takes the whole body, so that what is wrong with it has one place and is no fault of
// ours: the content type, the size, a connection that breaks off.
func (d *door) readBody(ctx huma.Context, next func(huma.Context)) {
	r, w := humachi.Unwrap(ctx)
	if ctx.Operation().RequestBody == nil {
		next(ctx)
		return
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		d.refuse(ctx, http.StatusUnsupportedMediaType,
			"the body must be JSON, with the header \"Content-Type: application/json\"")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		d.refuse(ctx, http.StatusRequestEntityTooLarge,
			"the body is larger than 96 KiB, the most that is read")
		return
	} else if err != nil {
		d.refuse(ctx, http.StatusBadRequest, "the body broke off")
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	next(ctx)
}

// register adds an operation, whose handler gets the caller that authenticate found.
func register[In, Out any](
	d *door, op huma.Operation, handle func(context.Context, identity.Caller, *In) (*Out, error),
) {
	op.BodyReadTimeout = -1 // readBody has read it
	op.Errors = append(op.Errors, http.StatusUnauthorized, http.StatusForbidden,
		http.StatusServiceUnavailable)
	huma.Register(d.api, op, func(ctx context.Context, in *In) (*Out, error) {
		// Without a session this panics: an operation that nobody guards does not work.
		out, err := handle(ctx, ctx.Value(sessionKey{}).(session).caller, in)
		if err != nil {
			return nil, huma.ErrorWithHeaders(d.problem(ctx, err))
		}
		return out, nil
	})
}
