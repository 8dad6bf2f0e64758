package acmeserver

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/mayflyca/mayfly/acmeserver/internal/limit"
	"github.com/mayflyca/mayfly/identity"
)

// The limits, by the names that operators and the metrics know. What each counts is told by limitTable.
const (
	requestsPerAddress     = "requests_per_address"
	accountsPerAddress     = "accounts_per_address"
	ordersPerAccount       = "orders_per_account"
	certificatesPerNameSet = "certificates_per_name_set"
	failuresPerName        = "failures_per_name"
)

// limitKind is what is counted, how much of it there may be, and how its keys are written.
type limitKind struct {
	rate  limit.Rate
	what  string
	parse func(key string) (string, error)
}

// limitTable has rates that no healthy fleet meets: ten thousand services behind one address, or of
// one account, that all restart at once, or a thousand replicas of one service. A client that loops
// has used them up within minutes, and then costs us next to nothing.
var limitTable = map[string]limitKind{
	requestsPerAddress: {limit.Rate{Count: 600_000, Per: 10 * time.Minute}, "requests from", parseAddress},
	accountsPerAddress: {limit.Rate{Count: 10_000, Per: time.Hour}, "new accounts from", parseAddress},
	ordersPerAccount:   {limit.Rate{Count: 10_000, Per: time.Hour}, "new orders of account", parseAccount},
	certificatesPerNameSet: {
		limit.Rate{Count: 1000, Per: time.Hour}, "certificates for exactly", parseNameSet,
	},
	failuresPerName: {limit.Rate{Count: 30, Per: time.Hour}, "failed validations of", parseFailures},
}

// maxKeys bounds the keys that a limit remembers, and so its memory to about 12 MB. Only a key that was
// used so much of late that its bucket is not full needs remembering.
const maxKeys = 1 << 16

// limits are those in force, by name; none if they are off. They count in memory: each replica by
// itself, and anew after a restart.
type limits map[string]*limit.Limiter

// newLimits reads the overrides, even if there are to be no limits.
func newLimits(c Config) (limits, error) {
	rates := make(map[string]map[string]limit.Rate)
	for name, kind := range limitTable {
		rates[name] = map[string]limit.Rate{"*": kind.rate}
	}
	for _, text := range c.RateLimitOverrides {
		name, key, rate, err := parseOverride(text)
		if err != nil {
			return nil, fmt.Errorf("acme.rate_limit_overrides: %.300q: %w", text, err)
		}
		rates[name][key] = rate
	}
	if !c.RateLimits {
		return nil, nil
	}
	all := make(limits)
	for name, of := range rates {
		all[name] = limit.New(of["*"], of, maxKeys)
	}
	return all, nil
}

func parseOverride(text string) (name, key string, rate limit.Rate, err error) {
	parts := strings.Split(text, "=")
	if len(parts) != 3 {
		return "", "", rate, errors.New("write limit=key=count/duration, for example " +
			"orders_per_account=*=50000/1h")
	}
	name, key = parts[0], parts[1]
	kind, ok := limitTable[name]
	if !ok {
		return "", "", rate, fmt.Errorf("there is no limit %.50q; there are %s", name,
			strings.Join(slices.Sorted(maps.Keys(limitTable)), ", "))
	}
	if key != "*" {
		if key, err = kind.parse(key); err != nil {
			return "", "", rate, fmt.Errorf("%.200q is neither * nor %w", parts[1], err)
		}
	}
	rate, err = limit.ParseRate(parts[2])
	return name, key, rate, err
}

// take counts an event, or refuses it. The key is as parse gives it.
func (s *Server) take(name, key string) error {
	l, on := s.limits[name]
	if !on {
		return nil
	}
	return s.limited(name, key, l.Take(key, s.now()))
}

// peek refuses what take would refuse, and counts nothing.
func (s *Server) peek(name, key string) error {
	l, on := s.limits[name]
	if !on {
		return nil
	}
	return s.limited(name, key, l.Wait(key, s.now()))
}

// limited is nil without a time to wait. It says what is limited to how much, until when, and whom to
// ask.
func (s *Server) limited(name, key string, wait time.Duration) error {
	if wait == 0 {
		return nil
	}
	s.metrics.limited.WithLabelValues(name).Inc()
	r := refuse(rateLimited, "too many %s %.300s: at most %s; try again in %s, at %s. Whoever runs this "+
		"CA can raise the limit %s with acme.rate_limit_overrides", limitTable[name].what, key,
		s.limits[name].Of(key), max(wait, time.Second).Round(time.Second),
		s.now().Add(wait).UTC().Format(time.RFC3339), name)
	r.retryAfter = wait
	return r
}

// addressKey is the client's address, as its packets have it: what a header says of it is anybody's
// word (never #25). A network of IPv6 is one client, which may choose among its addresses.
func addressKey(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return clientOf(peer.Addr())
}

func clientOf(address netip.Addr) string {
	address = address.Unmap().WithZone("")
	if address.Is4() {
		return address.String()
	}
	return netip.PrefixFrom(address, 64).Masked().String()
}

// nameSetKey is the same for all orders of the names, and an override can be written like it.
func nameSetKey(names []identity.Name) string {
	texts := make([]string, len(names))
	for i, name := range names {
		texts[i] = name.Value
	}
	slices.Sort(texts)
	return strings.Join(texts, "+")
}

func failuresKey(account string, name identity.Name) string { return account + "+" + name.Value }

func parseAddress(text string) (string, error) {
	if network, err := netip.ParsePrefix(text); err == nil && network.Addr().Is6() &&
		network.Bits() == 64 {
		return clientOf(network.Addr()), nil
	}
	address, err := netip.ParseAddr(text)
	if err != nil {
		return "", errors.New("an address like 10.1.2.3, or a network like 2001:db8::/64")
	}
	return clientOf(address), nil
}

func parseAccount(text string) (string, error) {
	if !isID(text) {
		return "", errors.New("an account: the last part of its URL")
	}
	return text, nil
}

func parseNameSet(text string) (string, error) {
	var names []identity.Name
	for part := range strings.SplitSeq(text, "+") {
		name, err := identity.ParseName(identity.IP, part)
		if err != nil {
			name, err = identity.ParseName(identity.DNS, part)
		}
		if err != nil {
			return "", errors.New("names like a.example.com+b.example.com")
		}
		names = append(names, name)
	}
	return nameSetKey(names), nil
}

func parseFailures(text string) (string, error) {
	account, name, found := strings.Cut(text, "+")
	if found {
		if names, err := parseNameSet(name); err == nil && isID(account) && names == strings.ToLower(name) {
			return account + "+" + names, nil
		}
	}
	return "", errors.New("an account and a name, like LK4HFNZW6FVCDTNPQ4WHAOGB7A+a.example.com")
}
