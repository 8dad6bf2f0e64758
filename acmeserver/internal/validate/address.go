package validate

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// addressPolicy says which addresses may be dialled.
type addressPolicy struct {
	allow, deny []netip.Prefix
	own         []netip.AddrPort // goes before allow
}

// permitted is where the policy lets us dial; only permit makes one.
type permitted struct {
	at netip.AddrPort
}

// refused says why an address must not be dialled.
type refused struct {
	addr netip.Addr
	rule string
}

func (r refused) String() string { return fmt.Sprintf("%s: %s", r.addr, r.rule) }

var loopback = []netip.Prefix{
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("::1/128"),
}

// forbidden are the networks not dialled unless the operator allows them: from there a stranger
// could reach us, our cloud's metadata service, or many at once. Private networks are what an
// internal CA is for and not among them.
var forbidden = []struct {
	network netip.Prefix
	name    string
}{
	{loopback[0], "loopback"},
	{loopback[1], "loopback"},
	{netip.MustParsePrefix("0.0.0.0/8"), "unspecified, which reaches this host"},
	{netip.MustParsePrefix("::/128"), "unspecified, which reaches this host"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local, where cloud metadata lives"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("fd00:ec2::/32"), "cloud metadata (AWS)"},
	{netip.MustParsePrefix("fd20:ce::254/128"), "cloud metadata (Google)"},
	{netip.MustParsePrefix("100.100.100.200/32"), "cloud metadata (Alibaba)"},
	{netip.MustParsePrefix("168.63.129.16/32"), "cloud metadata (Azure)"},
	{netip.MustParsePrefix("192.0.0.0/24"), "protocol assignments and cloud metadata (Oracle)"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved or broadcast"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "local-use NAT64"},
	{netip.MustParsePrefix("2001::/32"), "Teredo tunnel"},
	{netip.MustParsePrefix("2002::/16"), "6to4 tunnel"},
}

// embeds are the networks whose last four bytes are an IPv4 address that gets the packets (RFC 4291
// section 2.5.5.1, RFC 6052).
var embeds = []netip.Prefix{netip.MustParsePrefix("::/96"), netip.MustParsePrefix("64:ff9b::/96")}

func newAddressPolicy(c Config) (addressPolicy, error) {
	for _, list := range [][]netip.Prefix{c.Allow, c.Deny} {
		for _, p := range list {
			if !p.IsValid() || p.Addr().Is4In6() {
				return addressPolicy{}, fmt.Errorf("acme.validation_networks: %s is not a network; "+
					"write it like 10.0.0.0/8 or fd00::/8", p)
			}
		}
	}
	p := addressPolicy{allow: slices.Clone(c.Allow), deny: slices.Clone(c.Deny)}
	for _, own := range c.Own {
		if !own.Addr().IsValid() {
			return addressPolicy{}, fmt.Errorf("%s is not an address of our own", own)
		}
		p.own = append(p.own, netip.AddrPortFrom(plain(own.Addr()), own.Port()))
	}
	if c.AllowLoopback {
		p.allow = append(p.allow, loopback...)
	}
	return p, nil
}

// permit decides on addr and on the IPv4 address inside it, if it has one: both must pass.
func (p addressPolicy) permit(addr netip.Addr, port uint16) (permitted, *refused) {
	addr = plain(addr)
	if rule := p.refusal(addr, port); rule != "" {
		return permitted{}, &refused{addr, rule}
	}
	if inside, ok := embedded(addr); ok {
		if rule := p.refusal(inside, port); rule != "" {
			return permitted{}, &refused{addr, fmt.Sprintf("leads to %s: %s", inside, rule)}
		}
	}
	return permitted{netip.AddrPortFrom(addr, port)}, nil
}

// plain gives the one form in which addresses are compared.
func plain(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

func (p addressPolicy) refusal(addr netip.Addr, port uint16) string {
	for _, own := range p.own {
		if (own.Port() == 0 || own.Port() == port) && isAt(own.Addr(), addr) {
			return fmt.Sprintf("port %d there is this CA's own or its database's", port)
		}
	}
	for _, network := range p.deny {
		if network.Contains(addr) {
			return "acme.validation_networks.deny has " + network.String()
		}
	}
	for _, network := range p.allow {
		if network.Contains(addr) {
			return ""
		}
	}
	for _, f := range forbidden {
		if f.network.Contains(addr) {
			return f.name
		}
	}
	return ""
}

// isAt tells whether what listens at an address of ours is reached at addr. The unspecified address
// stands for all that this host has at the moment.
func isAt(listens, addr netip.Addr) bool {
	switch {
	case listens == addr || addr.IsUnspecified():
		return true
	case !listens.IsUnspecified() || addr.IsLoopback():
		return listens.IsUnspecified()
	}
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return true // nobody can say that it is not
	}
	return slices.ContainsFunc(interfaces, func(a net.Addr) bool {
		local, err := netip.ParsePrefix(a.String())
		return err == nil && plain(local.Addr()) == addr
	})
}

func embedded(addr netip.Addr) (netip.Addr, bool) {
	for _, network := range embeds {
		if network.Contains(addr) && !loopback[1].Contains(addr) {
			bytes := addr.As16()
			return netip.AddrFrom4([4]byte(bytes[12:])), true
		}
	}
	return netip.Addr{}, false
}
