package acmeserver

import (
	"time"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/identity"
)

// Status is the state of an ACME object (RFC 8555 section 7.1.6).
type Status string

// The statuses that objects take.
const (
	StatusPending     Status = "pending"
	StatusReady       Status = "ready"
	StatusProcessing  Status = "processing"
	StatusValid       Status = "valid"
	StatusInvalid     Status = "invalid"
	StatusDeactivated Status = "deactivated"
	StatusExpired     Status = "expired"
	StatusRevoked     Status = "revoked"
)

// Account is an ACME account (RFC 8555 section 7.1.2).
type Account struct {
	ID         string    `json:"-"`
	Version    int64     `json:"-"` // rises with every update
	Thumbprint string    `json:"-"` // RFC 7638, base64url; unique
	Status     Status    `json:"-"`
	JWK        []byte    `json:"jwk"` // the public key, JSON
	Contact    []string  `json:"contact,omitempty"`
	Agreed     bool      `json:"agreed,omitempty"` // to the terms of service
	CreatedAt  time.Time `json:"-"`
}

// Order is an order with its authorizations and challenges: one document, read and written whole.
// Ready and valid are never stored: they follow from the authorizations, and from the certificate
// that carries the order's Ref.
type Order struct {
	ID             string          `json:"-"`
	Account        string          `json:"-"`
	Version        int64           `json:"-"` // rises with every update
	CreatedAt      time.Time       `json:"-"`
	ExpiresAt      time.Time       `json:"-"`
	Profile        string          `json:"profile"`
	Authorizations []Authorization `json:"authorizations"`  // one per identifier, in the client's order
	Error          *Problem        `json:"error,omitempty"` // set once: the order is invalid for good

	// Certificate is the one issued, promised or void under the order's Ref; nil while there is none.
	// The store reads it with the order and never writes it.
	Certificate *ca.Certificate `json:"-"`
}

// Ref is the order's reference on the issuance road.
func (o *Order) Ref() string { return "acme/order/" + o.ID }

// Authorization is the order's authorization for one identifier (RFC 8555 section 7.1.4).
type Authorization struct {
	Name       identity.Name `json:"name"` // without the "*." of a wildcard
	Wildcard   bool          `json:"wildcard,omitempty"`
	Status     Status        `json:"status"` // pending, valid, invalid or deactivated; expiry follows from the clock
	Expires    time.Time     `json:"expires"`
	Challenges []Challenge   `json:"challenges"`
}

// Challenge is one way to prove an identifier (RFC 8555 section 8).
type Challenge struct {
	Type      string    `json:"type"`
	Token     string    `json:"token"`
	Status    Status    `json:"status"` // pending, processing, valid or invalid
	Validated time.Time `json:"validated,omitzero"`
	Error     *Problem  `json:"error,omitempty"`
	// Trace is what the validator resolved, dialled and received, a line each, for people.
	Trace []string `json:"trace,omitempty"`
}

// Problem is an ACME error (RFC 8555 section 6.7) as kept in an order: Type without its URN prefix.
type Problem struct {
	Type        string         `json:"type"`
	Detail      string         `json:"detail"`
	Status      int            `json:"status,omitempty"`
	Identifier  *identity.Name `json:"identifier,omitempty"`
	Subproblems []Problem      `json:"subproblems,omitempty"`
}
