// Package keys keeps signing keys: encrypted PKCS#8 files, opened with one passphrase. Only package
// ca can import it, so nothing else can reach a key.
package keys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"go.step.sm/crypto/pemutil"

	"github.com/mayflyca/mayfly/fault"
)

// Ring is a directory of key files and the passphrase that opens them. Safe for concurrent use.
type Ring struct {
	dir        string
	passphrase []byte
	created    sync.Map // URI → crypto.Signer: what Create made need not be decrypted to be used
}

// scheme marks a key that is a file in the ring's directory, named by what follows.
const scheme = "file:"

// Open makes the directory if it is missing. The passphrase must not be empty: a key is never
// written in the clear.
func Open(dir string, passphrase []byte) (*Ring, error) {
	if len(passphrase) == 0 {
		return nil, fault.New(fault.Invalid, "the passphrase for the CA's keys is empty")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the key directory: %w", err)
	}
	return &Ring{dir: dir, passphrase: passphrase}, nil
}

// Create makes an ECDSA key, writes it durably, and gives it with the URI that finds it again. A
// crash after this leaves a key file that no issuer refers to.
func (r *Ring) Create(purpose string, curve elliptic.Curve) (crypto.Signer, string, error) {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		return nil, "", fmt.Errorf("generating the %s key: %w", purpose, err)
	}
	plain, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, "", fmt.Errorf("encoding the %s key: %w", purpose, err)
	}
	block, err := pemutil.EncryptPKCS8PrivateKey(rand.Reader, plain, r.passphrase, x509.PEMCipherAES256)
	if err != nil {
		return nil, "", fmt.Errorf("encrypting the %s key: %w", purpose, err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, "", fmt.Errorf("encoding the %s public key: %w", purpose, err)
	}
	id := sha256.Sum256(public)
	name := purpose + "-" + hex.EncodeToString(id[:8]) + ".pem"
	if err := writeDurably(filepath.Join(r.dir, name), pem.EncodeToMemory(block)); err != nil {
		return nil, "", fmt.Errorf("writing the %s key: %w", purpose, err)
	}
	r.created.Store(scheme+name, key)
	return key, scheme + name, nil
}

// Load opens the key at uri, which must belong to public. Its errors say what to do.
func (r *Ring) Load(uri string, public crypto.PublicKey) (crypto.Signer, error) {
	signer, err := r.open(uri)
	if err != nil {
		return nil, err
	}
	own, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !own.Equal(public) {
		return nil, fault.New(fault.Invalid, "the key in %s does not match its certificate: bring the "+
			"original key file back from a backup", strings.TrimPrefix(uri, scheme))
	}
	return signer, nil
}

func (r *Ring) open(uri string) (crypto.Signer, error) {
	if created, ok := r.created.Load(uri); ok {
		return created.(crypto.Signer), nil
	}
	name, ok := strings.CutPrefix(uri, scheme)
	if !ok || name != filepath.Base(name) {
		return nil, fault.New(fault.Invalid, "the key %q is not a file of this CA", uri)
	}
	path := filepath.Join(r.dir, name)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.Unavailable, "the key file %s is missing: bring it back from a "+
			"backup, or copy it (and the passphrase) from the machine that has it", path)
	}
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, err, "the key file "+path+" cannot be read")
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "ENCRYPTED PRIVATE KEY" {
		return nil, fault.New(fault.Invalid, "the key file %s is not an encrypted PKCS#8 key in PEM: "+
			"bring the original back from a backup", path)
	}
	plain, err := pemutil.DecryptPKCS8PrivateKey(block.Bytes, r.passphrase)
	if err != nil {
		return nil, fault.New(fault.Denied, "the passphrase does not open the key file %s: set "+
			"MAYFLY_PASSPHRASE_FILE to the one it was written with", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "the key file "+path+" holds no usable key")
	}
	signer, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fault.New(fault.Invalid, "the key in %s cannot sign", path)
	}
	return signer, nil
}

// writeDurably puts a new file in place whole or not at all, and returns once it survives the loss
// of power.
func writeDurably(path string, text []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(text)
	err = errors.Join(err, temp.Sync(), temp.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
