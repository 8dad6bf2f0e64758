package acmeserver_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/ca/catest"
	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/store/storetest"
)

// RFC 8555 sections 7.1.3 and 7.4.
func TestNewOrder(t *testing.T) {
	c := open(t).customer(t)
	o := c.newOrder("B.example.com", "a.example.com", "b.EXAMPLE.com", "*.a.example.com", "10.0.0.1", "2001:DB8::1")
	var values []string
	for _, i := range o.Identifiers {
		values = append(values, i.Type+" "+i.Value)
	}
	want := []string{
		"dns b.example.com", "dns a.example.com", "dns *.a.example.com", "ip 10.0.0.1", "ip 2001:db8::1",
	}
	if o.Status != "pending" || o.Profile != "server" || !slices.Equal(values, want) ||
		len(o.Authorizations) != len(want) || o.Finalize == "" || o.Certificate != "" {
		t.Errorf("the order is %+v", o)
	}
	if left := time.Until(o.Expires); left < 23*time.Hour || left > 24*time.Hour || o.Expires.Nanosecond() != 0 {
		t.Errorf("it expires at %s", o.Expires)
	}
	r := c.post(o.url, nil).ok(t, 200)
	if r.header.Get("Location") != o.url || r.header.Get("Retry-After") != "" {
		t.Errorf("the order's header is %v", r.header)
	}
}

// RFC 8555 sections 7.1.4 and 8, RFC 8737, RFC 8738 section 7.
// never #17: a wildcard is proven by dns-01 and nothing else.
func TestAuthorizations(t *testing.T) {
	c := open(t).customer(t)
	tokens := make(map[string]bool)
	for name, want := range map[string]struct{ identifier, types string }{
		"a.example.com":   {"a.example.com", "http-01 dns-01 tls-alpn-01"},
		"*.b.example.com": {"b.example.com", "dns-01"},
		"10.0.0.1":        {"10.0.0.1", "http-01 tls-alpn-01"},
	} {
		o := c.newOrder(name)
		r := c.post(o.Authorizations[0], nil).ok(t, 200)
		z := decode[authorization](t, r)
		var types []string
		for _, ch := range z.Challenges {
			types = append(types, ch.Type)
			if ch.Status != "pending" || len(ch.Token) < 22 || tokens[ch.Token] || strings.Trim(ch.Token,
				"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
				t.Errorf("a challenge is %+v", ch)
			}
			tokens[ch.Token] = true
			read := c.post(ch.URL, nil).ok(t, 200)
			up := "<" + o.Authorizations[0] + `>;rel="up"` // section 7.5.1
			if !slices.Contains(read.header.Values("Link"), up) || decode[challenge](t, read).URL != ch.URL {
				t.Errorf("the challenge reads %s %v", read.body, read.header)
			}
		}
		if z.Status != "pending" || z.Identifier.Value != want.identifier || strings.Join(types, " ") != want.types ||
			z.Wildcard != strings.HasPrefix(name, "*") || strings.Contains(string(r.body), "wildcard") != z.Wildcard {
			t.Errorf("%s: the authorization is %s", name, r.body)
		}
	}
}

