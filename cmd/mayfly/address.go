package main

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/mayflyca/mayfly/identity"
)

// lookupPatience bounds the one DNS question at start: a slow resolver must not hold it up.
const lookupPatience = 500 * time.Millisecond

// externalURL gives the base of the URLs we hand out for a door: the configured one, or one that
// follows from where it listens. bound is the real address, with a port that is never 0.
func externalURL(ctx context.Context, configured, scheme, listen string, bound net.Addr) string {
	if configured != "" {
		return configured
	}
	host := listenHost(listen)
	if host == "" {
		host = ownHost(ctx)
	}
	port := portOf(bound)
	if (scheme == "https" && port == 443) || (scheme == "http" && port == 80) {
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		return scheme + "://" + host
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(port))
}

// listenHost is the host of a listen address if it names one, "" if it stands for all addresses.
func listenHost(listen string) string {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return ""
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		return ""
	}
	return strings.ToLower(host)
}

func portOf(a net.Addr) int {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.Port
	}
	return 0
}

// ownHost is the machine's name if it resolves, so that others may reach us by it.
func ownHost(ctx context.Context) string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "localhost"
	}
	ctx, cancel := context.WithTimeout(ctx, lookupPatience)
	defer cancel()
	if _, err := net.DefaultResolver.LookupHost(ctx, name); err != nil {
		return "localhost"
	}
	return strings.ToLower(name)
}

// doorNames are the names of our own certificate: every name by which a client may reach the door.
// What is no valid name (a host name with an underscore) is left out.
func doorNames(candidates ...string) []identity.Name {
	machine, _ := os.Hostname() // "" is left out below
	candidates = append(candidates, machine, "localhost", "127.0.0.1", "::1")
	var names []identity.Name
	for _, text := range candidates {
		if u, err := url.Parse(text); err == nil && u.Host != "" {
			text = u.Hostname()
		}
		kind := identity.DNS
		if _, err := netip.ParseAddr(text); err == nil {
			kind = identity.IP
		}
		name, err := identity.ParseName(kind, text)
		if err == nil && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}
