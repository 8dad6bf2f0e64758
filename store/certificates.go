package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/ca"
)

// promiseRow is a promise as its columns.
type promiseRow struct {
	ca.Promise
	ref   *string // NULL if the promise has none
	names string  // JSON
}

var errTaken = errors.New("serial or reference taken")

// Promise is ca.Store's.
func (s *Store) Promise(ctx context.Context, p ca.Promise, entries ...audit.Entry) error {
	names, err := encode(p.Names)
	if err != nil {
		return err
	}
	row := &promiseRow{Promise: p, names: names}
	if p.Ref != "" {
		row.ref = &p.Ref
	}
	err = s.engine.write(ctx, &write{
		keys: []string{"serial/" + p.Serial.String()}, entries: entries, row: row, plain: row.insert,
	})
	if errors.Is(err, errTaken) {
		return s.whichTaken(ctx, p)
	}
	return err
}

func (r *promiseRow) insert(ctx context.Context, tx tx) error {
	n, err := tx.exec(ctx, `INSERT INTO certificates (serial, ref, state, issuer, shard, profile,
			caller, owner, names, spki_sha256, tbs_sha256, not_before, not_after, promised_at)
		VALUES ($1, $2, 'promised', $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
		ON CONFLICT DO NOTHING`,
		r.Serial.Bytes(), r.ref, r.Issuer, int64(r.Shard), r.Profile, r.Caller, r.Owner, r.names,
		r.SPKISHA256[:], r.TBSSHA256[:], micros(r.NotBefore), micros(r.NotAfter),
		micros(r.PromisedAt))
	if err != nil {
		return err
	}
	if n == 0 {
		return unchanged{errTaken}
	}
	for _, name := range r.Names {
		_, err := tx.exec(ctx, `INSERT INTO certificate_names (reversed, serial) VALUES ($1, $2)
			ON CONFLICT DO NOTHING`, reversed(name.Value), r.Serial.Bytes())
		if err != nil {
			return err
		}
	}
	return nil
}

// whichTaken tells the two conflicts apart, after the fact. A reference that was freed since then
// was taken when it counted.
func (s *Store) whichTaken(ctx context.Context, p ca.Promise) error {
	serial, err := list(ctx, s.engine, value[int64], `SELECT 1 FROM certificates
		WHERE serial = $1 AND NOT EXISTS (SELECT 1 FROM certificates WHERE ref = $2)`,
		p.Serial.Bytes(), p.Ref)
	if err != nil {
		return err
	}
	if len(serial) > 0 {
		return ca.ErrSerialTaken
	}
	return ca.ErrRefTaken
}

// recordRow is a signed certificate for a promise.
type recordRow struct {
	serial ca.Serial
	der    []byte
	at     time.Time
}

// Record is ca.Store's.
func (s *Store) Record(
	ctx context.Context, serial ca.Serial, der []byte, at time.Time, entries ...audit.Entry,
) error {
	row := &recordRow{serial: serial, der: der, at: at}
	return s.engine.write(ctx, &write{
		keys: []string{"serial/" + serial.String()}, entries: entries, row: row, plain: row.update,
	})
}

func (r *recordRow) update(ctx context.Context, tx tx) error {
	n, err := tx.exec(ctx, `UPDATE certificates SET state = 'issued', der = $2, issued_at = $3
		WHERE serial = $1 AND state = 'promised'`, r.serial.Bytes(), r.der, micros(r.at))
	return changed(n, err, ca.ErrNotPromised)
}

// changed is the answer of a conditional write of one row.
func changed(n int64, err, otherwise error) error {
	if err == nil && n == 0 {
		return unchanged{otherwise}
	}
	return err
}

// Void is ca.Store's.
func (s *Store) Void(
	ctx context.Context, serial ca.Serial, at time.Time, entries ...audit.Entry,
) error {
	return s.engine.update(ctx, func(ctx context.Context, tx tx) error {
		n, err := tx.exec(ctx, `UPDATE certificates
			SET state = 'void', ref = NULL, revoked_at = $2, reason = 0
			WHERE serial = $1 AND state = 'promised'`, serial.Bytes(), micros(at))
		if err := changed(n, err, ca.ErrNotPromised); err != nil {
			return err
		}
		return writeEntries(ctx, tx, entries)
	})
}

