package validate_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509/pkix"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/mayflyca/mayfly/acmeserver/internal/validate"
	"github.com/mayflyca/mayfly/identity"
)

// counting counts what is taken from source.
type counting struct {
	source io.Reader
	taken  int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.source.Read(p)
	c.taken += n
	return n, err
}

// never #6: what strangers send over HTTP.
func FuzzReadReply(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\n\r\n" + keyAuthorization,
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
		"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"HTTP/1.1 204 No Content\r\nContent-Length: -1\r\n\r\n",
		"HTTP/9.9 999 \r\n: \r\n\r\n", "", "\x16\x03\x01",
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	const limit = 200
	f.Fuzz(func(t *testing.T, sent []byte, repeat bool) {
		source := io.Reader(bytes.NewReader(sent))
		if repeat && len(sent) > 0 {
			source = io.MultiReader(source, &repeating{sent, 0})
		}
		c := &counting{source: source}
		body, location, err := validate.ReadReply(c, limit)
		if c.taken > 2*validate.MaxHeader+limit || len(body) > limit+1 || len(location) > 2048 {
			t.Errorf("took %d bytes, gave %d and %d", c.taken, len(body), len(location))
		}
		if err != nil && (body != nil || location != "") {
			t.Errorf("%v, and yet something", err)
		}
	})
}

// repeating gives its text for ever.
type repeating struct {
	text []byte
	at   int
}

func (r *repeating) Read(p []byte) (int, error) {
	n := copy(p, r.text[r.at:])
	r.at = (r.at + n) % len(r.text)
	return n, nil
}

// never #6: what strangers send over DNS, behind the parser.
func FuzzFollow(f *testing.F) {
	for _, records := range [][]string{
		{"www.test. CNAME a.test.", "a.test. CNAME www.test.", "a.test. A 127.0.0.1"},
		{"www.test. A 127.0.0.1", "www.test. TXT x"},
	} {
		msg := new(dns.Msg)
		for _, owner := range records {
			name, rest, _ := strings.Cut(owner, " ")
			rr, err := dns.NewRR(name + " 0 IN " + rest)
			if err != nil {
				f.Fatal(err)
			}
			msg.Answer = append(msg.Answer, rr)
		}
		packed, err := msg.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
	}
	f.Fuzz(func(t *testing.T, packed []byte) {
		msg := new(dns.Msg)
		if msg.Unpack(packed) != nil {
			return
		}
		for _, qtype := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeTXT, dns.TypeCAA} {
			records, end := validate.Follow(msg.Answer, "www.test.", qtype)
			for _, rr := range records {
				if h := rr.Header(); h.Rrtype != qtype || dns.CanonicalName(h.Name) != end {
					t.Errorf("%s is not for %s", rr, end)
				}
			}
		}
	})
}

// never #8: no value of the extension but one proves anything.
func FuzzCheckIdentifier(f *testing.F) {
	digest := sha256.Sum256([]byte(keyAuthorization))
	f.Add(proof(), true, 1)
	f.Add(proof(), false, 1)
	f.Add(proof(), true, 2)
	f.Add(append(proof(), 0), true, 1)
	f.Add(digest[:], true, 1)
	f.Add([]byte{0x24, 0x80, 4, 1, 0, 0, 0}, true, 0)
	f.Fuzz(func(t *testing.T, value []byte, critical bool, count int) {
		var all []pkix.Extension
		for range min(count, 3) {
			all = append(all, pkix.Extension{Id: oidIdentifier, Critical: critical, Value: value})
		}
		wrong := validate.CheckIdentifier(all, digest)
		right := len(all) == 1 && critical && string(value) == string(proof())
		if right != (wrong == "") {
			t.Errorf("%x, critical %t, %d times: %q", value, critical, len(all), wrong)
		}
	})
}

// never #8: no subjectAltName but the one entry is the name.
func FuzzIsOnlyName(f *testing.F) {
	right := entry(2, "app.localhost")
	for _, e := range []pkix.Extension{
		san(right), san(right, right), san(entry(2, "App.LOCALHOST")), san(entry(7, "\x7f\x00\x00\x01")),
		san(entry(2, "app.localhoſt")), san(entry(2, "\x7f\x00\x00\x01")), san(),
	} {
		f.Add(e.Value)
		f.Add(append(e.Value, 0))
	}
	names := []identity.Name{
		{Type: identity.DNS, Value: "app.localhost"}, {Type: identity.IP, Value: "127.0.0.1"},
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		for _, name := range names {
			if !validate.IsOnlyName(der, name) {
				continue
			}
			want, tag := len("app.localhost"), byte(0x82)
			if name.Type == identity.IP {
				want, tag = 4, 0x87
			}
			if len(der) != 4+want || der[2] != tag {
				t.Errorf("%x was taken for %s", der, name.Value)
			}
		}
	})
}

// What strangers write into CAA records: what was read reads the same again, and nothing permits us
// that doesn't name us.
func FuzzCAAValue(f *testing.F) {
	for _, seed := range []string{
		"ca.example", ";", "", "ca.example; accounturi=" + accountURI, "ca.example;validationmethods=dns-01",
		"CA.example ; a=b; a = c", "ca.example;;", "\x00\xff;=", "-;-=-", "ca..example", "ca.example;=x",
	} {
		f.Add(seed)
	}
	v := newValidator(f, validate.Config{CAAIdentities: []string{"ca.example"}})
	c := challenge(validate.DNS01, "www.test")
	c.AccountURI = accountURI
	f.Fuzz(func(t *testing.T, text string) {
		parts, err := validate.ParseIssueValue(text)
		if err == nil {
			again, err := validate.ParseIssueValue(strings.Join(parts, "; "))
			if err != nil || !slices.Equal(parts, again) {
				t.Errorf("%q was read as %q, then as %q (%v)", text, parts, again, err)
			}
		}
		if v.CAAForbids(text, c) != "" {
			return
		}
		if err != nil || parts[0] != "ca.example" {
			t.Errorf("%q permits us", text)
		}
		for _, part := range parts {
			if strings.HasPrefix(part, "accounturi=") && part != "accounturi="+accountURI {
				t.Errorf("%q permits %s", text, accountURI)
			}
		}
	})
}

// What strangers write into dns-persist-01 records: no record proves anything that doesn't name us
// and the account, and a wildcard none that doesn't say so.
func FuzzPersistValue(f *testing.F) {
	for _, seed := range []string{
		"authority.example; accounturi=" + hashedURI, "ca2.example;accounturi=" + anyHashed + ";policy=wildcard",
		"authority.example; accounturi=" + accountURI + "; persistUntil=9999999999", "authority.example",
		"authority.example; accounturi=" + accountURI + "; persistUntil=-1; policy=WILDCARD; policy=x",
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	v := newValidator(f, persistConfig("127.0.0.1:53"))
	accounts := []string{hashedURI, anyHashed, accountURI}
	f.Fuzz(func(t *testing.T, text string, wildcard bool) {
		c := persistChallenge(wildcard)
		c.Thumbprints = []string{thumbprint}
		if !v.Persists(text, c) {
			return
		}
		lower := strings.ToLower(strings.TrimLeft(text, " \t"))
		named := slices.ContainsFunc(accounts, func(a string) bool { return strings.Contains(text, a) })
		if !named || !strings.HasPrefix(lower, "authority.example") && !strings.HasPrefix(lower, "ca2.example") ||
			wildcard && !strings.Contains(lower, "wildcard") {
			t.Errorf("%q proves %+v", text, c)
		}
	})
}
