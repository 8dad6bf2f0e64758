package acmeserver

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/mayflyca/mayfly/fault"
)

// secret is the installation's: 32 random octets, which the database keeps sealed by the passphrase
// of the CA's keys. EAB keys follow from it, so that a copy of the database is no good for signing
// with one. They do not follow from the passphrase itself: whoever got one could try passphrases on
// it. All replicas share the database and the passphrase, and so the secret.
type secret struct {
	store      Store
	passphrase []byte

	mu     sync.Mutex
	opened []byte
}

const (
	secretOctets = 32
	saltOctets   = 16
	// sealRounds makes guessing as slow as it is for the CA's key files.
	sealRounds = 600_000
)

// open gives the secret, and makes it on the first occasion ever. It is slow once per process.
func (s *secret) open(ctx context.Context) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opened != nil {
		return s.opened, nil
	}
	if len(s.passphrase) == 0 {
		return nil, errors.New("acmeserver.Config lacks a Passphrase")
	}
	kept, err := s.store.SealedSecret(ctx)
	if fault.Is(err, fault.NotFound) {
		var fresh, sealed []byte
		if fresh, sealed, err = newSecret(s.passphrase); err != nil {
			return nil, err
		}
		kept, err = s.store.KeepSealedSecret(ctx, sealed)
		if err == nil && bytes.Equal(kept, sealed) {
			s.opened = fresh
			return s.opened, nil
		}
	}
	if err != nil {
		return nil, err
	}
	s.opened, err = unseal(s.passphrase, kept)
	return s.opened, err
}

func sealer(passphrase, salt []byte) (cipher.AEAD, error) {
	key, err := pbkdf2.Key(sha256.New, string(passphrase), salt, sealRounds, 32)
	if err != nil {
		return nil, fmt.Errorf("deriving a key from the passphrase: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("deriving a key from the passphrase: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// newSecret draws a secret, and seals it: salt, nonce, ciphertext and tag.
func newSecret(passphrase []byte) (fresh, sealed []byte, err error) {
	fresh, salt := make([]byte, secretOctets), make([]byte, saltOctets)
	rand.Read(fresh)
	rand.Read(salt)
	aead, err := sealer(passphrase, salt)
	if err != nil {
		return nil, nil, err
	}
	return fresh, aead.Seal(slices.Clone(salt), nil, fresh, nil), nil
}

func unseal(passphrase, sealed []byte) ([]byte, error) {
	if len(sealed) < saltOctets {
		return nil, errors.New("the sealed secret is too short")
	}
	aead, err := sealer(passphrase, sealed[:saltOctets])
	if err != nil {
		return nil, err
	}
	opened, err := aead.Open(nil, nil, sealed[saltOctets:], nil)
	if err != nil {
		return nil, errors.New("the passphrase of the CA's keys does not open the secret in the " +
			"database that EAB keys follow from: it was sealed with another one")
	}
	return opened, nil
}
