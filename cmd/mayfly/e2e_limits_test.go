package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/store"
)

// Limits are on unless they are switched off, and an override holds; a pause is seen and lifted from
// the command line.
func TestLimitsAndPauses(t *testing.T) {
	t.Parallel()
	s := newServer(t, "")
	s.env = append(s.env, "MAYFLY_ACME_RATE_LIMITS=on",
		"MAYFLY_ACME_RATE_LIMIT_OVERRIDES=orders_per_account=*=5/1h, requests_per_address=127.0.0.1=3/1h")
	db, err := store.Open(t.Context(), store.Config{DataDir: s.data(), Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	account := strings.Repeat("A", 26)
	for _, name := range []string{"a.test", "b.test", "c.test"} {
		rule := acmeserver.PauseRule{Failures: 1, Gap: time.Hour}
		if _, err := db.AddFailure(t.Context(), account, name, time.Now(), rule); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s.start(t)

	if out := s.must(t, "acme", "pauses"); strings.Count(out, account) != 3 {
		t.Errorf("pauses says %s", out)
	}
	if out := s.must(t, "acme", "unpause", account, "a.test"); !strings.Contains(out, "1") {
		t.Errorf("unpause says %s", out)
	}
	if out, err := s.mayfly(t, "acme", "unpause"); err == nil || !strings.Contains(out, "--all") {
		t.Errorf("unpause without anything: %v, %s", err, out)
	}
	if out := s.must(t, "acme", "unpause", "--all"); !strings.Contains(out, "2") {
		t.Errorf("unpause says %s", out)
	}
	var page struct{ Items []struct{ Name string } }
	if err := json.Unmarshal([]byte(s.must(t, "acme", "pauses", "--json")), &page); err != nil || len(page.Items) != 0 {
		t.Errorf("there are %v left: %v", page.Items, err)
	}

	var last *http.Response
	for range 10 {
		if last, err = s.client.Get(s.url + "/acme/directory"); err != nil {
			t.Fatal(err)
		}
		if last.StatusCode != http.StatusOK {
			break
		}
		last.Body.Close()
	}
	body, err := io.ReadAll(last.Body)
	last.Body.Close()
	if last.StatusCode != http.StatusTooManyRequests || last.Header.Get("Retry-After") == "" ||
		!strings.Contains(string(body), "requests from 127.0.0.1: at most 3 in 1h") {
		t.Errorf("the door says %d %s, %v", last.StatusCode, body, err)
	}
	metrics, err := get(http.DefaultClient, s.metrics+"/metrics")
	if want := `mayfly_acme_rate_limited_total{limit="requests_per_address"}`; err != nil ||
		!strings.Contains(fmt.Sprint(string(metrics)), want) {
		t.Errorf("the metrics lack %s: %v", want, err)
	}
}

// An override that makes no sense keeps the program from starting, also while limits are off.
func TestBadLimitOverride(t *testing.T) {
	t.Parallel()
	s := newServer(t, "")
	s.env = append(s.env, "MAYFLY_ACME_RATE_LIMIT_OVERRIDES=orders=*=5/1h")
	s.launch(t)
	select {
	case <-s.exited:
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
	if text := s.stderr.String(); s.cmd.ProcessState.ExitCode() != 1 ||
		!strings.Contains(text, "acme.rate_limit_overrides") || !strings.Contains(text, "orders_per_account") {
		t.Errorf("it says %s", text)
	}
}
