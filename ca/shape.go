package ca

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cryptobyte_asn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/policy"
)

// decided is a request that may become a certificate with this content.
type decided struct {
	Request
	profile policy.Profile
	content policy.Content

	publicKey []byte   // SubjectPublicKeyInfo (DER)
	spki      [32]byte // its SHA-256
	keyID     []byte
	issuer    *issuer
	at        time.Time
}

// decide reads the request and asks the policy about everything that the certificate would hold.
func (c *CA) decide(req Request) (d decided, err error) {
	d.Request = req
	now, err := c.clock()
	if err != nil {
		return d, err
	}
	d.at = now.Truncate(time.Microsecond)
	if d.profile, err = c.profile(req.Profile); err != nil {
		return d, err
	}
	asked := &requested{names: req.Names, publicKey: c.anyKey.Public()}
	if req.CSR != nil {
		if asked, err = readCSR(req.CSR, req.Names); err != nil {
			return d, err
		}
	}
	asked.addCommonName()
	begin := now.Add(-d.profile.Backdate).Truncate(time.Second)
	d.content = policy.Content{
		CommonName: asked.commonName, Names: asked.names, PublicKey: asked.publicKey,
		NotBefore: begin, NotAfter: begin.Add(d.profile.Lifetime - time.Second),
	}
	if err := policy.Decide(req.Caller, d.profile, d.content); err != nil {
		return d, err
	}
	if d.issuer, err = c.issuerAt(d.content.NotAfter); err != nil {
		return d, err
	}
	if d.publicKey, err = x509.MarshalPKIXPublicKey(asked.publicKey); err != nil {
		return d, fault.Wrap(fault.Internal, err, "encoding the subject's public key")
	}
	if d.keyID, err = keyIDOf(d.publicKey); err != nil {
		return d, err
	}
	d.spki = sha256.Sum256(d.publicKey)
	return d, c.refuseOwnKey(d.spki)
}

// refuseOwnKey keeps a CA key from becoming a subject's (never #26).
func (c *CA) refuseOwnKey(spki [32]byte) error {
	for _, i := range c.issuers {
		if spki == i.spki {
			return fault.Field("csr", "names a key of this CA")
		}
	}
	return nil
}

// shaped is a decision as the octets that the key will sign.
type shaped struct {
	decided
	serial Serial
	shard  Shard
	model  model
	tbs    []byte // TBSCertificate
}

// shape turns a decision into everything that the key will sign.
func (c *CA) shape(d decided) (s shaped, err error) {
	s.decided = d
	if s.serial, err = NewSerial(c.random); err != nil {
		return s, err
	}
	last := s.serial[len(s.serial)-1]
	s.shard = Shard{Issuer: d.issuer.ID, Shard: int(last) % d.issuer.Shards}
	names, err := writeNames(d.content.Names)
	if err != nil {
		return s, fault.Wrap(fault.Internal, err, "encoding the names")
	}
	s.model = d.issuer.models[modelKey{d.profile.Name, keyUsage(d.profile, d.content.PublicKey)}]
	if s.tbs, err = s.assemble(s.model, names, c.crlURL(s.shard)); err != nil {
		return s, fault.Wrap(fault.Internal, err, "encoding the certificate")
	}
	return s, nil
}

// subjectKeyID is the key identifier of RFC 7093 section 2, method 1.
func subjectKeyID(public any) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("encoding a public key: %w", err)
	}
	return keyIDOf(der)
}

func keyIDOf(spki []byte) ([]byte, error) {
	input := cryptobyte.String(spki)
	var info, bits cryptobyte.String
	var key asn1.BitString
	if !input.ReadASN1(&info, cryptobyte_asn1.SEQUENCE) ||
		!info.ReadASN1(&bits, cryptobyte_asn1.SEQUENCE) || !info.ReadASN1BitString(&key) {
		return nil, fault.New(fault.Internal, "a public key has no SubjectPublicKeyInfo")
	}
	sum := sha256.Sum256(key.Bytes)
	return sum[:20], nil
}
