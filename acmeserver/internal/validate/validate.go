// Package validate proves control of an identifier by asking the network (RFC 8555 section 8,
// RFC 8737), and cannot be turned against us: it dials only addresses that it resolved and checked.
package validate

import (
	"context"

	"github.com/mayflyca/mayfly/identity"
)

// Challenge is what has to be proven.
type Challenge struct {
	Type             string        // "http-01", "dns-01", "tls-alpn-01"
	Name             identity.Name // without the "*." of a wildcard
	Token            string
	KeyAuthorization string // token "." account key thumbprint (RFC 8555 section 8.1)
}

// Result tells how a validation went. It is never an error of ours: what could not be asked has
// failed, and Trace says why.
type Result struct {
	OK bool
	// ProblemType is the ACME error type without its prefix ("connection", "dns", "tls",
	// "incorrectResponse", "unauthorized", "malformed"); empty if OK.
	ProblemType string
	Detail      string   // one sentence that tells the operator of the responder what to mend
	Trace       []string // what was resolved, dialled and received, a line each, bounded
}

// Checker proves challenges. Safe for concurrent use.
type Checker interface {
	Check(ctx context.Context, c Challenge) Result
}
