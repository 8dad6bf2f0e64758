package catest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/ca/internal/keys"
	"github.com/mayflyca/mayfly/policy"
	"github.com/mayflyca/mayfly/store"
)

// Opening a key file takes 600 000 rounds by intent, and ten times as long under the race detector. So
// a test program makes one root and issuing CA, keeps their keys in files of one round, and gives
// every CA of its tests a copy.
var (
	madeOnce       sync.Once
	madeErr        error
	made           []ca.Issuer
	keyFiles       = map[string][]byte{}
	testPassphrase = []byte("passphrase of a test")
)

// begin is before every clock of a test. The issuing CA lasts five years from here.
var begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// giveIssuers puts the issuers into a store that has none, and their keys into dir.
func giveIssuers(t testing.TB, s *store.Store, dir string) {
	t.Helper()
	madeOnce.Do(func() { madeErr = makeIssuers(t) })
	if madeErr != nil {
		t.Fatalf("making the issuers of all tests: %v", madeErr)
	}
	for name, text := range keyFiles {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	there, err := s.Issuers(t.Context())
	if err == nil && len(there) == 0 {
		err = s.AddIssuers(t.Context(), made)
	}
	if err != nil {
		t.Fatalf("adding issuers: %v", err)
	}
}

func makeIssuers(t testing.TB) error {
	dir, err := os.MkdirTemp("", "mayfly-catest-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s, err := store.Open(t.Context(), store.Config{DataDir: dir, Migrate: true})
	if err != nil {
		return err
	}
	defer s.Close()
	c, err := ca.New(t.Context(), ca.Config{
		Store: s, KeyDir: dir, Passphrase: testPassphrase, Profiles: policy.Builtin(), PublishURL: publishURL,
		Now: func() time.Time { return begin }, Random: rand.Reader, Log: slog.New(slog.DiscardHandler),
		Alone: true,
	})
	if err != nil {
		return err
	}
	ring, err := keys.Open(dir, testPassphrase)
	if err != nil {
		return err
	}
	made = c.Issuers()
	for _, row := range made {
		certificate, err := x509.ParseCertificate(row.Certificate)
		if err != nil {
			return err
		}
		signer, err := ring.Load(row.KeyURI, certificate.PublicKey)
		if err != nil {
			return err
		}
		plain, err := x509.MarshalPKCS8PrivateKey(signer)
		if err != nil {
			return err
		}
		if keyFiles[strings.TrimPrefix(row.KeyURI, "file:")], err = encryptOnce(plain); err != nil {
			return err
		}
	}
	return nil
}

type (
	identifier struct{ Algorithm, Parameters any }
	derivation struct {
		Salt   []byte
		Rounds int
		PRF    pkix.AlgorithmIdentifier
	}
)

// encryptOnce is PBES2 (RFC 8018) with a single round.
func encryptOnce(plain []byte) ([]byte, error) {
	salt, iv := make([]byte, 16), make([]byte, aes.BlockSize)
	rand.Read(salt)
	rand.Read(iv)
	key, err := pbkdf2.Key(sha256.New, string(testPassphrase), salt, 1, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	padding := aes.BlockSize - len(plain)%aes.BlockSize
	for range padding {
		plain = append(plain, byte(padding))
	}
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(plain, plain)
	kdf := identifier{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}, derivation{
		salt, 1, pkix.AlgorithmIdentifier{
			Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}, Parameters: asn1.NullRawValue,
		},
	}}
	scheme := identifier{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}, iv}
	der, err := asn1.Marshal(identifier{
		identifier{
			asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}, struct{ KDF, Scheme identifier }{kdf, scheme},
		}, plain,
	})
	if err != nil {
		return nil, fmt.Errorf("encoding a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der}), nil
}
