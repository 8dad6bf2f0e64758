package acmeserver_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

// RFC 8555 section 6.5 across replicas: a nonce that one minted is good at another, once.
func TestNonceAcrossReplicas(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := openOn(t, s, always(proven))
		replica := houseOf(t, s, h.ca, always(proven))
		c := h.customer(t)
		there := *c
		there.h = replica
		url := baseURL + "/acme/new-order"
		body := sign(c.key, c.header(url), text(identifiers("a.example.com")))
		there.send(url, body).ok(t, 201)
		there.send(url, body).refused(t, 400, "badNonce")
		c.send(url, body).refused(t, 400, "badNonce")
	})
}

// A database that crashed has forgotten which nonces were used, and the key with them: every nonce
// from before is refused once, on every replica, and the next one works.
func TestNonceAfterDatabaseCrash(t *testing.T) {
	url := storetest.PostgresURL(t)
	s := storetest.Open(t, store.Config{DatabaseURL: url, Migrate: true})
	h := openOn(t, s, always(proven))
	replica := houseOf(t, s, h.ca, always(proven))
	c := h.customer(t)
	there := *c
	there.h = replica
	there.newOrder("a.example.com")
	path := baseURL + "/acme/new-order"
	used, unused, late := c.header(path), c.header(path), there.header(path)
	payload := text(identifiers("a.example.com"))
	c.send(path, sign(c.key, used, payload)).ok(t, 201)

	db, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(t.Context())
	if _, err := db.Exec(t.Context(), `TRUNCATE nonce_key, used_nonces`); err != nil {
		t.Fatal(err)
	}
	h.pass(time.Minute)
	replica.pass(time.Minute)
	c.send(path, sign(c.key, used, payload)).refused(t, 400, "badNonce")
	c.send(path, sign(c.key, used, payload)).refused(t, 400, "badNonce")
	c.send(path, sign(c.key, unused, payload)).refused(t, 400, "badNonce")
	// The other replica has not heard of the new key yet; it learns of it from the first such nonce.
	fresh := c.header(path)
	there.send(path, sign(c.key, fresh, payload)).ok(t, 201)
	there.send(path, sign(c.key, late, payload)).refused(t, 400, "badNonce")
	there.newOrder("a.example.com")
}

// A stranger's bad nonces do not make us read the key again and again.
func TestBadNoncesCostNothing(t *testing.T) {
	h := open(t)
	c := h.customer(t)
	url := baseURL + "/acme/new-order"
	before := h.store.count("NonceKey")
	read := h.store.count("Account")
	for range 20 {
		header := c.header(url)
		header["nonce"] = b64(make([]byte, 40))
		c.send(url, sign(c.key, header, nil)).refused(t, 400, "badNonce")
	}
	header := c.header(url)
	header["kid"] = baseURL + "/acme/acct/../order"
	c.send(url, sign(c.key, header, nil)).refused(t, 400, "accountDoesNotExist")
	if got := h.store.count("NonceKey") - before; got > 2 {
		t.Errorf("the key was read %d times", got)
	}
	if got := h.store.count("Account") - read; got != 0 {
		t.Errorf("accounts were read %d times", got)
	}
}
