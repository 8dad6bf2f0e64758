// Package validate proves control of an identifier by asking the network (RFC 8555 section 8,
// RFC 8737, RFC 8738), and cannot be turned against us: it dials only addresses that it resolved and
// checked.
package validate

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/mayflyca/mayfly/identity"
)

// Challenge is what has to be proven.
type Challenge struct {
	Type             string        // "http-01", "dns-01", "tls-alpn-01"
	Name             identity.Name // without the "*." of a wildcard
	Wildcard         bool          // the authorization is for "*." before Name
	Token            string
	KeyAuthorization string // token "." account key thumbprint (RFC 8555 section 8.1)
}

// Result tells how a validation went. It is never an error of ours: what could not be asked has
// failed, and Trace says why.
type Result struct {
	OK bool
	// ProblemType is the ACME error type without its prefix ("connection", "dns", "tls",
	// "incorrectResponse", "unauthorized", "malformed"); empty if OK.
	ProblemType string
	Detail      string   // one sentence that tells the operator of the responder what to mend
	Trace       []string // what was resolved, dialled and received, a line each, bounded
}

// Checker proves challenges. Safe for concurrent use.
type Checker interface {
	Check(ctx context.Context, c Challenge) Result
}

// Config says how and where a Validator asks.
type Config struct {
	Resolvers     []string       // DNS servers, host:port, asked in this order; none means the system's
	HTTP01Port    int            // 0 means 80
	TLSALPN01Port int            // 0 means 443
	Allow         []netip.Prefix // may be dialled although the defaults forbid it
	Deny          []netip.Prefix // never dialled, whatever Allow says
	AllowLoopback bool           // as if Allow had 127.0.0.0/8 and ::1
	Now           func() time.Time
}

// Validator is the Checker that asks the real network. Nobody changes it after New.
type Validator struct {
	http01Port, tlsALPN01Port uint16
	policy                    addressPolicy
	resolver                  resolver
	now                       func() time.Time
}

// timeout bounds a whole validation with all its lookups, dials and redirects.
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
	for _, server := range c.Resolvers {
		host, port, err := net.SplitHostPort(server)
		if number, notNumber := strconv.Atoi(port); err != nil || notNumber != nil || host == "" ||
			number < 1 || number > 65535 {
			return nil, fmt.Errorf("acme.resolver: %q is not host:port, like 10.0.0.53:53", server)
		}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Validator{
		http01Port: http01, tlsALPN01Port: tlsALPN01,
		policy: policy, resolver: resolver{servers: c.Resolvers}, now: c.Now,
	}, nil
}

func checkPort(key string, port int) (uint16, error) {
	if port < 1 || port > 65535 {
		return 0, fmt.Errorf("%s: %d is not a port (1 to 65535)", key, port)
	}
	return uint16(port), nil
}

// Check proves c, or says why not, in 10 s at most.
func (v *Validator) Check(ctx context.Context, c Challenge) Result {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var t trace
	p := v.check(ctx, c, &t)
	if p == nil {
		return Result{OK: true, Trace: t.lines}
	}
	return Result{ProblemType: p.kind, Detail: clean(p.detail, maxDetail), Trace: t.lines}
}

func (v *Validator) check(ctx context.Context, c Challenge, t *trace) *problem {
	switch {
	case c.Name.Type != identity.DNS && c.Name.Type != identity.IP:
		return failed(malformed, "no challenge can prove an identifier of type %q", c.Name.Type)
	case c.Name.IsWildcard():
		return failed(malformed, "%s is to be proven at the name behind its \"*.\"", c.Name.Value)
	case c.Type == "dns-01" && c.Name.Type == identity.DNS:
		return v.dns01(ctx, c, t)
	case c.Type == "dns-01":
		return failed(malformed, "dns-01 cannot prove the IP address %s (RFC 8738 section 7)",
			c.Name.Value)
	case c.Wildcard:
		return failed(malformed, "only dns-01 can prove the wildcard *.%s", c.Name.Value)
	case c.Type == "http-01":
		return v.http01(ctx, c, t)
	case c.Type == "tls-alpn-01":
		return v.tlsALPN01(ctx, c, t)
	}
	return failed(malformed, "%q is not a type of challenge that this CA knows", c.Type)
}
