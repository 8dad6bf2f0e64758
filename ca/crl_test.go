package ca_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/ca/catest"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

// readCRL gives the shard's CRL, verified with its issuer's certificate.
func readCRL(t testing.TB, c *ca.CA, shard ca.Shard) *x509.RevocationList {
	t.Helper()
	published, err := c.CRL(t.Context(), shard)
	must(t, err)
	list, err := x509.ParseRevocationList(published.DER)
	must(t, err)
	for _, row := range c.Issuers() {
		if row.ID == shard.Issuer {
			must(t, list.CheckSignatureFrom(parse(t, row.Certificate)))
		}
	}
	if list.Number.Int64() != published.Number {
		t.Errorf("the CRL has number %s and is kept as %d", list.Number, published.Number)
	}
	return list
}

// crlSerials are what the CRL that speaks for the certificate lists.
func crlSerials(t testing.TB, c *ca.CA, of *ca.Certificate) map[ca.Serial]bool {
	t.Helper()
	listed := map[ca.Serial]bool{}
	shard := ca.Shard{Issuer: of.Issuer, Shard: of.Shard}
	for _, entry := range readCRL(t, c, shard).RevokedCertificateEntries {
		serial, err := ca.SerialFromBig(entry.SerialNumber)
		must(t, err)
		listed[serial] = true
	}
	return listed
}

func TestRevocation(t *testing.T) {
	c, _, clock := newCA(t)
	ctx := t.Context()
	issued := issue(t, c, request(t, "", "a.internal"))
	other := issue(t, c, request(t, "", "a.internal"))
	leaf := parse(t, issued.DER)
	want := fmt.Sprintf("http://ca.test:8080/crl/%s/%d.crl", issued.Issuer, issued.Shard)
	if len(leaf.CRLDistributionPoints) != 1 || leaf.CRLDistributionPoints[0] != want {
		t.Errorf("CRL distribution points %q, want %q", leaf.CRLDistributionPoints, want)
	}
	before := readCRL(t, c, ca.Shard{Issuer: issued.Issuer, Shard: issued.Shard})
	reason, err := ca.ParseReason("keyCompromise")
	must(t, err)
	must(t, c.Revoke(ctx, admin, issued.Serial, reason))
	must(t, ca.RefreshCRLs(c, ctx))
	after := readCRL(t, c, ca.Shard{Issuer: issued.Issuer, Shard: issued.Shard})
	if after.Number.Cmp(before.Number) <= 0 {
		t.Errorf("CRL number %s after %s", after.Number, before.Number)
	}
	if len(after.RevokedCertificateEntries) != 1 ||
		after.RevokedCertificateEntries[0].ReasonCode != 1 || !crlSerials(t, c, issued)[issued.Serial] {
		t.Errorf("entries %v", after.RevokedCertificateEntries)
	}
	if crlSerials(t, c, other)[other.Serial] {
		t.Error("a certificate in good standing is listed")
	}
	found, err := c.Certificate(ctx, issued.Serial)
	must(t, err)
	if found.StatusAt(clock.Now()) != ca.StatusRevoked {
		t.Errorf("status %s", found.StatusAt(clock.Now()))
	}
	err = c.Revoke(ctx, admin, issued.Serial, reason)
	wantKind(t, "again", err, fault.Conflict)
	if !errors.Is(err, ca.ErrRevoked) {
		t.Errorf("again: %v", err)
	}
	wantKind(t, "unknown", c.Revoke(ctx, admin, ca.Serial{19: 1}, reason), fault.NotFound)
	wantKind(t, "reason", c.Revoke(ctx, admin, other.Serial, 6), fault.Invalid)
	clock.Advance(25 * time.Hour)
	wantKind(t, "expired", c.Revoke(ctx, admin, other.Serial, reason), fault.Conflict)
}

