package acmeserver

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"sync"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/fault"
)

// secret is the installation's: 32 random octets, which the database keeps sealed by the passphrase
// of the CA's keys. EAB keys follow from it, so that a copy of the database is no good for signing
// with one. They do not follow from the passphrase itself: whoever got one could try passphrases on
// it. All replicas share the database and the passphrase, and so the secret.
type secret struct {
	store Store
	ca    *ca.CA

	mu     sync.Mutex
	opened []byte
}

const secretOctets = 32

// open gives the secret, and makes it on the first occasion ever. It is slow once per process.
func (s *secret) open(ctx context.Context) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opened != nil {
		return s.opened, nil
	}
	kept, err := s.store.SealedSecret(ctx)
	if fault.Is(err, fault.NotFound) {
		fresh := make([]byte, secretOctets)
		rand.Read(fresh)
		var sealed []byte
		if sealed, err = s.ca.Seal(fresh); err == nil {
			kept, err = s.store.KeepSealedSecret(ctx, sealed)
		}
		if err == nil && bytes.Equal(kept, sealed) {
			s.opened = fresh
			return s.opened, nil
		}
	}
	if err != nil {
		return nil, err
	}
	if s.opened, err = s.ca.Unseal(kept); err != nil {
		return nil, fmt.Errorf("opening the secret that EAB keys follow from: %w", err)
	}
	return s.opened, nil
}
