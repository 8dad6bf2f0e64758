package acmeserver_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mayflyca/mayfly/acmeserver/internal/validate"
	"github.com/mayflyca/mayfly/ca"
)

// TestOrderMachine makes two accounts ask for anything in any order, through the door, with time
// passing and the process restarting in between. It watches every object for changes that RFC 8555
// section 7.1.6 does not know, and every certificate for names that were not proven by its account
// for its order.
func TestOrderMachine(t *testing.T) {
	m := &machine{}
	h := openWith(t, m.check)
	begun := time.Now().UTC().Truncate(time.Second)
	h.config.Now = func() time.Time { return begun.Add(time.Duration(h.ahead.Load())) }
	rapid.Check(t, func(rt *rapid.T) {
		h.reopen(t, m.check)
		*m = machine{h: h, t: failing{t, rt}, proofs: make(map[string]proof)}
		m.clients = []*client{h.customer(m.t), h.customer(m.t)}
		rt.Repeat(map[string]func(*rapid.T){
			"new order":                m.newOrder,
			"accept":                   m.accept,
			"prove":                    m.prove,
			"finalize":                 m.finalize,
			"finalize rightly":         m.finalizeRightly,
			"deactivate authorization": m.deactivateAuthorization,
			"deactivate account":       m.deactivateAccount,
			"change key":               m.changeKey,
			"revoke":                   m.revoke,
			"time passes":              m.pass,
			"restart":                  func(*rapid.T) { h.reopen(t, m.check) },
		})
		for _, o := range m.orders {
			m.look(o)
		}
		m.count()
	})
}

// failing is the test with rapid's way to fail, so that it finds the shortest way there.
type failing struct {
	testing.TB
	rt *rapid.T
}

func (f failing) Helper()                           {}
func (f failing) Error(args ...any)                 { f.rt.Error(args...) }
func (f failing) Errorf(format string, args ...any) { f.rt.Errorf(format, args...) }
func (f failing) Fatal(args ...any)                 { f.rt.Fatal(args...) }
func (f failing) Fatalf(format string, args ...any) { f.rt.Fatalf(format, args...) }

// machine is what the test knows of the world.
type machine struct {
	h       *house
	t       failing
	clients []*client
	orders  []*watched
	result  validate.Result  // of the next validation
	proofs  map[string]proof // what the checker found good, by token
}

type proof struct {
	name             string
	keyAuthorization string
}

// watched is an order with all that its client ever saw of it.
type watched struct {
	order
	owner      *client
	names      []string
	statuses   []string // of its authorizations
	challenges []map[string]challenge
	issued     string // URL of its certificate
	der        []byte
	key        *ecdsa.PrivateKey
}

// check is the checker.
func (m *machine) check(_ context.Context, c validate.Challenge) validate.Result {
	if m.result.OK {
		name := c.Name.Value
		if c.Wildcard {
			name = "*." + name
		}
		m.proofs[c.Token] = proof{name, c.KeyAuthorization}
	}
	return m.result
}

var orderChanges = map[string]string{
	"pending": "pending ready invalid", "ready": "ready processing valid invalid",
	"processing": "processing valid invalid", "valid": "valid", "invalid": "invalid",
}

var authorizationChanges = map[string]string{
	"pending": "pending valid invalid deactivated expired", "valid": "valid deactivated expired revoked",
	"invalid": "invalid", "deactivated": "deactivated", "expired": "expired", "revoked": "revoked",
}

var challengeChanges = map[string]string{
	"pending": "pending processing valid invalid", "processing": "processing valid invalid", "valid": "valid",
	"invalid": "invalid",
}

func (m *machine) step(what, from, to string, changes map[string]string) {
	if !slices.Contains(strings.Fields(changes[from]), to) {
		m.t.Fatalf("%s went from %s to %s", what, from, to)
	}
}

// look reads the order and its authorizations, and compares them with what was seen before and with
// each other.
func (m *machine) look(w *watched) {
	if w.owner.account == "" {
		return // ended: nobody may look
	}
	seen := w.owner.order(w.url)
	var valid, pending int
	for i, url := range w.Authorizations {
		z := w.owner.authorization(url)
		m.step("authorization of "+w.names[i], w.statuses[i], z.Status, authorizationChanges)
		w.statuses[i] = z.Status
		if usable := z.Status == "valid" || z.Status == "pending"; usable && !m.h.config.Now().Before(z.Expires) {
			m.t.Fatalf("the authorization of %s is %s, and expired at %s", w.names[i], z.Status, z.Expires)
		}
		for _, ch := range z.Challenges {
			if old, ok := w.challenges[i][ch.Type]; ok {
				m.step(ch.Type, old.Status, ch.Status, challengeChanges)
				if old.Token != ch.Token || old.URL != ch.URL {
					m.t.Fatalf("%s has become another", ch.Type)
				}
			}
			w.challenges[i][ch.Type] = ch
		}
		switch z.Status {
		case "valid":
			valid++
			if !slices.ContainsFunc(z.Challenges, func(ch challenge) bool { return m.proves(w, i, ch.Token) }) {
				m.t.Fatalf("the authorization of %s is valid, and nobody has proven it", w.names[i])
			}
		case "pending":
			pending++
		}
	}
	m.step("order", w.Status, seen.Status, orderChanges)
	// Section 7.1.6: what the order's status follows from, while it has no certificate.
	want := "invalid"
	switch {
	case w.issued != "":
		want = "valid"
	case valid == len(w.names):
		want = "ready"
	case valid+pending == len(w.names):
		want = "pending"
	}
	if seen.Status != want || (want == "valid") != (seen.Certificate != "") || w.issued != seen.Certificate {
		m.t.Fatalf("the order is %s with the certificate %q, and ought to be %s with %q; its "+
			"authorizations are %v", seen.Status, seen.Certificate, want, w.issued, w.statuses)
	}
	w.Status = seen.Status
}

