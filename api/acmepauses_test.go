package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/store/storetest"
)

const pauses = "/api/v1/acme/pauses"

// pause pauses a name at once.
func (s *server) pause(t testing.TB, account, name string) {
	t.Helper()
	rule := acmeserver.PauseRule{Failures: 1, Gap: time.Hour}
	_, err := s.store.AddFailure(t.Context(), account, name, s.clock.Now(), rule)
	if err == nil {
		_, err = s.store.AddFailure(t.Context(), account, name, s.clock.Now(), rule)
	}
	if err != nil {
		t.Fatal(err)
	}
}

type pausePage struct {
	Items []struct {
		Account, Name  string
		Failures       int
		FirstFailureAt time.Time `json:"first_failure_at"`
		LastFailureAt  time.Time `json:"last_failure_at"`
		PausedAt       time.Time `json:"paused_at"`
	}
	Next string
}

// Pauses are listed page by page, and lifted by account, by name, or all at once.
func TestPauses(t *testing.T) {
	s := newServer(t)
	account, other := strings.Repeat("A", 26), strings.Repeat("B", 26)
	var empty pausePage
	s.call(t, "GET", pauses, "").read(http.StatusOK, &empty)
	if empty.Items == nil || len(empty.Items) != 0 {
		t.Errorf("no pauses are %+v", empty)
	}
	longest := strings.Repeat("a23456789.", 25) + "abc"
	want := []string{account + " x.internal", other + " x.internal", account + " 2001:db8::1", account + " " + longest}
	for _, of := range want {
		a, name, _ := strings.Cut(of, " ")
		s.pause(t, a, name)
		s.clock.Advance(time.Second)
	}
	var got []string
	for cursor, more := "", true; more; {
		var page pausePage
		s.call(t, "GET", pauses+"?limit=1&cursor="+cursor, "").read(http.StatusOK, &page)
		for _, p := range page.Items {
			got = append([]string{p.Account + " " + p.Name}, got...)
			if p.Failures != 1 || p.PausedAt.IsZero() || !p.PausedAt.Equal(p.LastFailureAt) || p.FirstFailureAt.IsZero() {
				t.Errorf("a pause is %+v", p)
			}
		}
		cursor, more = page.Next, page.Next != ""
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("listed are %q", got)
	}
	var of pausePage
	s.call(t, "GET", pauses+"?account="+other, "").read(http.StatusOK, &of)
	if len(of.Items) != 1 || of.Items[0].Account != other {
		t.Errorf("of one account there are %+v", of)
	}
	for _, test := range []struct {
		body string
		want int
	}{
		{`{"account":"` + account + `","name":"y.internal"}`, 0},
		{`{"account":"` + account + `","name":"x.internal"}`, 1},
		{`{"account":"` + account + `"}`, 2},
		{`{"name":"x.internal"}`, 1},
		{`{}`, 0},
	} {
		var lifted struct{ Unpaused int }
		s.call(t, "POST", pauses+"/unpause", test.body).read(http.StatusOK, &lifted)
		if lifted.Unpaused != test.want {
			t.Errorf("%s lifts %d", test.body, lifted.Unpaused)
		}
	}
	if n := storetest.CountEntries(t, s.store, audit.NameUnpaused); n != 3 {
		t.Errorf("%d entries tell of it", n)
	}
	for _, bad := range []string{`{"account":"\u0000"}`, `{"name":"a\nb"}`, `{"names":[]}`, `[]`} {
		s.call(t, "POST", pauses+"/unpause", bad).problem(http.StatusUnprocessableEntity)
	}
	for _, query := range []string{"?cursor=x", "?cursor=MC4A", "?limit=0", "?name=x"} {
		s.call(t, "GET", pauses+query, "").problem(http.StatusUnprocessableEntity)
	}
	s.call(t, "GET", pauses+"?account=%00", "").read(http.StatusOK, &of)
	if len(of.Items) != 0 {
		t.Errorf("of no account there are %+v", of)
	}
}
