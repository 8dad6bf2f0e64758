package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
)

const (
	saltOctets = 16
	// sealRounds makes guessing the passphrase as slow as it is for the key files.
	sealRounds = 600_000
)

// Seal encrypts a secret that is no signing key: salt, nonce, ciphertext and tag. It is slow.
func (r *Ring) Seal(secret []byte) ([]byte, error) {
	salt := make([]byte, saltOctets)
	rand.Read(salt)
	aead, err := r.sealer(salt)
	if err != nil {
		return nil, err
	}
	return aead.Seal(slices.Clone(salt), nil, secret, nil), nil
}

// Unseal decrypts what Seal made. It is slow.
func (r *Ring) Unseal(sealed []byte) ([]byte, error) {
	if len(sealed) < saltOctets {
		return nil, errors.New("the sealed secret is too short")
	}
	aead, err := r.sealer(sealed[:saltOctets])
	if err != nil {
		return nil, err
	}
	opened, err := aead.Open(nil, nil, sealed[saltOctets:], nil)
	if err != nil {
		return nil, errors.New("the secret was sealed with another passphrase")
	}
	return opened, nil
}

func (r *Ring) sealer(salt []byte) (cipher.AEAD, error) {
	key, err := pbkdf2.Key(sha256.New, string(r.passphrase), salt, sealRounds, 32)
	if err != nil {
		return nil, fmt.Errorf("deriving a key from the passphrase: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("deriving a key from the passphrase: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}
