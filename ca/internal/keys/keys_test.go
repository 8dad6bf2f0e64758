package keys_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mayflyca/mayfly/ca/internal/keys"
	"github.com/mayflyca/mayfly/fault"
)

func open(t *testing.T, dir, passphrase string) *keys.Ring {
	t.Helper()
	ring, err := keys.Open(dir, []byte(passphrase))
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// never #32: a key is never on disk in the clear, and never without a passphrase.
func TestKeysAtRest(t *testing.T) {
	if _, err := keys.Open(t.TempDir(), nil); err == nil {
		t.Error("a key ring without a passphrase opens")
	}
	dir := filepath.Join(t.TempDir(), "keys")
	made, uri, err := open(t, dir, "secret").Create("issuing", elliptic.P256())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, strings.TrimPrefix(uri, "file:"))
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(text, []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----")) {
		t.Errorf("the file begins %.40q", text)
	}
	for path, mode := range map[string]os.FileMode{file: 0o600, dir: 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	loaded, err := open(t, dir, "secret").Load(uri, made.Public())
	if err != nil || !made.Public().(*ecdsa.PublicKey).Equal(loaded.Public()) {
		t.Errorf("another key came back: %v", err)
	}
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is missing; tools/setup installs it")
	}
	cmd := exec.Command(openssl, "pkey", "-in", file, "-passin", "pass:secret", "-noout")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("openssl cannot read the key: %v: %s", err, out)
	}
}

func TestKeysThatDoNotOpen(t *testing.T) {
	dir := t.TempDir()
	made, uri, err := open(t, dir, "secret").Create("issuing", elliptic.P256())
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(dir, "plain.pem")
	if err := os.WriteFile(plain, []byte("not a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, tc := range map[string]struct {
		passphrase, uri string
		public          any
		kind            fault.Kind
		says            string
	}{
		"wrong passphrase": {"guess", uri, made.Public(), fault.Denied, "MAYFLY_PASSPHRASE_FILE"},
		"wrong key":        {"secret", uri, other.Public(), fault.Invalid, "does not match its certificate"},
		"missing file":     {"secret", "file:gone.pem", made.Public(), fault.Unavailable, "is missing"},
		"not a key":        {"secret", "file:plain.pem", made.Public(), fault.Invalid, "not an encrypted PKCS#8 key"},
		"a way out":        {"secret", "file:../x.pem", made.Public(), fault.Invalid, "not a file of this CA"},
		"another scheme":   {"secret", "https://x", made.Public(), fault.Invalid, "not a file of this CA"},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := open(t, dir, tc.passphrase).Load(tc.uri, tc.public)
			if !fault.Is(err, tc.kind) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v", err)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the passphrase is in the error: %v", err)
			}
		})
	}
}

func TestSeal(t *testing.T) {
	ring := open(t, t.TempDir(), "secret")
	sealed, err := ring.Seal([]byte("of the installation"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := ring.Seal([]byte("of the installation"))
	if err != nil || bytes.Equal(sealed, again) || bytes.Contains(sealed, []byte("installation")) {
		t.Errorf("sealed %x and %x, %v", sealed, again, err)
	}
	if opened, err := ring.Unseal(sealed); err != nil || string(opened) != "of the installation" {
		t.Errorf("got %q, %v", opened, err)
	}
	changed := bytes.Clone(sealed)
	changed[len(changed)-1] ^= 1
	for what, tc := range map[string]struct {
		passphrase string
		sealed     []byte
	}{
		"another passphrase": {"guess", sealed}, "changed": {"secret", changed}, "cut": {"secret", sealed[:9]},
	} {
		if opened, err := open(t, t.TempDir(), tc.passphrase).Unseal(tc.sealed); err == nil {
			t.Errorf("%s: got %q", what, opened)
		}
	}
}