// RFC 8555 sections 6.7.1 and 7.4: what is wrong with an order, identifier by identifier.
func TestBadOrders(t *testing.T) {
	c := open(t).customer(t)
	long := make([]string, 101)
	for i := range long {
		long[i] = fmt.Sprintf("n%d.example.com", i)
	}
	for name, test := range map[string]struct {
		payload any
		status  int
		kind    string
		subs    int
	}{
		"not an object":     {`[]`, 400, "malformed", 0},
		"not JSON":          {`{`, 400, "malformed", 0},
		"no identifiers":    {`{}`, 400, "malformed", 0},
		"wrong type":        {`{"identifiers":"a"}`, 400, "malformed", 0},
		"101 identifiers":   {identifiers(long...), 400, "malformed", 0},
		"101 times one":     {identifiers(slices.Repeat(long[:1], 101)...), 400, "malformed", 0},
		"notBefore":         {`{"identifiers":[{"type":"dns","value":"a.example.com"}],"notBefore":"2026-01-01T00:00:00Z"}`, 400, "malformed", 0},
		"notAfter":          {`{"identifiers":[{"type":"dns","value":"a.example.com"}],"notAfter":"2026-01-01T00:00:00Z"}`, 400, "malformed", 0},
		"unknown profile":   {`{"identifiers":[{"type":"dns","value":"a.example.com"}],"profile":"other"}`, 400, "invalidProfile", 0},
		"unknown type":      {`{"identifiers":[{"type":"tn","value":"1"}]}`, 400, "unsupportedIdentifier", 1},
		"type email":        {`{"identifiers":[{"type":"email","value":"a@example.com"}]}`, 400, "unsupportedIdentifier", 1},
		"underscore":        {identifiers("a_b.example.com"), 400, "malformed", 1},
		"trailing dot":      {identifiers("example.com."), 400, "malformed", 1},
		"inner wildcard":    {identifiers("a.*.example.com"), 400, "malformed", 1},
		"address as dns":    {`{"identifiers":[{"type":"dns","value":"10.0.0.1"}]}`, 400, "malformed", 1},
		"mapped address":    {identifiers("::ffff:10.0.0.1"), 400, "malformed", 1},
		"wildcard address":  {`{"identifiers":[{"type":"ip","value":"*.0.0.1"}]}`, 400, "malformed", 1},
		"two of three":      {identifiers("a_b.example.com", "ok.example.com", "c_d.example.com"), 400, "malformed", 2},
		"different reasons": {`{"identifiers":[{"type":"tn","value":"1"},{"type":"dns","value":"a_b"}]}`, 400, "malformed", 2},
	} {
		t.Run(name, func(t *testing.T) {
			c.t = t
			p := c.post("/acme/new-order", test.payload).refused(t, test.status, test.kind)
			if len(p.Subproblems) != test.subs {
				t.Errorf("there are subproblems %+v", p.Subproblems)
			}
			for _, sub := range p.Subproblems {
				if !strings.HasPrefix(sub.Type, "urn:ietf:params:acme:error:") || sub.Detail == "" || sub.Identifier.Value == "" {
					t.Errorf("a subproblem is %+v", sub)
				}
			}
		})
	}
	c.t = t
	// The zero time is how some clients say that they have no wish.
	c.post("/acme/new-order", `{"identifiers":[{"type":"dns","value":"a.example.com"}],
		"notBefore":"0001-01-01T00:00:00Z","notAfter":"0001-01-01T00:00:00Z","profile":""}`).ok(t, 201)
	if o := c.newOrder(long[:100]...); len(o.Authorizations) != 100 {
		t.Errorf("there are %d authorizations", len(o.Authorizations))
	}
}

// A name that the policy forbids is refused when the order is made, and the others are not blamed
// (RFC 8555 section 6.7.1). never #7: whichever it is.
func TestRejectedIdentifier(t *testing.T) {
	s := storetest.SQLite(t)
	config := catest.Config(t, s)
	config.Profiles[0].NameTypes = []identity.NameType{identity.DNS}
	config.Profiles[0].MaxNames = 5
	h := houseOf(t, s, catest.Open(t, config), always(proven))
	c := h.customer(t)
	for k := range 3 {
		names := []string{"a.example.com", "b.example.com", "c.example.com"}
		names[k] = "10.0.0.1"
		p := c.post("/acme/new-order", identifiers(names...)).refused(t, 403, "rejectedIdentifier")
		if len(p.Subproblems) != 1 || p.Subproblems[0].Identifier.Value != "10.0.0.1" {
			t.Errorf("place %d: the subproblems are %+v", k, p.Subproblems)
		}
	}
	p := c.post("/acme/new-order", identifiers("10.0.0.1", "a.example.com", "10.0.0.2")).
		refused(t, 403, "rejectedIdentifier")
	if len(p.Subproblems) != 2 {
		t.Errorf("the subproblems are %+v", p.Subproblems)
	}
	p = c.post("/acme/new-order", identifiers("a.b", "b.b", "c.b", "d.b", "e.b", "f.b")).refused(t, 400, "malformed")
	if len(p.Subproblems) != 0 || !strings.Contains(p.Detail, "5") {
		t.Errorf("too many names give %+v", p)
	}
}

