// Package audit is the record of every decision the CA took.
//
// An Entry is written in the same transaction as the deed it tells of: if the entry cannot be kept,
// the deed does not happen. Entries hold no key, token or other secret.
package audit

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"time"
)

// Kind names what was decided, in the past tense.
type Kind string

// The kinds of entry.
const (
	Promised       Kind = "certificate.promised" // about to be signed
	Issued         Kind = "certificate.issued"
	Refused        Kind = "certificate.refused"
	Voided         Kind = "certificate.voided" // a promise that was never recorded, settled
	Revoked        Kind = "certificate.revoked"
	IssuerCreated  Kind = "issuer.created"
	CRLSigned      Kind = "crl.signed"
	AccountCreated Kind = "acme.account.created"
	AccountChanged Kind = "acme.account.changed"
	TokenCreated   Kind = "token.created"

	ChallengeFailed Kind = "acme.challenge.failed" // for good
	NamePaused      Kind = "acme.name.paused"
	NameUnpaused    Kind = "acme.name.unpaused"

	EABKeyCreated  Kind = "acme.eab_key.created"
	EABKeyRevoked  Kind = "acme.eab_key.revoked"
	GrantCreated   Kind = "acme.grant.created"
	GrantWithdrawn Kind = "acme.grant.withdrawn"
	GrantUsed      Kind = "acme.grant.used" // for an order
)

// Entry is one decision.
type Entry struct {
	ID      string            // 32 hex digits, unique, made by New; begins with the time
	At      time.Time         // when it was decided, UTC, microseconds
	Kind    Kind              // what was decided
	Actor   string            // identity.Caller's ID of who asked
	Subject string            // what it is about: a serial, an account id, an issuer id
	Data    map[string]string // the reason and other facts; no secrets
}

// New makes an entry with a fresh ID. It begins with the time, in milliseconds, so that a database
// writes entries side by side and not all over its index.
func New(at time.Time, kind Kind, actor, subject string, data map[string]string) Entry {
	var id [16]byte
	binary.BigEndian.PutUint64(id[:8], uint64(at.UnixMilli())<<16)
	rand.Read(id[6:])
	return Entry{
		ID: hex.EncodeToString(id[:]), At: at.UTC().Truncate(time.Microsecond),
		Kind: kind, Actor: actor, Subject: subject, Data: data,
	}
}
