package validate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/mayflyca/mayfly/identity"
)

// acmeTLS1 is the only protocol that a tls-alpn-01 responder may speak (RFC 8737 section 6.2).
const acmeTLS1 = "acme-tls/1"

var (
	oidAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
	// oidACMEIdentifier is id-pe-acmeIdentifier (RFC 8737 section 6.1).
	oidACMEIdentifier = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}
	// oidDraft is what the drafts of RFC 8737 had. It proves nothing; naming it helps to mend.
	oidDraft = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 30, 1}
)

// tlsALPN01 looks for the digest of the key authorization in the certificate of a TLS server that
// speaks acme-tls/1 (RFC 8737 section 3, RFC 8738 section 6).
func (v *Validator) tlsALPN01(ctx context.Context, c Challenge, t *trace) *problem {
	server, err := serverName(c.Name)
	if err != nil {
		return failed(malformed, "%q is not an IP address", c.Name.Value)
	}
	raw, p := v.connect(ctx, c.Name, v.tlsALPN01Port, t)
	if p != nil {
		return p
	}
	defer func() { _ = raw.Close() }()
	at := fmt.Sprintf("%s (%s)", c.Name.Value, raw.RemoteAddr())
	// The certificate is self-signed by definition, and checked below for what it must have.
	conn, p := v.handshake(raw, &tls.Config{
		ServerName: server, NextProtos: []string{acmeTLS1},
		MinVersion: tls.VersionTLS12, InsecureSkipVerify: true,
	}, t)
	if p != nil {
		return p
	}
	state := conn.ConnectionState()
	if state.NegotiatedProtocol != acmeTLS1 {
		return failed(tlsProblem, "%s does not speak the protocol %q of tls-alpn-01; "+
			"the responder must answer on port %d", at, acmeTLS1, v.tlsALPN01Port)
	}
	digest := sha256.Sum256([]byte(c.KeyAuthorization))
	if wrong := checkCertificate(state.PeerCertificates[0], c.Name, digest); wrong != "" {
		t.add("the certificate %s", wrong)
		return failed(unauthorized, "the certificate that %s presented %s", at, wrong)
	}
	t.add("the certificate has the right name and digest")
	return nil
}

// serverName is what the SNI extension asks for: an address by its reverse name (RFC 8738 section 6).
func serverName(name identity.Name) (string, error) {
	if name.Type == identity.DNS {
		return name.Value, nil
	}
	reverse, err := dns.ReverseAddr(name.Value)
	return strings.TrimSuffix(reverse, "."), err
}

// handshake makes a TLS connection of conn, which the caller closes, also when it fails.
func (v *Validator) handshake(
	conn net.Conn, config *tls.Config, t *trace,
) (*tls.Conn, *problem) {
	at, start := conn.RemoteAddr(), v.now()
	secure := tls.Client(conn, config)
	if err := secure.Handshake(); err != nil {
		t.add("TLS handshake with %s failed after %s: %s", at, v.since(start), reason(err))
		return nil, failed(tlsProblem, "the TLS handshake with %s (server name %q, protocol %q, "+
			"TLS 1.2 or later) failed: %s", at, config.ServerName, config.NextProtos[0], reason(err))
	}
	state := secure.ConnectionState()
	t.add("%s with %s in %s, protocol %q", tls.VersionName(state.Version), at, v.since(start),
		state.NegotiatedProtocol)
	return secure, nil
}

// checkCertificate says what is wrong with a tls-alpn-01 certificate; "" means nothing. That the
// responder has its key, the handshake has shown. Its dates and chain are of no interest.
func checkCertificate(cert *x509.Certificate, name identity.Name, digest [32]byte) string {
	if !isSelfSigned(cert) {
		return "is not self-signed; another server may stand before the responder"
	}
	altNames, count := extension(cert.Extensions, oidAltName)
	if count != 1 {
		return fmt.Sprintf("has %d subjectAltName extensions, not one", count)
	}
	if !isOnlyName(altNames.Value, name) {
		return fmt.Sprintf("does not have %q as its only subjectAltName (its DNS names: %s)",
			name.Value, excerpt(strings.Join(cert.DNSNames, ", ")))
	}
	return checkIdentifier(cert.Extensions, digest)
}

// isSelfSigned forgives signature algorithms that are too old or too new for us to check.
func isSelfSigned(cert *x509.Certificate) bool {
	var insecure x509.InsecureAlgorithmError
	err := cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature)
	return bytes.Equal(cert.RawSubject, cert.RawIssuer) &&
		(err == nil || errors.As(err, &insecure) || errors.Is(err, x509.ErrUnsupportedAlgorithm))
}

// extension gives the first extension with that id, and how many there are.
func extension(all []pkix.Extension, id asn1.ObjectIdentifier) (found pkix.Extension, count int) {
	for _, e := range all {
		if e.Id.Equal(id) {
			if count == 0 {
				found = e
			}
			count++
		}
	}
	return found, count
}

// isOnlyName reads a subjectAltName by hand, since x509 leaves out the types of name that it doesn't
// know (RFC 5280 section 4.2.1.6).
func isOnlyName(der cryptobyte.String, name identity.Name) bool {
	var names, value cryptobyte.String
	var tag cbasn1.Tag
	if !der.ReadASN1(&names, cbasn1.SEQUENCE) || !der.Empty() ||
		!names.ReadAnyASN1(&value, &tag) || !names.Empty() {
		return false
	}
	if name.Type == identity.DNS {
		// Of equal length, only ASCII folds to ASCII.
		return tag == cbasn1.Tag(2).ContextSpecific() && len(value) == len(name.Value) &&
			strings.EqualFold(string(value), name.Value)
	}
	addr, ok := netip.AddrFromSlice(value)
	return tag == cbasn1.Tag(7).ContextSpecific() && ok && addr.String() == name.Value
}

// checkIdentifier says what is wrong with the acmeIdentifier extension; "" means nothing.
func checkIdentifier(all []pkix.Extension, digest [32]byte) string {
	found, count := extension(all, oidACMEIdentifier)
	_, draft := extension(all, oidDraft)
	switch {
	case count == 0 && draft > 0:
		return "has the acmeIdentifier of a draft (1.3.6.1.5.5.7.1.30.1); update the ACME client"
	case count == 0:
		return "has no acmeIdentifier extension; another server may stand before the responder"
	case count > 1:
		return fmt.Sprintf("has %d acmeIdentifier extensions, not one", count)
	case !found.Critical:
		return "has an acmeIdentifier extension that is not critical"
	}
	der := cryptobyte.String(found.Value)
	var value cryptobyte.String
	if !der.ReadASN1(&value, cbasn1.OCTET_STRING) || !der.Empty() || len(value) != len(digest) {
		return "has an acmeIdentifier that is not an OCTET STRING of 32 bytes"
	}
	if subtle.ConstantTimeCompare(value, digest[:]) != 1 {
		return fmt.Sprintf("has the acmeIdentifier %x where %x was expected; an old responder may "+
			"still be running", []byte(value), digest)
	}
	return ""
}
