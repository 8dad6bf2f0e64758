package config_test

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mayflyca/mayfly/config"
)

func writeFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mayfly.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaults(t *testing.T) {
	got, err := config.Load(config.Source{})
	if err != nil {
		t.Fatal(err)
	}
	want := config.Config{
		Listen: ":8443", DataDir: "mayfly-data",
		AdminTokenFile: filepath.Join("mayfly-data", "admin-token"),
		Publish:        config.Publish{Listen: ":8080"},
		Metrics:        config.Metrics{Listen: "127.0.0.1:8081"},
		ACME: config.ACME{
			Challenges: []string{"http-01", "dns-01", "tls-alpn-01"},
			HTTP01Port: 80, TLSALPN01Port: 443, RateLimits: true,
		},
		Log: config.Log{Format: "text"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !got.Trial() {
		t.Error("no file, but not trial mode")
	}
}

func TestStateDirectory(t *testing.T) {
	got, err := config.Load(config.Source{Environ: []string{"STATE_DIRECTORY=/var/lib/mayfly:/var/x"}})
	if err != nil {
		t.Fatal(err)
	}
	if got.DataDir != "/var/lib/mayfly" {
		t.Errorf("data dir %q", got.DataDir)
	}
}

func TestWholeFile(t *testing.T) {
	path := writeFile(t, `
listen: "0.0.0.0:443"
external_url: https://CA.example.internal/
data_dir: /srv/mayfly
admin_token_file: /run/admin
database:
  url: postgres://mayfly@db/mayfly
publish:
  listen: ":80"
  external_url: http://pki.example.internal
metrics: {listen: "127.0.0.1:9"}
acme:
  challenges: [dns-01, dns-persist-01, dns-01]
  attestation_roots: /etc/mayfly/attestation-roots.pem
  resolver: [10.0.0.53:53, "[fd00::53]:53"]
  zone_resolvers:
    - corp.example=10.1.0.53:53
    - eu.corp.example=[fd00:1::53]:53
    - corp.example=10.1.0.54:53
  caa: on
  caa_identities: ca.example.internal
  http01_port: 8080
  tlsalpn01_port: 8443
  eab_required: true
  terms_of_service: https://wiki.example.internal/ca?id=7
  rate_limits: off
  rate_limit_overrides:
    - orders_per_account=*=50000/1h
    - requests_per_address=10.1.2.3=9/1s
  validation_networks:
    allow:
      - 127.0.0.0/8
      - ::1/128
    deny: 10.9.0.0/16
log:
  format: json
  level: debug
`)
	got, err := config.Load(config.Source{File: path})
	if err != nil {
		t.Fatal(err)
	}
	want := config.Config{
		File: path, Listen: "0.0.0.0:443", ExternalURL: "https://ca.example.internal",
		DataDir: "/srv/mayfly", DatabaseURL: "postgres://mayfly@db/mayfly",
		AdminTokenFile: "/run/admin",
		Publish:        config.Publish{Listen: ":80", ExternalURL: "http://pki.example.internal"},
		Metrics:        config.Metrics{Listen: "127.0.0.1:9"},
		ACME: config.ACME{
			Challenges:       []string{"dns-01", "dns-persist-01"},
			AttestationRoots: "/etc/mayfly/attestation-roots.pem",
			Resolvers:        []string{"10.0.0.53:53", "[fd00::53]:53"},
			ZoneResolvers: map[string][]string{
				"corp.example":    {"10.1.0.53:53", "10.1.0.54:53"},
				"eu.corp.example": {"[fd00:1::53]:53"},
			},
			CAA: true, CAAIdentities: []string{"ca.example.internal"}, HTTP01Port: 8080,
			TLSALPN01Port: 8443, EABRequired: true,
			TermsOfService: "https://wiki.example.internal/ca?id=7",
			RateLimitOverrides: []string{
				"orders_per_account=*=50000/1h", "requests_per_address=10.1.2.3=9/1s",
			},
			AllowNetworks: []netip.Prefix{
				netip.MustParsePrefix("127.0.0.0/8"),
				netip.MustParsePrefix("::1/128"),
			},
			DenyNetworks: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")},
		},
		Log: config.Log{Format: "json", Level: slog.LevelDebug},
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	if got.Trial() {
		t.Error("trial mode with a file")
	}
}

func TestPrecedence(t *testing.T) {
	file := writeFile(t, "listen: :1\npublish:\n  listen: :2\nmetrics:\n  listen: :3\n")
	got, err := config.Load(config.Source{
		File:    file,
		Environ: []string{"MAYFLY_LISTEN=:11", "MAYFLY_PUBLISH_LISTEN=:12", "MAYFLY_METRICS_LISTEN="},
		Flags:   map[string]string{"listen": ":21"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got.Listen != ":21" || got.Publish.Listen != ":12" || got.Metrics.Listen != ":3" {
		t.Errorf("listen %s, publish %s, metrics %s", got.Listen, got.Publish.Listen, got.Metrics.Listen)
	}
}

// Every key has a variable that reaches it.
func TestEveryKeyByEnvironment(t *testing.T) {
	got, err := config.Load(config.Source{Environ: []string{
		"MAYFLY_LISTEN=:1", "MAYFLY_EXTERNAL_URL=https://a", "MAYFLY_DATA_DIR=d",
		"MAYFLY_DATABASE_URL=postgresql://h/d", "MAYFLY_ADMIN_TOKEN_FILE=t",
		"MAYFLY_PUBLISH_LISTEN=:2", "MAYFLY_PUBLISH_EXTERNAL_URL=http://b", "MAYFLY_METRICS_LISTEN=:3",
		"MAYFLY_ACME_CHALLENGES=dns-account-01,device-attest-01", "MAYFLY_ACME_CAA=on",
		"MAYFLY_ACME_ATTESTATION_ROOTS=r.pem",
		"MAYFLY_ACME_CAA_IDENTITIES=a.example, b.example",
		"MAYFLY_ACME_ZONE_RESOLVERS=corp.example=3.3.3.3:53, other=4.4.4.4:53",
		"MAYFLY_ACME_RESOLVER=1.1.1.1:53, 2.2.2.2:53", "MAYFLY_ACME_HTTP01_PORT=4",
		"MAYFLY_ACME_TLSALPN01_PORT=5", "MAYFLY_ACME_EAB_REQUIRED=true", "MAYFLY_ACME_RATE_LIMITS=off",
		"MAYFLY_ACME_TERMS_OF_SERVICE=http://terms",
		"MAYFLY_ACME_VALIDATION_NETWORKS_ALLOW=10.0.0.0/8,127.0.0.0/8",
		"MAYFLY_ACME_VALIDATION_NETWORKS_DENY=10.1.0.0/16",
		"MAYFLY_LOG_FORMAT=json", "MAYFLY_LOG_LEVEL=warn",
	}})
	if err != nil {
		t.Fatal(err)
	}
	same := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	want := config.Config{
		Listen: ":1", ExternalURL: "https://a", DataDir: "d", DatabaseURL: "postgresql://h/d",
		AdminTokenFile: "t", Publish: config.Publish{Listen: ":2", ExternalURL: "http://b"},
		Metrics: config.Metrics{Listen: ":3"},
		ACME: config.ACME{
			Challenges:       []string{"dns-account-01", "device-attest-01"},
			AttestationRoots: "r.pem",
			Resolvers:        []string{"1.1.1.1:53", "2.2.2.2:53"},
			ZoneResolvers: map[string][]string{
				"corp.example": {"3.3.3.3:53"}, "other": {"4.4.4.4:53"},
			},
			CAA: true, CAAIdentities: []string{"a.example", "b.example"},
			HTTP01Port: 4, TLSALPN01Port: 5,
			EABRequired: true, TermsOfService: "http://terms",
			AllowNetworks: []netip.Prefix{
				netip.MustParsePrefix("10.0.0.0/8"),
				netip.MustParsePrefix("127.0.0.0/8"),
			},
			DenyNetworks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")},
		},
		Log: config.Log{Format: "json", Level: slog.LevelWarn},
	}
	if diff := cmp.Diff(want, got, same); diff != "" {
		t.Error(diff)
	}
}

func TestMistakesInTheFile(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"unknown key":     {"a: 1\nlistne: :1\n", `mayfly.yaml:2: unknown key "listne": did you mean listen?`},
		"nothing near":    {"fruit: 1\n", `mayfly.yaml:1: unknown key "fruit": remove it`},
		"in a section":    {"acme:\n  http1_port: 80\n", `mayfly.yaml:2: unknown key "acme.http1_port": did you mean acme.http01_port?`},
		"not YAML":        {"listen: :1\nacme: [\n", "mayfly.yaml:3: is not YAML"},
		"bad value":       {"\n\nlisten: 8443\n", `mayfly.yaml:3: listen is "8443": write host:port`},
		"terms":           {"acme: {terms_of_service: /terms}\n", `mayfly.yaml:1: acme.terms_of_service is "/terms": write the URL of a page`},
		"terms by ftp":    {"acme: {terms_of_service: \"ftp://a/b\"}\n", `mayfly.yaml:1: acme.terms_of_service is "ftp://a/b"`},
		"bad port":        {"acme: {http01_port: 70000}\n", `mayfly.yaml:1: acme.http01_port is "70000": write a port`},
		"twice":           {"listen: :1\nlisten: :2\n", "mayfly.yaml:2: listen stands here a second time (first at "},
		"section twice":   {"log: {level: info}\nlog: {format: text}\n", "mayfly.yaml:2: log stands here a second time"},
		"no value":        {"listen:\n", "mayfly.yaml:1: listen needs a single value"},
		"list for scalar": {"listen: [a, b]\n", "mayfly.yaml:1: listen needs a single value"},
		"map for list":    {"acme: {resolver: {a: b}}\n", "mayfly.yaml:1: acme.resolver needs a value or a list"},
		"scalar section":  {"acme: on\n", "mayfly.yaml:1: expected settings"},
		"list at the top": {"- a\n", "mayfly.yaml:1: expected settings"},
		"alias":           {"listen: &x :1\npublish: {listen: *x}\n", "mayfly.yaml:2: publish.listen needs a single value"},
		"two documents":   {"listen: :1\n---\nlisten: :2\n", "second YAML document"},
		"odd key":         {"? [a]\n: b\n", "mayfly.yaml:1: a key must be a plain word"},
		"URL with path":   {"external_url: https://a/b\n", "write a URL of host and port only"},
		"URL port":        {"external_url: https://a:99999\n", "write a URL of host and port only"},
		"URL colon":       {"external_url: \"https://a:\"\n", "write a URL of host and port only"},
		"second not YAML": {"listen: :1\n---\nacme: [\n", "mayfly.yaml:4: is not YAML"},
		"URL scheme":      {"external_url: http://a\n", `for example "https://`},
		"yaml boolean":    {"acme: {eab_required: yes}\n", `is "yes": write true or false`},
		"rate limits":     {"acme: {rate_limits: true}\n", `is "true": write on or off`},
		"host bits":       {"acme: {validation_networks: {deny: 10.1.2.3/16}}\n", `has "10.1.2.3/16": write each network`},
		"resolver":        {"acme: {resolver: 10.0.0.53}\n", `has "10.0.0.53": write each DNS server as host:port`},
		"challenges":      {"acme: {challenges: [dns-01, dns-02]}\n", `acme.challenges is "dns-02": write http-01 or dns-01`},
		"no challenge":    {"acme: {challenges: \"\"}\n", `acme.challenges is "": write http-01`},
		"empty roots":     {"acme: {attestation_roots: \"\"}\n", "acme.attestation_roots is empty"},
		"zone":            {"acme: {zone_resolvers: [a=b]}\n", `acme.zone_resolvers has "a=b": write each zone's`},
		"no zone":         {"acme: {zone_resolvers: 10.0.0.53:53}\n", `has "10.0.0.53:53": write each zone's`},
		"CAA":             {"acme: {caa: true}\n", `acme.caa is "true": write on or off`},
		"identities":      {"acme: {caa_identities: \"https://ca\"}\n", `has "https://ca": write each as a domain name`},
		"level":           {"log: {level: loud}\n", "write debug or info or warn or error"},
		"format":          {"log: {format: xml}\n", "write text or json"},
		"empty dir":       {"data_dir: \"\"\n", "data_dir is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := config.Load(config.Source{File: writeFile(t, tc.text)})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}

func TestAllMistakesAtOnce(t *testing.T) {
	_, err := config.Load(config.Source{
		File:    writeFile(t, "listne: :1\nlog: {level: loud}\n"),
		Environ: []string{"MAYFLY_PUBLISH_LISTEN=nowhere"},
		Flags:   map[string]string{"data_dir": ""},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"mayfly.yaml:1: ", "mayfly.yaml:2: log.level",
		"MAYFLY_PUBLISH_LISTEN: publish.listen", "--data-dir: data_dir",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in\n%v", want, err)
		}
	}
}

func TestEmptyFilesAndSections(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "acme:\nlog: # later\n", "---\n"} {
		if _, err := config.Load(config.Source{File: writeFile(t, text)}); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := config.Load(config.Source{File: "/nonexistent/mayfly.yaml"}); err == nil {
		t.Error("a missing file is no error")
	}
	if _, err := config.Load(config.Source{File: t.TempDir()}); err == nil {
		t.Error("a directory is no error")
	}
	_, err := config.Load(config.Source{File: "/dev/zero"})
	if err == nil || !strings.Contains(err.Error(), "larger than 1 MiB") {
		t.Errorf("a file without an end: %v", err)
	}
}

func TestUnknownVariables(t *testing.T) {
	for _, variable := range []string{"MAYFLY_LISTNE=:1", "MAYFLY_ACME_HTTP_PORT=80"} {
		_, err := config.Load(config.Source{Environ: []string{variable}})
		if err == nil || !strings.Contains(err.Error(), "did you mean MAYFLY_") {
			t.Errorf("%s: %v", variable, err)
		}
	}
	_, err := config.Load(config.Source{Environ: []string{
		"PATH=/bin", "MAYFLY_PASSPHRASE_FILE=/x", "MAYFLY_URL=x", "MAYFLY_ROOT=x", "MAYFLY_TOKEN=x",
		"MAYFLY_TEST_POSTGRES=x", "MAYFLY_NONSENSE=", "MAYFLY_SERVICE_HOST=10.0.0.1",
		"MAYFLY_SERVICE_PORT_HTTPS=8443", "MAYFLY_PORT=tcp://10.0.0.1:8443",
		"MAYFLY_PORT_8443_TCP_ADDR=10.0.0.1", "MAYFLY_POSTGRES_SERVICE_PORT=5432",
	}})
	if err != nil {
		t.Error(err)
	}
}

func TestDatabaseURLStaysSecret(t *testing.T) {
	_, err := config.Load(config.Source{Environ: []string{"MAYFLY_DATABASE_URL=mysql://a:hunter2@b/c"}})
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}

func FuzzFile(f *testing.F) {
	f.Add("listen: :1\nacme: {resolver: [a:1, b:2]}\n")
	f.Add("acme: &a\n  validation_networks: *a\n")
	f.Add("log: {level: info, format: json}\n---\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := config.Load(config.Source{File: writeFile(t, text)})
		if err == nil && (c.Listen == "" || c.DataDir == "" || c.ACME.HTTP01Port < 1) {
			t.Errorf("accepted %q as %+v", text, c)
		}
	})
}
