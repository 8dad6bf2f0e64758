package api_test

import (
	"database/sql"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/api"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/store/storetest"
)

const (
	accounts = "/api/v1/acme/accounts"
	orders   = "/api/v1/acme/orders"
	eabKeys  = "/api/v1/acme/eab-keys"
	grants   = "/api/v1/acme/grants"
)

// What a client reads.
type (
	eabKey struct {
		ID, Status, Owner, Label string
		Once                     bool
		Accounts                 int
		CreatedBy                string     `json:"created_by"`
		CreatedAt                time.Time  `json:"created_at"`
		ExpiresAt                *time.Time `json:"expires_at"`
		RevokedAt                *time.Time `json:"revoked_at"`
		MACKey                   string     `json:"mac_key"`
		Clients                  *struct{ Certbot, Lego, Caddy string }
	}
	grant struct {
		ID, Status, Account string
		EABKey              string `json:"eab_key"`
		Owner               string
		Names               []string
		Wildcards           bool
		Reason              string
		CreatedBy           string    `json:"created_by"`
		CreatedAt           time.Time `json:"created_at"`
		ExpiresAt           time.Time `json:"expires_at"`
	}
	acmeAccount struct {
		ID, Status, Owner string
		EABKey            string `json:"eab_key"`
		Contact           []string
		Thumbprint        string
		CreatedAt         time.Time `json:"created_at"`
		Grants            []grant
	}
	acmeError struct{ Type, Detail string }
	acmeOrder struct {
		ID, Account, Status, Profile string
		Names, Grants                []string
		CreatedAt                    time.Time `json:"created_at"`
		ExpiresAt                    time.Time `json:"expires_at"`
		Error                        *acmeError
		Certificate                  string
		Authorizations               []struct {
			Name, Status string
			ExpiresAt    time.Time `json:"expires_at"`
			Grant        string
			Challenges   []struct {
				Type, Status string
				ValidatedAt  *time.Time `json:"validated_at"`
				Error        *acmeError
				Trace        []string
			}
		}
	}
)

// one reads the answer as a T.
func one[T any](a answer, status int) (v T) {
	a.t.Helper()
	a.read(status, &v)
	return v
}

func (s *server) newEABKey(t testing.TB, body string, headers ...string) eabKey {
	t.Helper()
	return one[eabKey](s.call(t, "POST", eabKeys, body, headers...), http.StatusCreated)
}

// newAccount keeps an account, made as time goes on.
func (s *server) newAccount(t testing.TB, n int, key eabKey) acmeserver.Account {
	t.Helper()
	s.clock.Advance(time.Second)
	a := acmeserver.Account{
		ID: fmt.Sprintf("ACCOUNT%019d", n), Thumbprint: fmt.Sprintf("thumbprint %d", n),
		Status: acmeserver.StatusValid, JWK: []byte(`{}`), Contact: []string{"mailto:a@internal"},
		CreatedAt: s.clock.Now(), EABKey: key.ID, Owner: key.Owner,
	}
	a.ID = strings.NewReplacer("0", "Q", "1", "R", "8", "S", "9", "T").Replace(a.ID)
	if _, created, err := s.store.CreateAccount(t.Context(), a); err != nil || !created {
		t.Fatal(created, err)
	}
	return a
}

