package acmeserver

import (
	"context"
	"crypto/hmac"
	"crypto/sha512"
	"time"

	"github.com/mayflyca/mayfly/fault"
)

// EABKey lets whoever holds its MAC key make accounts that belong to its owner (RFC 8555 section
// 7.3.4: external account binding). The MAC key itself is kept nowhere: see macKey.
type EABKey struct {
	ID        string // the binding's "kid"
	Owner     string // whose the accounts are, and their certificates
	Label     string // for people
	Once      bool   // it binds one account, ever
	CreatedBy string // the Caller's ID
	CreatedAt time.Time
	ExpiresAt time.Time // it binds no account from then on; zero for never
	RevokedAt time.Time // it binds none, and those it bound are frozen; zero if it is not revoked
	Accounts  int       // how many it has bound; counted by the store
}

// The states of an EAB key.
const (
	EABKeyValid   = "valid"
	EABKeyUsed    = "used" // once only, and it has been
	EABKeyExpired = "expired"
	EABKeyRevoked = "revoked"
)

// StatusAt tells how the key stands.
func (k EABKey) StatusAt(now time.Time) string {
	switch {
	case !k.RevokedAt.IsZero():
		return EABKeyRevoked
	case k.Once && k.Accounts > 0:
		return EABKeyUsed
	case !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt):
		return EABKeyExpired
	}
	return EABKeyValid
}

// macKey gives the 64 octets that sign bindings by the key with the id: long enough for HS512 (RFC
// 7518 section 3.2), which some clients choose by the length of the key.
func (s *Server) macKey(ctx context.Context, id string) ([]byte, error) {
	secret, err := s.secret.open(ctx)
	if err != nil {
		return nil, err
	}
	h := hmac.New(sha512.New, secret)
	h.Write([]byte("acme/eab-key/" + id))
	return h.Sum(nil), nil
}

// standing tells why an account may not do anything; nil if it may.
func (a Account) standing() error {
	switch {
	case a.Status != StatusValid:
		return deactivated(a)
	case a.Frozen:
		r := deactivated(a)
		r.Detail = "the account is frozen: the key " + a.EABKey + " that it was bound by has been " +
			"revoked; ask whoever runs this CA for another, and make a new account with it"
		return r
	}
	return nil
}

// errKeyUsed is for a key that binds one account, and has.
func errKeyUsed(id string) error {
	return refuse(unauthorized, "externalAccountBinding: the key %q binds one account, and has done so: "+
		"ask whoever runs this CA for another", id)
}

// usable refuses a binding by a key that has ended.
func (k EABKey) usable(now time.Time) error {
	switch status := k.StatusAt(now); status {
	case EABKeyValid:
		return nil
	case EABKeyUsed:
		return errKeyUsed(k.ID)
	default:
		return refuse(unauthorized, "externalAccountBinding: the key %q is %s: ask whoever runs this CA "+
			"for another", k.ID, status)
	}
}

// findEABKey finds a key by the id that a stranger gave.
func (s *Server) findEABKey(ctx context.Context, id string) (EABKey, error) {
	if !isID(id) {
		return EABKey{}, fault.New(fault.NotFound, "there is no such EAB key")
	}
	return s.store.EABKey(ctx, id)
}
