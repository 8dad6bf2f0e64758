package acmeserver_test

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/acmeserver/internal/validate"
)

var everyType = []string{"http-01", "dns-01", "tls-alpn-01", "dns-account-01", "dns-persist-01"}

// kinds are the types of challenge that the authorization offers.
func (z authorization) kinds() string {
	var kinds []string
	for _, ch := range z.Challenges {
		kinds = append(kinds, ch.Type)
	}
	return strings.Join(kinds, " ")
}

// of is the challenge of the type.
func (z authorization) of(t testing.TB, kind string) challenge {
	t.Helper()
	i := slices.IndexFunc(z.Challenges, func(ch challenge) bool { return ch.Type == kind })
	if i < 0 {
		t.Fatalf("%s is not offered: %+v", kind, z.Challenges)
	}
	return z.Challenges[i]
}

// What is offered is what the operator lists, as far as it can prove the name.
func TestOffer(t *testing.T) {
	for _, test := range []struct{ list, name, wildcard, ip string }{
		{"", "http-01 dns-01 tls-alpn-01", "dns-01", "http-01 tls-alpn-01"},
		{"http-01", "http-01", "", "http-01"},
		{"dns-01", "dns-01", "dns-01", ""},
		{"tls-alpn-01 http-01", "tls-alpn-01 http-01", "", "tls-alpn-01 http-01"},
		{"dns-account-01", "dns-account-01", "dns-account-01", ""},
		{"dns-persist-01", "dns-persist-01", "dns-persist-01", ""},
		{ // never #17: nothing but DNS proves a wildcard
			strings.Join(everyType, " "), strings.Join(everyType, " "), "dns-01 dns-account-01 dns-persist-01",
			"http-01 tls-alpn-01",
		},
	} {
		h := open(t)
		h.config.Validation.Challenges = strings.Fields(test.list)
		h.config.Validation.CAAIdentities = []string{"ca.test"}
		h.reopen(t, always(proven))
		c := h.customer(t)
		for name, want := range map[string]string{
			"a.example.com": test.name, "*.a.example.com": test.wildcard, "192.0.2.1": test.ip,
		} {
			if want == "" {
				p := c.post("/acme/new-order", identifiers("b.example.com", name, "c.example.com"))
				r := p.refused(t, 403, "rejectedIdentifier")
				if !strings.Contains(r.Detail, name) || !strings.Contains(r.Detail, "acme.challenges") {
					t.Errorf("%s with %s: %s", name, test.list, r.Detail)
				}
				if len(r.Subproblems) != 1 || r.Subproblems[0].Identifier.Value != name {
					t.Errorf("the subproblems are %+v", r.Subproblems)
				}
				continue
			}
			z := c.authorization(c.newOrder(name).Authorizations[0])
			if z.kinds() != want {
				t.Errorf("%s with %q is offered %s, want %s", name, test.list, z.kinds(), want)
			}
			for _, ch := range z.Challenges {
				// Clients of the drafts know that there is none in this one.
				if (ch.Token == "") != (ch.Type == "dns-persist-01") {
					t.Errorf("%s has the token %q", ch.Type, ch.Token)
				}
			}
		}
	}
}

// A list that cannot be offered keeps the door from opening.
func TestOfferIsChecked(t *testing.T) {
	h := open(t)
	for _, test := range []struct {
		list, base, identities, want string
	}{
		{"http-01 http-02", baseURL, "", `"http-02"`},
		{"HTTP-01", baseURL, "", `"HTTP-01"`},
		{"dns-01 dns-01", baseURL, "", `twice`},
		{"dns-persist-01", "https://192.0.2.1", "", "acme.caa_identities"},
		{"dns-01", baseURL, "*.ca.example", "acme.caa_identities"},
		{"dns-01", baseURL, "ca_example", "acme.caa_identities"},
	} {
		config := h.config
		config.BaseURL = test.base
		config.Validation.Challenges = strings.Fields(test.list)
		config.Validation.CAAIdentities = strings.Fields(test.identities)
		if _, err := acmeserver.New(config); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v", test, err)
		}
	}
}

