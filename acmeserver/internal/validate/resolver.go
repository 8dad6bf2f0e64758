package validate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/mayflyca/mayfly/identity"
)

// resolver asks DNS. It keeps nothing between questions: a stale answer would prove the wrong thing.
type resolver struct {
	servers []string            // host:port; none means the system's
	zones   map[string][]string // the servers of a zone and what is below it; the longest zone wins
}

func newResolver(c Config) (resolver, error) {
	r := resolver{servers: slices.Clone(c.Resolvers), zones: make(map[string][]string)}
	if err := checkServers("acme.resolver", c.Resolvers); err != nil {
		return r, err
	}
	for zone, servers := range c.ZoneResolvers {
		name, err := identity.ParseName(identity.DNS, strings.TrimSuffix(zone, "."))
		if err != nil || name.IsWildcard() || len(servers) == 0 {
			return r, fmt.Errorf("acme.zone_resolvers: %q is not a zone with its DNS servers, like "+
				"corp.example=10.0.0.53:53", zone)
		}
		if err := checkServers("acme.zone_resolvers", servers); err != nil {
			return r, err
		}
		r.zones[name.Value] = slices.Clone(servers)
	}
	return r, nil
}

func checkServers(key string, servers []string) error {
	for _, server := range servers {
		host, port, err := net.SplitHostPort(server)
		if number, notNumber := strconv.Atoi(port); err != nil || notNumber != nil || host == "" ||
			number < 1 || number > 65535 {
			return fmt.Errorf("%s: %q is not host:port, like 10.0.0.53:53", key, server)
		}
	}
	return nil
}

const (
	queryTimeout = 2 * time.Second // for one question to one server
	queryRounds  = 2               // times that the list of servers is gone through
	maxAliases   = 8               // CNAMEs followed by asking again
	udpSize      = 1232            // fits every path unfragmented (DNS flag day 2020)
)

// addresses gives host's addresses in the order in which to dial them: IPv6 and IPv4 in turn, IPv6
// first. An IP address is its own; localhost and below is loopback without asking (RFC 6761
// section 6.3).
func (r resolver) addresses(
	ctx context.Context, host identity.Name, t *trace,
) ([]netip.Addr, *problem) {
	switch {
	case host.Type == identity.IP:
		addr, err := netip.ParseAddr(host.Value)
		if err != nil {
			return nil, failed(malformed, "%q is not an IP address", host.Value)
		}
		return []netip.Addr{addr}, nil
	case isLocalhost(host.Value):
		t.add("resolved %s: ::1, 127.0.0.1 (loopback by RFC 6761)", host.Value)
		return []netip.Addr{netip.IPv6Loopback(), netip.AddrFrom4([4]byte{127, 0, 0, 1})}, nil
	case len(r.serversFor(host.Value)) == 0:
		return systemAddresses(ctx, host.Value, t)
	}
	return r.askAddresses(ctx, host.Value, t)
}

func isLocalhost(name string) bool {
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}

// serversFor gives the configured servers for a name.
func (r resolver) serversFor(name string) []string {
	for zone := name; zone != ""; _, zone, _ = strings.Cut(zone, ".") {
		if servers, ok := r.zones[zone]; ok {
			return servers
		}
	}
	return r.servers
}

// nameServers gives the servers to ask for an absolute name: those of resolv.conf where none is
// configured.
func (r resolver) nameServers(owner string) ([]string, *problem) {
	name := strings.TrimSuffix(owner, ".")
	if servers := r.serversFor(name); len(servers) > 0 {
		return servers, nil
	}
	system, err := dns.ClientConfigFromFile("/etc/resolv.conf")
	if err != nil {
		return nil, failed(dnsProblem, "looking up %s failed: this CA's host has no readable "+
			"resolv.conf; set acme.resolver", name)
	}
	var servers []string
	for _, server := range system.Servers {
		servers = append(servers, net.JoinHostPort(server, system.Port))
	}
	return servers, nil
}

// systemAddresses looks in the system's hosts file, then asks the DNS servers of resolv.conf. Only a
// name of a single label is completed by the search list, as everywhere on the host's network; for
// others, somebody else's zone could then answer.
func systemAddresses(ctx context.Context, name string, t *trace) ([]netip.Addr, *problem) {
	system, question := net.Resolver{PreferGo: true}, name
	if strings.Contains(name, ".") {
		question += "."
	}
	addrs, err := system.LookupNetIP(ctx, "ip", question)
	var missing *net.DNSError
	switch {
	case errors.As(err, &missing) && missing.IsNotFound:
		t.add("resolving %s: no such name or no address (via the system's resolver)", name)
		return nil, failed(dnsProblem, "%s has no address in the system's hosts file or DNS; "+
			"create the A or AAAA record", name)
	case err != nil:
		t.add("resolving %s with the system's resolver failed: %s", name, reason(err))
		return nil, failed(dnsProblem, "looking up the addresses of %s with the system's resolver "+
			"failed (%s); check the name servers of this CA's host", name, reason(err))
	}
	var six, four []netip.Addr
	for _, addr := range addrs {
		if addr = addr.Unmap(); addr.Is4() {
			four = append(four, addr)
		} else {
			six = append(six, addr)
		}
	}
	addrs = inTurn(six, four)
	t.add("resolved %s: %s (via the system's resolver)", name, addrs)
	return addrs, nil
}

// askAddresses asks the configured servers for both kinds of address at once.
func (r resolver) askAddresses(
	ctx context.Context, name string, t *trace,
) ([]netip.Addr, *problem) {
	var six []dns.RR
	var noSix *problem
	var aside trace
	done := make(chan struct{})
	go func() {
		defer close(done)
		six, noSix = r.lookup(ctx, name, dns.TypeAAAA, &aside)
	}()
	four, noFour := r.lookup(ctx, name, dns.TypeA, t)
	<-done
	for _, line := range aside.lines {
		t.add("%s", line)
	}
	addrs := inTurn(addressesIn(six), addressesIn(four))
	switch {
	case len(addrs) > 0:
		return addrs, nil
	case noFour != nil:
		return nil, noFour
	case noSix != nil:
		return nil, noSix
	}
	return nil, failed(dnsProblem, "%s has neither an A nor an AAAA record; create one", name)
}

func addressesIn(records []dns.RR) []netip.Addr {
	var addrs []netip.Addr
	for _, rr := range records {
		var bytes net.IP
		switch rr := rr.(type) {
		case *dns.A:
			bytes = rr.A.To4()
		case *dns.AAAA:
			bytes = rr.AAAA
		}
		if addr, ok := netip.AddrFromSlice(bytes); ok {
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// inTurn mixes the two, so that a family that is out of order costs one attempt (RFC 8305 section 4).
func inTurn(six, four []netip.Addr) []netip.Addr {
	var mixed []netip.Addr
	for i := range max(len(six), len(four)) {
		mixed = append(mixed, six[min(i, len(six)):min(i+1, len(six))]...)
		mixed = append(mixed, four[min(i, len(four)):min(i+1, len(four))]...)
	}
	return mixed
}

// texts gives the TXT records of name, the strings of each joined (RFC 7208 section 3.3).
func (r resolver) texts(ctx context.Context, name string, t *trace) ([]string, *problem) {
	records, p := r.lookup(ctx, name, dns.TypeTXT, t)
	var values []string
	for _, rr := range records {
		if text, ok := rr.(*dns.TXT); ok {
			values = append(values, strings.Join(text.Txt, ""))
		}
	}
	return values, p
}
