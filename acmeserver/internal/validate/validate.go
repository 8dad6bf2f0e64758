// Package validate proves control of an identifier by asking the network (RFC 8555 section 8,
// RFC 8737, RFC 8738), and cannot be turned against us: it dials only addresses that it resolved and
// checked.
package validate

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/mayflyca/mayfly/identity"
)

// Challenge is what has to be proven.
type Challenge struct {
	Type             string        // HTTP01, DNS01 …
	Name             identity.Name // without the "*." of a wildcard
	Wildcard         bool          // the authorization is for "*." before Name
	Token            string
	KeyAuthorization string   // token "." account key thumbprint (RFC 8555 section 8.1)
	AccountURI       string   // the account's URL, for dns-account-01, dns-persist-01 and CAA
	Thumbprints      []string // of the account's keys, the present one first, for dns-persist-01
}

// The types of challenge that a Validator can prove. The last two are drafts.
const (
	HTTP01       = "http-01"        // RFC 8555 section 8.3
	DNS01        = "dns-01"         // RFC 8555 section 8.4
	TLSALPN01    = "tls-alpn-01"    // RFC 8737, RFC 8738
	DNSAccount01 = "dns-account-01" // draft-ietf-acme-dns-account-label-03
	DNSPersist01 = "dns-persist-01" // draft-ietf-acme-dns-persist-02
)

// Result tells how a validation went. It is never an error of ours: what could not be asked has
// failed, and Trace says why.
type Result struct {
	OK bool
	// ProblemType is the ACME error type without its prefix ("connection", "dns", "tls",
	// "incorrectResponse", "unauthorized", "malformed", "caa"); empty if OK.
	ProblemType string
	Detail      string   // one sentence that tells the operator of the responder what to mend
	Trace       []string // what was resolved, dialled and received, a line each, bounded
	// Key is the SHA-256 of the only SubjectPublicKeyInfo that the proof is good for; nil for any. None
	// of a Validator's is bound to a key.
	Key []byte
	// Until is when the proof ends, because its owner said so (dns-persist-01): neither an
	// authorization nor an issuance may rely on it later. Zero means that it doesn't end.
	Until time.Time
}

// Checker proves challenges. Safe for concurrent use.
type Checker interface {
	Check(ctx context.Context, c Challenge) Result
	// CAA says whether the CAA records for c's name let this CA issue; c.Type is how it was proven.
	CAA(ctx context.Context, c Challenge) Result
}

// Config says how and where a Validator asks.
type Config struct {
	Resolvers     []string            // DNS servers, host:port, asked in this order; none means the system's
	ZoneResolvers map[string][]string // others for a zone and what is below it; the longest zone wins
	HTTP01Port    int                 // 0 means 80
	TLSALPN01Port int                 // 0 means 443
	Allow         []netip.Prefix      // may be dialled although the defaults forbid it
	Deny          []netip.Prefix      // never dialled, whatever Allow says
	AllowLoopback bool                // as if Allow had 127.0.0.0/8 and ::1
	// Own are our listeners and our database: never dialled, whatever Allow says. Port 0 stands for
	// every port, an unspecified address for every address of this host.
	Own []netip.AddrPort
	CAA bool // a name is proven only if CAA records don't forbid to issue for it
	// CAAIdentities are this CA's domain names in CAA and dns-persist-01 records, at most 10.
	CAAIdentities     []string
	AccountHashPrefix string // as the directory says it, for dns-persist-01
	Now               func() time.Time
}

// Validator is the Checker that asks the real network. Nobody changes it after New.
type Validator struct {
	http01Port, tlsALPN01Port uint16
	policy                    addressPolicy
	resolver                  resolver
	honoursCAA                bool
	identities                []string
	accountHashPrefix         string
	now                       func() time.Time
	names                     *turns[string]
	addresses                 *turns[netip.Addr]
}

// timeout bounds a whole validation with all its waiting, lookups, dials and redirects.
const timeout = 10 * time.Second