// never #3: who revokes must be an administrator, the owner, the key's holder, or have all names.
func TestWhoMayRevoke(t *testing.T) {
	c, _, _ := newCA(t)
	a, b := identity.Name{Type: identity.DNS, Value: "a.internal"}, identity.Name{Type: identity.DNS, Value: "b.internal"}
	owner := identity.Caller{ID: "acme/account/1", Names: []identity.Name{a, b}}
	stranger := issue(t, c, request(t, "", "z.internal")).Serial
	for what, tc := range map[string]struct {
		caller func(ca.Serial) identity.Caller
		may    bool
	}{
		"admin":            {func(ca.Serial) identity.Caller { return admin }, true},
		"the account":      {func(ca.Serial) identity.Caller { return identity.Caller{ID: owner.ID} }, true},
		"the key's holder": {ca.Holder, true},
		"all names": {func(ca.Serial) identity.Caller {
			return identity.Caller{ID: "acme/account/2", Names: []identity.Name{b, a}}
		}, true},
		"some names": {func(ca.Serial) identity.Caller {
			return identity.Caller{ID: "acme/account/2", Names: []identity.Name{a}}
		}, false},
		"any name, no admin":    {func(ca.Serial) identity.Caller { return anyone }, false},
		"another account":       {func(ca.Serial) identity.Caller { return identity.Caller{ID: "acme/account/2"} }, false},
		"another key's holder":  {func(ca.Serial) identity.Caller { return ca.Holder(stranger) }, false},
		"nobody":                {func(ca.Serial) identity.Caller { return identity.Caller{} }, false},
		"the system, for a day": {func(ca.Serial) identity.Caller { return identity.System(nil) }, false},
	} {
		t.Run(what, func(t *testing.T) {
			req := request(t, "", "a.internal", "b.internal")
			req.Caller = owner
			serial := issue(t, c, req).Serial
			err := c.Revoke(t.Context(), tc.caller(serial), serial, 0)
			if tc.may {
				must(t, err)
			} else {
				wantKind(t, what, err, fault.Denied)
			}
		})
	}
}

