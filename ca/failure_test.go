package ca_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/ca/catest"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

// never #11, never #33: each write of the road fails, or fails although it was kept, once or for
// good. After a restart no certificate was answered without a record, none is recorded twice, and
// the request can be tried again.
func TestFailureTable(t *testing.T) {
	away := fault.Wrap(fault.Unavailable, errors.New("power cut"), "the database cannot be used")
	for _, method := range []string{"Promise", "Record", "Log"} {
		for _, kept := range []bool{false, true} {
			for _, times := range []int{1, 1000} {
				name := fmt.Sprintf("%s/kept=%v/times=%d", method, kept, times)
				t.Run(name, func(t *testing.T) {
					storetest.Each(t, func(t *testing.T, s *store.Store) {
						left := times
						failOnce(t, s, func(called string) (before, after error) {
							if called != method || left == 0 {
								return nil, nil
							}
							left--
							if kept {
								return nil, away
							}
							return away, nil
						})
					})
				})
			}
		}
	}
}

func failOnce(t *testing.T, s *store.Store, failing func(method string) (before, after error)) {
	ctx := t.Context()
	config := catest.Config(t, s)
	config.Alone = true
	req := request(t, "api/1", "a.internal")
	refused := request(t, "api/2", "b.internal")
	refused.Profile = "none such"

	config.Store = &storetest.Faulty{Store: s, Fault: failing}
	c := catest.Open(t, config)
	answered, err := c.Issue(ctx, req)
	if err != nil && !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v, want it to be unavailable", err)
	}
	if _, err := c.Issue(ctx, refused); err == nil {
		t.Error("a request for an unknown profile was granted")
	}

	s = storetest.Reopen(t, s)
	config.Store = s
	c = catest.Open(t, config)
	again, err := c.Issue(ctx, req)
	must(t, err)
	if answered != nil && (answered.Serial != again.Serial || string(answered.DER) != string(again.DER)) {
		t.Errorf("answered %s, and %s after the restart", answered.Serial, again.Serial)
	}
	all, err := s.Certificates(ctx, ca.Query{}, again.NotBefore)
	must(t, err)
	issued := 0
	for _, row := range all {
		switch row.State {
		case ca.Issued:
			issued++
		case ca.Promised:
			t.Errorf("the promise %s is still open", row.Serial)
		case ca.Void:
			if !crlSerials(t, c, &row)[row.Serial] {
				t.Errorf("the void %s is not on its CRL", row.Serial)
			}
		}
	}
	entries := storetest.CountEntries(t, s, audit.Issued)
	if issued != 1 || entries != 1 {
		t.Errorf("%d certificates and %d entries of one issuance", issued, entries)
	}
}

// A database that is away gives a clean error for every deed, and nothing is half-done.
func TestDatabaseAway(t *testing.T) {
	server := storetest.NewServer(t, false)
	s := storetest.Open(t, store.Config{DatabaseURL: server.Database(t), Migrate: true})
	c := catest.New(t, s)
	issued := issue(t, c, request(t, "api/1", "a.internal"))
	server.Stop(t)
	ctx := context.Background()
	_, err := c.Issue(ctx, request(t, "api/2", "b.internal"))
	wantKind(t, "issue", err, fault.Unavailable)
	wantKind(t, "revoke", c.Revoke(ctx, admin, issued.Serial, 0), fault.Unavailable)
	_, err = c.Certificate(ctx, issued.Serial)
	wantKind(t, "fetch", err, fault.Unavailable)
	refused := request(t, "api/3", "b.internal")
	refused.Profile = "none such"
	_, err = c.Issue(ctx, refused)
	wantKind(t, "a refusal off the record", err, fault.Unavailable)
	server.Start(t)
	issue(t, c, request(t, "api/2", "b.internal"))
	found, err := c.Certificate(ctx, issued.Serial)
	must(t, err)
	if string(found.DER) != string(issued.DER) {
		t.Error("the record changed while the database was away")
	}
}
