package ca

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/fault"
)

// promised is a checked draft of which the store knows, durably.
type promised struct {
	checked
	promise Promise
}

// promise makes durable what might exist from now on.
func (c *CA) promise(ctx context.Context, k checked) (p promised, err error) {
	p.checked = k
	p.promise = Promise{
		Serial: k.serial, Ref: k.Ref, Issuer: k.issuer.ID, Shard: k.shard.Shard,
		Profile: k.profile.Name, Caller: k.Caller.ID, Owner: k.Caller.Owner, Names: k.content.Names,
		SPKISHA256: k.spki, TBSSHA256: sha256.Sum256(k.tbs),
		NotBefore: k.content.NotBefore, NotAfter: k.content.NotAfter, PromisedAt: k.at,
	}
	return p, c.store.Promise(ctx, p.promise, audit.New(k.at, audit.Promised, k.Caller.ID,
		k.serial.String(), map[string]string{
			"ref": k.Ref, "tbs_sha256": hex.EncodeToString(p.promise.TBSSHA256[:]),
		}))
}

// signed is the certificate as the key made it.
type signed struct {
	promised
	der []byte
}

// sign is the only use of an issuer's key for a leaf: over the very octets that were checked and
// promised.
func sign(p promised) (s signed, err error) {
	s.promised = p
	digest := p.issuer.hash.New()
	digest.Write(p.tbs)
	signature, err := p.issuer.key.Sign(nil, digest.Sum(nil), p.issuer.hash)
	if err != nil {
		return s, fault.Wrap(fault.Unavailable, err, "the issuing key does not sign")
	}
	if s.der, err = assembleCertificate(p.tbs, p.model.algorithm, signature); err != nil {
		return s, fault.Wrap(fault.Internal, err, "encoding the certificate")
	}
	return s, nil
}

// compared is a signed certificate that is what was promised.
type compared struct{ signed }

// compare reads the result as a stranger would, and holds it against the promise.
func compare(s signed) (compared, error) {
	got, err := x509.ParseCertificate(s.der)
	if err != nil {
		return compared{}, fault.Wrap(fault.Internal, err, "reading the signed certificate")
	}
	if sha256.Sum256(got.RawTBSCertificate) != s.promise.TBSSHA256 {
		return compared{}, fault.New(fault.Internal, "the signed certificate is not the promised one")
	}
	if err := got.CheckSignatureFrom(s.issuer.certificate); err != nil {
		return compared{}, fault.Wrap(fault.Internal, err, "verifying the signed certificate")
	}
	return compared{s}, nil
}

// triesToRecord bounds how often a write of unknown outcome is tried.
const triesToRecord = 3

// record makes the certificate durable, and only then is there an answer. A write of which we do
// not know whether it happened is looked for, and tried again. If all fails, either the promise
// stays open and is settled, or the certificate is recorded and the Ref finds it: an answer without
// a record there never is.
func (c *CA) record(ctx context.Context, k compared) (*Certificate, error) {
	at := c.now().UTC().Truncate(time.Microsecond)
	issued := &Certificate{Promise: k.promise, State: Issued, DER: k.der, IssuedAt: at}
	names := make([]string, len(k.promise.Names))
	for i, name := range k.promise.Names {
		names[i] = name.Value
	}
	entry := audit.New(at, audit.Issued, k.Caller.ID, k.serial.String(), map[string]string{
		"profile": k.promise.Profile, "names": strings.Join(names, " "),
	})
	var err error
	for range triesToRecord {
		if err = c.store.Record(ctx, k.serial, k.der, at, entry); err == nil {
			return issued, nil
		}
		found, lookup := c.store.CertificateBySerial(ctx, k.serial)
		if lookup == nil && found.State == Issued && bytes.Equal(found.DER, k.der) {
			return found, nil
		}
		if errors.Is(err, ErrNotPromised) && lookup == nil {
			return nil, fault.Wrap(fault.Unavailable, err, "the promise was settled before its time")
		}
	}
	return nil, err
}
