// Package ca is the issuance road and everything else that a signing key does.
package ca

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/policy"
)

// Config is what New needs.
type Config struct {
	Store      Store
	KeyDir     string // where the encrypted key files are
	Passphrase []byte // opens them
	Profiles   []policy.Profile
	PublishURL string // base of CRL and AIA URLs, no trailing slash
	Now        func() time.Time
	Random     io.Reader
	Log        *slog.Logger
	Metrics    prometheus.Registerer
	// Alone says that no other process issues on this database (SQLite), so that a promise left open
	// by an earlier process can be settled at once.
	Alone bool
}

// CA issues and revokes. Safe for concurrent use.
type CA struct{}

// New opens the CA, makes root and issuer on the very first start, and settles what an earlier
// process left open.
func New(ctx context.Context, c Config) (*CA, error) { return nil, nil }

// Request asks for one certificate.
type Request struct {
	// Ref makes the request repeatable: a second request with the same Ref gets the first's answer.
	Ref     string
	Caller  identity.Caller
	Profile string // "" for the default
	CSR     []byte // PKCS#10, DER; nil only for Check
	// Names replaces the CSR's for Check, which has none yet.
	Names []identity.Name
}

// Issue walks the whole road: decide, shape, check, promise, sign, compare, record. Errors are
// classified by fault: Invalid and Denied for what the request or the policy forbids, NotReady while
// another caller's request with the same Ref is on its way, Conflict if the Ref's certificate is for
// another key or other names, Unavailable if nothing can be recorded.
func (c *CA) Issue(ctx context.Context, req Request) (*Certificate, error) { return nil, nil }

// Check walks decide, shape and check and stops: would Issue do it?
func (c *CA) Check(ctx context.Context, req Request) error { return nil }

// Revoke ends a certificate. It is repeatable: revoking a revoked certificate is fault.Conflict.
func (c *CA) Revoke(ctx context.Context, caller identity.Caller, serial Serial, reason Reason) error {
	return nil
}

// Certificate finds an issued certificate; fault.NotFound if there is none.
func (c *CA) Certificate(ctx context.Context, serial Serial) (*Certificate, error) { return nil, nil }

// Certificates lists.
func (c *CA) Certificates(ctx context.Context, q Query) ([]Certificate, error) { return nil, nil }

// Chain gives the issuer certificates (DER) that a TLS server sends behind the leaf, without the root.
func (c *CA) Chain(issuer string) [][]byte { return nil }

// Issuers lists all CA certificates, roots first.
func (c *CA) Issuers() []Issuer { return nil }

// Profiles lists the profiles, default first.
func (c *CA) Profiles() []policy.Profile { return nil }

// CRL gives the newest of a shard; fault.NotFound if there is none.
func (c *CA) CRL(ctx context.Context, shard Shard) (*CRL, error) { return nil, nil }

// Ready tells why the CA cannot issue, nil if it can.
func (c *CA) Ready(ctx context.Context) error { return nil }

// Run settles promises left open and keeps the CRLs fresh until ctx ends.
func (c *CA) Run(ctx context.Context) error { return nil }
