package acmeserver

import (
	"context"
	"errors"
	"time"

	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/ca"
)

// What a Store answers when a conditional write found something else. Nothing was written.
var (
	ErrStale        = errors.New("the object was changed in the meantime")
	ErrAccountKey   = errors.New("another account has this key")
	ErrReplaced     = errors.New("the certificate has another successor")
	ErrEABKeyUsed   = errors.New("the EAB key has bound another account")
	ErrNonceKeyVoid = errors.New("the nonce key is not the database's any more")
)

// Store is what the ACME door needs from disk. Every method may be called from many goroutines and
// from several processes at once. A write that returned nil is durable (but see the nonces); one
// that returned an error may or may not have happened, and is safe to try again. An engine that is
// away or full answers with fault.Unavailable.
type Store interface {
	// CreateAccount keeps a, unless an account with its Thumbprint exists: then that one is returned,
	// created is false, and nothing was written. If a's EABKey binds one account only and has bound
	// another, the error is ErrEABKeyUsed.
	CreateAccount(ctx context.Context, a Account, entries ...audit.Entry) (
		kept Account, created bool, err error)
	// Account and AccountByThumbprint find one; fault.NotFound if there is none.
	Account(ctx context.Context, id string) (Account, error)
	AccountByThumbprint(ctx context.Context, thumbprint string) (Account, error)
	// UpdateAccount replaces the account if its version is still a.Version, and raises the version;
	// otherwise ErrStale. A Thumbprint that another account has is ErrAccountKey.
	UpdateAccount(ctx context.Context, a Account, entries ...audit.Entry) error

	// CreateOrder keeps a new order. Its Version is 1 afterwards.
	CreateOrder(ctx context.Context, o Order, entries ...audit.Entry) error
	// CreateReplacement keeps a new order as CreateOrder does, and makes its Ref the Successor of the
	// certificate with the serial; both or nothing. The certificate's Successor must be instead until
	// then ("" for none); otherwise ErrReplaced.
	CreateReplacement(ctx context.Context, o Order, predecessor ca.Serial, instead string,
		entries ...audit.Entry) error
	// OrderStands reports whether the order has not expired at now (one that failed has), or a
	// certificate is issued or promised under its Ref.
	OrderStands(ctx context.Context, id string, now time.Time) (bool, error)
	// CertificateBySerial is ca.Store's.
	CertificateBySerial(ctx context.Context, serial ca.Serial) (*ca.Certificate, error)
	// Order reads an order and the certificate under its Ref in one go; fault.NotFound if none.
	Order(ctx context.Context, id string) (Order, error)
	// UpdateOrder replaces the order if its version is still o.Version, and raises the version;
	// otherwise ErrStale.
	UpdateOrder(ctx context.Context, o Order, entries ...audit.Entry) error
	// Orders lists ids of an account's orders that have not expired at now, newest first, continuing
	// behind the order with the id after ("" from the start).
	Orders(ctx context.Context, account, after string, now time.Time, limit int) ([]string, error)
	// CleanOrders deletes at most limit orders that expired before the given time, and says how many.
	CleanOrders(ctx context.Context, before time.Time, limit int) (int, error)

	// What the operator does; see Operator. Lists are newest first and have at most Limit items.
	ListAccounts(ctx context.Context, q AccountQuery) ([]Account, error)
	// ListOrders lists an account's orders, or all if account is empty.
	ListOrders(ctx context.Context, account string, after *Position, limit int) ([]Order, error)

	// AddEABKey keeps k and gives it back, unless a key with its ID exists: then nothing was written,
	// and that one is given.
	AddEABKey(ctx context.Context, k EABKey, entries ...audit.Entry) (kept EABKey, err error)
	EABKey(ctx context.Context, id string) (EABKey, error) // fault.NotFound if there is none
	// ListEABKeys lists an owner's keys, or all if owner is empty.
	ListEABKeys(ctx context.Context, owner string, after *Position, limit int) ([]EABKey, error)
	// RevokeEABKey makes a key revoked, and so its accounts Frozen; ErrStale if it is revoked already.
	RevokeEABKey(ctx context.Context, id string, at time.Time, entries ...audit.Entry) error

	// AddGrant is as AddEABKey, and makes the holder Granted; fault.NotFound if there is no holder.
	AddGrant(ctx context.Context, g Grant, entries ...audit.Entry) (kept Grant, err error)
	Grant(ctx context.Context, id string) (Grant, error) // fault.NotFound if there is none
	// GrantsOf lists what a and its EABKey hold and has not expired at now, the longest lived first.
	GrantsOf(ctx context.Context, a Account, now time.Time) ([]Grant, error)
	ListGrants(ctx context.Context, q GrantQuery) ([]Grant, error)
	// RemoveGrant deletes a grant; ErrStale if there is none.
	RemoveGrant(ctx context.Context, id string, entries ...audit.Entry) error
	// CleanGrants deletes at most limit grants that expired before the given time, and says how many.
	CleanGrants(ctx context.Context, before time.Time, limit int) (int, error)

	// SealedSecret is the one that KeepSealedSecret kept first; fault.NotFound if there is none.
	SealedSecret(ctx context.Context) ([]byte, error)
	// KeepSealedSecret keeps sealed, unless there is one, and gives the one kept.
	KeepSealedSecret(ctx context.Context, sealed []byte) (kept []byte, err error)
	StreakStore

	// NonceKey is the key that authenticates nonces, the same for every process on this database, and
	// lost together with the memory of which nonces were used. A process calls it at start and after
	// ErrNonceKeyVoid.
	NonceKey(ctx context.Context) (NonceKey, error)
	// RedeemNonce remembers the nonce as used: true for the first caller ever, false for any later
	// one. It need not survive a crash of the database if the key does not either; a key that was
	// lost is ErrNonceKeyVoid.
	RedeemNonce(ctx context.Context, key NonceKey, n NonceID) (first bool, err error)
	// CleanNonces forgets nonces minted before the given time, in bounded batches.
	CleanNonces(ctx context.Context, before time.Time) error
}

// NonceKey authenticates nonces. ID tells one key from its successor.
type NonceKey struct {
	ID     [16]byte
	Secret [32]byte
}

// NonceID is what tells a nonce from all others: the process that minted it (a random number drawn
// at its start), that process's count, and when.
type NonceID struct {
	Source uint64
	Count  uint64
	Minted time.Time // whole seconds
}
