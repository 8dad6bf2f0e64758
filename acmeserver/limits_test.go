package acmeserver_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/acmeserver/internal/validate"
)

// limited opens a door with limits, and with overrides of them. Its clock stands still.
func limited(t testing.TB, check checkFunc, overrides ...string) *house {
	t.Helper()
	return openWith(t, check).limit(t, check, overrides...)
}

func (h *house) limit(t testing.TB, check checkFunc, overrides ...string) *house {
	t.Helper()
	begun := time.Now().UTC().Truncate(time.Second)
	h.config.Now = func() time.Time { return begun.Add(time.Duration(h.ahead.Load())) }
	h.config.RateLimits, h.config.RateLimitOverrides = true, overrides
	h.reopen(t, check)
	return h
}

// tooMany demands the refusal of a limit: with a time to wait in seconds, and in words (RFC 8555
// section 6.6).
func (r reply) tooMany(t testing.TB, words ...string) (wait time.Duration) {
	t.Helper()
	p := r.refused(t, 429, "rateLimited")
	for _, word := range words {
		if !strings.Contains(p.Detail, word) {
			t.Errorf("the detail %q says nothing of %q", p.Detail, word)
		}
	}
	seconds, err := strconv.Atoi(r.header.Get("Retry-After"))
	if err != nil || seconds < 1 {
		t.Errorf("Retry-After is %q", r.header.Get("Retry-After"))
	}
	return time.Duration(seconds) * time.Second
}

func TestRequestsAreLimited(t *testing.T) {
	h := limited(t, always(proven), "requests_per_address=*=3/1m", "requests_per_address=10.0.0.9=5/1m")
	directory := func(peer string) reply {
		h.peer = peer
		return h.do("GET", baseURL+"/acme/directory", "", nil)
	}
	for _, from := range []struct {
		peers []string
		most  int
	}{
		{[]string{"10.0.0.1:1000", "10.0.0.1:2000", "[::ffff:10.0.0.1]:3000"}, 3},
		{[]string{"10.0.0.2:1000"}, 3},
		{[]string{"10.0.0.9:1000"}, 5},
		{[]string{"[2001:db8::1]:1000", "[2001:db8::2]:1000", "[2001:db8:0:0:ffff::]:1"}, 3},
		{[]string{"[2001:db8:0:1::1]:1000"}, 3},
		{[]string{"[fe80::1%eth0]:1000", "[fe80::1%eth1]:1000"}, 3},
		{[]string{"@"}, 3}, // a socket without addresses
	} {
		for i := range from.most {
			directory(from.peers[i%len(from.peers)]).ok(t, 200)
		}
		wait := directory(from.peers[0]).tooMany(t, "requests from", "in 1m", "requests_per_address",
			"acme.rate_limit_overrides")
		h.pass(wait)
		directory(from.peers[0]).ok(t, 200)
		directory(from.peers[0]).tooMany(t)
		h.pass(-wait)
	}
	// never #25: what a header says changes nothing.
	r := httptest.NewRequest(http.MethodGet, baseURL+"/acme/directory", nil)
	r.RemoteAddr = "10.0.0.2:5"
	for _, name := range []string{"X-Forwarded-For", "X-Real-IP", "Forwarded", "True-Client-IP"} {
		r.Header.Set(name, "10.99.0.1")
	}
	w := httptest.NewRecorder()
	h.door.ServeHTTP(w, r)
	if w.Code != 429 {
		t.Errorf("a header lifted the limit: %d", w.Code)
	}
	// A refused POST has its nonce all the same (never #20).
	if h.peer = "10.0.0.2:5"; h.do("POST", baseURL+"/acme/new-order", "", nil).header.Get("Replay-Nonce") == "" {
		t.Error("a refused request has no nonce")
	}
}

