package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// key is one setting: its dotted name in the file, and how its text becomes part of a Config. An
// error from set reads on from the key's name.
type key struct {
	name string
	list bool
	set  func(c *Config, text string) error
}

func (k key) form() string {
	if k.list {
		return "a value or a list of values"
	}
	return "a single value"
}

// keys is the table of everything that can be configured.
func keys() []key {
	return []key{
		{"listen", false, func(c *Config, s string) error { return setListen(&c.Listen, s) }},
		{"external_url", false, func(c *Config, s string) error {
			return setURL(&c.ExternalURL, s, "https")
		}},
		{"data_dir", false, func(c *Config, s string) error { return setText(&c.DataDir, s) }},
		{"database.url", false, func(c *Config, s string) error { return setDatabase(c, s) }},
		{"admin_token_file", false, func(c *Config, s string) error {
			return setText(&c.AdminTokenFile, s)
		}},
		{"publish.listen", false, func(c *Config, s string) error {
			return setListen(&c.Publish.Listen, s)
		}},
		{"publish.external_url", false, func(c *Config, s string) error {
			return setURL(&c.Publish.ExternalURL, s, "http", "https")
		}},
		{"metrics.listen", false, func(c *Config, s string) error {
			return setListen(&c.Metrics.Listen, s)
		}},
		{"acme.challenges", true, func(c *Config, s string) error {
			return setChoices(&c.ACME.Challenges, s, "http-01", "dns-01", "tls-alpn-01",
				"dns-account-01", "dns-persist-01", "device-attest-01")
		}},
		{"acme.attestation_roots", false, func(c *Config, s string) error {
			return setText(&c.ACME.AttestationRoots, s)
		}},
		{"acme.resolver", true, func(c *Config, s string) error { return setResolvers(c, s) }},
		{"acme.zone_resolvers", true, func(c *Config, s string) error { return setZoneResolvers(c, s) }},
		{"acme.caa", false, func(c *Config, s string) error {
			return setBool(&c.ACME.CAA, s, "on", "off")
		}},
		{"acme.caa_identities", true, func(c *Config, s string) error { return setIdentities(c, s) }},
		{"acme.http01_port", false, func(c *Config, s string) error {
			return setPort(&c.ACME.HTTP01Port, s)
		}},
		{"acme.tlsalpn01_port", false, func(c *Config, s string) error {
			return setPort(&c.ACME.TLSALPN01Port, s)
		}},
		{"acme.eab_required", false, func(c *Config, s string) error {
			return setBool(&c.ACME.EABRequired, s, "true", "false")
		}},
		{"acme.terms_of_service", false, func(c *Config, s string) error {
			return setPage(&c.ACME.TermsOfService, s)
		}},
		{"acme.validation_networks.allow", true, func(c *Config, s string) error {
			return setNetworks(&c.ACME.AllowNetworks, s)
		}},
		{"acme.validation_networks.deny", true, func(c *Config, s string) error {
			return setNetworks(&c.ACME.DenyNetworks, s)
		}},
		{"acme.rate_limits", false, func(c *Config, s string) error {
			return setBool(&c.ACME.RateLimits, s, "on", "off")
		}},
		{"acme.rate_limit_overrides", true, func(c *Config, s string) error {
			for part := range strings.SplitSeq(s, ",") {
				c.ACME.RateLimitOverrides = append(c.ACME.RateLimitOverrides, strings.TrimSpace(part))
			}
			return nil
		}},
		{"log.format", false, func(c *Config, s string) error {
			return setChoice(&c.Log.Format, s, "text", "json")
		}},
		{"log.level", false, func(c *Config, s string) error { return setLevel(&c.Log.Level, s) }},
	}
}

func findKey(name string) (key, bool) {
	all := keys()
	i := slices.IndexFunc(all, func(k key) bool { return k.name == name })
	if i < 0 {
		return key{}, false
	}
	return all[i], true
}

func isSection(name string) bool {
	return slices.ContainsFunc(keys(), func(k key) bool { return strings.HasPrefix(k.name, name+".") })
}

// EnvName is the environment variable that sets the key.
func EnvName(name string) string {
	return "MAYFLY_" + strings.ToUpper(strings.ReplaceAll(name, ".", "_"))
}

// FlagName is the flag, where the program has one, that sets the key.
func FlagName(name string) string {
	return strings.NewReplacer(".", "-", "_", "-").Replace(name)
}

func setText(to *string, text string) error {
	if text == "" {
		return errors.New("is empty: write a path, or leave the key out")
	}
	*to = text
	return nil
}

func setListen(to *string, text string) error {
	_, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("is %q: write host:port, or :port for every address, for example \":8443\"",
			text)
	}
	*to = text
	return nil
}

