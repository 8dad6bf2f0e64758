package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

// names lists the first name of each certificate that a query finds.
func names(t testing.TB, s *store.Store, q ca.Query, now time.Time) []string {
	t.Helper()
	found, err := s.Certificates(t.Context(), q, now)
	must(t, err)
	var names []string
	for _, c := range found {
		names = append(names, c.Names[0].Value)
	}
	slices.Sort(names)
	return names
}

func TestSearchByName(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		for _, name := range []string{
			"internal", "a.internal", "b.a.internal", "xinternal", "*.internal", "a.internal.b",
			"a-internal", "a.example", "10.0.0.1",
		} {
			must(t, s.Promise(t.Context(), promise(t, "", name, "second."+name, "second."+name)))
		}
		for _, test := range []struct {
			query ca.Query
			want  []string
		}{
			{ca.Query{Name: "a.internal"}, []string{"a.internal"}},
			{ca.Query{Name: "10.0.0.1"}, []string{"10.0.0.1"}},
			{ca.Query{Name: "second.a.internal"}, []string{"a.internal"}},
			{ca.Query{Name: "%.internal"}, nil},
			{ca.Query{Suffix: "a.internal"}, []string{"a.internal", "b.a.internal"}},
			{
				ca.Query{Suffix: "internal"},
				[]string{"*.internal", "a.internal", "b.a.internal", "internal"},
			},
			{ca.Query{Suffix: ".a.internal"}, []string{"a.internal", "b.a.internal"}},
			{ca.Query{Suffix: ".b.a.internal"}, []string{"b.a.internal"}}, // by its second name
			{ca.Query{Suffix: "b.a.internal", Name: "a.internal"}, nil},
		} {
			if got := names(t, s, test.query, noon); !slices.Equal(got, test.want) {
				t.Errorf("%+v: got %q, want %q", test.query, got, test.want)
			}
		}
	})
}

// The status that a list selects by is the one that its rows say of themselves, at every instant.
func TestStatusAgreesWithStatusAt(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		end := noon.Add(time.Hour)
		for i, lifetime := range []time.Duration{0, time.Microsecond, time.Second, 24 * time.Hour} {
			for _, state := range []string{"promised", "issued", "void", "revoked"} {
				p := promise(t, "", fmt.Sprintf("%s-%d", state, i))
				p.NotAfter = end.Add(lifetime)
				must(t, s.Promise(ctx, p))
				switch state {
				case "void":
					must(t, s.Void(ctx, p.Serial, noon))
				case "issued", "revoked":
					must(t, s.Record(ctx, p.Serial, []byte("x"), noon))
				}
				if state == "revoked" {
					must(t, s.Revoke(ctx, p.Serial, ca.Revocation{At: noon, Reason: 4}))
				}
			}
		}
		all, err := s.Certificates(ctx, ca.Query{}, noon)
		must(t, err)
		if len(all) != 16 {
			t.Fatalf("got %d rows, want 16", len(all))
		}
		for _, d := range []time.Duration{-1, 0, 1, 999, 1000, 1001, 1e9, 1e9 + 1, 25 * 36e11} {
			now := end.Add(d) // never #22: not at the precision of the column
			for _, status := range []ca.Status{
				ca.StatusPending, ca.StatusValid, ca.StatusRevoked, ca.StatusExpired,
			} {
				var want []string
				for _, c := range all {
					if c.StatusAt(now) == status {
						want = append(want, c.Names[0].Value)
					}
				}
				slices.Sort(want)
				if got := names(t, s, ca.Query{Status: status}, now); !slices.Equal(got, want) {
					t.Errorf("%s %v after the end: got %q, want %q", status, d, got, want)
				}
			}
		}
		if _, err := s.Certificates(ctx, ca.Query{Status: "odd"}, noon); err == nil {
			t.Error("an unknown status was accepted")
		}
	})
}

func TestFilters(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		p := promise(t, "", "a")
		p.Profile, p.Owner = "client", "them"
		q := promise(t, "", "b")
		q.NotAfter = q.NotAfter.Add(time.Hour)
		must(t, s.Promise(t.Context(), p))
		must(t, s.Promise(t.Context(), q))
		for _, test := range []struct {
			query ca.Query
			want  []string
		}{
			{ca.Query{Profile: "client"}, []string{"a"}},
			{ca.Query{Profile: "server"}, []string{"b"}},
			{ca.Query{Owner: "them", Profile: "client"}, []string{"a"}},
			{ca.Query{Owner: "them", Profile: "server"}, nil},
			{ca.Query{ExpiresBefore: p.NotAfter}, nil},
			{ca.Query{ExpiresBefore: p.NotAfter.Add(1)}, []string{"a"}},
			{ca.Query{ExpiresBefore: q.NotAfter.Add(time.Second)}, []string{"a", "b"}},
		} {
			if got := names(t, s, test.query, noon); !slices.Equal(got, test.want) {
				t.Errorf("%+v: got %q, want %q", test.query, got, test.want)
			}
		}
	})
}

// A reader who pages sees every certificate that was there when it began, once, newest first.
func TestPagingWhileOthersWrite(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		want := make(map[ca.Serial]bool)
		for i := range 100 {
			p := promise(t, "")
			p.PromisedAt = noon.Add(time.Duration(i/10) * time.Microsecond) // ten at a time
			must(t, s.Promise(ctx, p))
			want[p.Serial] = true
		}
		q := ca.Query{Limit: 7}
		last := time.Time{}
		for {
			page, err := s.Certificates(ctx, q, noon)
			must(t, err)
			if len(page) == 0 {
				break
			}
			for _, c := range page {
				if !want[c.Serial] {
					t.Fatalf("%s came twice, or is too young", c.Serial)
				}
				delete(want, c.Serial)
				if !last.IsZero() && c.PromisedAt.After(last) {
					t.Fatalf("%v comes after %v", c.PromisedAt, last)
				}
				last = c.PromisedAt
			}
			end := page[len(page)-1]
			q.After = &ca.Position{PromisedAt: end.PromisedAt, Serial: end.Serial}
			young := promise(t, "")
			young.PromisedAt = noon.Add(time.Second)
			must(t, s.Promise(ctx, young))
		}
		if len(want) > 0 {
			t.Errorf("%d certificates were never shown", len(want))
		}
	})
}
