package signin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"time"

	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
)

const (
	secretPrefix = "mayfly_" // lets scanners of source code and logs find a leaked token
	secretOctets = 32
	// maxSecret is far above what NewToken makes: longer texts are not even hashed.
	maxSecret = 256
)

// NewToken makes a token that does not expire, and the secret to hand out. The secret is not kept
// anywhere and cannot be had again.
func NewToken(now time.Time, name string, role identity.Role) (secret string, t Token) {
	var random [secretOctets]byte
	rand.Read(random[:])
	secret = secretPrefix + base64.RawURLEncoding.EncodeToString(random[:])
	var id [8]byte
	rand.Read(id[:])
	return secret, Token{
		ID: hex.EncodeToString(id[:]), Hash: sha256.Sum256([]byte(secret)),
		Name: name, Role: role, CreatedAt: now,
	}
}

// errNoToken is one and the same for a token that is missing, malformed, unknown or expired, so
// that nobody learns which.
var errNoToken = fault.New(fault.Denied,
	"a valid API token is needed: send the header \"Authorization: Bearer <token>\"")

// Bearer turns an Authorization header of the form "Bearer <token>" (RFC 6750 section 2.1) into the
// token's Caller. An administrator's may ask for any name. Whatever is wrong with the header or the
// token is one fault.Denied; an error of the store is passed on.
func Bearer(
	ctx context.Context, s Store, now time.Time, authorization string,
) (identity.Caller, error) {
	scheme, secret, _ := strings.Cut(authorization, " ")
	secret = strings.TrimLeft(secret, " ")
	if !strings.EqualFold(scheme, "Bearer") || secret == "" || len(secret) > maxSecret {
		return identity.Caller{}, errNoToken
	}
	// What is looked up is a hash: how long that takes tells nothing about any token.
	t, err := s.TokenByHash(ctx, sha256.Sum256([]byte(secret)))
	if fault.Is(err, fault.NotFound) {
		return identity.Caller{}, errNoToken
	}
	if err != nil {
		return identity.Caller{}, err
	}
	if !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt) {
		return identity.Caller{}, errNoToken
	}
	caller := identity.Caller{
		ID: "token/" + t.ID, Owner: t.Name, Role: t.Role, AnyName: t.Role == identity.RoleAdmin,
	}
	if caller.Owner == "" {
		caller.Owner = caller.ID
	}
	return caller, nil
}
