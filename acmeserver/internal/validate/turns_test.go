package validate_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mayflyca/mayfly/acmeserver/internal/validate"
)

func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := validate.NewTurns()
		enter := func(ctx context.Context, key string) func() {
			leave, err := turns.Enter(ctx, key)
			if err != nil {
				t.Errorf("%s: %v", key, err)
				return func() {}
			}
			return leave
		}
		var inside []func()
		for range validate.MaxAtOnce {
			inside = append(inside, enter(t.Context(), "a"))
		}
		enter(t.Context(), "b")() // another target is not concerned

		// Who waits gets in, in the order of coming, one for each who leaves.
		var order []int
		for i := range validate.MaxQueue {
			go func() {
				leave := enter(t.Context(), "a")
				order = append(order, i)
				leave()
			}()
			synctest.Wait()
		}
		if _, err := turns.Enter(t.Context(), "a"); err == nil {
			t.Error("the queue has no end")
		}
		if len(order) > 0 {
			t.Fatalf("%d got in beside the others", len(order))
		}
		inside[0]()
		inside[0]() // leaving twice is leaving once
		synctest.Wait()
		if len(order) != validate.MaxQueue || !slices.IsSorted(order) {
			t.Errorf("got in: %v", order)
		}

		// Waiting ends with the context, and a place in the queue is free again.
		inside[0] = enter(t.Context(), "a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := turns.Enter(ctx, "a"); err == nil || errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		ctx, cancel = context.WithCancel(t.Context())
		cancel()
		if _, err := turns.Enter(ctx, "a"); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		for _, leave := range inside {
			leave()
		}
		if n := turns.Busy(); n != 0 {
			t.Errorf("%d targets are remembered", n)
		}
	})
}

// never #6: only so many of us at one name, or at one address by whatever name.
func TestBoundedConcurrency(t *testing.T) {
	var records []string
	for i := range validate.MaxAtOnce + 1 {
		records = append(records, fmt.Sprintf("n%d.test. A 127.0.0.1", i))
	}
	server := startDNS(t, zone(t, append(records, "other.test. A 127.0.0.2")...))
	for _, oneName := range []bool{true, false} {
		arrived, release := make(chan struct{}, 100), make(chan struct{})
		port := serveHTTP(t, "127.0.0.1:0", func(w http.ResponseWriter, r *http.Request) {
			arrived <- struct{}{}
			<-release
			serveKey(w, r)
		})
		serveHTTP(t, fmt.Sprintf("127.0.0.2:%d", port), serveKey)
		v := newValidator(t, validate.Config{
			Resolvers: []string{server.addr}, HTTP01Port: port, AllowLoopback: true,
		})
		name := func(i int) string {
			if oneName {
				i = 0
			}
			return fmt.Sprintf("n%d.test", i)
		}
		var all sync.WaitGroup
		for i := range validate.MaxAtOnce {
			all.Go(func() {
				if r := v.Check(t.Context(), challenge("http-01", name(i))); !r.OK {
					t.Errorf("%s: %s", name(i), r.Detail)
				}
			})
			<-arrived
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		next := challenge("http-01", name(validate.MaxAtOnce))
		if oneName {
			next.Type = validate.DNS01 // which dials nothing
		}
		r := v.Check(ctx, next)
		cancel()
		wantProblem(t, r, "connection", "too many other validations")
		wantOK(t, check(t, v, challenge("http-01", "other.test")))
		close(release)
		all.Wait()
		wantOK(t, check(t, v, challenge("http-01", name(validate.MaxAtOnce))))
		if n := v.Busy(); n != 0 {
			t.Errorf("%d targets are remembered", n)
		}
	}
}