// proves tells whether the owner has proven the name under the token.
func (m *machine) proves(w *watched, i int, token string) bool {
	p, ok := m.proofs[token]
	return ok && p.name == w.names[i] && strings.HasPrefix(p.keyAuthorization, token+".")
}

func (m *machine) anyone(t *rapid.T) *client {
	return m.clients[rapid.IntRange(0, len(m.clients)-1).Draw(t, "client")]
}

func (m *machine) anyOrder(t *rapid.T) *watched {
	if len(m.orders) == 0 {
		t.Skip("there is no order")
	}
	return m.orders[rapid.IntRange(0, len(m.orders)-1).Draw(t, "order")]
}

var machineNames = []string{"a.example.com", "*.a.example.com", "b.example.com", "10.0.0.1"}

func (m *machine) newOrder(t *rapid.T) {
	c := m.anyone(t)
	names := rapid.SliceOfNDistinct(rapid.SampledFrom(machineNames), 1, 3, rapid.ID).Draw(t, "names")
	w := &watched{order: c.newOrder(names...), owner: c, names: names}
	for range names {
		w.statuses = append(w.statuses, "pending")
		w.challenges = append(w.challenges, make(map[string]challenge))
	}
	m.orders = append(m.orders, w)
	m.look(w)
}

// as sends a request as the order's owner or as the other, who must be told that there is no such
// thing (never #18). It reports whether the owner sent it.
func (m *machine) as(t *rapid.T, w *watched, send func(c *client) reply) (r reply, own bool) {
	c := m.anyone(t)
	r = send(c)
	if c != w.owner || w.owner.account == "" {
		r.refused(m.t, 404, "malformed")
		return r, false
	}
	return r, true
}

func (m *machine) accept(t *rapid.T) {
	w := m.anyOrder(t)
	i := rapid.IntRange(0, len(w.names)-1).Draw(t, "authorization")
	if len(w.challenges[i]) == 0 {
		return
	}
	kinds := make([]string, 0, 3)
	for kind := range w.challenges[i] {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	m.result = rapid.SampledFrom([]validate.Result{proven, proven, proven, wrong}).Draw(t, "result")
	url := w.challenges[i][rapid.SampledFrom(kinds).Draw(t, "type")].URL
	if _, own := m.as(t, w, func(c *client) reply { return c.post(url, `{}`) }); own {
		m.settled(w, url)
	}
	m.look(w)
}

// settled waits for the verdict.
func (m *machine) settled(w *watched, url string) {
	for range 10_000 {
		if decode[challenge](m.t, w.owner.post(url, nil).ok(m.t, 200)).Status != "processing" {
			return
		}
	}
	m.t.Fatalf("the challenge is never settled")
}

// prove has the owner do all it takes, so that the machine comes far often enough.
func (m *machine) prove(t *rapid.T) {
	w := m.anyOrder(t)
	if w.owner.account == "" || w.Status != "pending" {
		return
	}
	m.result = proven
	for i := range w.names {
		for _, ch := range w.challenges[i] {
			w.owner.post(ch.URL, `{}`).ok(m.t, 200)
			m.settled(w, ch.URL)
			break
		}
	}
	m.look(w)
}

func (m *machine) finalizeRightly(t *rapid.T) {
	w := m.anyOrder(t)
	if w.owner.account == "" {
		return
	}
	if w.key == nil {
		w.key = newKey(m.t)
	}
	m.finalized(w, w.names, w.key, w.owner.finalize(w.order, w.key, w.names...))
}

func (m *machine) finalize(t *rapid.T) {
	w := m.anyOrder(t)
	names := w.names
	if rapid.Bool().Draw(t, "other names") {
		names = rapid.SliceOfNDistinct(rapid.SampledFrom(machineNames), 0, 4, rapid.ID).Draw(t, "names in the CSR")
	}
	key := newKey(m.t)
	if rapid.Bool().Draw(t, "the account's key") {
		key = w.owner.key
	}
	r, own := m.as(t, w, func(c *client) reply { return c.finalize(w.order, key, names...) })
	if own {
		m.finalized(w, names, key, r)
	}
	m.look(w)
}

// finalized judges the answer to the owner's finalize.
func (m *machine) finalized(w *watched, names []string, key *ecdsa.PrivateKey, r reply) {
	same := slices.Equal(slices.Sorted(slices.Values(names)), slices.Sorted(slices.Values(w.names)))
	switch {
	case w.Status == "valid" && key == w.key && same:
		if got := decode[order](m.t, r.ok(m.t, 200)); got.Certificate != w.issued {
			m.t.Fatalf("the order has another certificate: %s, before %s", got.Certificate, w.issued)
		}
	case w.Status == "ready" && same && key != w.owner.key:
		got := decode[order](m.t, r.ok(m.t, 200))
		w.issued, w.key = got.Certificate, key
		m.certificate(w)
	case r.status/100 != 4:
		m.t.Fatalf("finalizing the %s order gives %d %s", w.Status, r.status, r.body)
	}
	m.look(w)
}

// certificate reads what was issued: all of the order's names and no others, each proven.
func (m *machine) certificate(w *watched) {
	block, _ := pem.Decode(w.owner.post(w.issued, nil).ok(m.t, 200).body)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		m.t.Fatal(err)
	}
	w.der = block.Bytes
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	slices.Sort(names)
	if !slices.Equal(names, slices.Sorted(slices.Values(w.names))) || !w.key.PublicKey.Equal(leaf.PublicKey) {
		m.t.Fatalf("the order is for %v, the certificate for %v", w.names, names)
	}
	for i, name := range w.names {
		proven := false
		for _, ch := range w.challenges[i] {
			proven = proven || m.proves(w, i, ch.Token)
		}
		if !proven || w.statuses[i] != "valid" {
			m.t.Fatalf("%s was issued; its authorization was %s, its proof %v", name, w.statuses[i], proven)
		}
	}
}

