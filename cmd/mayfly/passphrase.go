package main

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// passphraseSource is where the passphrase of the CA's keys may be.
type passphraseSource struct {
	File        string // MAYFLY_PASSPHRASE_FILE
	Credentials string // CREDENTIALS_DIRECTORY, set by systemd for LoadCredential=
	DataDir     string
	// HasCA says that a CA was made already, so that a new passphrase could open nothing.
	HasCA bool
}

// read finds the passphrase, or makes one beside the data on the very first start. A CA whose
// passphrase is missing is never given a new one (never #32).
func (s passphraseSource) read() ([]byte, error) {
	beside := filepath.Join(s.DataDir, "passphrase")
	path := cmp.Or(s.File, s.credential(), beside)
	text, err := os.ReadFile(path)
	switch {
	case err == nil:
	case !errors.Is(err, fs.ErrNotExist) || path != beside:
		return nil, fmt.Errorf("reading the passphrase of the CA's keys: %w", err)
	case s.HasCA:
		return nil, fmt.Errorf("the passphrase of the CA's keys is missing: set MAYFLY_PASSPHRASE_FILE "+
			"to the file that holds it, or bring %s back", beside)
	default:
		return makePassphrase(beside)
	}
	if path == beside {
		if err := checkPrivate(beside); err != nil {
			return nil, err
		}
	}
	passphrase := bytes.TrimRight(text, "\r\n")
	if len(passphrase) == 0 {
		return nil, fmt.Errorf("the passphrase file %s is empty: write the passphrase of the CA's keys "+
			"into it", path)
	}
	return passphrase, nil
}

func (s passphraseSource) credential() string {
	if s.Credentials == "" {
		return ""
	}
	path := filepath.Join(s.Credentials, "mayfly-passphrase")
	if _, err := os.Stat(path); err != nil {
		return "" // the unit loads other credentials
	}
	return path
}

// checkPrivate refuses the file that we wrote with mode 0600 if others may read it by now. A file
// that the operator names is the operator's affair: container secrets are commonly 0444.
func checkPrivate(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("reading the passphrase of the CA's keys: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("the passphrase file %s can be read by others (mode %04o): chmod 600 it",
			path, info.Mode().Perm())
	}
	return nil
}

// makePassphrase is durable before it returns, so that no key is ever encrypted with a passphrase
// that a power cut could take away.
func makePassphrase(path string) ([]byte, error) {
	secret := make([]byte, 32)
	rand.Read(secret)
	passphrase := []byte(base64.RawURLEncoding.EncodeToString(secret))
	if err := createFile(path, append(passphrase, '\n')); err != nil {
		return nil, fmt.Errorf("keeping a new passphrase for the CA's keys: %w", err)
	}
	return passphrase, nil
}
