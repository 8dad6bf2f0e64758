package identity_test

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"unicode"

	"golang.org/x/net/idna"
	"pgregory.net/rapid"

	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
)

var accepted = []struct {
	kind       identity.NameType
	text, want string // want is empty if the text is canonical already
}{
	{identity.DNS, "db.internal", ""},
	{identity.DNS, "DB.Internal", "db.internal"},
	{identity.DNS, "localhost", ""},
	{identity.DNS, "*.apps.internal", ""},
	{identity.DNS, "*.internal", ""},
	{identity.DNS, "a--b.internal", ""},
	{identity.DNS, "3com.internal", ""},
	{identity.DNS, "10.internal", ""},
	{identity.DNS, "xn--bcher-kva.internal", ""},
	{identity.DNS, "XN--BCHER-KVA.internal", "xn--bcher-kva.internal"},
	{identity.DNS, strings.Repeat("a", 63) + ".internal", ""},
	{identity.DNS, strings.Repeat("a.", 126) + "a", ""},
	{identity.IP, "10.0.0.1", ""},
	{identity.IP, "2001:DB8:0:0::1", "2001:db8::1"},
	{identity.IP, "::1", ""},
	{identity.URI, "spiffe://prod.internal/ns/a/sa/b", ""},
	{identity.URI, "SPIFFE://Prod.Internal/Ns", "spiffe://prod.internal/Ns"},
	{identity.URI, "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6", ""},
	{identity.URI, "https://[2001:db8::1]:8443/a%20b?q=1#f", ""},
	{identity.URI, "https://10.0.0.1/", ""},
	{identity.Email, "Ada.Lovelace+x@Example.Internal", "Ada.Lovelace+x@example.internal"},
	{identity.Email, "root@localhost", ""},
	{identity.PermanentIdentifier, "C02XK1ZZJG5J", ""},
	{identity.PermanentIdentifier, "00008110-001A2B3C4D5E6F7a", ""},
	{identity.PermanentIdentifier, "VMware-56 4d 8a 01", ""},
	{identity.PermanentIdentifier, "urn:ek:sha256:RAzbOveN1Y45fYubuTxu5jOXWtOK1HbfZ7yHjBuWlyE=", ""},
	{identity.PermanentIdentifier, strings.Repeat("7", 128), ""},
}