// A type that was switched off since the order was made proves nothing any more.
func TestOfferIsWithdrawn(t *testing.T) {
	h := open(t)
	h.config.Validation.Challenges = []string{"http-01", "dns-account-01"}
	h.reopen(t, always(proven))
	c := h.customer(t)
	z := c.authorization(c.newOrder("a.example.com").Authorizations[0])
	h.config.Validation.Challenges = []string{"http-01"}
	h.reopen(t, always(proven))
	c.post(z.of(t, "dns-account-01").URL, `{}`).refused(t, 403, "unauthorized")
	c.post(z.of(t, "http-01").URL, `{}`).ok(t, 200)
}

// nameServer answers on UDP from records like "www.test. TXT x", which may change.
type nameServer struct {
	addr    string
	mu      sync.Mutex
	records []dns.RR
}

func startNameServer(t testing.TB) *nameServer {
	t.Helper()
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{addr: packets.LocalAddr().String()}
	ready, done := make(chan struct{}), make(chan struct{})
	server := &dns.Server{PacketConn: packets, Handler: dns.HandlerFunc(s.serve), NotifyStartedFunc: func() { close(ready) }}
	go func() {
		defer close(done)
		_ = server.ActivateAndServe()
	}()
	<-ready
	t.Cleanup(func() {
		_ = server.Shutdown()
		<-done
	})
	return s
}

func (s *nameServer) serve(w dns.ResponseWriter, query *dns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	reply := new(dns.Msg).SetRcode(query, dns.RcodeNameError)
	for _, rr := range s.records {
		if strings.EqualFold(rr.Header().Name, query.Question[0].Name) {
			reply.Rcode = dns.RcodeSuccess
			if rr.Header().Rrtype == query.Question[0].Qtype {
				reply.Answer = append(reply.Answer, rr)
			}
		}
	}
	_ = w.WriteMsg(reply)
}

func (s *nameServer) set(t testing.TB, records ...string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = nil
	for _, record := range records {
		owner, rest, _ := strings.Cut(record, " ")
		rr, err := dns.NewRR(owner + " 0 IN " + rest)
		if err != nil {
			t.Fatal(err)
		}
		s.records = append(s.records, rr)
	}
}

// openReal opens a door that asks the name server, and offers everything.
func openReal(t testing.TB) (*house, *nameServer) {
	t.Helper()
	h, s := open(t), startNameServer(t)
	h.config.Validation.Challenges = everyType
	h.config.Validation.Resolvers = []string{s.addr}
	h.realDoor(t)
	return h, s
}

func (h *house) realDoor(t testing.TB) {
	t.Helper()
	var err error
	if h.door, err = acmeserver.New(h.config); err != nil {
		t.Fatal(err)
	}
}

func (c *client) thumbprint() string {
	c.t.Helper()
	thumbprint, _, err := acmeserver.ParseKey(text(jwk(c.key)))
	if err != nil {
		c.t.Fatal(err)
	}
	return thumbprint
}

// proves has the challenge of the type validated, and demands the outcome.
func (c *client) proves(name, kind, status string) {
	c.t.Helper()
	z := c.authorization(c.newOrder(name).Authorizations[0])
	ch := decode[challenge](c.t, c.post(z.of(c.t, kind).URL, `{}`).ok(c.t, 200))
	if ch.Status != status {
		c.t.Fatalf("%s of %s is %s, want %s: %+v", kind, name, ch.Status, status, ch.Error)
	}
}

// draft-ietf-acme-dns-account-label-03 section 3: the account's own name below the name, with the token
// of this order.
func TestOfferDNSAccount01(t *testing.T) {
	h, s := openReal(t)
	c := h.customer(t)
	at := func(c *client) string {
		label := sha256.Sum256([]byte(c.account))
		return "_" + strings.ToLower(base32.StdEncoding.EncodeToString(label[:10])) + "._acme-challenge.a.internal. TXT "
	}
	for _, name := range []string{"a.internal", "*.a.internal"} {
		z := c.authorization(c.newOrder(name).Authorizations[0])
		ch := z.of(t, "dns-account-01")
		digest := sha256.Sum256([]byte(ch.Token + "." + c.thumbprint()))
		s.set(t, at(c)+b64(digest[:]))
		if ch = decode[challenge](t, c.post(ch.URL, `{}`).ok(t, 200)); ch.Status != "valid" {
			t.Errorf("%s: %+v", name, ch.Error)
		}
	}
	// Another order has another token, and another account another label.
	c.proves("a.internal", "dns-account-01", "invalid")
	stranger := h.customer(t)
	s.set(t, at(stranger)+"x")
	stranger.proves("a.internal", "dns-account-01", "invalid")
}

