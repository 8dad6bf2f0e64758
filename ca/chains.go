package ca

import (
	"bytes"
	"slices"
)

// Chain gives the issuer certificates (DER) that a TLS server sends behind the leaf, without the
// root.
func (c *CA) Chain(issuer string) [][]byte { return c.Chains(issuer)[0] }

// Chains gives all ways from an issuer to a root: Chain first, then those that lead elsewhere by way
// of a cross-signed certificate, which is another of the same key and name. There is always one,
// though it may be empty.
func (c *CA) Chains(issuer string) [][][]byte {
	var chains [][][]byte
	for _, chain := range c.chains(c.issuer(issuer), nil) {
		same := func(other [][]byte) bool { return slices.EqualFunc(chain, other, bytes.Equal) }
		if !slices.ContainsFunc(chains, same) {
			chains = append(chains, chain)
		}
	}
	if len(chains) == 0 { // issuers that only sign each other
		return [][][]byte{nil}
	}
	return chains
}

func (c *CA) chains(i *issuer, below []*issuer) (found [][][]byte) {
	if i == nil {
		return [][][]byte{nil}
	}
	if slices.ContainsFunc(below, i.isTwin) { // in a circle
		return nil
	}
	for _, twin := range c.twins(i) {
		if twin.Kind == Root {
			found = append(found, nil)
			continue
		}
		for _, rest := range c.chains(c.issuer(twin.Parent), append(slices.Clone(below), twin)) {
			found = append(found, append([][]byte{twin.Certificate}, rest...))
		}
	}
	return found
}

// twins are the certificates by which an issuer's signatures can be verified, its own first.
func (c *CA) twins(i *issuer) []*issuer {
	twins := []*issuer{i}
	for _, other := range c.issuers {
		if other != i && other.isTwin(i) {
			twins = append(twins, other)
		}
	}
	return twins
}

func (i *issuer) isTwin(other *issuer) bool {
	return i.spki == other.spki &&
		bytes.Equal(i.certificate.RawSubject, other.certificate.RawSubject)
}

// KeyID gives the issuer's subject key identifier, by which its certificates name it (RFC 5280
// section 4.2.1.1); nil if there is no such issuer.
func (c *CA) KeyID(issuer string) []byte {
	if i := c.issuer(issuer); i != nil {
		return i.certificate.SubjectKeyId
	}
	return nil
}
