package acmeserver

import (
	"encoding/json"
	"slices"
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
	ID         string `json:"-"`
	Version    int64  `json:"-"` // rises with every update
	Thumbprint string `json:"-"` // RFC 7638, base64url; unique
	// EarlierThumbprints are of the keys it had before, the latest first, at most
	// maxEarlierThumbprints: standing records of dns-persist-01 may be of their time.
	EarlierThumbprints []string  `json:"earlier_thumbprints,omitempty"`
	Status             Status    `json:"-"`
	JWK                []byte    `json:"jwk"` // the public key, JSON
	Contact            []string  `json:"contact,omitempty"`
	Agreed             bool      `json:"agreed,omitempty"` // to the terms of service
	CreatedAt          time.Time `json:"-"`
	// Failing tells that the last validation of some name failed: there is a Streak. The store reads
	// it with the account and never writes it.
	Failing bool `json:"-"`

	// Owner and EABKey are those of its external account binding, and never change; empty if it has
	// none. Binding is what the client sent (RFC 8555 section 7.3.4).
	Owner   string          `json:"-"`
	EABKey  string          `json:"-"`
	Binding json.RawMessage `json:"binding,omitempty"`
	// The store derives these and never writes them: the EAB key is revoked; the account or its key
	// had a grant at some time.
	Frozen  bool `json:"-"`
	Granted bool `json:"-"`
}

const maxEarlierThumbprints = 10

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
	Replaces       string          `json:"replaces,omitempty"` // a certificate's id (RFC 9773 section 4.1)
	Authorizations []Authorization `json:"authorizations"`     // one per identifier, in the client's order
	Error          *Problem        `json:"error,omitempty"`    // set once: why the order is invalid

	// Certificate is the one issued or promised under the order's Ref; nil while there is none.
	// The store reads it with the order and never writes it.
	Certificate *ca.Certificate `json:"-"`
}

// Ref is the order's reference on the issuance road.
func (o *Order) Ref() string { return orderRefs + o.ID }

const orderRefs = "acme/order/"

// Authorization is the order's authorization for one identifier (RFC 8555 section 7.1.4).
type Authorization struct {
	Name       identity.Name `json:"name"` // without the "*." of a wildcard
	Wildcard   bool          `json:"wildcard,omitempty"`
	Status     Status        `json:"status"` // as kept; see statusAt
	Expires    time.Time     `json:"expires"`
	Challenges []Challenge   `json:"challenges"`
	// Grant is the id of the grant that made it valid without a challenge; empty if none did.
	Grant string `json:"grant,omitempty"`
	// Key is the SHA-256 of the only SubjectPublicKeyInfo that the proof is good for; nil for any.
	Key []byte `json:"key,omitempty"`
}

// Challenge is one way to prove an identifier (RFC 8555 section 8).
type Challenge struct {
	Type      string    `json:"type"`
	Token     string    `json:"token"`
	Status    Status    `json:"status"` // pending, processing, valid or invalid
	Validated time.Time `json:"validated,omitzero"`
	Error     *Problem  `json:"error,omitempty"` // of the latest attempt
	// Attempt is when a validation in progress was last heard of.
	Attempt time.Time `json:"attempt,omitzero"`
	// Trace is what the validator resolved, dialled and received, a line each, for people.
	Trace []string `json:"trace,omitempty"`
}

// Problem is an ACME error (RFC 8555 section 6.7) as kept in an order: Type without its URN prefix.
type Problem struct {
	Type        string         `json:"type"`
	Detail      string         `json:"detail"`
	Status      int            `json:"status,omitempty"`
	Instance    string         `json:"instance,omitempty"`   // with userActionRequired: where to go
	Identifier  *identity.Name `json:"identifier,omitempty"` // in a subproblem only
	Algorithms  []string       `json:"algorithms,omitempty"` // with badSignatureAlgorithm
	Subproblems []Problem      `json:"subproblems,omitempty"`
}

// statusAt derives the order's state (section 7.1.6).
func (o *Order) statusAt(now time.Time) Status {
	switch c := o.Certificate; {
	case c != nil && c.State == ca.Issued:
		return StatusValid
	case c != nil && c.State == ca.Promised:
		return StatusProcessing
	}
	status := StatusReady
	for i := range o.Authorizations { // all of them, never the first again and again (never #7)
		switch o.Authorizations[i].statusAt(now) {
		case StatusValid:
		case StatusPending:
			status = StatusPending
		default:
			return StatusInvalid
		}
	}
	return status
}

// statusAt derives the authorization's state: it may have expired.
func (a *Authorization) statusAt(now time.Time) Status {
	if (a.Status == StatusPending || a.Status == StatusValid) && !now.Before(a.Expires) {
		return StatusExpired
	}
	return a.Status
}

// fail makes the order invalid for good because of one authorization's problem. It expires at once:
// the account's list shows no order that nothing can come of.
func (o *Order) fail(a *Authorization, p Problem, now time.Time) {
	if o.Error != nil {
		return
	}
	name := a.identifier()
	sub := Problem{Type: p.Type, Detail: p.Detail, Identifier: &name}
	o.Error = &Problem{
		Type: p.Type, Detail: string(name.Type) + " " + name.Value + ": " + p.Detail, Status: p.Status,
		Subproblems: []Problem{sub},
	}
	o.ExpiresAt = now.Truncate(time.Second)
}

// names are the order's identifiers.
func (o *Order) names() []identity.Name {
	names := make([]identity.Name, len(o.Authorizations))
	for i := range o.Authorizations {
		names[i] = o.Authorizations[i].identifier()
	}
	return names
}

// identifier is the name that the authorization is for, a wildcard's with its "*.".
func (a *Authorization) identifier() identity.Name {
	name := a.Name
	if a.Wildcard {
		name.Value = "*." + name.Value
	}
	return name
}

// pollAfter is when a client should look at the challenge again; 0 if nothing is going on.
func (c *Challenge) pollAfter() time.Duration {
	switch {
	case c.Status != StatusProcessing:
		return 0
	case c.Error != nil:
		return backoffs[len(backoffs)-1]
	}
	return time.Second
}

// clone copies the order, so that one goroutine can change it while another reads.
func (o Order) clone() Order {
	o.Authorizations = slices.Clone(o.Authorizations)
	for i := range o.Authorizations {
		o.Authorizations[i].Challenges = slices.Clone(o.Authorizations[i].Challenges)
	}
	return o
}