func (m *machine) deactivateAuthorization(t *rapid.T) {
	w := m.anyOrder(t)
	i := rapid.IntRange(0, len(w.names)-1).Draw(t, "authorization")
	m.as(t, w, func(c *client) reply { return c.post(w.Authorizations[i], `{"status":"deactivated"}`) })
	m.look(w)
}

// deactivateAccount ends an account, and opens another in its place. All that the former had is out
// of reach for good.
func (m *machine) deactivateAccount(t *rapid.T) {
	i := rapid.IntRange(0, len(m.clients)-1).Draw(t, "client")
	old := m.clients[i]
	old.post(old.account, `{"status":"deactivated"}`).ok(m.t, 200)
	for _, w := range m.orders {
		if w.owner == old {
			old.finalize(w.order, newKey(m.t), w.names...).refused(m.t, 401, "unauthorized")
			old.post(w.url, nil).refused(m.t, 401, "unauthorized")
		}
	}
	old.account = ""
	old.post("/acme/new-account", `{}`).refused(m.t, 401, "unauthorized")
	m.clients[i] = m.h.customer(m.t)
}

func (m *machine) changeKey(t *rapid.T) {
	c, fresh := m.anyone(t), newKey(m.t)
	url := baseURL + "/acme/key-change"
	inner := sign(fresh, map[string]any{"alg": "ES256", "url": url, "jwk": jwk(fresh)},
		text(map[string]any{"account": c.account, "oldKey": jwk(c.key)}))
	c.post(url, inner).ok(m.t, 200)
	c.post(c.account, nil).refused(m.t, 403, "unauthorized")
	c.key = fresh
	for _, w := range m.orders { // who held the certificate's key as the account's has both now
		if w.owner == c {
			m.look(w)
			break
		}
	}
}

func (m *machine) revoke(t *rapid.T) {
	w := m.anyOrder(t)
	if w.der == nil {
		return
	}
	by := m.anyone(t)
	if rapid.Bool().Draw(t, "by its key") {
		by = &client{t: m.t, h: m.h, key: w.key}
	}
	r := by.post("/acme/revoke-cert", map[string]any{"certificate": b64(w.der)})
	if (by == w.owner || by.key == w.key) && r.status != 200 {
		r.refused(m.t, 400, "alreadyRevoked")
	}
	m.look(w)
}

func (m *machine) pass(t *rapid.T) {
	m.h.pass(time.Duration(rapid.SampledFrom([]int{1, 10, 60, 11 * 60, 25 * 60}).Draw(t, "minutes")) * time.Minute)
	for _, w := range m.orders {
		m.look(w)
	}
}

// count demands that the CA has issued what the orders know of, and nothing else.
func (m *machine) count() {
	want := 0
	owners := make(map[string]bool)
	for _, w := range m.orders {
		if w.issued != "" {
			want++
		}
		o, err := m.h.store.Order(m.t.Context(), w.url[strings.LastIndex(w.url, "/")+1:])
		if err != nil {
			m.t.Fatal(err)
		}
		owners["acme/account/"+o.Account] = true
	}
	got := 0
	for owner := range owners {
		issued, err := m.h.ca.Certificates(m.t.Context(), ca.Query{Owner: owner, Limit: 1000})
		if err != nil {
			m.t.Fatal(err)
		}
		got += len(issued)
	}
	if got != want {
		m.t.Fatalf("%d certificates were issued for %d orders", got, want)
	}
}