var refused = []struct {
	kind       identity.NameType
	text, want string // of the error
}{
	{identity.DNS, "", "is empty"},
	{identity.DNS, ".", "ends in a dot"},
	{identity.DNS, "a.internal.", "ends in a dot"},
	{identity.DNS, ".internal", "empty label"},
	{identity.DNS, "a..internal", "empty label"},
	{identity.DNS, "a_b.internal", "underscore"},
	{identity.DNS, "a b.internal", "other than letters"},
	{identity.DNS, "a/b.internal", "other than letters"},
	{identity.DNS, "a\x00.internal", "other than letters"},
	{identity.DNS, "a\n.internal", "other than letters"},
	{identity.DNS, "-a.internal", "hyphen"},
	{identity.DNS, "a-.internal", "hyphen"},
	{identity.DNS, "ab--c.internal", "third and fourth"},
	{identity.DNS, "*", "wildcard for everything"},
	{identity.DNS, "*.", "ends in a dot"},
	{identity.DNS, "*.*.internal", "whole left-most label"},
	{identity.DNS, "a.*.internal", "whole left-most label"},
	{identity.DNS, "a*.internal", "whole left-most label"},
	{identity.DNS, "**.internal", "whole left-most label"},
	{identity.DNS, "10.0.0.1", "is an IP address"},
	{identity.DNS, "2001:db8::1", "is an IP address"},
	{identity.DNS, "10.0.0.256", "digits only"},
	{identity.DNS, "*.1", "digits only"},
	{identity.DNS, strings.Repeat("a", 64) + ".internal", "63 octets"},
	{identity.DNS, strings.Repeat("a.", 127), "253 octets"},
	{identity.DNS, "bücher.internal", `write "xn--bcher-kva.internal"`},
	{identity.DNS, "Bücher.internal", `write "xn--bcher-kva.internal"`},
	{identity.DNS, "☃.internal", "outside ASCII that no domain name"},
	{identity.DNS, "\xff.internal", "outside ASCII that no domain name"},
	{identity.DNS, "xn--.internal", "hyphen"},
	{identity.DNS, "xn--a.internal", "xn--"},
	{identity.DNS, "xn--abc-.internal", "hyphen"},
	{identity.DNS, "xn--n3h.internal", "IDNA2008"}, // a snowman
	{identity.DNS, "xn--bcher-kvb!.internal", "other than letters"},
	{identity.IP, "", "not an IP address"},
	{identity.IP, "10.0.0.01", "not an IP address"},
	{identity.IP, "10.0.0.0/8", "not an IP address"},
	{identity.IP, "db.internal", "not an IP address"},
	{identity.IP, "fe80::1%eth0", "zone"},
	{identity.IP, "::ffff:10.0.0.1", `write "10.0.0.1"`},
	{identity.URI, "", "not absolute"},
	{identity.URI, "//host/path", "not absolute"},
	{identity.URI, "file:///etc", "neither a host nor"},
	{identity.URI, "spiffe:", "neither a host nor"},
	{identity.URI, "https://user@host/", "names a user"},
	{identity.URI, "https://a_b/", "neither a DNS name nor"},
	{identity.URI, "https://*.internal/", "neither a DNS name nor"},
	{identity.URI, "spiffe://prod/db", "one label"},
	{identity.URI, "https://localhost:80/", "one label"},
	{identity.URI, "https://:80/", "neither a DNS name nor"},
	{identity.URI, "https://fe80::1/", "not a URI"},
	{identity.URI, "https://[::ffff:10.0.0.1]/", "neither a DNS name nor"},
	{identity.URI, "https://[2001:db8:0::1]/", "neither a DNS name nor"},
	{identity.URI, "https://h/a b", "percent-encode"},
	{identity.URI, "https://h/é", "percent-encode"},
	{identity.URI, "https://h/%zz", "not a URI"},
	{identity.URI, "https://h/" + strings.Repeat("a", 2048), "2048 octets"},
	{identity.Email, "ada", `has no "@"`},
	{identity.Email, "@internal", "1 to 64 octets"},
	{identity.Email, strings.Repeat("a", 65) + "@internal", "1 to 64 octets"},
	{identity.Email, "a@" + strings.Repeat("b", 253), "254 octets"},
	{identity.Email, "a@b@internal", "not allowed there without quotes"},
	{identity.Email, `"a b"@internal`, "not allowed there without quotes"},
	{identity.Email, "ä@internal", "not allowed there without quotes"},
	{identity.Email, "a..b@internal", "has a dot"},
	{identity.Email, ".a@internal", "has a dot"},
	{identity.Email, "a@*.internal", "wildcard"},
	{identity.Email, "a@", "is empty"},
	{identity.Email, "a@[10.0.0.1]", "other than letters"},
	{identity.Email, "a@bücher.internal", "xn--bcher-kva"},
	{identity.PermanentIdentifier, "", "is empty"},
	{identity.PermanentIdentifier, " ", "starts or ends with a space"},
	{identity.PermanentIdentifier, " A1", "starts or ends with a space"},
	{identity.PermanentIdentifier, "A1 ", "starts or ends with a space"},
	{identity.PermanentIdentifier, "A1/1.2.3", "assigner"},
	{identity.PermanentIdentifier, "A\x001", "other than ASCII letters"},
	{identity.PermanentIdentifier, "A\n1", "other than ASCII letters"},
	{identity.PermanentIdentifier, "A\x7f1", "other than ASCII letters"},
	{identity.PermanentIdentifier, "é1", "other than ASCII letters"},
	{identity.PermanentIdentifier, "a\xff", "other than ASCII letters"},
	{identity.PermanentIdentifier, "a&lt;", "other than ASCII letters"},
	{identity.PermanentIdentifier, "*", "other than ASCII letters"},
	{identity.PermanentIdentifier, strings.Repeat("7", 129), "128 octets"},
	{"dirName", "x", "not a type of name"},
	{"", "x", "not a type of name"},
}

func TestParseName(t *testing.T) {
	for _, test := range accepted {
		want := test.want
		if want == "" {
			want = test.text
		}
		got, err := identity.ParseName(test.kind, test.text)
		if err != nil || got != (identity.Name{Type: test.kind, Value: want}) {
			t.Errorf("%s %q: %q, %v", test.kind, test.text, got.Value, err)
		}
	}
	for _, test := range refused {
		got, err := identity.ParseName(test.kind, test.text)
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), test.want) ||
			!strings.HasPrefix(err.Error(), "name: ") || got != (identity.Name{}) {
			t.Errorf("%s %q: %v, %v; want it to say %q", test.kind, test.text, got, err, test.want)
		}
		if err != nil && (len(err.Error()) > 500 || strings.ContainsFunc(err.Error(), unprintable)) {
			t.Errorf("%s %q: the error repeats hostile text: %q", test.kind, test.text, err)
		}
	}
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

func TestIsWildcard(t *testing.T) {
	for text, want := range map[string]bool{"*.internal": true, "a.internal": false} {
		if n, err := identity.ParseName(identity.DNS, text); err != nil || n.IsWildcard() != want {
			t.Errorf("%s: %v, %v", text, n.IsWildcard(), err)
		}
	}
}