func TestAccountsAreLimited(t *testing.T) {
	h := limited(t, always(proven), "accounts_per_address=*=2/1h")
	h.peer = "10.0.0.1:1000"
	known := h.customer(t)
	h.customer(t)
	stranger := h.stranger(t)
	wait := stranger.post("/acme/new-account", `{}`).tooMany(t, "new accounts from 10.0.0.1", "2 in 1h")
	// Who has an account finds it as before.
	again := &client{t: t, h: h, key: known.key}
	again.post("/acme/new-account", `{}`).ok(t, 200)
	stranger.post("/acme/new-account", `{"onlyReturnExisting":true}`).refused(t, 400, "accountDoesNotExist")
	// A refused one is not counted, and other addresses go on.
	h.peer = "10.0.0.2:1000"
	h.customer(t)
	h.peer = "10.0.0.1:1000"
	h.pass(wait)
	stranger.post("/acme/new-account", `{}`).ok(t, 201)
}

func TestOrdersAreLimited(t *testing.T) {
	h := limited(t, always(proven), "orders_per_account=*=2/1h")
	c, other := h.customer(t), h.customer(t)
	c.newOrder("a.example.com")
	c.newOrder("b.example.com")
	wait := c.post("/acme/new-order", identifiers("b.example.com")).tooMany(t, "new orders of account", "2 in 1h",
		c.account[strings.LastIndex(c.account, "/")+1:])
	other.newOrder("a.example.com")
	h.pass(wait)
	c.newOrder("b.example.com")
}

// Certificates for exactly the same names, whatever their order, and whoever asks.
func TestNameSetsAreLimited(t *testing.T) {
	h := limited(t, always(proven), "certificates_per_name_set=*=2/1h",
		"certificates_per_name_set=Y.example.com+x.example.com=3/1h")
	c, other := h.customer(t), h.customer(t)
	early := c.readyOrder("a.example.com", "b.example.com")
	c.issue(newKey(t), "b.example.com", "a.example.com")
	other.issue(newKey(t), "a.example.com", "b.example.com")
	wait := c.post("/acme/new-order", identifiers("b.example.com", "a.example.com")).tooMany(t,
		"certificates for exactly a.example.com+b.example.com", "2 in 1h")
	key := newKey(t)
	c.finalize(early, key, "a.example.com", "b.example.com").tooMany(t, "certificates for exactly")
	if got := c.order(early.url); got.Status != "ready" {
		t.Errorf("the refused order is %s", got.Status)
	}
	c.issue(newKey(t), "a.example.com")
	h.pass(wait)
	c.finalize(early, key, "a.example.com", "b.example.com").ok(t, 200)
	c.finalize(early, key, "a.example.com", "b.example.com").ok(t, 200) // has its certificate: not counted
	for range 3 {
		c.issue(newKey(t), "x.example.com", "y.example.com")
	}
	c.post("/acme/new-order", identifiers("x.example.com", "y.example.com")).tooMany(t, "3 in 1h")
	// Who has proven nothing uses up nobody's limit.
	for range 5 {
		other.newOrder("z.example.com")
	}
	c.issue(newKey(t), "z.example.com")
}

func TestFailuresAreLimited(t *testing.T) {
	h := limited(t, always(wrong), "failures_per_name=*=2/1h")
	c, other := h.customer(t), h.customer(t)
	early := c.newOrder("a.example.com")
	for range 2 {
		c.fail("a.example.com")
	}
	wait := c.post("/acme/new-order", identifiers("b.example.com", "a.example.com")).tooMany(t,
		"failed validations of", "+a.example.com", "2 in 1h")
	// An order made before lets nobody ask more often.
	c.post(c.authorization(early.Authorizations[0]).Challenges[0].URL, `{}`).tooMany(t, "failed validations of")
	if z := c.authorization(early.Authorizations[0]); z.Status != "pending" {
		t.Errorf("the authorization is %s", z.Status)
	}
	c.fail("b.example.com")
	other.fail("a.example.com")
	c.newOrder("*.a.example.com") // another name
	h.pass(wait)
	c.fail("a.example.com")
}

// fail orders a name, and has its first challenge answered wrongly.
func (c *client) fail(name string) {
	c.t.Helper()
	ch := c.authorization(c.newOrder(name).Authorizations[0]).Challenges[0]
	if got := decode[challenge](c.t, c.post(ch.URL, `{}`).ok(c.t, 200)); got.Status != "invalid" {
		c.t.Fatalf("the challenge is %s", got.Status)
	}
}

