package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/identity/signin"
	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

func TestLatestEntry(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		latest := func() time.Time {
			t.Helper()
			at, err := s.LatestEntry(t.Context())
			must(t, err)
			return at
		}
		if !latest().IsZero() {
			t.Errorf("without entries: %v", latest())
		}
		young := audit.New(noon.Add(time.Hour+time.Microsecond), audit.Refused, "", "", nil)
		must(t, s.Log(t.Context(), young))
		must(t, s.Log(t.Context(), audit.New(noon, audit.Refused, "", "", nil)))
		if !latest().Equal(young.At) {
			t.Errorf("got %v, want %v", latest(), young.At)
		}
	})
}

// What is kept twice, because the first answer was lost, stands once.
func TestLogMayBeRepeated(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		first := audit.Entry{
			ID: "1", At: noon, Kind: audit.Refused, Actor: "token/1", Subject: "ß \" \\ \u2028",
			Data: map[string]string{"reason": "ß \" \\ <&> \u2028", "": ""},
		}
		second := audit.Entry{ID: "2", At: noon, Kind: audit.Issued}
		must(t, s.Log(ctx))
		must(t, s.Log(ctx, first))
		changed := first
		changed.Actor = "another"
		must(t, s.Log(ctx, changed, second, second))
		want := []audit.Entry{first, second}
		s = storetest.Reopen(t, s)
		if diff := cmp.Diff(want, storetest.Entries(t, s)); diff != "" {
			t.Error(diff)
		}
		p := promise(t, "")
		must(t, s.Promise(ctx, p, changed, audit.Entry{ID: "3", At: noon, Kind: audit.Promised}))
		if got := storetest.Entries(t, s); len(got) != 3 || got[0].Actor != first.Actor {
			t.Errorf("got %v", got)
		}
	})
}

