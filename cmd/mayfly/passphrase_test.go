package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func writeText(t *testing.T, path, text string, mode os.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPassphraseOfFirstStartIsKept(t *testing.T) {
	dir := t.TempDir()
	first, err := passphraseSource{DataDir: dir}.read()
	if err != nil {
		t.Fatal(err)
	}
	if len(first) < 43 {
		t.Errorf("passphrase %q holds less than 32 random bytes", first)
	}
	info, err := os.Stat(filepath.Join(dir, "passphrase"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("file %v, %v", info, err)
	}
	again, err := passphraseSource{DataDir: dir, HasCA: true}.read()
	if err != nil || !bytes.Equal(first, again) {
		t.Errorf("second start: %q, %v; want %q", again, err, first)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".new-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestPassphrasePrecedence(t *testing.T) {
	dir, credentials := t.TempDir(), t.TempDir()
	writeText(t, filepath.Join(dir, "passphrase"), "beside\n", 0o600)
	source := passphraseSource{DataDir: dir, Credentials: credentials}
	for _, step := range []struct {
		want string
		do   func()
	}{
		{"beside", func() {}},
		{"credential", func() {
			writeText(t, filepath.Join(credentials, "mayfly-passphrase"), "credential\r\n", 0o400)
		}},
		{"by file", func() { source.File = writeText(t, filepath.Join(t.TempDir(), "p"), "by file", 0o444) }},
	} {
		step.do()
		if got, err := source.read(); err != nil || string(got) != step.want {
			t.Errorf("got %q, %v; want %q", got, err, step.want)
		}
	}
}

// never #32: a CA whose passphrase is missing does not start, and gets no new one.
func TestPassphraseRefusals(t *testing.T) {
	for name, tc := range map[string]struct {
		source func(dir string) passphraseSource
		want   string
	}{
		"missing, but there is a CA": {func(dir string) passphraseSource {
			return passphraseSource{DataDir: dir, HasCA: true}
		}, "set MAYFLY_PASSPHRASE_FILE"},
		"named file is missing": {func(dir string) passphraseSource {
			return passphraseSource{DataDir: dir, File: filepath.Join(dir, "gone")}
		}, "no such file"},
		"empty": {func(dir string) passphraseSource {
			return passphraseSource{DataDir: dir, File: writeText(t, filepath.Join(dir, "p"), "\n", 0o600)}
		}, "is empty"},
		"readable by others": {func(dir string) passphraseSource {
			writeText(t, filepath.Join(dir, "passphrase"), "x\n", 0o644)
			return passphraseSource{DataDir: dir}
		}, "chmod 600"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := tc.source(dir).read()
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %s", err, tc.want)
			}
			if _, err := os.Stat(filepath.Join(dir, "passphrase")); err == nil && tc.want != "chmod 600" {
				t.Error("a passphrase was made")
			}
		})
	}
}

func TestDataDir(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "a", "b")
	if err := prepareDataDir(dir); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	file := writeText(t, filepath.Join(base, "file"), "", 0o600)
	if err := prepareDataDir(file); err == nil || !strings.Contains(err.Error(), "is a file") {
		t.Errorf("a file as data directory: %v", err)
	}
	if has, err := hasKeys(dir); has || err != nil {
		t.Errorf("an empty data directory has keys: %v, %v", has, err)
	}
	if err := os.Mkdir(filepath.Join(dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	writeText(t, filepath.Join(dir, "keys", "root.pem"), "x", 0o600)
	if has, err := hasKeys(dir); !has || err != nil {
		t.Errorf("keys are overlooked: %v, %v", has, err)
	}
}