func TestBadOverrides(t *testing.T) {
	h := open(t)
	account := strings.Repeat("A", 26)
	for _, text := range []string{
		"orders_per_account=" + account + "=1/1s", "accounts_per_address=2001:db8::/64=1/1h",
		"requests_per_address=2001:db8::1=1/1h", "failures_per_name=" + account + "+a.example.com=1/1h",
		"failures_per_name=" + account + "+2001:db8::1=1/1h", "certificates_per_name_set=10.0.0.1+*.x.example=9/1h",
	} {
		h.config.RateLimits, h.config.RateLimitOverrides = true, []string{text}
		if _, err := acmeserver.NewWith(h.config, always(proven)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	for text, hint := range map[string]string{
		"":                                        "limit=key=count/duration",
		"orders_per_account=5/1h":                 "limit=key=count/duration",
		"orders=*=5/1h":                           "orders_per_account",
		"orders_per_account=*=5":                  "duration",
		"orders_per_account=*=0/1h":               "count",
		"orders_per_account=me=5/1h":              "an account",
		"requests_per_address=10.0.0.0/8=5/1h":    "an address",
		"requests_per_address=2001:db8::/32=5/1h": "an address",
		"certificates_per_name_set=a_b=5/1h":      "names like",
		"certificates_per_name_set=a.example.com,b.example.com=5/1h": "names like",
		"failures_per_name=a.example.com=5/1h":                       "an account and a name",
		"failures_per_name=" + account + "+=5/1h":                    "an account and a name",
		"failures_per_name=" + account + "+b.example+a.example=5/1h": "an account and a name",
	} {
		h.config.RateLimits, h.config.RateLimitOverrides = len(text)%2 == 0, []string{text}
		_, err := acmeserver.NewWith(h.config, always(proven))
		if err == nil || !strings.Contains(err.Error(), hint) ||
			!strings.Contains(err.Error(), "acme.rate_limit_overrides") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// No healthy fleet meets the limits: services behind one address and of one account that all restart
// at once, replicas that want the same name, and a responder that is late again and again.
func TestFleetRestarts(t *testing.T) {
	late := 25
	h := limited(t, func(_ context.Context, c validate.Challenge) validate.Result {
		if late > 0 {
			late--
			return wrong
		}
		return proven
	})
	c := h.customer(t)
	for late > 0 {
		c.fail("late.example.com")
	}
	c.issue(newKey(t), "late.example.com")
	for range 60_000 { // of five thousand services
		if r := h.do("GET", baseURL+"/acme/directory", "", nil); r.status != 200 {
			t.Fatalf("got %d %s", r.status, r.body)
		}
	}
	for i := range 100 {
		h.customer(t)
		c.issue(newKey(t), fmt.Sprintf("svc-%d.example.com", i))
		c.issue(newKey(t), "same.example.com")
	}
}

// A client that loops is cut off, and the metrics tell by what.
func TestLoopIsCutOff(t *testing.T) {
	h := open(t)
	registry := prometheus.NewRegistry()
	h.config.Metrics, h.config.RateLimits = registry, true
	h.config.RateLimitOverrides = []string{"orders_per_account=*=100/1h"}
	h.reopen(t, always(proven))
	c := h.customer(t)
	served := 0
	for range 300 {
		if c.post("/acme/new-order", identifiers("a.example.com")).status == 201 {
			served++
		}
	}
	if served < 100 || served > 110 {
		t.Errorf("%d orders were taken", served)
	}
	if n := valueOf(t, registry, "mayfly_acme_rate_limited_total", "orders_per_account"); n != float64(300-served) {
		t.Errorf("the metric is %g", n)
	}
}

// valueOf reads a counter or gauge with the label's value.
func valueOf(t testing.TB, registry *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			labels := m.GetLabel()
			if family.GetName() == name && (len(labels) == 0 || labels[0].GetValue() == label) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return 0
}
