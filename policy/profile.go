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

const (
	day = 24 * time.Hour
	// An hour of back-dating lets a machine whose clock is that far behind use its certificate at
	// once, and costs no more than a twenty-fourth of the day.
	backdate = time.Hour
	// A hundred names keep a TLS handshake and a CSR small; it is also what public CAs allow.
	maxNames = 100
)

// Builtin gives the profiles that every CA has, the default first.
func Builtin() []Profile {
	server, client := x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth
	return []Profile{
		{
			Name:        "server",
			Description: "A day for a TLS server, under DNS names and IP addresses.",
			Lifetime:    day, Backdate: backdate, MaxNames: maxNames,
			ExtKeyUsage: []x509.ExtKeyUsage{server},
			NameTypes:   []identity.NameType{identity.DNS, identity.IP},
		},
		{
			Name:        "client",
			Description: "A day for a TLS client: a machine, a device, a workload (URI) or a person (email).",
			Lifetime:    day, Backdate: backdate, MaxNames: maxNames,
			ExtKeyUsage: []x509.ExtKeyUsage{client},
			NameTypes: []identity.NameType{
				identity.DNS, identity.IP, identity.URI, identity.Email, identity.PermanentIdentifier,
			},
		},
		{
			Name:        "peer",
			Description: "A day for a service that is TLS server and TLS client to its peers.",
			Lifetime:    day, Backdate: backdate, MaxNames: maxNames,
			ExtKeyUsage: []x509.ExtKeyUsage{server, client},
			NameTypes:   []identity.NameType{identity.DNS, identity.IP, identity.URI},
		},
	}
}