// A client of draft-ietf-acme-dns-persist-02 makes its record from the directory, its account and its key.
func TestOfferDNSPersist01(t *testing.T) {
	h, s := openReal(t)
	h.config.Validation.CAAIdentities = []string{"CA.Internal.", "ca2.internal"}
	h.realDoor(t)
	var d struct {
		Meta struct {
			CAAIdentities     []string `json:"caaIdentities"`
			IssuerDomainNames []string `json:"issuerDomainNames"`
			AccountHashPrefix string   `json:"accountHashPrefix"`
		}
	}
	if err := json.Unmarshal(h.do("GET", baseURL+"/acme/directory", "", nil).body, &d); err != nil {
		t.Fatal(err)
	}
	if got := d.Meta.IssuerDomainNames; !slices.Equal(got, []string{"ca.internal", "ca2.internal"}) ||
		d.Meta.AccountHashPrefix != baseURL+"/acme/account-hash/" || d.Meta.CAAIdentities != nil {
		t.Fatalf("the directory says %+v", d.Meta)
	}
	c := h.customer(t)
	hashed := func(name string) string {
		digest := sha256.Sum256([]byte(string(rune(len(name))) + name + c.thumbprint() + c.account))
		return "accounturi=" + d.Meta.AccountHashPrefix + "sha-256/" + b64(digest[:])
	}
	record := func(text string) {
		s.set(t, `_validation-persist.a.internal. TXT "`+text+`"`, "_validation-persist.x.a.internal. TXT x")
	}
	record("ca2.internal; " + hashed("a.internal"))
	c.proves("a.internal", "dns-persist-01", "valid")
	c.proves("*.a.internal", "dns-persist-01", "invalid") // never #17: it does not say that it is for wildcards
	c.proves("x.a.internal", "dns-persist-01", "invalid")
	h.customer(t).proves("a.internal", "dns-persist-01", "invalid") // never #17: it is another account's
	record("ca.internal; policy=wildcard; " + hashed("*"))
	c.proves("*.a.internal", "dns-persist-01", "valid")
	record("ca.other; " + hashed("*"))
	c.proves("a.internal", "dns-persist-01", "invalid")
	// The key changes and the record stands.
	record("ca.internal; " + hashed("a.internal"))
	for range 2 {
		c.changeKey()
	}
	c.proves("a.internal", "dns-persist-01", "valid")
	// A record that ends takes its authorization with it.
	end := time.Now().Add(time.Hour).Truncate(time.Second)
	record("ca.internal; persistUntil=" + strconv.FormatInt(end.Unix(), 10) + "; " + hashed("a.internal"))
	o := c.newOrder("a.internal")
	c.post(c.authorization(o.Authorizations[0]).of(t, "dns-persist-01").URL, `{}`).ok(t, 200)
	if z := c.authorization(o.Authorizations[0]); z.Status != "valid" || !z.Expires.Equal(end) {
		t.Errorf("the authorization is %+v", z)
	}
	if done := decode[order](t, c.finalize(o, newKey(t), "a.internal").ok(t, 200)); done.Status != "valid" {
		t.Errorf("the order is %+v", done)
	}
}

func (c *client) changeKey() {
	c.t.Helper()
	fresh, url := newKey(c.t), baseURL+"/acme/key-change"
	inner := sign(fresh, map[string]any{"alg": "ES256", "url": url, "jwk": jwk(fresh)},
		text(map[string]any{"account": c.account, "oldKey": jwk(c.key)}))
	c.post(url, inner).ok(c.t, 200)
	c.key = fresh
}

