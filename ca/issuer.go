package ca

import "time"

// IssuerKind tells the root from those under it.
type IssuerKind string

// The kinds of issuer.
const (
	Root    IssuerKind = "root"
	Issuing IssuerKind = "issuing"
)

// Issuer is a CA certificate of ours and where its key is.
type Issuer struct {
	ID          string // the first 16 hex digits of the certificate's SHA-256
	Kind        IssuerKind
	Parent      string // the Issuer.ID that signed it; its own for a root
	Certificate []byte // DER
	KeyURI      string // where ca/internal/keys finds the key
	Shards      int    // how many CRLs its revocations are spread over
	CreatedAt   time.Time
}