// columns are what scanCertificate reads.
const columns = `c.serial, c.ref, c.state, c.issuer, c.shard, c.profile, c.caller, c.owner, c.names,
	c.spki_sha256, c.tbs_sha256, c.not_before, c.not_after, c.promised_at, c.issued_at, c.der,
	c.revoked_at, c.reason, c.successor`

// Unsettled is ca.Store's.
func (s *Store) Unsettled(
	ctx context.Context, before time.Time, limit int,
) ([]ca.Promise, error) {
	open, err := list(ctx, s.engine, scanCertificate, `SELECT `+columns+` FROM certificates c
		WHERE c.state = 'promised' AND c.promised_at < $1
		ORDER BY c.promised_at, c.serial LIMIT $2`, microsUp(before), int64(limit))
	promises := make([]ca.Promise, len(open))
	for i, c := range open {
		promises[i] = c.Promise
	}
	return promises, err
}

// CertificateByRef is ca.Store's.
func (s *Store) CertificateByRef(ctx context.Context, ref string) (*ca.Certificate, error) {
	c, err := one(ctx, s.engine, "certificate", scanCertificate,
		`SELECT `+columns+` FROM certificates c WHERE c.ref = $1`, ref)
	if err != nil {
		return nil, err
	}
	return &c, nil
}

// CertificateBySerial is ca.Store's.
func (s *Store) CertificateBySerial(
	ctx context.Context, serial ca.Serial,
) (*ca.Certificate, error) {
	c, err := one(ctx, s.engine, "certificate", scanCertificate,
		`SELECT `+columns+` FROM certificates c WHERE c.serial = $1`, serial.Bytes())
	if err != nil {
		return nil, err
	}
	return &c, nil
}

// certificateRow is a certificate's columns as scanned. All may be NULL: an order may have none.
type certificateRow struct {
	serial, spki, tbs, der                              []byte
	ref, state, issuer, profile, caller, owner, names   *string
	shard, notBefore, notAfter, promised, issued, ended *int64
	reason                                              *int64
	successor                                           *string
}

func (r *certificateRow) dest() []any {
	return []any{
		&r.serial, &r.ref, &r.state, &r.issuer, &r.shard, &r.profile, &r.caller, &r.owner, &r.names,
		&r.spki, &r.tbs, &r.notBefore, &r.notAfter, &r.promised, &r.issued, &r.der,
		&r.ended, &r.reason, &r.successor,
	}
}

func (r *certificateRow) certificate() (c ca.Certificate, err error) {
	if c.Serial, err = ca.SerialFromBytes(r.serial); err != nil {
		return c, err
	}
	if err := json.Unmarshal([]byte(*r.names), &c.Names); err != nil {
		return c, err
	}
	if r.ref != nil {
		c.Ref = *r.ref
	}
	c.State, c.Issuer, c.Shard = ca.State(*r.state), *r.issuer, int(*r.shard)
	c.Profile, c.Caller, c.Owner = *r.profile, *r.caller, *r.owner
	copy(c.SPKISHA256[:], r.spki)
	copy(c.TBSSHA256[:], r.tbs)
	c.NotBefore, c.NotAfter = fromMicros(*r.notBefore), fromMicros(*r.notAfter)
	c.PromisedAt, c.IssuedAt = fromMicros(*r.promised), fromOptional(r.issued)
	c.DER = r.der
	if r.ended != nil {
		c.Revocation = &ca.Revocation{At: fromMicros(*r.ended), Reason: ca.Reason(*r.reason)}
	}
	if r.successor != nil {
		c.Successor = *r.successor
	}
	return c, nil
}

func scanCertificate(s scanner) (ca.Certificate, error) {
	var r certificateRow
	if err := s.Scan(r.dest()...); err != nil {
		return ca.Certificate{}, err
	}
	return r.certificate()
}
