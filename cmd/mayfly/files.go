package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// prepareDataDir makes the data directory, readable by us alone, and finds out now whether it can
// be written to.
func prepareDataDir(dir string) error {
	const advice = "choose another with --data-dir, MAYFLY_DATA_DIR or data_dir"
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return fmt.Errorf("the data directory %s is a file: %s", dir, advice)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the data directory: %w: %s", err, advice)
	}
	probe, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return fmt.Errorf("the data directory cannot be written to: %w: %s", err, advice)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

func keyDir(dataDir string) string { return filepath.Join(dataDir, "keys") }

// hasKeys tells whether a CA left keys in the data directory.
func hasKeys(dataDir string) (bool, error) {
	entries, err := os.ReadDir(keyDir(dataDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("looking for the CA's keys: %w", err)
	}
	return len(entries) > 0, nil
}

// createFile makes a file of mode 0600 and never replaces one: then it is fs.ErrExist.
func createFile(path string, text []byte) error {
	return placeFile(path, text, 0o600, os.Link)
}

// replaceFile makes a file, or takes the place of an old one.
func replaceFile(path string, text []byte, mode fs.FileMode) error {
	return placeFile(path, text, mode, os.Rename)
}

// placeFile puts text at path whole or not at all, durable on return.
func placeFile(
	path string, text []byte, mode fs.FileMode, place func(temp, path string) error,
) error {
	temp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(text)
	if err := errors.Join(err, temp.Chmod(mode), temp.Sync(), temp.Close()); err != nil {
		return err
	}
	if err := place(temp.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