// What somebody writes in another script is told its A-label, and that is accepted and decodes to
// what was meant.
func TestInternationalNames(t *testing.T) {
	for _, text := range []string{"bücher.de", "faß.de", "例え.テスト", "παράδειγμα.δοκιμή", "مثال.إختبار", "ΒΌΛΟΣ.com"} {
		_, err := identity.ParseName(identity.DNS, text)
		if err == nil {
			t.Errorf("%s is accepted", text)
			continue
		}
		_, rest, _ := strings.Cut(err.Error(), `write "`)
		ascii, _, _ := strings.Cut(rest, `"`)
		n, err := identity.ParseName(identity.DNS, ascii)
		if err != nil {
			t.Errorf("%s: %q: %v", text, ascii, err)
			continue
		}
		if back, err := idna.ToUnicode(n.Value); err != nil || back != strings.ToLower(text) {
			t.Errorf("%s: %q decodes to %q, %v", text, n.Value, back, err)
		}
	}
}

// checkCanonical holds what every accepted name must keep.
func checkCanonical(t interface{ Errorf(string, ...any) }, kind identity.NameType, text string) {
	n, err := identity.ParseName(kind, text)
	if err != nil {
		return
	}
	if again, err := identity.ParseName(n.Type, n.Value); err != nil || again != n {
		t.Errorf("%s %q: canonical %q parses to %q, %v", kind, text, n.Value, again.Value, err)
	}
	for _, r := range n.Value {
		if r < ' ' || r > '~' || r == ' ' && kind != identity.PermanentIdentifier {
			t.Errorf("%s %q: %q has %q", kind, text, n.Value, r)
		}
	}
	switch kind {
	case identity.DNS:
		if _, err := netip.ParseAddr(n.Value); err == nil || len(n.Value) > 253 || n.Value != strings.ToLower(n.Value) {
			t.Errorf("%q is no canonical DNS name", n.Value)
		}
		if _, err := idna.Registration.ToASCII(strings.TrimPrefix(n.Value, "*.")); err != nil {
			t.Errorf("%q: %v", n.Value, err)
		}
	case identity.IP:
		if a, err := netip.ParseAddr(n.Value); err != nil || a.String() != n.Value || a.Is4In6() || a.Zone() != "" {
			t.Errorf("%q is no canonical address", n.Value)
		}
	case identity.URI:
		if u, err := url.Parse(n.Value); err != nil || u.String() != n.Value || !u.IsAbs() || len(n.Value) > 2048 {
			t.Errorf("%q is no canonical URI", n.Value)
		}
	case identity.PermanentIdentifier:
		if n.Value != text || len(text) > 128 || strings.TrimSpace(text) != text {
			t.Errorf("%q became %q", text, n.Value)
		}
	case identity.Email:
		if len(n.Value) > 254 || strings.Count(n.Value, "@") != 1 {
			t.Errorf("%q is no canonical mailbox", n.Value)
		}
	}
}

func FuzzParseName(f *testing.F) {
	for _, test := range accepted {
		f.Add(string(test.kind), test.text)
	}
	for _, test := range refused {
		f.Add(string(test.kind), test.text)
	}
	f.Fuzz(func(t *testing.T, kind, text string) {
		checkCanonical(t, identity.NameType(kind), text)
	})
}

// Names built of what DNS allows are accepted whatever their case, and give one canonical form.
func TestParseNameIgnoresCase(t *testing.T) {
	label := rapid.StringMatching(`[a-z]([a-z0-9]|[a-z0-9]{2}[a-z0-9-]{0,10}[a-z0-9])?`)
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(label, 1, 8).Draw(t, "labels"), ".")
		if strings.Contains(text, "--") {
			t.Skip("may be reserved")
		}
		n, err := identity.ParseName(identity.DNS, text)
		if err != nil || n.Value != text {
			t.Fatalf("%q: %q, %v", text, n.Value, err)
		}
		if upper, err := identity.ParseName(identity.DNS, strings.ToUpper(text)); err != nil || upper != n {
			t.Fatalf("%q in capitals: %v, %v", text, upper, err)
		}
		checkCanonical(t, identity.DNS, "*."+text)
		checkCanonical(t, identity.URI, "x://"+text)
		checkCanonical(t, identity.Email, "a@"+text)
	})
}

func BenchmarkParseName(b *testing.B) {
	for _, text := range []string{"db-3.prod.eu-west.internal", "xn--bcher-kva.internal"} {
		b.Run(text, func(b *testing.B) {
			for b.Loop() {
				if _, err := identity.ParseName(identity.DNS, text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