// RFC 8555 section 7.1.2.1: the list is paged, and shows what can still be worked with.
func TestOrdersList(t *testing.T) {
	h := open(t)
	c := h.customer(t)
	list := func(url string) ([]string, string) {
		t.Helper()
		r := c.post(url, nil).ok(t, 200)
		next := ""
		for _, l := range r.header.Values("Link") {
			if url, ok := strings.CutSuffix(l, `>;rel="next"`); ok {
				next = strings.TrimPrefix(url, "<")
			}
		}
		return decode[map[string][]string](t, r)["orders"], next
	}
	if got, next := list(c.account + "/orders"); got == nil || len(got) != 0 || next != "" {
		t.Errorf("a new account's orders are %v, then %q", got, next)
	}
	h.customer(t).newOrder("other.example.com")
	var want []string
	for range 101 {
		want = append(want, c.newOrder("a.example.com").url)
	}
	slices.Reverse(want)
	first, next := list(c.account + "/orders")
	if !slices.Equal(first, want[:100]) || next == "" {
		t.Fatalf("the first page has %d orders, then %q", len(first), next)
	}
	if rest, end := list(next); !slices.Equal(rest, want[100:]) || end != "" {
		t.Errorf("the second page is %v, then %q", rest, end)
	}
	c.post(c.account+"/orders?cursor=x", nil).refused(t, 400, "malformed")
	// An order of which nothing can come is not shown.
	z := c.newOrder("b.example.com").Authorizations[0]
	c.post(z, `{"status":"deactivated"}`).ok(t, 200)
	if now, _ := list(c.account + "/orders"); !slices.Equal(now, first) {
		t.Errorf("after a failed order the list has changed")
	}
	h.pass(25 * time.Hour)
	if now, _ := list(c.account + "/orders"); len(now) != 0 {
		t.Errorf("a day later there are still %d", len(now))
	}
}

// RFC 8555 section 7.1.6: orders and authorizations expire.
func TestExpiry(t *testing.T) {
	h := open(t)
	c := h.customer(t)
	pending, ready := c.newOrder("a.example.com"), c.readyOrder("b.example.com")
	ch := c.authorization(pending.Authorizations[0]).Challenges[0]
	h.pass(24*time.Hour + time.Second)
	for _, o := range []order{pending, ready} {
		if got := c.order(o.url); got.Status != "invalid" {
			t.Errorf("the order is %s", got.Status)
		}
		if got := c.authorization(o.Authorizations[0]); got.Status != "expired" {
			t.Errorf("the authorization is %s", got.Status)
		}
		c.finalize(o, newKey(t), "b.example.com").refused(t, 403, "orderNotReady")
	}
	if got := decode[challenge](t, c.post(ch.URL, `{}`).ok(t, 200)); got.Status != "pending" {
		t.Errorf("an expired challenge became %s", got.Status)
	}
}

// RFC 8555 section 7.5.2.
func TestDeactivateAuthorization(t *testing.T) {
	h := open(t)
	c := h.customer(t)
	for name, o := range map[string]order{
		"pending": c.newOrder("a.example.com", "b.example.com"), "valid": c.readyOrder("a.example.com", "b.example.com"),
	} {
		url := o.Authorizations[1]
		for _, payload := range []string{`{"status":"valid"}`, `{}`} {
			c.post(url, payload).refused(t, 400, "malformed")
		}
		for range 2 {
			if z := decode[authorization](t, c.post(url, `{"status":"deactivated"}`).ok(t, 200)); z.Status != "deactivated" {
				t.Errorf("%s: the authorization is %s", name, z.Status)
			}
		}
		got := c.order(o.url)
		if got.Status != "invalid" || got.Error == nil || got.Error.Subproblems[0].Identifier.Value != "b.example.com" {
			t.Errorf("%s: the order is %+v", name, got)
		}
		c.finalize(o, newKey(t), "a.example.com", "b.example.com").refused(t, 403, "orderNotReady")
		ch := c.authorization(url).Challenges[0]
		if got := decode[challenge](t, c.post(ch.URL, `{}`).ok(t, 200)); got.Status != ch.Status {
			t.Errorf("%s: a deactivated authorization's challenge became %s", name, got.Status)
		}
	}
	// With its certificate issued, an order stays what it is.
	o := c.readyOrder("a.example.com")
	c.finalize(o, newKey(t), "a.example.com").ok(t, 200)
	c.post(o.Authorizations[0], `{"status":"deactivated"}`).ok(t, 200)
	if got := c.order(o.url); got.Status != "valid" {
		t.Errorf("the order is %s", got.Status)
	}
}

// Orders that expired long ago are cleaned away (never #36: in bounded batches), and no others.
func TestCleaning(t *testing.T) {
	h := openOn(t, storetest.SQLite(t), always(proven))
	c := h.customer(t)
	old := c.newOrder("a.example.com")
	h.pass(7*24*time.Hour + 23*time.Hour)
	young := c.newOrder("b.example.com")
	clean(t, h)
	c.post(old.url, nil).ok(t, 200)
	h.pass(2 * time.Hour)
	clean(t, h)
	c.post(old.url, nil).refused(t, http.StatusNotFound, "malformed")
	c.post(young.url, nil).ok(t, 200)
}

func clean(t *testing.T, h *house) {
	t.Helper()
	if err := acmeserver.Clean(t.Context(), h.door); err != nil {
		t.Fatal(err)
	}
}
