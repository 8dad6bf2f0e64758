// Package policy decides what may be issued: profiles, names, keys. Its decisions are pure: no
// clock, no network, no disk.
package policy

import (
	"crypto/x509"
	"time"

	"github.com/mayflyca/mayfly/identity"
)

// Profile is a kind of certificate that the CA issues.
type Profile struct {
	Name        string
	Description string        // one sentence for people, also advertised to ACME clients
	Lifetime    time.Duration // notAfter − notBefore + 1 s
	Backdate    time.Duration // how far notBefore lies before issuance, inside Lifetime; at most 1 h
	ExtKeyUsage []x509.ExtKeyUsage
	NameTypes   []identity.NameType // the SAN types it allows
	MaxNames    int
}

// Content is what a certificate would hold: everything in it that a request can influence. The road
// makes the certificate from this and nothing else.
type Content struct {
	CommonName string // empty, or one of Names
	Names      []identity.Name
	PublicKey  any
	NotBefore  time.Time
	NotAfter   time.Time // inclusive (RFC 5280 section 4.1.2.5)
}
