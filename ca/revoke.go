package ca

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
)

// reasons are those that a leaf of ours can have, by their RFC 5280 names (section 5.3.1). Missing
// are the reasons of a CA or an attribute authority, certificateHold (a day is too short to think it
// over) and removeFromCRL.
var reasons = []struct {
	code Reason
	name string
}{
	{0, "unspecified"},
	{1, "keyCompromise"},
	{3, "affiliationChanged"},
	{4, "superseded"},
	{5, "cessationOfOperation"},
	{9, "privilegeWithdrawn"},
}

// ParseReason reads a reason's RFC 5280 name; empty is unspecified.
func ParseReason(text string) (Reason, error) {
	names := make([]string, len(reasons))
	for i, r := range reasons {
		if r.name == text || text == "" {
			return r.code, nil
		}
		names[i] = r.name
	}
	return 0, fault.Field("reason", "%.40q is none of %s", text, strings.Join(names, ", "))
}

// Allowed reports whether a leaf can be revoked for this reason.
func (r Reason) Allowed() bool { return r.String() != "" }

// String is the reason's RFC 5280 name, empty for one that no leaf of ours can have.
func (r Reason) String() string {
	for _, known := range reasons {
		if known.code == r {
			return known.name
		}
	}
	return ""
}

// Holder is the caller that has proven to hold the certificate's private key.
func Holder(serial Serial) identity.Caller {
	id := "certificate/" + serial.String()
	return identity.Caller{ID: id, Owner: id}
}

// Revoke ends a certificate before its time. An administrator may, and whoever it was issued to,
// holds its key, or may have all of its names (RFC 8555 section 7.6). A certificate that is revoked
// already is fault.Conflict wrapping ErrRevoked; one that has expired is fault.Conflict too.
func (c *CA) Revoke(
	ctx context.Context, caller identity.Caller, serial Serial, reason Reason,
) error {
	if !reason.Allowed() {
		return fault.Field("reason", "%d is no reason for which a leaf is revoked", int(reason))
	}
	found, err := c.Certificate(ctx, serial)
	if err != nil {
		return err
	}
	if !mayRevoke(caller, found) {
		return fault.New(fault.Denied, "certificate %s is not yours to revoke", serial)
	}
	now := c.now().UTC().Truncate(time.Microsecond)
	if found.StatusAt(now) == StatusExpired {
		return fault.New(fault.Conflict, "certificate %s has expired already", serial)
	}
	err = c.store.Revoke(ctx, serial, Revocation{At: now, Reason: reason},
		audit.New(now, audit.Revoked, caller.ID, serial.String(), map[string]string{
			"reason": reason.String(), "owner": found.Owner,
		}))
	if errors.Is(err, ErrRevoked) {
		return fault.Wrap(fault.Conflict, err, "certificate "+serial.String()+" is revoked already")
	}
	if err != nil {
		return err
	}
	c.metrics.revoked.WithLabelValues(reason.String()).Inc()
	select {
	case c.kick <- struct{}{}:
	default: // Run has been told and not looked yet
	}
	return nil
}

func mayRevoke(caller identity.Caller, found *Certificate) bool {
	if caller.Role == identity.RoleAdmin || caller.ID == Holder(found.Serial).ID {
		return true
	}
	if caller.ID != "" && caller.ID == found.Caller {
		return true
	}
	for _, name := range found.Names {
		if !slices.Contains(caller.Names, name) {
			return false
		}
	}
	return len(found.Names) > 0
}