// pages reads a list to its end, following the links.
func pages[T any](t testing.TB, s *server, path string) (all []T) {
	t.Helper()
	for range 50 {
		w := s.call(t, "GET", path, "")
		p := one[struct {
			Items []T
			Next  string
		}](w, http.StatusOK)
		all = append(all, p.Items...)
		link := w.Header().Get("Link")
		if (p.Next == "") != (link == "") {
			t.Fatalf("next %q, link %q", p.Next, link)
		}
		if link == "" {
			return all
		}
		path = strings.TrimSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`)
	}
	t.Fatalf("%s does not end", path)
	return nil
}

func TestEABKeys(t *testing.T) {
	s := newServer(t)
	made := s.newEABKey(t, `{"owner":"team a","label":"web","once":true,"expires_at":"2026-12-24T13:00:00+01:00"}`)
	noon := time.Date(2026, 12, 24, 12, 0, 0, 0, time.UTC)
	if len(made.ID) != 26 || made.Status != "valid" || made.Owner != "team a" || made.Label != "web" || !made.Once ||
		made.Accounts != 0 || !strings.HasPrefix(made.CreatedBy, "token/") || !made.CreatedAt.Equal(s.clock.Now()) ||
		made.ExpiresAt == nil || !made.ExpiresAt.Equal(noon) || made.RevokedAt != nil || len(made.MACKey) != 86 {
		t.Errorf("%+v", made)
	}
	for _, line := range []string{made.Clients.Certbot, made.Clients.Lego, made.Clients.Caddy} {
		for _, part := range []string{"https://ca.test/acme/directory", made.ID, made.MACKey} {
			if !strings.Contains(line, part) {
				t.Errorf("%q lacks %q", line, part)
			}
		}
	}
	s.newAccount(t, 1, made)
	other := s.newEABKey(t, `{"owner":"team b"}`)
	if other.MACKey == made.MACKey || other.ID == made.ID || other.ExpiresAt != nil || other.Once {
		t.Errorf("%+v", other)
	}
	for path, want := range map[string]string{
		eabKeys: "team a used, team b valid", eabKeys + "?limit=1": "team a used, team b valid",
		eabKeys + "?owner=team%20b": "team b valid", eabKeys + "?owner=team": "",
	} {
		var got []string
		for _, k := range pages[eabKey](t, s, path) {
			if k.MACKey != "" || k.Clients != nil {
				t.Errorf("a list shows a MAC key: %+v", k)
			}
			got = append(got, k.Owner+" "+k.Status)
		}
		if slices.Sort(got); strings.Join(got, ", ") != want {
			t.Errorf("%s: %v, want %s", path, got, want)
		}
	}
	shown := one[eabKey](s.call(t, "GET", eabKeys+"/"+made.ID, ""), 200)
	if shown.MACKey != "" || shown.Accounts != 1 || shown.Owner != "team a" {
		t.Errorf("%+v", shown)
	}
	revoked := one[eabKey](s.call(t, "POST", eabKeys+"/"+made.ID+"/revoke", ""), 200)
	if revoked.Status != "revoked" || revoked.RevokedAt == nil || revoked.MACKey != "" {
		t.Errorf("%+v", revoked)
	}
	s.call(t, "POST", eabKeys+"/"+made.ID+"/revoke", "").problem(409)
	frozen := pages[acmeAccount](t, s, accounts+"?eab_key="+made.ID)
	if len(frozen) != 1 || frozen[0].Status != "frozen" || frozen[0].Owner != "team a" {
		t.Errorf("%+v", frozen)
	}
	s.clock.Advance(40 * 24 * time.Hour)
	if strings.Contains(s.log.String(), made.MACKey) {
		t.Error("the log has a MAC key") // never #30
	}
}

// With an Idempotency-Key, twenty requests at once make one key, and all tell the same secret.
func TestEABKeyOnce(t *testing.T) {
	s := newServer(t)
	sent := `{"owner":"team a","expires_at":"2026-12-24T12:00:00Z"}`
	got := make(chan string, 20)
	for range 20 {
		go func() {
			w := s.call(t, "POST", eabKeys, sent, "Idempotency-Key", "k1")
			var k eabKey
			w.read(201, &k)
			got <- k.ID + k.MACKey
		}()
	}
	first := <-got
	for range 19 {
		if again := <-got; again != first {
			t.Errorf("%s and %s", first, again)
		}
	}
	if all := pages[eabKey](t, s, eabKeys); len(all) != 1 {
		t.Errorf("%d keys", len(all))
	}
	s.call(t, "POST", eabKeys, `{"owner":"team b"}`, "Idempotency-Key", "k1").problem(409)
	s.newEABKey(t, sent, "Idempotency-Key", "k2")
	other := s.newToken(t, "other", identity.RoleAdmin)
	if k := s.newEABKey(t, sent, "Idempotency-Key", "k1", "Authorization", "Bearer "+other); k.ID+k.MACKey == first {
		t.Error("another caller got it")
	}
}

func TestAccounts(t *testing.T) {
	s := newServer(t)
	key := s.newEABKey(t, `{"owner":"team a"}`)
	want := make([]string, 7)
	for i := range want {
		bound := key
		if i%2 == 1 {
			bound = eabKey{}
		}
		want[6-i] = s.newAccount(t, i, bound).ID // newest first
	}
	for limit := 1; limit <= 8; limit++ {
		var got []string
		for _, a := range pages[acmeAccount](t, s, fmt.Sprintf("%s?limit=%d", accounts, limit)) {
			got = append(got, a.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("limit %d: %v, want %v", limit, got, want)
		}
	}
	ended := one[acmeAccount](s.call(t, "POST", accounts+"/"+want[0]+"/deactivate", ""), 200)
	if ended.Status != "revoked" || ended.ID != want[0] {
		t.Errorf("%+v", ended)
	}
	s.call(t, "POST", accounts+"/"+want[0]+"/deactivate", "").problem(409)
	for query, n := range map[string]int{
		"owner=team%20a": 4, "eab_key=" + key.ID: 4, "status=valid": 6, "status=revoked": 1, "status=deactivated": 0,
		"owner=team%20a&status=revoked": 1, "owner=team%20a&status=valid&limit=1": 3, "eab_key=X": 0,
	} {
		if got := pages[acmeAccount](t, s, accounts+"?"+query); len(got) != n {
			t.Errorf("%s: %d, want %d", query, len(got), n)
		}
	}
	plain := one[acmeAccount](s.call(t, "GET", accounts+"/"+want[1], ""), 200)
	if plain.Status != "valid" || plain.Owner != "acme/account/"+want[1] || plain.EABKey != "" ||
		!slices.Equal(plain.Contact, []string{"mailto:a@internal"}) || plain.Thumbprint != "thumbprint 5" {
		t.Errorf("%+v", plain)
	}
}

func TestGrants(t *testing.T) {
	s := newServer(t)
	key := s.newEABKey(t, `{"owner":"team a"}`)
	bound, plain := s.newAccount(t, 1, key), s.newAccount(t, 2, eabKey{})
	post := func(body string, headers ...string) answer { return s.call(t, "POST", grants, body, headers...) }
	ofKey := one[grant](post(`{"eab_key":"`+key.ID+`","names":["A.internal",".Team.internal","10.1.0.0/16","::1"],
		"wildcards":true,"reason":"moved in","expires_at":"2026-12-24T12:00:00Z"}`, "Idempotency-Key", "g"), 201)
	if !slices.Equal(ofKey.Names, []string{"a.internal", ".team.internal", "10.1.0.0/16", "::1"}) || ofKey.Owner != "team a" ||
		!ofKey.Wildcards || ofKey.Status != "valid" || ofKey.Reason != "moved in" || ofKey.EABKey != key.ID || ofKey.Account != "" ||
		!strings.HasPrefix(ofKey.CreatedBy, "token/") {
		t.Errorf("%+v", ofKey)
	}
	again := one[grant](post(`{"eab_key":"`+key.ID+`","names":["a.internal",".team.internal","10.1.0.0/16","::1"],
		"wildcards":true,"reason":"moved in","expires_at":"2026-12-24T12:00:00Z"}`, "Idempotency-Key", "g"), 201)
	if again.ID != ofKey.ID {
		t.Errorf("%s and %s", again.ID, ofKey.ID)
	}
	post(`{"eab_key":"`+key.ID+`","names":["a.internal"],"expires_at":"2026-12-24T12:00:00Z"}`, "Idempotency-Key", "g").problem(409)
	s.clock.Advance(time.Second)
	ofAccount := one[grant](post(`{"account":"`+plain.ID+`","names":["*.b.internal"],"expires_at":"2026-11-24T13:00:00Z"}`), 201)
	if ofAccount.Owner != "acme/account/"+plain.ID || ofAccount.Account != plain.ID || ofAccount.Wildcards {
		t.Errorf("%+v", ofAccount)
	}
	for query, want := range map[string][]string{
		"": {ofAccount.ID, ofKey.ID}, "?limit=1": {ofAccount.ID, ofKey.ID}, "?account=" + plain.ID: {ofAccount.ID},
		"?eab_key=" + key.ID: {ofKey.ID}, "?owner=team%20a": {ofKey.ID}, "?account=" + bound.ID: nil,
	} {
		var got []string
		for _, g := range pages[grant](t, s, grants+query) {
			got = append(got, g.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", query, got, want)
		}
	}
	if a := one[acmeAccount](s.call(t, "GET", accounts+"/"+bound.ID, ""), 200); len(a.Grants) != 1 || a.Grants[0].ID != ofKey.ID {
		t.Errorf("%+v", a)
	}
	s.clock.Advance(2 * time.Hour)
	if all := pages[grant](t, s, grants); all[0].Status != "expired" || all[1].Status != "valid" {
		t.Errorf("%+v", all)
	}
	if w := s.call(t, "DELETE", grants+"/"+ofKey.ID, ""); w.Code != 204 || w.Body.Len() > 0 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	s.call(t, "DELETE", grants+"/"+ofKey.ID, "").problem(404)
	if all := pages[grant](t, s, grants); len(all) != 1 {
		t.Errorf("%+v", all)
	}
}

func TestOrders(t *testing.T) {
	s := newServer(t)
	a, b := s.newAccount(t, 1, eabKey{}), s.newAccount(t, 2, eabKey{})
	s.clock.Advance(time.Second)
	at := s.clock.Now()
	newOrder := func(id string, account string, status acmeserver.Status, names ...string) {
		s.clock.Advance(time.Second)
		o := acmeserver.Order{
			ID: strings.Repeat(id, 26), Account: account, CreatedAt: s.clock.Now(), ExpiresAt: at.Add(time.Hour), Profile: "server",
		}
		for _, name := range names {
			wild := strings.HasPrefix(name, "*.")
			z := acmeserver.Authorization{
				Name:     identity.Name{Type: identity.DNS, Value: strings.TrimPrefix(name, "*.")},
				Wildcard: wild, Status: status, Expires: o.ExpiresAt,
				Challenges: []acmeserver.Challenge{{Type: "dns-01", Token: "secret-token", Status: status, Trace: []string{"asked", "got none"}}},
			}
			if status == acmeserver.StatusInvalid {
				p := acmeserver.Problem{Type: "dns", Detail: "there is no TXT record", Status: 400}
				z.Challenges[0].Error, o.Error = &p, &p
			}
			o.Authorizations = append(o.Authorizations, z)
		}
		if err := s.store.CreateOrder(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	newOrder("A", a.ID, acmeserver.StatusPending, "x.internal", "y.internal")
	newOrder("B", a.ID, acmeserver.StatusInvalid, "*.x.internal")
	newOrder("C", b.ID, acmeserver.StatusValid, "x.internal")
	for query, want := range map[string]string{
		"": "CBA", "limit=1": "CBA", "limit=2": "CBA", "limit=3": "CBA", "account=" + a.ID: "BA", "status=pending": "A",
		"status=ready": "C", "status=invalid": "B", "status=valid": "", "name=x.internal": "CA", "name=X.INTERNAL&limit=1": "CA",
		"name=*.x.internal": "B", "name=10.0.0.1": "", "account=" + a.ID + "&name=x.internal": "A", "account=X": "",
	} {
		var got string
		for _, o := range pages[acmeOrder](t, s, orders+"?"+query) {
			got += o.ID[:1]
			if o.Authorizations != nil {
				t.Errorf("%q: a list has the whole order: %+v", query, o)
			}
		}
		if got != want {
			t.Errorf("%q: %s, want %s", query, got, want)
		}
	}
	w := s.call(t, "GET", orders+"/"+strings.Repeat("B", 26), "")
	o := one[acmeOrder](w, 200)
	if o.Status != "invalid" || o.Error.Type != "dns" || len(o.Authorizations) != 1 || o.Authorizations[0].Name != "*.x.internal" ||
		o.Authorizations[0].Status != "invalid" || !slices.Equal(o.Authorizations[0].Challenges[0].Trace, []string{"asked", "got none"}) ||
		o.Authorizations[0].Challenges[0].Error.Detail != "there is no TXT record" || o.Names[0] != "*.x.internal" {
		t.Errorf("%s", w.Body)
	}
	if strings.Contains(w.Body.String(), "secret-token") {
		t.Errorf("the answer has the challenge's token, which is the client's affair: %s", w.Body)
	}
	s.clock.Advance(time.Hour)
	if o := one[acmeOrder](s.call(t, "GET", orders+"/"+strings.Repeat("A", 26), ""), 200); o.Status != "invalid" ||
		o.Authorizations[0].Status != "expired" {
		t.Errorf("%+v", o)
	}
}

// A search that finds little looks through a bounded number of orders, and says where to go on.
func TestOrderSearchIsBounded(t *testing.T) {
	s := newServer(t)
	db := s.fill(t, 11_000)
	if _, err := db.Exec(`UPDATE acme_orders SET doc = $1 WHERE created_at = 7`,
		`{"authorizations":[{"name":{"type":"dns","value":"needle.internal"},"status":"pending"}]}`); err != nil {
		t.Fatal(err)
	}
	p := one[struct {
		Items []acmeOrder
		Next  string
	}](s.call(t, "GET", orders+"?name=needle.internal", ""), 200)
	if len(p.Items) != 0 || p.Next == "" {
		t.Errorf("the first page has %d, next %q", len(p.Items), p.Next)
	}
	if found := pages[acmeOrder](t, s, orders+"?name=needle.internal"); len(found) != 1 {
		t.Errorf("found %+v", found)
	}
}

// fill makes n orders of one microsecond after the other.
func (s *server) fill(t *testing.T, n int) *sql.DB {
	t.Helper()
	db := storetest.DB(t, s.store)
	_, err := db.Exec(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
		INSERT INTO acme_orders (id, account, version, doc, created_at, expires_at)
		SELECT 'id' || i, 'account', 1, '{"authorizations":[{"name":{"type":"dns","value":"a.internal"}}]}', i, i FROM n`, n)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func TestBadACMERequests(t *testing.T) {
	s := newServer(t)
	key := s.newEABKey(t, `{"owner":"team a"}`)
	missing := strings.Repeat("A", 26)
	grantOf := func(more string) string {
		return `{"eab_key":"` + key.ID + `","expires_at":"2027-01-01T00:00:00Z",` + more + `}`
	}
	for _, test := range []struct {
		method, path, body string
		status             int
		location, want     string
	}{
		{"POST", eabKeys, `{}`, 422, "body", "owner"},
		{"POST", eabKeys, `{"owner":""}`, 422, "body.owner", "1"},
		{"POST", eabKeys, `{"owner":"a\nb"}`, 422, "body.owner", "one line"},
		{"POST", eabKeys, `{"owner":"a","label":"\u0000"}`, 422, "body.label", "one line"},
		{"POST", eabKeys, `{"owner":"a","expires_at":"2020-01-01T00:00:00Z"}`, 422, "body.expires_at", "passed"},
		{"POST", eabKeys, `{"owner":"a","expires_at":"soon"}`, 422, "body.expires_at", "date-time"},
		{"POST", eabKeys, `{"owner":"a","mac_key":"x"}`, 422, "body.mac_key", "unexpected"},
		{"GET", eabKeys + "?owner=%00", "", 422, "query.owner", "text"},
		{"GET", eabKeys + "?cursor=AAAA", "", 422, "query.cursor", "next"},
		{"GET", eabKeys + "?cursor=LgA", "", 422, "query.cursor", "next"},
		{"GET", eabKeys + "?cursor=MS4A", "", 422, "query.cursor", "next"}, // "1.\0"
		{"GET", eabKeys + "/x", "", 404, "", "no such"},
		{"GET", eabKeys + "/" + missing, "", 404, "", "no such"},
		{"POST", eabKeys + "/%00/revoke", "", 404, "", "no such"},
		{"POST", eabKeys + "/" + missing + "/revoke", "", 404, "", "no such"},
		{"GET", accounts + "/" + missing, "", 404, "", "no such"},
		{"GET", accounts + "/%ff", "", 404, "", "no such"},
		{"POST", accounts + "/" + missing + "/deactivate", "", 404, "", "no such"},
		{"GET", accounts + "?eab_key=%ff", "", 422, "query.eab_key", "text"},
		{"GET", accounts + "?status=frozen", "", 422, "query.status", "valid"},
		{"GET", orders + "/" + missing, "", 404, "", "no such"},
		{"GET", orders + "?account=%00", "", 422, "query.account", "text"},
		{"GET", orders + "?name=a_b", "", 422, "query.name", "underscore"},
		{"GET", orders + "?status=expired", "", 422, "query.status", "invalid"},
		{"DELETE", grants + "/" + missing, "", 404, "", "no such"},
		{"DELETE", grants + "/x", "", 404, "", "no such"},
		{"GET", grants + "?owner=%00", "", 422, "query.owner", "text"},
		{"POST", grants, `{}`, 422, "body", ""},
		{"POST", grants, `{"names":["a"],"expires_at":"2027-01-01T00:00:00Z"}`, 422, "body", "either"},
		{"POST", grants, grantOf(`"account":"` + missing + `","names":["a"]`), 422, "body", "either"},
		{"POST", grants, `{"account":"` + missing + `","names":["a"],"expires_at":"2027-01-01T00:00:00Z"}`, 404, "", "no such account"},
		{"POST", grants, `{"eab_key":"` + missing + `","names":["a"],"expires_at":"2027-01-01T00:00:00Z"}`, 404, "", "no such EAB key"},
		{"POST", grants, `{"eab_key":"` + key.ID + `","names":["a"],"expires_at":"2020-01-01T00:00:00Z"}`, 422, "body.expires_at", "future"},
		{"POST", grants, grantOf(`"names":[]`), 422, "body.names", "1"},
		{"POST", grants, grantOf(`"names":["a_b"]`), 422, "body.names", "underscore"},
		{"POST", grants, grantOf(`"names":["."]`), 422, "body.names", "empty"},
		{"POST", grants, grantOf(`"names":[".*.a"]`), 422, "body.names", "wildcard"},
		{"POST", grants, grantOf(`"names":["10.0.0.1/8"]`), 422, "body.names", "host bits"},
		{"POST", grants, grantOf(`"names":[".10.0.0.1"]`), 422, "body.names", "address"},
		{"POST", grants, grantOf(`"names":["::ffff:10.0.0.0/120"]`), 422, "body.names", "CIDR"},
		{"POST", grants, grantOf(`"names":["a"],"reason":"\u0007"`), 422, "body.reason", "one line"},
	} {
		p := s.call(t, test.method, test.path, test.body).problem(test.status)
		where, said := "", p.Detail
		if len(p.Errors) > 0 {
			where, said = p.Errors[0].Location, p.Errors[0].Message
		}
		if where != test.location || !strings.Contains(said, test.want) {
			t.Errorf("%s %.80s %.100s: at %q %q; want at %q %q", test.method, test.path, test.body, where, said,
				test.location, test.want)
		}
	}
	if s.log.Len() > 0 {
		t.Errorf("the log took them for faults of ours: %s", s.log)
	}
}

func FuzzDecodePosition(f *testing.F) {
	f.Add(api.EncodePosition(acmeserver.Position{CreatedAt: time.UnixMicro(1), ID: "A"}))
	f.Add("MS4A")
	f.Add("%%%")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := api.DecodePosition(text)
		if err != nil && !fault.Is(err, fault.Invalid) {
			t.Fatalf("%q: %v", text, err)
		}
		if err != nil || p == nil {
			return
		}
		again, err := api.DecodePosition(api.EncodePosition(*p))
		if err != nil || *again != *p {
			t.Fatalf("%q: %v became %v, %v", text, p, again, err)
		}
	})
}