// The challenge object of the present draft, and what clients of draft -01 (lego) read. They write the
// account's URL into the record.
func TestOfferDNSPersist01Until01(t *testing.T) {
	h, s := openReal(t)
	c := h.customer(t)
	o := c.newOrder("a.internal")
	var z struct{ Challenges []map[string]any }
	if err := json.Unmarshal(c.post(o.Authorizations[0], nil).ok(t, 200).body, &z); err != nil {
		t.Fatal(err)
	}
	for _, ch := range z.Challenges {
		persist := ch["type"] == "dns-persist-01"
		for _, member := range []string{"issuerDomainNames", "issuer-domain-names"} {
			if names, ok := ch[member].([]any); ok != persist || ok && !slices.Equal(names, []any{"ca.test"}) {
				t.Errorf("%s of %s is %v", member, ch["type"], ch[member])
			}
		}
		if uri, ok := ch["accounturi"]; ok != persist || ok && uri != c.account {
			t.Errorf("accounturi of %s is %v", ch["type"], uri)
		}
		if _, ok := ch["token"]; ok == persist {
			t.Errorf("token of %s is %v", ch["type"], ch["token"])
		}
	}
	s.set(t, `_validation-persist.a.internal. TXT "ca.test; accounturi=`+c.account+`"`)
	c.proves("a.internal", "dns-persist-01", "valid")
}

// Where CAA is honoured, a granted name is asked for too, each of an order (never #7), and one that CAA
// forbids gets no order.
func TestGrantAsksCAA(t *testing.T) {
	var mu sync.Mutex
	var asked []validate.Challenge
	check := func(_ context.Context, c validate.Challenge) validate.Result {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, c)
		if strings.HasPrefix(c.Name.Value, "no") {
			return validate.Result{ProblemType: "caa", Detail: "the records forbid it"}
		}
		return proven
	}
	h := openWith(t, check)
	c := h.customer(t)
	h.grant(t, acmeserver.Grant{Account: c.id(), Names: []string{".team.internal", "192.0.2.1"}, Wildcards: true})
	c.newOrder("no.team.internal")
	if len(asked) != 0 {
		t.Errorf("asked without CAA: %+v", asked)
	}
	h.config.Validation.CAA = true
	h.reopen(t, check)
	o := c.newOrder("a.team.internal", "*.b.team.internal", "192.0.2.1", "other.internal")
	slices.SortFunc(asked, func(a, b validate.Challenge) int { return strings.Compare(a.Name.Value, b.Name.Value) })
	if len(asked) != 2 || asked[0].Name.Value != "a.team.internal" || asked[0].Wildcard || !asked[1].Wildcard ||
		asked[1].Name.Value != "b.team.internal" || asked[1].Type != "ca-grant" || asked[1].AccountURI != c.account {
		t.Errorf("asked %+v", asked)
	}
	if c.authorization(o.Authorizations[0]).Status != "valid" {
		t.Error("the grant does not count")
	}
	r := c.post("/acme/new-order", identifiers("a.team.internal", "no.team.internal", "*.no.team.internal"))
	if p := r.refused(t, 400, "caa"); len(p.Subproblems) != 2 || p.Subproblems[1].Identifier.Value != "*.no.team.internal" {
		t.Errorf("the problem is %+v", p)
	}
}

// The same with records: RFC 8659 for the CA, RFC 8657 for the account and the method.
func TestGrantAsksCAARecords(t *testing.T) {
	h, s := openReal(t)
	h.config.Validation.CAA = true
	h.realDoor(t)
	c := h.customer(t)
	h.grant(t, acmeserver.Grant{Account: c.id(), Names: []string{"a.internal"}})
	for value, ok := range map[string]bool{
		"ca.test":                             true,
		"ca.test; accounturi=" + c.account:    true,
		"ca.test; validationmethods=ca-grant": true,
		"ca.other":                            false,
		"ca.test; accounturi=" + baseURL:      false,
		"ca.test; validationmethods=dns-01":   false,
		"ca.test; validationmethods=":         false,
	} {
		s.set(t, `internal. CAA 0 issue "`+value+`"`)
		if r := c.post("/acme/new-order", identifiers("a.internal")); ok {
			r.ok(t, 201)
		} else if p := r.refused(t, 400, "caa"); !strings.Contains(p.Detail, "internal") {
			t.Errorf("%s: %+v", value, p)
		}
	}
	var d struct {
		Meta struct{ CAAIdentities []string }
	}
	if err := json.Unmarshal(h.do("GET", baseURL+"/acme/directory", "", nil).body, &d); err != nil ||
		!slices.Equal(d.Meta.CAAIdentities, []string{"ca.test"}) {
		t.Errorf("the directory says %+v, %v", d, err)
	}
}
