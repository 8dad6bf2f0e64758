package main_test

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"testing"

	"github.com/mayflyca/mayfly/config"
)

// Every line of the example configuration is one that the program accepts, and no key is left out.
func TestExampleConfiguration(t *testing.T) {
	example, err := os.ReadFile(filepath.Join("..", "..", "deploy", "mayfly.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	live := regexp.MustCompile(`(?m)^# ( *[a-z0-9_]+:)`).ReplaceAll(example, []byte("$1"))
	file := filepath.Join(t.TempDir(), "mayfly.yaml")
	if err := os.WriteFile(file, live, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Source{File: file})
	if err != nil {
		t.Fatal(err)
	}
	// The example's values of these are the zero ones.
	c.ACME.EABRequired, c.ACME.CAA, c.Log.Level = true, true, 1
	wantNoZero(t, "config", reflect.ValueOf(c))
}

func wantNoZero(t *testing.T, name string, v reflect.Value) {
	t.Helper()
	if v.Kind() != reflect.Struct {
		if v.IsZero() {
			t.Errorf("%s is not in the example", name)
		}
		return
	}
	for i := range v.NumField() {
		wantNoZero(t, name+"."+v.Type().Field(i).Name, v.Field(i))
	}
}