// New checks the configuration and makes a Validator of it.
func New(c Config) (*Validator, error) {
	http01, err := checkPort("acme.http01_port", cmp.Or(c.HTTP01Port, 80))
	if err != nil {
		return nil, err
	}
	tlsALPN01, err := checkPort("acme.tlsalpn01_port", cmp.Or(c.TLSALPN01Port, 443))
	if err != nil {
		return nil, err
	}
	policy, err := newAddressPolicy(c)
	if err != nil {
		return nil, err
	}
	resolver, err := newResolver(c)
	if err != nil {
		return nil, err
	}
	identities, err := newIdentities(c)
	if err != nil {
		return nil, err
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Validator{
		http01Port: http01, tlsALPN01Port: tlsALPN01, policy: policy, resolver: resolver,
		honoursCAA: c.CAA, identities: identities, accountHashPrefix: c.AccountHashPrefix,
		now: c.Now, names: newTurns[string](), addresses: newTurns[netip.Addr](),
	}, nil
}

func checkPort(key string, port int) (uint16, error) {
	if port < 1 || port > 65535 {
		return 0, fmt.Errorf("%s: %d is not a port (1 to 65535)", key, port)
	}
	return uint16(port), nil
}

// Check proves c, or says why not, in 10 s at most. Only a few checks of one name, and only a few
// connections to one address, are made at the same time; the others wait for their turn in this time.
func (v *Validator) Check(ctx context.Context, c Challenge) Result {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var t trace
	until, p := v.prove(ctx, c, &t)
	if p == nil && v.honoursCAA {
		p = v.caa(ctx, c, &t)
	}
	r := result(p, &t)
	if r.OK {
		r.Until = until
	}
	return r
}

func result(p *problem, t *trace) Result {
	if p == nil {
		return Result{OK: true, Trace: t.lines}
	}
	return Result{ProblemType: p.kind, Detail: clean(p.detail, maxDetail), Trace: t.lines}
}

func (v *Validator) prove(ctx context.Context, c Challenge, t *trace) (until time.Time, p *problem) {
	if p := checkChallenge(c); p != nil {
		return until, p
	}
	leave, err := v.names.enter(ctx, c.Name.Value)
	if err != nil {
		return until, failed(connection, "validating %s: %s", c.Name.Value, reason(err))
	}
	defer leave()
	switch c.Type {
	case HTTP01:
		p = v.http01(ctx, c, t)
	case TLSALPN01:
		p = v.tlsALPN01(ctx, c, t)
	case DNS01:
		p = v.dnsDigest(ctx, acmeChallenge+c.Name.Value, c, t)
	case DNSAccount01:
		p = v.dnsDigest(ctx, accountLabel(c.AccountURI)+acmeChallenge+c.Name.Value, c, t)
	case DNSPersist01:
		until, p = v.dnsPersist01(ctx, c, t)
	default:
		p = failed(malformed, "%q is not a type of challenge that this CA knows", c.Type)
	}
	return until, p
}

// checkChallenge says what can be said without asking anybody.
func checkChallenge(c Challenge) *problem {
	byDNS := c.Type == DNS01 || c.Type == DNSAccount01 || c.Type == DNSPersist01
	switch {
	case c.Name.Type != identity.DNS && c.Name.Type != identity.IP:
		return failed(malformed, "no challenge can prove an identifier of type %q", c.Name.Type)
	case c.Name.IsWildcard():
		return failed(malformed, "%s is to be proven at the name behind its \"*.\"", c.Name.Value)
	case byDNS && c.Name.Type == identity.IP:
		return failed(malformed, "%s cannot prove the IP address %s (RFC 8738 section 7)",
			c.Type, c.Name.Value)
	case c.Wildcard && !byDNS: // never #17
		return failed(malformed, "only dns-01 and its kin can prove the wildcard *.%s", c.Name.Value)
	case (c.Type == DNSAccount01 || c.Type == DNSPersist01) && c.AccountURI == "":
		return failed(malformed, "%s needs the account's URL", c.Type)
	}
	return nil
}
