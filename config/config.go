// Package config reads the configuration: flags over environment over one YAML file over defaults,
// strictly and once.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// Config is the whole configuration, checked. Nobody changes it after Load.
type Config struct {
	File           string // the configuration file; empty means trial mode
	Listen         string // HTTPS door
	ExternalURL    string // base of every URL handed out, no trailing slash; "" means derive it
	DataDir        string
	DatabaseURL    string // empty means SQLite in DataDir
	AdminTokenFile string
	Publish        Publish
	Metrics        Metrics
	ACME           ACME
	Log            Log
}

// Publish is the plain-HTTP door's part.
type Publish struct {
	Listen      string
	ExternalURL string // base of CRL and AIA URLs, no trailing slash; "" means derive it
}

// Metrics is the monitoring door's part.
type Metrics struct {
	Listen string
}

// ACME is the ACME door's part.
type ACME struct {
	Challenges     []string            // the types that are offered
	Resolvers      []string            // host:port, asked by validation; nil means the system's
	ZoneResolvers  map[string][]string // others for a zone and what is below it
	CAA            bool                // CAA records are honoured
	CAAIdentities  []string            // our domain names in DNS records; nil means the host of ExternalURL
	HTTP01Port     int
	TLSALPN01Port  int
	EABRequired    bool
	TermsOfService string         // URL of what new accounts must agree to; "" for nothing
	AllowNetworks  []netip.Prefix // validation may dial these although the defaults forbid it
	DenyNetworks   []netip.Prefix // validation never dials these
	RateLimits     bool
	// RateLimitOverrides are "limit=key=count/duration" each; the ACME door reads them.
	RateLimitOverrides []string
	// AttestationRoots is a file of PEM certificates: whose word on devices counts; "" for nobody's.
	AttestationRoots string
}

// Log says how the log is written.
type Log struct {
	Format string // "text" or "json"
	Level  slog.Level
}

// Trial tells whether the program was started without a configuration file: somebody tries it out
// on one machine.
func (c Config) Trial() bool { return c.File == "" }

// Source is where Load looks.
type Source struct {
	File    string            // path of the YAML file, or empty
	Environ []string          // "NAME=value", as os.Environ gives it
	Flags   map[string]string // the flags that were given, by the key each sets
}

// value is one setting as somebody wrote it, and where.
type value struct {
	text  string
	place string // "mayfly.yaml:12", "MAYFLY_LISTEN", "--listen"
}

// Load reads and checks everything. Its error names each setting at fault, where it stands, and
// what to write instead, one to a line.
func Load(src Source) (Config, error) {
	env := environment(src.Environ)
	c := defaults(env)
	settings := map[string]value{}
	var problems []error
	if src.File != "" {
		c.File = src.File
		text, err := readFile(src.File)
		if err != nil {
			return Config{}, err
		}
		fromFile, err := parseFile(src.File, text)
		problems = append(problems, err)
		overlay(settings, fromFile)
	}
	fromEnv, err := parseEnvironment(env)
	problems = append(problems, err)
	overlay(settings, fromEnv)
	for name, text := range src.Flags {
		settings[name] = value{text, "--" + FlagName(name)}
	}
	for _, k := range keys() {
		if v, ok := settings[k.name]; ok {
			if err := k.set(&c, v.text); err != nil {
				problems = append(problems, fmt.Errorf("%s: %s %w", v.place, k.name, err))
			}
		}
	}
	if err := errors.Join(problems...); err != nil {
		return Config{}, err
	}
	c.AdminTokenFile = cmp.Or(c.AdminTokenFile, filepath.Join(c.DataDir, "admin-token"))
	return c, nil
}

func overlay(settings, over map[string]value) {
	for name, v := range over {
		settings[name] = v
	}
}

func defaults(env map[string]string) Config {
	// systemd gives a list where a unit has several state directories; the first is ours.
	state, _, _ := strings.Cut(env["STATE_DIRECTORY"], ":")
	return Config{
		Listen:  ":8443",
		DataDir: cmp.Or(state, "mayfly-data"),
		Publish: Publish{Listen: ":8080"},
		Metrics: Metrics{Listen: "127.0.0.1:8081"},
		ACME: ACME{
			Challenges: []string{"http-01", "dns-01", "tls-alpn-01"},
			HTTP01Port: 80, TLSALPN01Port: 443, RateLimits: true,
		},
		Log: Log{Format: "text", Level: slog.LevelInfo},
	}
}

// maxFile is far above any sensible configuration; it keeps a wrong --config from being read whole.
const maxFile = 1 << 20

func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration file: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the configuration file: %w", err)
	case len(text) > maxFile:
		return nil, fmt.Errorf("reading the configuration file: %s is larger than 1 MiB", path)
	default:
		return text, nil
	}
}
