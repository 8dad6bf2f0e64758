package ca

import (
	"time"

	"github.com/mayflyca/mayfly/identity"
)

// State is where a certificate's row stands on the road.
type State string

// The states of a row.
const (
	Promised State = "promised" // durable before the key signs; what it describes might exist
	Issued   State = "issued"   // signed, compared and recorded
	Void     State = "void"     // promised and never recorded; listed as revoked, in case it exists
)

// Promise is what is durable before the key signs.
type Promise struct {
	Serial     Serial
	Ref        string // unique among promises and certificates that are not void
	Issuer     string // Issuer.ID
	Shard      int    // of the issuer's CRLs; fixed here for the certificate's life
	Profile    string
	Caller     string // identity.Caller.ID
	Owner      string
	Names      []identity.Name
	SPKISHA256 [32]byte // of the subject's public key
	TBSSHA256  [32]byte // of the to-be-signed bytes
	NotBefore  time.Time
	NotAfter   time.Time
	PromisedAt time.Time
}

// Certificate is a certificate as recorded. For a row that is only promised or void, DER is nil and
// IssuedAt is zero.
type Certificate struct {
	Promise
	State      State
	DER        []byte
	IssuedAt   time.Time
	Revocation *Revocation // nil while in good standing
	// Successor is the Ref under which a replacement was last ordered; empty for none. Whether anything
	// came of it is for who ordered it to say.
	Successor string
}

// Reason is a CRL reason code (RFC 5280 section 5.3.1).
type Reason int

// Revocation is the end of a certificate before its time.
type Revocation struct {
	At     time.Time
	Reason Reason
}

// Query selects certificates for lists, newest first. Zero fields do not limit.
type Query struct {
	Name          string // exact name, canonical
	Suffix        string // names ending in this, on a label boundary: "internal" or ".internal"
	Status        Status // "" for any
	Profile       string
	Owner         string
	ExpiresBefore time.Time // exclusive
	After         *Position // continue behind this row
	Limit         int       // at most 1000
}

// Position is a place in a list, for paging by key.
type Position struct {
	PromisedAt time.Time
	Serial     Serial
}

// Status is what a reader wants to know of a certificate; it follows from State, Revocation and the clock.
type Status string

// The statuses.
const (
	StatusPending Status = "pending" // promised, not yet recorded
	StatusValid   Status = "valid"
	StatusRevoked Status = "revoked" // also a void row: it must not be relied on
	StatusExpired Status = "expired"
)

// StatusAt tells how the certificate stands at now.
func (c *Certificate) StatusAt(now time.Time) Status {
	switch {
	case now.After(c.NotAfter):
		return StatusExpired
	case c.Revocation != nil || c.State == Void:
		return StatusRevoked
	case c.State == Promised:
		return StatusPending
	default:
		return StatusValid
	}
}