// Every write keeps all its entries, and a refused one none.
func TestWritesAndTheirEntries(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		var kept []audit.Entry
		two := func(kind string) []audit.Entry {
			var made []audit.Entry
			for _, suffix := range []string{" 1", " 2"} {
				at := noon.Add(time.Duration(len(kept)+len(made)) * time.Microsecond)
				made = append(made, audit.New(at, audit.Kind(kind+suffix), "a", "s", nil))
			}
			return made
		}
		keeps := func(kind string, write func(e ...audit.Entry) error) {
			t.Helper()
			e := two(kind)
			must(t, write(e...))
			kept = append(kept, e...)
		}
		refuses := func(what string, want error, write func(e ...audit.Entry) error) {
			t.Helper()
			wantErr(t, what, write(two(what)...), want)
		}
		p, v := promise(t, "ref", "a.internal", "b.internal"), promise(t, "")
		issuers := []ca.Issuer{{ID: "i", Parent: "i", Certificate: []byte("DER"), CreatedAt: noon}}
		crl := ca.CRL{Number: 1, DER: []byte("DER")}
		o := order("account")
		a := account("key")
		promiseP := func(e ...audit.Entry) error { return s.Promise(ctx, p, e...) }
		promiseV := func(e ...audit.Entry) error { return s.Promise(ctx, v, e...) }
		record := func(e ...audit.Entry) error {
			return s.Record(ctx, p.Serial, []byte("DER"), noon, e...)
		}
		void := func(e ...audit.Entry) error { return s.Void(ctx, v.Serial, noon, e...) }
		revoke := func(e ...audit.Entry) error {
			return s.Revoke(ctx, p.Serial, ca.Revocation{At: noon}, e...)
		}
		publish := func(e ...audit.Entry) error { return s.PublishCRL(ctx, crl, e...) }
		updateAccount := func(e ...audit.Entry) error { return s.UpdateAccount(ctx, a, e...) }
		updateOrder := func(e ...audit.Entry) error { return s.UpdateOrder(ctx, o, e...) }

		refuses("record", ca.ErrNotPromised, record)
		refuses("void", ca.ErrNotPromised, void)
		wantKind(t, "revoke", revoke(two("revoke")...), fault.NotFound)
		keeps("promise", promiseP)
		keeps("promise", promiseV)
		refuses("promise", ca.ErrRefTaken, promiseP)
		refuses("promise", ca.ErrSerialTaken, promiseV)
		keeps("record", record)
		refuses("record", ca.ErrNotPromised, record)
		keeps("void", void)
		refuses("void", ca.ErrNotPromised, void)
		keeps("revoke", revoke)
		refuses("revoke", ca.ErrRevoked, revoke)
		keeps("publish", publish)
		refuses("publish", ca.ErrOlderCRL, publish)
		keeps("issuers", func(e ...audit.Entry) error { return s.AddIssuers(ctx, issuers, e...) })
		wantKind(t, "issuers", s.AddIssuers(ctx, issuers, two("issuers")...), fault.Conflict)
		keeps("token", func(e ...audit.Entry) error {
			return s.AddToken(ctx, signin.Token{ID: "t", CreatedAt: noon}, e...)
		})
		must(t, s.AddToken(ctx, signin.Token{ID: "u"}, two("token")...)) // the same hash
		refuses("account", acmeserver.ErrStale, updateAccount)
		keeps("account", func(e ...audit.Entry) error {
			_, _, err := s.CreateAccount(ctx, a, e...)
			return err
		})
		_, _, err := s.CreateAccount(ctx, a, two("account")...)
		must(t, err)
		a.Version = 1
		keeps("account", updateAccount)
		refuses("account", acmeserver.ErrStale, updateAccount)
		keeps("order", func(e ...audit.Entry) error { return s.CreateOrder(ctx, o, e...) })
		refuses("order", acmeserver.ErrStale, updateOrder)
		o.Version = 1
		keeps("order", updateOrder)
		refuses("order", acmeserver.ErrStale, updateOrder)

		s = storetest.Reopen(t, s)
		if diff := cmp.Diff(kept, storetest.Entries(t, s), cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestTokens(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		admin := signin.Token{
			ID: "1", Hash: [32]byte{1, 0xff}, Name: "first", Role: "admin", CreatedAt: noon,
		}
		has := func(role identity.Role, want bool) {
			t.Helper()
			got, err := s.HasToken(ctx, role)
			must(t, err)
			if got != want {
				t.Errorf("has a token with role %q: %v", role, got)
			}
		}
		has("admin", false)
		must(t, s.AddToken(ctx, admin))
		again := admin
		again.ID, again.Name, again.Role = "2", "again", "other"
		must(t, s.AddToken(ctx, again))
		brief := signin.Token{
			ID: "3", Hash: [32]byte{2}, Name: "brief", Role: "reader", CreatedAt: noon,
			ExpiresAt: noon.Add(time.Hour),
		}
		must(t, s.AddToken(ctx, brief))
		s = storetest.Reopen(t, s)
		has("admin", true)
		has("reader", true)
		has("other", false)
		for _, want := range []signin.Token{admin, brief} {
			got, err := s.TokenByHash(ctx, want.Hash)
			must(t, err)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		}
		_, err := s.TokenByHash(ctx, [32]byte{1})
		wantKind(t, "unknown", err, fault.NotFound)
	})
}

func TestIssuers(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		root := ca.Issuer{
			ID: "r", Kind: ca.Root, Parent: "r", Certificate: []byte("root"), KeyURI: "file:root.key",
			Shards: 1, CreatedAt: noon,
		}
		first := ca.Issuer{
			ID: "a", Kind: ca.Issuing, Parent: "r", Certificate: []byte("first"), KeyURI: "file:a.key",
			Shards: 16, CreatedAt: noon,
		}
		second := first
		second.ID, second.CreatedAt = "0", noon.Add(time.Hour)
		must(t, s.AddIssuers(ctx, []ca.Issuer{first, root}))
		wantKind(t, "one is there already", s.AddIssuers(ctx, []ca.Issuer{second, first}), fault.Conflict)
		must(t, s.AddIssuers(ctx, []ca.Issuer{second}))
		s = storetest.Reopen(t, s)
		got, err := s.Issuers(ctx)
		must(t, err)
		if diff := cmp.Diff([]ca.Issuer{root, first, second}, got); diff != "" {
			t.Error(diff)
		}
	})
}
