package ca_test

import (
	"crypto/x509"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/ca/catest"
	"github.com/mayflyca/mayfly/store/storetest"
)

// An issuing key that another root has signed too goes on issuing as before, and there is a second
// way from its certificates to a root.
func TestCrossSigned(t *testing.T) {
	s := storetest.SQLite(t)
	config := catest.Config(t, s)
	c := catest.Open(t, config)
	before := issue(t, c, request(t, "before", "a.internal"))
	own := c.Issuers()[1]
	if got := c.Chains(own.ID); cmp.Diff([][][]byte{{own.Certificate}}, got) != "" {
		t.Fatalf("there are %d chains before anything was cross-signed", len(got))
	}
	otherRoot, cross := catest.CrossSign(t, config, own)
	c = catest.Open(t, config)
	after := issue(t, c, request(t, "after", "a.internal"))
	if after.Issuer != before.Issuer {
		t.Errorf("the cross-signed certificate issues")
	}
	want := [][][]byte{{own.Certificate}, {cross.Certificate}}
	if diff := cmp.Diff(want, c.Chains(own.ID)); diff != "" {
		t.Errorf("the chains are not what they should be: %s", diff)
	}
	if diff := cmp.Diff(want[0], c.Chain(own.ID)); diff != "" {
		t.Error(diff)
	}
	leaf := parse(t, after.DER)
	for n, root := range []ca.Issuer{c.Issuers()[0], otherRoot} {
		roots, between := x509.NewCertPool(), x509.NewCertPool()
		roots.AddCert(parse(t, root.Certificate))
		for _, der := range c.Chains(own.ID)[n] {
			between.AddCert(parse(t, der))
		}
		if _, err := leaf.Verify(x509.VerifyOptions{
			DNSName: "a.internal", Roots: roots, Intermediates: between,
		}); err != nil {
			t.Errorf("chain %d: %v", n, err)
		}
	}
	if string(c.KeyID(own.ID)) != string(leaf.AuthorityKeyId) || c.KeyID("none") != nil {
		t.Error("the key identifier is not the one in the leaf")
	}
}

// A root that another has cross-signed gives a longer way; a circle gives none.
func TestCrossSignedRoot(t *testing.T) {
	s := storetest.SQLite(t)
	config := catest.Config(t, s)
	c := catest.Open(t, config)
	root, own := c.Issuers()[0], c.Issuers()[1]
	otherRoot, cross := catest.CrossSign(t, config, root)
	c = catest.Open(t, config)
	want := [][][]byte{{own.Certificate}, {own.Certificate, cross.Certificate}}
	if diff := cmp.Diff(want, c.Chains(own.ID)); diff != "" {
		t.Errorf("the chains are not what they should be: %s", diff)
	}
	circle := otherRoot
	circle.ID, circle.Kind, circle.Parent, circle.Shards = "circle", ca.Issuing, cross.ID, 0
	must(t, s.AddIssuers(t.Context(), []ca.Issuer{circle}))
	c = catest.Open(t, config)
	if diff := cmp.Diff(want, c.Chains(own.ID)); diff != "" {
		t.Errorf("with a circle: %s", diff)
	}
	if got := c.Chains("none"); len(got) != 1 || len(got[0]) != 0 {
		t.Errorf("an unknown issuer's chains are %v", got)
	}
}
