package acmeserver_test

import (
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/json"
	"hash"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/ca/catest"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

var admin = identity.Caller{ID: "token/1", Owner: "ops", Role: identity.RoleAdmin}

const newAccountURL = baseURL + "/acme/new-account"

// eabKey is a key with its MAC key.
type eabKey struct {
	acmeserver.EABKey
	mac []byte
}

func (h *house) eabKey(t testing.TB, k acmeserver.EABKey) eabKey {
	t.Helper()
	if k.Owner == "" {
		k.Owner = "team a"
	}
	made, mac, err := h.door.Operator().CreateEABKey(t.Context(), admin, k, "")
	if err != nil {
		t.Fatal(err)
	}
	return eabKey{made, mac}
}

var macHashes = map[string]func() hash.Hash{"HS256": sha256.New, "HS384": sha512.New384, "HS512": sha512.New}

// seal makes a JWS with a MAC.
func (k eabKey) seal(header map[string]any, payload []byte) map[string]any {
	protected := b64(text(header))
	newHash, ok := macHashes[header["alg"].(string)]
	if !ok {
		newHash = sha256.New
	}
	mac := hmac.New(newHash, k.mac)
	mac.Write([]byte(protected + "." + b64(payload)))
	return map[string]any{"protected": protected, "payload": b64(payload), "signature": b64(mac.Sum(nil))}
}

func (k eabKey) header() map[string]any {
	return map[string]any{"alg": "HS256", "kid": k.ID, "url": newAccountURL}
}

// bind is the payload of a newAccount that binds the account key.
func (k eabKey) bind(key *ecdsa.PrivateKey) map[string]any {
	return map[string]any{"externalAccountBinding": k.seal(k.header(), text(jwk(key)))}
}

// boundCustomer has an account that the key bound.
func (h *house) boundCustomer(t testing.TB, k eabKey) *client {
	t.Helper()
	c := h.stranger(t)
	c.account = c.post("/acme/new-account", k.bind(c.key)).ok(t, 201).header.Get("Location")
	return c
}

func (c *client) id() string { return c.account[strings.LastIndexByte(c.account, '/')+1:] }

// RFC 8555 section 7.3.4: "The account object the CA returns MUST include an externalAccountBinding
// field with the same value as the field in the request."
func TestBinding(t *testing.T) {
	for _, required := range []bool{false, true} {
		h := open(t)
		h.config.EABRequired = required
		h.reopen(t, always(proven))
		k := h.eabKey(t, acmeserver.EABKey{})
		for alg := range macHashes {
			c := h.stranger(t)
			header := k.header()
			header["alg"] = alg
			sent := map[string]any{"externalAccountBinding": k.seal(header, text(jwk(c.key)))}
			made := c.post("/acme/new-account", sent).ok(t, 201)
			c.account = made.header.Get("Location")
			for _, r := range []reply{made, c.post(c.account, nil).ok(t, 200), c.post(c.account, `{"contact":[]}`).ok(t, 200)} {
				got := decode[struct{ ExternalAccountBinding map[string]any }](t, r).ExternalAccountBinding
				if !maps.Equal(got, sent["externalAccountBinding"].(map[string]any)) {
					t.Errorf("%s: the account object has the binding %v", alg, got)
				}
			}
			_, url := c.issue(newKey(t), "a.example.com")
			serial, err := ca.ParseSerial(url[strings.LastIndexByte(url, '/')+1:])
			if err != nil {
				t.Fatal(err)
			}
			issued, err := h.ca.Certificate(t.Context(), serial)
			if err != nil || issued.Owner != "team a" || issued.Caller != "acme/account/"+c.id() {
				t.Errorf("the certificate's owner is %q, its caller %q: %v", issued.Owner, issued.Caller, err)
			}
		}
		for _, e := range h.store.of(audit.AccountCreated) {
			if e.Data["eab_key"] != k.ID || e.Data["owner"] != "team a" {
				t.Errorf("the record has %v", e)
			}
		}
		// Neither is a binding.
		for _, payload := range []string{`{}`, `{"externalAccountBinding":null}`} {
			r := h.stranger(t).post("/acme/new-account", payload)
			if required {
				r.refused(t, 403, "externalAccountRequired")
			} else if strings.Contains(string(r.ok(t, 201).body), "externalAccountBinding") {
				t.Errorf("an account without a binding is %s", r.body)
			}
		}
	}
}

// Section 7.3.4, check by check. Required or not: what is there must be right.
func TestBadBinding(t *testing.T) {
	h := open(t)
	k, other := h.eabKey(t, acmeserver.EABKey{}), h.eabKey(t, acmeserver.EABKey{})
	c := h.stranger(t)
	own := text(jwk(c.key))
	// with is a good binding but for one header.
	with := func(name string, value any) any {
		header := k.header()
		header[name] = value
		if value == nil {
			delete(header, name)
		}
		return k.seal(header, own)
	}
	flat := func(name string, value any) any {
		sealed := k.seal(k.header(), own)
		sealed[name] = value
		return sealed
	}
	asymmetric := k.header()
	asymmetric["alg"] = "ES256"
	for name, test := range map[string]struct {
		binding any
		status  int
		kind    string
	}{
		"text":              {"x", 400, "malformed"},
		"empty":             {map[string]any{}, 400, "malformed"},
		"two signatures":    {flat("signatures", []int{}), 400, "malformed"},
		"unprotected":       {flat("header", map[string]any{"kid": k.ID}), 400, "malformed"},
		"not base64":        {flat("payload", "++"), 400, "malformed"},
		"no payload":        {k.seal(k.header(), nil), 403, "unauthorized"},
		"huge":              {flat("x", strings.Repeat("x", 9000)), 400, "malformed"},
		"none":              {with("alg", "none"), 400, "badSignatureAlgorithm"},
		"ES256 as MAC":      {with("alg", "ES256"), 400, "badSignatureAlgorithm"},
		"ES256":             {flatten(c.key, asymmetric, own), 400, "badSignatureAlgorithm"},
		"another algorithm": {with("alg", "HS1"), 400, "badSignatureAlgorithm"},
		"no kid":            {with("kid", nil), 400, "malformed"},
		"jwk":               {with("jwk", jwk(c.key)), 400, "malformed"},
		"crit":              {with("crit", []string{"x"}), 400, "malformed"},
		"nonce":             {with("nonce", h.nonce(t)), 400, "malformed"},
		"no url":            {with("url", nil), 400, "malformed"},
		"another url":       {with("url", baseURL+"/acme/new-order"), 400, "malformed"},
		"unknown kid":       {with("kid", strings.Repeat("A", 26)), 403, "unauthorized"},
		"odd kid":           {with("kid", "\x00"), 403, "unauthorized"},
		"another's MAC":     {other.seal(k.header(), own), 403, "unauthorized"},
		"short MAC":         {flat("signature", "AAAA"), 403, "unauthorized"},
		"empty MAC":         {flat("signature", ""), 400, "malformed"},
		"another's key":     {k.seal(k.header(), text(jwk(newKey(t)))), 403, "unauthorized"},
		"no key":            {k.seal(k.header(), []byte(`{}`)), 403, "unauthorized"},
	} {
		t.Run(name, func(t *testing.T) {
			c.t = t
			p := c.post("/acme/new-account", map[string]any{"externalAccountBinding": test.binding}).
				refused(t, test.status, test.kind)
			if !strings.HasPrefix(p.Detail, "externalAccountBinding: ") {
				t.Errorf("the sentence does not say where: %q", p.Detail)
			}
			if test.kind == "badSignatureAlgorithm" && strings.Join(p.Algorithms, " ") != "HS256 HS384 HS512" {
				t.Errorf("the algorithms are %v", p.Algorithms)
			}
		})
	}
	c.t = t
	c.post("/acme/new-account", `{"onlyReturnExisting":true}`).refused(t, 400, "accountDoesNotExist")
	// HS384 says HS384: the length of the MAC does not choose the algorithm.
	header := k.header()
	sealed := k.seal(header, own)
	header["alg"] = "HS384"
	sealed["protected"] = b64(text(header))
	c.post("/acme/new-account", map[string]any{"externalAccountBinding": sealed}).refused(t, 403, "unauthorized")
	c.post("/acme/new-account", k.bind(c.key)).ok(t, 201)
}

// A revoked key freezes its accounts, and only those, whatever they ask for.
func TestRevokedKey(t *testing.T) {
	h := openOn(t, storetest.SQLite(t), always(proven))
	k := h.eabKey(t, acmeserver.EABKey{})
	bound, second, free := h.boundCustomer(t, k), h.boundCustomer(t, k), h.boundCustomer(t, h.eabKey(t, acmeserver.EABKey{}))
	o := bound.readyOrder("a.example.com")
	if _, err := h.door.Operator().RevokeEABKey(t.Context(), admin, k.ID); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*client{bound, second} {
		for _, url := range []string{"/acme/new-order", c.account, c.account + "/orders", o.url, o.Finalize, "/acme/key-change", "/acme/revoke-cert"} {
			p := c.post(url, `{}`).refused(t, 401, "unauthorized")
			if !strings.Contains(p.Detail, "frozen") || !strings.Contains(p.Detail, k.ID) {
				t.Errorf("%s: %q", url, p.Detail)
			}
		}
	}
	bound.account = ""
	bound.post("/acme/new-account", `{}`).refused(t, 401, "unauthorized")
	h.stranger(t).post("/acme/new-account", k.bind(bound.key)).refused(t, 403, "unauthorized")
	c := h.stranger(t)
	c.post("/acme/new-account", k.bind(c.key)).refused(t, 403, "unauthorized")
	free.issue(newKey(t), "a.example.com")
	if entries := h.recorded(t, audit.EABKeyRevoked); len(entries) != 1 || entries[0].Actor != admin.ID || entries[0].Subject != k.ID {
		t.Errorf("the record has %v", entries)
	}
	_, err := h.door.Operator().RevokeEABKey(t.Context(), admin, k.ID)
	if !fault.Is(err, fault.Conflict) {
		t.Errorf("revoked again: %v", err)
	}
}

// recorded gives the entries of a kind from the disk.
func (h *house) recorded(t testing.TB, kind audit.Kind) []audit.Entry {
	t.Helper()
	return slices.DeleteFunc(storetest.Entries(t, h.store.Store), func(e audit.Entry) bool { return e.Kind != kind })
}

// An expired key binds nobody new; those that it bound work on.
func TestExpiredKey(t *testing.T) {
	h := open(t)
	k := h.eabKey(t, acmeserver.EABKey{ExpiresAt: time.Now().Add(time.Hour)})
	bound, late := h.boundCustomer(t, k), h.stranger(t)
	h.pass(time.Hour)
	p := late.post("/acme/new-account", k.bind(late.key)).refused(t, 403, "unauthorized")
	if !strings.Contains(p.Detail, "expired") {
		t.Errorf("%q", p.Detail)
	}
	bound.issue(newKey(t), "a.example.com")
}

// A key for one account binds one, however many ask at once on two replicas.
func TestOnceKey(t *testing.T) {
	for engine, stores := range map[string]func(*testing.T) [2]*store.Store{
		"SQLite": func(t *testing.T) [2]*store.Store { s := storetest.SQLite(t); return [2]*store.Store{s, s} },
		"Postgres": func(t *testing.T) [2]*store.Store {
			c := store.Config{DatabaseURL: storetest.PostgresURL(t), Migrate: true}
			return [2]*store.Store{storetest.Open(t, c), storetest.Open(t, c)}
		},
	} {
		t.Run(engine, func(t *testing.T) {
			pair := stores(t)
			authority := catest.New(t, pair[0])
			houses := [2]*house{houseOf(t, pair[0], authority, always(proven)), houseOf(t, pair[1], authority, always(proven))}
			k := houses[0].eabKey(t, acmeserver.EABKey{Once: true})
			var won, refused atomic.Int32
			var winner atomic.Pointer[client]
			var wg sync.WaitGroup
			for i := range 20 {
				c := houses[i%2].stranger(t)
				wg.Go(func() {
					switch r := c.post("/acme/new-account", k.bind(c.key)); r.status {
					case 201:
						won.Add(1)
						winner.Store(c)
					case 403:
						refused.Add(1)
					default:
						t.Errorf("%d %s", r.status, r.body)
					}
				})
			}
			wg.Wait()
			if won.Load() != 1 || refused.Load() != 19 {
				t.Errorf("%d were bound and %d refused", won.Load(), refused.Load())
			}
			c := winner.Load()
			c.post("/acme/new-account", k.bind(c.key)).ok(t, 200) // its own account is found, as ever
			late := houses[1].stranger(t)
			p := late.post("/acme/new-account", k.bind(late.key)).refused(t, 403, "unauthorized")
			if !strings.Contains(p.Detail, "one account") {
				t.Errorf("%q", p.Detail)
			}
			c.account = baseURL + "/acme/acct/" + accountsOf(t, houses[0], k)[0].ID
			c.post(c.account, `{"status":"deactivated"}`).ok(t, 200)
			late.post("/acme/new-account", k.bind(late.key)).refused(t, 403, "unauthorized") // once is once
		})
	}
}

func accountsOf(t *testing.T, h *house, k eabKey) []acmeserver.Account {
	t.Helper()
	found, err := h.door.Operator().Accounts(t.Context(), acmeserver.AccountQuery{EABKey: k.ID, Limit: 10})
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	return found
}

// The secret that MAC keys follow from is the same on every replica and after a restart, and another
// installation's is another.
func TestSecret(t *testing.T) {
	h := openOn(t, storetest.SQLite(t), always(proven))
	made, first, err := h.door.Operator().CreateEABKey(t.Context(), admin, acmeserver.EABKey{Owner: "a"}, "one")
	if err != nil {
		t.Fatal(err)
	}
	h.reopen(t, always(proven))
	again, second, err := h.door.Operator().CreateEABKey(t.Context(), admin, acmeserver.EABKey{Owner: "a"}, "one")
	if err != nil || again.ID != made.ID || string(first) != string(second) || len(first) != 64 {
		t.Errorf("after a restart: %v, %x and %x", err, first, second)
	}
	other := openOn(t, storetest.SQLite(t), always(proven))
	_, third, err := other.door.Operator().CreateEABKey(t.Context(), admin, acmeserver.EABKey{Owner: "a"}, "one")
	if err != nil || string(third) == string(first) {
		t.Errorf("another installation has the same MAC key: %v", err)
	}
}

// Replicas that need the first secret at the same moment agree on one.
func TestFirstSecret(t *testing.T) {
	s := storetest.SQLite(t)
	authority := catest.New(t, s)
	macs := make(chan string, 4)
	for range cap(macs) {
		h := houseOf(t, s, authority, always(proven))
		go func() {
			_, mac, err := h.door.Operator().CreateEABKey(t.Context(), admin, acmeserver.EABKey{Owner: "a"}, "one")
			if err != nil {
				t.Error(err)
			}
			macs <- string(mac)
		}()
	}
	first := <-macs
	for range cap(macs) - 1 {
		if mac := <-macs; mac != first {
			t.Errorf("%x and %x", mac, first)
		}
	}
}

// never #1: nobody but an administrator changes anything.
func TestOperatorNeedsRole(t *testing.T) {
	h := open(t)
	k := h.eabKey(t, acmeserver.EABKey{})
	c := h.boundCustomer(t, k)
	op := h.door.Operator()
	g := acmeserver.Grant{EABKey: k.ID, Names: []string{"a.internal"}, ExpiresAt: time.Now().Add(time.Hour)}
	kept, err := op.CreateGrant(t.Context(), admin, g, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range []identity.Caller{{}, {ID: "acme/account/" + c.id()}, {ID: "token/2", AnyName: true}} {
		_, _, err1 := op.CreateEABKey(t.Context(), who, acmeserver.EABKey{Owner: "x"}, "")
		_, err2 := op.RevokeEABKey(t.Context(), who, k.ID)
		_, err3 := op.CreateGrant(t.Context(), who, g, "")
		_, err4 := op.Deactivate(t.Context(), who, c.id())
		for i, err := range []error{err1, err2, err3, err4, op.WithdrawGrant(t.Context(), who, kept.ID)} {
			if !fault.Is(err, fault.Denied) {
				t.Errorf("%+v did the %dth: %v", who, i, err)
			}
		}
	}
	c.post(c.account, nil).ok(t, 200)
}

// serve opens a door over HTTP.
func serve(t *testing.T) (h *house, url string) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	h = open(t)
	h.config.BaseURL = "http://" + server.Listener.Addr().String()
	h.reopen(t, always(proven))
	server.Config.Handler = h.door
	server.Start()
	t.Cleanup(server.Close)
	return h, server.URL
}

// A foreign implementation binds its account.
func TestForeignBinding(t *testing.T) {
	h, url := serve(t)
	k := h.eabKey(t, acmeserver.EABKey{})
	c := &acme.Client{Key: catest.Key(t), DirectoryURL: url + "/acme/directory"}
	a, err := c.Register(t.Context(), &acme.Account{
		ExternalAccountBinding: &acme.ExternalAccountBinding{KID: k.ID, Key: k.mac},
	}, acme.AcceptTOS)
	if err != nil || a.Status != "valid" {
		t.Fatalf("%+v: %v", a, err)
	}
	if found := accountsOf(t, h, k); !strings.HasSuffix(a.URI, found[0].ID) {
		t.Errorf("%s was bound, and not %s", found[0].ID, a.URI)
	}
}

// Whatever stands in a binding, the answer is no 5xx, and no account without a good MAC.
func FuzzBinding(f *testing.F) {
	h := open(f)
	k := h.eabKey(f, acmeserver.EABKey{})
	c := h.stranger(f)
	f.Add(text(k.header()), text(jwk(c.key)), []byte("mac"))
	f.Add([]byte(`{"alg":"HS512","kid":"`+k.ID+`","url":"`+newAccountURL+`"}`), []byte(`{}`), []byte{})
	f.Add([]byte(`{"alg":"HS256","kid":["a"],"url":1}`), []byte(`null`), []byte{0})
	f.Fuzz(func(t *testing.T, protected, payload, mac []byte) {
		c.t = t
		binding := map[string]string{"protected": b64(protected), "payload": b64(payload), "signature": b64(mac)}
		r := c.post("/acme/new-account", map[string]any{"externalAccountBinding": binding})
		if r.status < 400 || r.status >= 500 || !json.Valid(r.body) {
			t.Errorf("%d %s", r.status, r.body)
		}
	})
}
