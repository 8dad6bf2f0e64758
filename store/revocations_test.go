package store_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

func issue(t testing.TB, s *store.Store, p ca.Promise) {
	t.Helper()
	must(t, s.Promise(t.Context(), p))
	must(t, s.Record(t.Context(), p.Serial, []byte("DER"), noon))
}

func TestRevoke(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		p, open, void := promise(t, "r"), promise(t, ""), promise(t, "")
		r := ca.Revocation{At: noon.Add(time.Hour), Reason: 1}
		wantKind(t, "unknown", s.Revoke(ctx, p.Serial, r), fault.NotFound)
		issue(t, s, p)
		must(t, s.Promise(ctx, open))
		must(t, s.Promise(ctx, void))
		must(t, s.Void(ctx, void.Serial, noon))
		wantKind(t, "promised", s.Revoke(ctx, open.Serial, r), fault.NotFound)
		wantKind(t, "void", s.Revoke(ctx, void.Serial, r), fault.NotFound)
		must(t, s.Revoke(ctx, p.Serial, r, entry(audit.Revoked, p)))
		wantErr(t, "again", s.Revoke(ctx, p.Serial, ca.Revocation{At: noon}), ca.ErrRevoked)
		got, err := s.CertificateByRef(ctx, "r")
		must(t, err)
		if diff := cmp.Diff(&r, got.Revocation); diff != "" {
			t.Error(diff)
		}
	})
}

// never #14: what is revoked stays listed until it has expired, cleaning or not.
func TestRevokedListsAllUnexpired(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		var want []string
		for i := range 20 {
			p := promise(t, "acme/order/"+string(rune('a'+i)))
			p.Shard = i % 2
			p.NotAfter = noon.Add(time.Duration(i-10) * time.Minute)
			if i%5 == 0 {
				must(t, s.Promise(ctx, p))
				must(t, s.Void(ctx, p.Serial, noon))
			} else {
				issue(t, s, p)
				must(t, s.Revoke(ctx, p.Serial, ca.Revocation{At: noon, Reason: 4}))
			}
			if p.Shard == 0 && !p.NotAfter.Before(noon) {
				want = append(want, p.Serial.String())
			}
		}
		issue(t, s, promise(t, "good"))
		_, err := s.CleanOrders(ctx, noon.Add(1000*time.Hour), 1000)
		must(t, err)
		must(t, s.CleanNonces(ctx, noon.Add(1000*time.Hour)))
		listed, err := s.Revoked(ctx, "0123456789abcdef", 0, noon)
		must(t, err)
		var got []string
		for _, r := range listed {
			got = append(got, r.Serial.String())
		}
		slices.Sort(want)
		if !slices.Equal(got, want) { // by serial, too
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestStaleShards(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		stale := func(what string, due time.Time, want ...ca.Shard) {
			t.Helper()
			got, err := s.StaleShards(ctx, due)
			must(t, err)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s", what, diff)
			}
		}
		stale("no issuers", noon)
		must(t, s.AddIssuers(ctx, []ca.Issuer{
			{ID: "i", Kind: ca.Issuing, Parent: "r", Certificate: []byte("DER"), Shards: 2, CreatedAt: noon},
			{ID: "none", Kind: ca.Issuing, Parent: "r", Certificate: []byte("DER"), Shards: 0, CreatedAt: noon},
			{ID: "r", Kind: ca.Root, Parent: "r", Certificate: []byte("DER"), Shards: 1, CreatedAt: noon},
		}))
		i0, i1, r0 := ca.Shard{Issuer: "i"}, ca.Shard{Issuer: "i", Shard: 1}, ca.Shard{Issuer: "r"}
		stale("no CRLs", noon, i0, i1, r0)
		next := noon.Add(time.Hour)
		for n, shard := range []ca.Shard{i0, i1, r0} {
			must(t, s.PublishCRL(ctx, ca.CRL{
				Shard: shard, Number: 1, ThisUpdate: noon, Floor: noon, DER: []byte("DER"),
				NextUpdate: next.Add(time.Duration(n) * time.Minute),
			}))
		}
		stale("all fresh", next)
		stale("the first is due", next.Add(1), i0)
		// A revocation stamped long before the CRL, which did not see it.
		p := promise(t, "")
		p.Issuer, p.Shard = "i", 1
		issue(t, s, p)
		must(t, s.Revoke(ctx, p.Serial, ca.Revocation{At: noon.Add(-time.Hour), Reason: 1}))
		old := promise(t, "")
		old.Issuer, old.Shard, old.NotAfter = "i", 0, noon.Add(-time.Second) // below the floor
		must(t, s.Promise(ctx, old))
		must(t, s.Void(ctx, old.Serial, noon))
		stale("one is not complete", next, i1)
		must(t, s.PublishCRL(ctx, ca.CRL{
			Shard: i1, Number: 2, ThisUpdate: noon, NextUpdate: next, Floor: noon, Entries: 1,
			DER: []byte("DER"),
		}))
		stale("all complete", next)
	})
}

// never #35: the number of a CRL rises.
func TestPublishCRL(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		shard := ca.Shard{Issuer: "i", Shard: 1}
		_, err := s.CRL(ctx, shard)
		wantKind(t, "none yet", err, fault.NotFound)
		crl := ca.CRL{
			Shard: shard, Number: 7, ThisUpdate: noon, NextUpdate: noon.Add(time.Hour),
			Floor: noon.Add(-time.Hour), Entries: 3, DER: []byte("seven"),
		}
		must(t, s.PublishCRL(ctx, crl))
		for _, number := range []int64{7, 6} {
			older := crl
			older.Number, older.DER = number, []byte("older")
			late := audit.New(noon.Add(time.Hour), audit.CRLSigned, "system", "i", nil)
			wantErr(t, "older", s.PublishCRL(ctx, older, late), ca.ErrOlderCRL)
		}
		got, err := s.CRL(ctx, shard)
		must(t, err)
		if diff := cmp.Diff(&crl, got); diff != "" {
			t.Error(diff)
		}
		crl.Number, crl.DER = 8, []byte("eight")
		must(t, s.PublishCRL(ctx, crl, audit.New(noon, audit.CRLSigned, "system", "i", nil)))
		got, err = s.CRL(ctx, shard)
		must(t, err)
		latest, err := s.LatestEntry(ctx)
		must(t, err)
		if got.Number != 8 || !latest.Equal(noon) {
			t.Errorf("got number %d, latest entry %v", got.Number, latest)
		}
	})
}
