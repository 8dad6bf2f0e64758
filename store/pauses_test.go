package store_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

var threeInAnHour = acmeserver.PauseRule{Failures: 3, Span: time.Hour, Gap: 2 * time.Hour}

// fails adds a failure some minutes after noon.
func fails(t testing.TB, s *store.Store, account, name string, minute int) (paused bool) {
	t.Helper()
	at := noon.Add(time.Duration(minute) * time.Minute)
	paused, err := s.AddFailure(t.Context(), account, name, at, threeInAnHour,
		audit.New(at, audit.NamePaused, "acme/account/"+account, account, nil))
	must(t, err)
	return paused
}

func pauses(t testing.TB, s *store.Store, account string, after acmeserver.Streak, limit int) (names []string) {
	t.Helper()
	found, err := s.ListPauses(t.Context(), account, after, limit)
	must(t, err)
	for _, streak := range found {
		names = append(names, streak.Account+" "+streak.Name)
	}
	return names
}

// A streak becomes a pause when it has both lasted and come to enough failures.
func TestAddFailure(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		for _, test := range []struct {
			name   string
			at     []int // minutes
			paused int   // at which of them; -1 for none
		}{
			{"steady", []int{0, 30, 60}, 2},
			{"too few", []int{0, 90}, -1},
			{"too quick", []int{0, 1, 2, 3, 59}, -1},
			{"in the end", []int{0, 1, 2, 3, 59, 60}, 5},
			{"gap", []int{0, 30, 151, 152, 210}, -1},
			{"gap, and again", []int{0, 30, 151, 152, 210, 211}, 5},
			{"no gap", []int{0, 30, 150}, 2},
			{"paused stays so", []int{0, 30, 60, 61, 999}, 2},
		} {
			var last int
			for i, minute := range test.at {
				if got := fails(t, s, "a", test.name, minute); got != (i == test.paused) {
					t.Errorf("%s: at failure %d, paused is %v", test.name, i, got)
				}
				if test.paused < 0 || i <= test.paused {
					last = minute
				}
			}
			found, err := s.Paused(t.Context(), "a", []string{"other", test.name})
			must(t, err)
			if test.paused < 0 {
				if len(found) != 0 {
					t.Errorf("%s: paused is %+v", test.name, found)
				}
				continue
			}
			at := noon.Add(time.Duration(last) * time.Minute)
			if len(found) != 1 || !found[0].PausedAt.Equal(at) || !found[0].LastAt.Equal(at) ||
				found[0].FirstAt.Before(noon) || found[0].Failures < 3 || found[0].Name != test.name {
				t.Errorf("%s: paused is %+v", test.name, found)
			}
		}
		n, err := s.CountPauses(t.Context())
		must(t, err)
		if entries := storetest.Entries(t, s); n != 5 || len(entries) != n {
			t.Errorf("%d are paused, with %d entries", n, len(entries))
		}
	})
}

// Failures that are counted at the same moment, by several processes say, are all counted.
func TestFailuresAtOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		rule := acmeserver.PauseRule{Failures: 21, Gap: time.Hour}
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				paused, err := s.AddFailure(t.Context(), "a", "x", noon, rule)
				if err != nil || paused {
					t.Errorf("paused is %v: %v", paused, err)
				}
			})
		}
		all.Wait()
		if paused, err := s.AddFailure(t.Context(), "a", "x", noon, rule); err != nil || !paused {
			t.Errorf("after the last of them, paused is %v: %v", paused, err)
		}
	})
}

func TestStreakOfAccount(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		a, _, err := s.CreateAccount(ctx, account("key a"))
		must(t, err)
		b, _, err := s.CreateAccount(ctx, account("key b"))
		must(t, err)
		fails(t, s, a.ID, "x", 0)
		a.Failing = true
		wantAccount(t, s, a)
		wantAccount(t, s, b)
		must(t, s.EndStreak(ctx, b.ID, "x"))
		must(t, s.EndStreak(ctx, a.ID, "y"))
		wantAccount(t, s, a)
		must(t, s.EndStreak(ctx, a.ID, "x"))
		a.Failing = false
		wantAccount(t, s, a)
		// A new streak begins at its first failure.
		if fails(t, s, a.ID, "x", 60) || fails(t, s, a.ID, "x", 61) || fails(t, s, a.ID, "x", 62) {
			t.Error("failures before the success still count")
		}
	})
}

func TestUnpause(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		for i, of := range [][2]string{{"a", "x"}, {"a", "y"}, {"b", "x"}, {"a", "z"}} {
			for _, minute := range []int{0, 30, 60 + i} {
				fails(t, s, of[0], of[1], minute)
			}
		}
		fails(t, s, "a", "new", 0)
		if diff := cmp.Diff([]string{"a z", "b x", "a y", "a x"}, pauses(t, s, "", acmeserver.Streak{}, 10)); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"a z", "a y"}, pauses(t, s, "a", acmeserver.Streak{}, 2)); diff != "" {
			t.Error(diff)
		}
		page, err := s.ListPauses(ctx, "", acmeserver.Streak{}, 2)
		must(t, err)
		if diff := cmp.Diff([]string{"a y", "a x"}, pauses(t, s, "", page[1], 10)); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{"a x"}, pauses(t, s, "a", page[1], 10)[1:]); diff != "" {
			t.Error(diff)
		}
		before := len(storetest.Entries(t, s))
		for _, test := range []struct {
			account, name string
			want          int
		}{{"a", "new", 0}, {"c", "", 0}, {"a", "x", 1}, {"a", "x", 0}, {"a", "", 2}, {"a", "", 0}, {"", "y", 0}, {"", "x", 1}, {"", "", 0}} {
			entry := audit.New(noon, audit.NameUnpaused, "ops", test.account, nil)
			n, err := s.Unpause(ctx, test.account, test.name, entry)
			must(t, err)
			kept := slices.ContainsFunc(storetest.Entries(t, s), func(e audit.Entry) bool { return e.ID == entry.ID })
			if n != test.want || kept != (n > 0) {
				t.Errorf("%v: %d were ended, entry kept %v", test, n, kept)
			}
		}
		if n := len(storetest.Entries(t, s)); n != before+3 {
			t.Errorf("%d entries were kept", n-before)
		}
	})
}

func TestCleanStreaks(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		for _, name := range []string{"x", "y", "z"} {
			fails(t, s, "a", name, 0)
		}
		fails(t, s, "a", "later", 10)
		for _, minute := range []int{0, 30, 60} {
			fails(t, s, "b", "paused", minute)
		}
		clean := func(minute, limit, want int) {
			t.Helper()
			at := noon.Add(time.Duration(minute) * time.Minute)
			n, err := s.CleanStreaks(t.Context(), at, at, limit)
			must(t, err)
			if n != want {
				t.Errorf("%d were forgotten, not %d", n, want)
			}
		}
		clean(0, 10, 0)
		clean(5, 2, 2)
		clean(5, 2, 1)
		clean(60, 10, 1)
		if len(pauses(t, s, "", acmeserver.Streak{}, 10)) != 1 {
			t.Error("a pause was forgotten early")
		}
		clean(61, 10, 1)
		if len(pauses(t, s, "", acmeserver.Streak{}, 10)) != 0 {
			t.Error("a pause is kept for ever")
		}
	})
}
