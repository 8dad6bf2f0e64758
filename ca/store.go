package ca

import (
	"context"
	"time"

	"github.com/mayflyca/mayfly/audit"
)

// Store is what the road needs from disk. Every method may be called from many goroutines and from
// several processes at once. A write that returned nil is durable: it survives the loss of power.
// A write that returned an error may or may not have happened; each says how a caller finds out.
// An engine that is away or full answers with fault.Unavailable.
type Store interface {
	// Promise keeps p and its entries in one transaction. A Ref that a live row has already is
	// ErrRefTaken, a serial that any row has is ErrSerialTaken, and neither writes anything.
	Promise(ctx context.Context, p Promise, entries ...audit.Entry) error
	// Record turns the promise with the serial into an issued certificate. It writes nothing and is
	// ErrNotPromised if there is no row with the serial in state Promised.
	Record(ctx context.Context, serial Serial, der []byte, at time.Time, entries ...audit.Entry) error
	// Void turns a row in state Promised into Void, revoked at the given time, and frees its Ref.
	// ErrNotPromised as for Record.
	Void(ctx context.Context, serial Serial, at time.Time, entries ...audit.Entry) error
	// Unsettled lists promises made before the given time that are still in state Promised, oldest first.
	Unsettled(ctx context.Context, before time.Time, limit int) ([]Promise, error)

	// CertificateByRef and CertificateBySerial find a row in whatever state; fault.NotFound if none.
	CertificateByRef(ctx context.Context, ref string) (*Certificate, error)
	CertificateBySerial(ctx context.Context, serial Serial) (*Certificate, error)
	// Certificates lists rows by PromisedAt and serial, newest first; now is what Status is judged by.
	Certificates(ctx context.Context, q Query, now time.Time) ([]Certificate, error)

	// Revoke marks an issued certificate as revoked. If it is revoked already, nothing is written
	// and the result is ErrRevoked; fault.NotFound if no certificate was issued with the serial.
	Revoke(ctx context.Context, serial Serial, r Revocation, entries ...audit.Entry) error
	// Revoked lists what a shard's CRL must hold: revoked and void rows with NotAfter at or after
	// the floor, by serial.
	Revoked(ctx context.Context, issuer string, shard int, floor time.Time) ([]RevokedSerial, error)
	// StaleShards lists the shards of all issuers that have no CRL, whose CRL's NextUpdate is before
	// due, or whose CRL is not complete: the count of revoked and void rows with NotAfter at or after
	// its Floor differs from its Entries. (Counting needs no clocks: a revocation that was committed
	// late, or stamped by a replica whose clock is behind, is noticed all the same.)
	StaleShards(ctx context.Context, due time.Time) ([]Shard, error)
	// CRL gives the newest of a shard; fault.NotFound if none was published.
	CRL(ctx context.Context, shard Shard) (*CRL, error)
	// PublishCRL keeps crl if its number is above that of the one kept now; otherwise nothing is
	// written and the result is ErrOlderCRL.
	PublishCRL(ctx context.Context, crl CRL, entries ...audit.Entry) error

	// Issuers lists all, oldest first. AddIssuers keeps all or none.
	Issuers(ctx context.Context) ([]Issuer, error)
	AddIssuers(ctx context.Context, issuers []Issuer, entries ...audit.Entry) error

	// Log keeps entries that go with no other write: a refusal, for one.
	Log(ctx context.Context, entries ...audit.Entry) error
	// LatestEntry is the time of the newest entry, zero if there is none: a clock behind it is wrong.
	LatestEntry(ctx context.Context) (time.Time, error)
	// Exclusive runs f while no other process runs f under the same name on this database.
	Exclusive(ctx context.Context, name string, f func(ctx context.Context) error) error
}

// Shard names one of an issuer's CRLs.
type Shard struct {
	Issuer string
	Shard  int
}

// RevokedSerial is one line of a CRL.
type RevokedSerial struct {
	Serial Serial
	Revocation
}

// CRL is a published certificate revocation list (RFC 5280 section 5).
type CRL struct {
	Shard
	Number     int64 // strictly rising per shard
	ThisUpdate time.Time
	NextUpdate time.Time
	Floor      time.Time // it lists what had NotAfter at or after this
	Entries    int       // how many it lists
	DER        []byte
}
