// Package signin turns evidence (a bearer token, later a client certificate or OIDC) into a Caller.
package signin

import (
	"context"
	"time"

	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/identity"
)

// Token is an API token as kept: never its secret.
type Token struct {
	ID        string
	Hash      [32]byte // SHA-256 of the secret
	Name      string
	Role      identity.Role
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
}

// Store is what sign-in needs from disk; durable and concurrent as ca.Store.
type Store interface {
	// AddToken keeps t; one with the same Hash is left as it is.
	AddToken(ctx context.Context, t Token, entries ...audit.Entry) error
	// TokenByHash finds one; fault.NotFound if there is none.
	TokenByHash(ctx context.Context, hash [32]byte) (Token, error)
	// HasToken tells whether any token with the role was ever kept.
	HasToken(ctx context.Context, role identity.Role) (bool, error)
}
