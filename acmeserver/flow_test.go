package acmeserver_test

import (
	"crypto/x509"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/ca/catest"
	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

// A foreign client enrols over HTTP, with real validation, on both engines.
func TestForeignClient(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		responder := make(map[string]string)
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte(responder[r.URL.Path]))
		}))
		defer web.Close()
		authority := catest.New(t, s)
		server := httptest.NewUnstartedServer(nil)
		door, err := acmeserver.New(acmeserver.Config{
			Store: s, CA: authority, BaseURL: "http://" + server.Listener.Addr().String(), Now: time.Now,
			Log:        slog.New(slog.DiscardHandler),
			Validation: acmeserver.Validation{HTTP01Port: portOf(t, web.URL), AllowLoopback: true},
		})
		if err != nil {
			t.Fatal(err)
		}
		server.Config.Handler = door
		server.Start()
		defer server.Close()

		ctx := t.Context()
		c := &acme.Client{Key: catest.Key(t), DirectoryURL: server.URL + "/acme/directory"}
		account, err := c.Register(ctx, &acme.Account{Contact: []string{"mailto:ops@example.com"}}, acme.AcceptTOS)
		if err != nil || account.Status != "valid" {
			t.Fatalf("registering: %v", err)
		}
		o, err := c.AuthorizeOrder(ctx, append(acme.DomainIDs("web.localhost"), acme.IPIDs("127.0.0.1")...))
		if err != nil {
			t.Fatalf("ordering: %v", err)
		}
		for _, url := range o.AuthzURLs {
			z, err := c.GetAuthorization(ctx, url)
			if err != nil {
				t.Fatal(err)
			}
			ch := z.Challenges[0]
			path := c.HTTP01ChallengePath(ch.Token)
			if responder[path], err = c.HTTP01ChallengeResponse(ch.Token); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Accept(ctx, ch); err != nil {
				t.Fatalf("accepting: %v", err)
			}
			if _, err := c.WaitAuthorization(ctx, url); err != nil {
				t.Fatalf("proving %s: %v", z.Identifier.Value, err)
			}
		}
		if o, err = c.WaitOrder(ctx, o.URI); err != nil {
			t.Fatalf("waiting: %v", err)
		}
		key := catest.Key(t)
		chain, _, err := c.CreateOrderCert(ctx, o.FinalizeURL, catest.CSR(t, key, "web.localhost", "127.0.0.1"), true)
		if err != nil || len(chain) != 2 {
			t.Fatalf("finalizing: %v, %d certificates", err, len(chain))
		}
		leaf, err := x509.ParseCertificate(chain[0])
		if err != nil || leaf.VerifyHostname("web.localhost") != nil || leaf.VerifyHostname("127.0.0.1") != nil {
			t.Errorf("the certificate is for %v %v: %v", leaf.DNSNames, leaf.IPAddresses, err)
		}
		if err := c.AccountKeyRollover(ctx, catest.Key(t)); err != nil {
			t.Errorf("rolling the key over: %v", err)
		}
		if err := c.RevokeCert(ctx, nil, chain[0], acme.CRLReasonSuperseded); err != nil {
			t.Errorf("revoking: %v", err)
		}
		if err := c.DeactivateReg(ctx); err != nil {
			t.Errorf("deactivating: %v", err)
		}
		if _, err := c.GetReg(ctx, ""); err == nil {
			t.Error("a deactivated account still works")
		}
	})
}

func portOf(t *testing.T, address string) int {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	_, text, err := net.SplitHostPort(u.Host)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// RFC 8555 section 7.1.1.
func TestDirectory(t *testing.T) {
	h := open(t)
	r := h.do("GET", baseURL+"/acme/directory", "", nil).ok(t, 200)
	var d map[string]json.RawMessage
	if err := json.Unmarshal(r.body, &d); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"newNonce", "newAccount", "newOrder", "revokeCert", "keyChange"} {
		var url string
		if json.Unmarshal(d[name], &url) != nil || !strings.HasPrefix(url, baseURL+"/acme/") {
			t.Errorf("%s is %s", name, d[name])
		}
	}
	if _, ok := d["newAuthz"]; ok {
		t.Error("there is no pre-authorization here, so newAuthz must be absent")
	}
	var meta struct {
		Profiles map[string]string
		Required bool `json:"externalAccountRequired"`
	}
	if err := json.Unmarshal(d["meta"], &meta); err != nil || meta.Profiles["server"] == "" || meta.Required {
		t.Errorf("meta is %s", d["meta"])
	}
	// Section 6.3: POST-as-GET works for the directory and newNonce too.
	c := h.customer(t)
	if again := c.post("/acme/directory", nil).ok(t, 200); string(again.body) != string(r.body) {
		t.Errorf("POST-as-GET gives %s", again.body)
	}
	c.post("/acme/new-nonce", nil).ok(t, 204)
}

// RFC 8555 section 7.2.
func TestNewNonce(t *testing.T) {
	h := open(t)
	seen := make(map[string]bool)
	for method, status := range map[string]int{"HEAD": 200, "GET": 204} {
		for range 2 {
			r := h.do(method, baseURL+"/acme/new-nonce", "", nil).ok(t, status)
			nonce := r.header.Get("Replay-Nonce")
			if nonce == "" || seen[nonce] || r.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s answers %v", method, r.header)
			}
			seen[nonce] = true
		}
	}
}

// RFC 8555 section 6.3: everything else is 405 to GET, with the type malformed.
func TestGetIsRefused(t *testing.T) {
	h := open(t)
	c := h.customer(t)
	o := c.newOrder("a.example.com")
	for _, url := range []string{
		baseURL + "/acme/new-account", baseURL + "/acme/new-order", c.account, c.account + "/orders", o.url,
		o.Finalize, o.Authorizations[0], c.authorization(o.Authorizations[0]).Challenges[0].URL,
		baseURL + "/acme/cert/00", baseURL + "/acme/revoke-cert", baseURL + "/acme/key-change",
	} {
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			r := h.do(method, url, "", nil)
			r.refused(t, http.StatusMethodNotAllowed, "malformed")
			if r.header.Get("Allow") != "POST" {
				t.Errorf("%s %s: Allow is %q", method, url, r.header.Get("Allow"))
			}
		}
	}
	r := h.do("PUT", baseURL+"/acme/directory", "", nil)
	if r.refused(t, 405, "malformed"); r.header.Get("Allow") != "GET, HEAD, POST" {
		t.Errorf("for the directory Allow is %q", r.header.Get("Allow"))
	}
	h.do("GET", baseURL+"/acme/nothing", "", nil).refused(t, 404, "malformed")
	c.post("/acme/nothing/else", nil).refused(t, 404, "malformed")
}

// Section 6.3: what can only be read takes no payload.
func TestReadWithPayload(t *testing.T) {
	c := open(t).customer(t)
	o := c.newOrder("a.example.com")
	for _, url := range []string{"/acme/directory", "/acme/new-nonce", o.url, c.account + "/orders"} {
		c.post(url, `{}`).refused(t, 400, "malformed")
	}
}
