package acmeserver

import (
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
	sealed, err := s.store.SealedSecret(ctx)
	if fault.Is(err, fault.NotFound) {
		if sealed, err = seal(s.passphrase); err == nil {
			sealed, err = s.store.KeepSealedSecret(ctx, sealed)
		}
	}
	if err != nil {
		return nil, err
	}
	s.opened, err = unseal(s.passphrase, sealed)
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

// seal makes a secret: salt, nonce, ciphertext and tag.
func seal(passphrase []byte) ([]byte, error) {
	fresh, salt := make([]byte, secretOctets), make([]byte, saltOctets)
	rand.Read(fresh)
	rand.Read(salt)
	aead, err := sealer(passphrase, salt)
	if err != nil {
		return nil, err
	}
	return aead.Seal(slices.Clone(salt), nil, fresh, nil), nil
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