func setURL(to *string, text string, schemes ...string) error {
	u, err := url.Parse(text)
	if err == nil && u.Port() != "" {
		_, err = strconv.ParseUint(u.Port(), 10, 16)
	}
	if err != nil || !slices.Contains(schemes, u.Scheme) || u.Hostname() == "" ||
		strings.HasSuffix(u.Host, ":") || u.User != nil || strings.Trim(u.Path, "/") != "" ||
		u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("is %q: write a URL of host and port only, for example "+
			"\"%s://ca.example.internal\"", text, schemes[0])
	}
	*to = u.Scheme + "://" + strings.ToLower(u.Host)
	return nil
}

// setPage takes the URL of a page for people.
func setPage(to *string, text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil {
		return fmt.Errorf("is %q: write the URL of a page, for example "+
			"\"https://wiki.example.internal/ca-terms\"", text)
	}
	*to = u.String()
	return nil
}

// setDatabase never shows the text: it may hold a password.
func setDatabase(c *Config, text string) error {
	scheme, rest, _ := strings.Cut(text, "://")
	if text != "" && (rest == "" || (scheme != "postgres" && scheme != "postgresql")) {
		return errors.New("is not a Postgres URL: write postgres://user:password@host:port/database, " +
			"or leave the key out to use SQLite in the data directory")
	}
	c.DatabaseURL = text
	return nil
}

func setPort(to *int, text string) error {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return fmt.Errorf("is %q: write a port from 1 to 65535", text)
	}
	*to = int(n)
	return nil
}

func setChoice(to *string, text string, choices ...string) error {
	if !slices.Contains(choices, text) {
		return fmt.Errorf("is %q: write %s", text, strings.Join(choices, " or "))
	}
	*to = text
	return nil
}

func setBool(to *bool, text, yes, no string) error {
	var choice string
	if err := setChoice(&choice, text, yes, no); err != nil {
		return err
	}
	*to = choice == yes
	return nil
}

func setLevel(to *slog.Level, text string) error {
	var choice string
	if err := setChoice(&choice, text, "debug", "info", "warn", "error"); err != nil {
		return err
	}
	return to.UnmarshalText([]byte(choice))
}

func setChoices(to *[]string, text string, choices ...string) error {
	var chosen []string
	for part := range strings.SplitSeq(text, ",") {
		var choice string
		if err := setChoice(&choice, strings.TrimSpace(part), choices...); err != nil {
			return err
		}
		if !slices.Contains(chosen, choice) {
			chosen = append(chosen, choice)
		}
	}
	*to = chosen
	return nil
}

func setResolvers(c *Config, text string) error {
	var servers []string
	for part := range strings.SplitSeq(text, ",") {
		server := strings.TrimSpace(part)
		if !isHostPort(server) {
			return fmt.Errorf("has %q: write each DNS server as host:port, for example 10.0.0.53:53",
				server)
		}
		servers = append(servers, server)
	}
	c.ACME.Resolvers = servers
	return nil
}

func setZoneResolvers(c *Config, text string) error {
	zones := make(map[string][]string)
	for part := range strings.SplitSeq(text, ",") {
		zone, server, _ := strings.Cut(strings.TrimSpace(part), "=")
		if zone == "" || !isHostPort(server) {
			return fmt.Errorf("has %q: write each zone's DNS server as zone=host:port, for example "+
				"corp.example=10.0.0.53:53; a zone with several stands once for each",
				strings.TrimSpace(part))
		}
		zones[zone] = append(zones[zone], server)
	}
	c.ACME.ZoneResolvers = zones
	return nil
}

func isHostPort(text string) bool {
	host, port, err := net.SplitHostPort(text)
	n, notNumber := strconv.ParseUint(port, 10, 16)
	return err == nil && host != "" && notNumber == nil && n > 0
}

func setIdentities(c *Config, text string) error {
	var names []string
	for part := range strings.SplitSeq(text, ",") {
		name := strings.TrimSpace(part)
		if name == "" || strings.ContainsAny(name, ":/ ") {
			return fmt.Errorf("has %q: write each as a domain name, for example ca.example.internal", name)
		}
		names = append(names, name)
	}
	c.ACME.CAAIdentities = names
	return nil
}

func setNetworks(to *[]netip.Prefix, text string) error {
	var networks []netip.Prefix
	for part := range strings.SplitSeq(text, ",") {
		network, err := netip.ParsePrefix(strings.TrimSpace(part))
		if err != nil || network != network.Masked() {
			return fmt.Errorf("has %q: write each network as address/bits, for example 10.1.0.0/16",
				strings.TrimSpace(part))
		}
		networks = append(networks, network)
	}
	*to = networks
	return nil
}