// never #35: replicas that publish at once never publish a number that is not higher.
func TestCRLNumbersRise(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		config := catest.Config(t, s)
		clock := newClock()
		config.Now = clock.Now // stands still, so that numbers cannot rise with it
		a := catest.Open(t, config)
		b := catest.Open(t, config)
		last := map[ca.Shard]int64{}
		for range 8 {
			issued := issue(t, a, request(t, "", "a.internal"))
			must(t, b.Revoke(ctx, admin, issued.Serial, 0))
			var wg sync.WaitGroup
			for _, c := range []*ca.CA{a, b, a, b} {
				wg.Go(func() {
					if err := ca.RefreshCRLs(c, ctx); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			must(t, ca.RefreshCRLs(a, ctx))
			if !crlSerials(t, a, issued)[issued.Serial] {
				t.Fatal("a revoked certificate is not listed")
			}
			shard := ca.Shard{Issuer: issued.Issuer, Shard: issued.Shard}
			number := readCRL(t, a, shard).Number.Int64()
			if number <= last[shard] {
				t.Fatalf("CRL number %d after %d", number, last[shard])
			}
			last[shard] = number
		}
	})
}

// never #14: whatever is revoked and has not expired is on its CRL, at any time and after any
// sequence of deeds; and every CRL is in force.
func TestRevokedAndAliveIsListed(t *testing.T) {
	c, _, clock := newCA(t)
	ctx := t.Context()
	key := catest.Key(t)
	var all []*ca.Certificate
	revoked := map[ca.Serial]bool{}
	rapid.Check(t, func(r *rapid.T) {
		for range 5 {
			switch rapid.SampledFrom([]string{"issue", "revoke", "wait"}).Draw(r, "deed") {
			case "issue":
				all = append(all, issue(t, c, ca.Request{Caller: anyone, CSR: catest.CSR(t, key, "a.internal")}))
			case "revoke":
				if len(all) == 0 {
					continue
				}
				serial := rapid.SampledFrom(all).Draw(r, "certificate").Serial
				if c.Revoke(ctx, admin, serial, 0) == nil {
					revoked[serial] = true
				}
			case "wait":
				clock.Advance(time.Duration(rapid.IntRange(1, 20*3600).Draw(r, "seconds")) * time.Second)
			}
		}
		must(t, ca.RefreshCRLs(c, ctx))
		listed := map[ca.Serial]bool{}
		for _, row := range c.Issuers() {
			for shard := range row.Shards {
				list := readCRL(t, c, ca.Shard{Issuer: row.ID, Shard: shard})
				if clock.Now().Before(list.ThisUpdate) || !clock.Now().Before(list.NextUpdate) {
					r.Fatalf("it is %s; the CRL is for %s to %s", clock.Now(), list.ThisUpdate, list.NextUpdate)
				}
				for _, entry := range list.RevokedCertificateEntries {
					serial, err := ca.SerialFromBig(entry.SerialNumber)
					must(t, err)
					listed[serial] = true
				}
			}
		}
		for _, issued := range all {
			if revoked[issued.Serial] && clock.Now().Before(issued.NotAfter) &&
				!listed[issued.Serial] {
				r.Fatalf("%s is revoked and not listed", issued.Serial)
			}
		}
	})
}

// A restored database has forgotten CRLs that the world has seen: the next number is higher still.
func TestCRLNumberAfterARestore(t *testing.T) {
	old, clock := storetest.SQLite(t), newClock()
	config := catest.Config(t, old)
	config.Now = clock.Now
	c := catest.Open(t, config)
	shard := ca.Shard{Issuer: c.Issuers()[1].ID}
	first := readCRL(t, c, shard).Number
	for range 3 {
		clock.Advance(20 * time.Hour)
		must(t, ca.RefreshCRLs(c, t.Context()))
	}
	seen := readCRL(t, c, shard).Number
	fresh := storetest.SQLite(t) // knows the issuers and nothing of any CRL
	must(t, fresh.AddIssuers(t.Context(), c.Issuers()))
	config.Store = fresh
	clock.Advance(time.Second)
	restored := readCRL(t, catest.Open(t, config), shard).Number
	if seen.Cmp(first) <= 0 || restored.Cmp(seen) <= 0 {
		t.Errorf("numbers %s, %s, and %s after the restore", first, seen, restored)
	}
}

// Run publishes a revocation without being told by a clock.
func TestRunPublishesAtOnce(t *testing.T) {
	c, _, _ := newCA(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	issued := issue(t, c, request(t, "", "a.internal"))
	must(t, c.Revoke(ctx, admin, issued.Serial, 0))
	for deadline := time.Now().Add(time.Minute); !crlSerials(t, c, issued)[issued.Serial]; {
		if time.Now().After(deadline) {
			t.Fatal("the revocation is not published")
		}
	}
	cancel()
	must(t, <-done)
}

// never #13: one text form, whatever the spelling.
func TestSerials(t *testing.T) {
	for text, want := range map[string]string{
		"01":          "00000000000000000000000000000001",
		"f":           "0000000000000000000000000000000f",
		"0x0A:0b":     "00000000000000000000000000000a0b",
		"00:FF 10-20": "00000000000000000000000000ff1020",
		"7fffffffffffffffffffffffffffffffffffffff": "7fffffffffffffffffffffffffffffffffffffff",
	} {
		if got, err := ca.ParseSerial(text); err != nil || got.String() != want {
			t.Errorf("%q is %s, %v; want %s", text, got, err, want)
		}
	}
	octets20 := hex.EncodeToString(make([]byte, 19))
	for _, bad := range []string{"", "0", "00", "xyz", "80" + octets20, "01" + octets20 + "00"} {
		if got, err := ca.ParseSerial(bad); err == nil {
			t.Errorf("%q is %s", bad, got)
		}
	}
	rapid.Check(t, func(r *rapid.T) {
		raw := rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(r, "octets")
		serial, err := ca.SerialFromBytes(raw)
		if err != nil {
			return
		}
		for _, again := range []func() (ca.Serial, error){
			func() (ca.Serial, error) { return ca.ParseSerial(serial.String()) },
			func() (ca.Serial, error) { return ca.SerialFromBig(serial.Big()) },
			func() (ca.Serial, error) { return ca.SerialFromBytes(serial.Bytes()) },
		} {
			if got, err := again(); err != nil || got != serial {
				r.Fatalf("%x became %s, %v", raw, got, err)
			}
		}
	})
	for range 1000 {
		serial, err := ca.NewSerial(rand.Reader)
		must(t, err)
		if raw := serial.Big().Bytes(); len(raw) != 16 || raw[0] >= 0x80 {
			t.Fatalf("a fresh serial is %x", raw)
		}
	}
}

func FuzzSerial(f *testing.F) {
	for _, seed := range []string{"01", "0x7f:ff", "ff", "00", "7fffffffffffffffffffffffffffffffffffffff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		serial, err := ca.ParseSerial(text)
		if err != nil {
			wantKind(t, text, err, fault.Invalid)
			return
		}
		again, err := ca.ParseSerial(serial.String())
		if err != nil || again != serial {
			t.Errorf("%q became %s and %s, %v", text, serial, again, err)
		}
	})
}
