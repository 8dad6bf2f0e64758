package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mayflyca/mayfly/ca/catest"
)

type page struct {
	Items []certificate
	Next  string
}

func TestListPages(t *testing.T) {
	s := newServer(t)
	var want []string
	for i := range 7 {
		s.clock.Advance(time.Second)
		want = append(want, s.issue(t, fmt.Sprintf("n%d.internal", i)).Serial)
	}
	slices.Reverse(want) // newest first
	for _, limit := range []int{1, 2, 3, 6, 7, 8} {
		var got []string
		next := fmt.Sprintf("%s?suffix=internal&limit=%d", certificates, limit)
		for range 10 {
			var p page
			w := s.call(t, "GET", next, "")
			w.read(http.StatusOK, &p)
			for _, c := range p.Items {
				got = append(got, c.Serial)
			}
			link := w.Header().Get("Link")
			if (link == "") != (p.Next == "") || len(p.Items) > limit {
				t.Fatalf("%d items, next %q, link %q", len(p.Items), p.Next, link)
			}
			if link == "" {
				break
			}
			if next = strings.TrimSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`); !strings.HasPrefix(next, "/") {
				t.Fatalf("link %q", link)
			}
			if u, err := url.Parse(next); err != nil || u.Query().Get("cursor") != p.Next || u.Query().Get("suffix") != "internal" {
				t.Fatalf("link %q, next %q: %v", link, p.Next, err)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("limit %d: %v, want %v", limit, got, want)
		}
	}
	var p page
	s.call(t, "GET", certificates+"?name=unknown", "").read(http.StatusOK, &p)
	if text := s.call(t, "GET", certificates+"?name=unknown", "").Body.String(); strings.TrimSpace(text) != `{"items":[]}` {
		t.Errorf("an empty list is %s", text)
	}
}

func TestListFilters(t *testing.T) {
	s := newServer(t)
	s.issue(t, "a.internal")
	s.clock.Advance(time.Second)
	revoked := s.issue(t, "b.a.internal", "10.0.0.1")
	s.clock.Advance(time.Second)
	s.call(t, "POST", certificates+"/"+revoked.Serial+"/revoke", `{"reason":"superseded"}`).read(200, &certificate{})
	s.call(t, "POST", certificates, body(t, map[string]string{
		"csr": csrPEM(catest.CSR(t, catest.Key(t), "c.example")), "profile": "client",
	})).read(201, &certificate{})
	s.clock.Advance(12*time.Hour - 2*time.Second)
	s.issue(t, "d.example")
	for query, want := range map[string]string{
		"":                                    "d.example c.example b.a.internal a.internal",
		"name=a.internal":                     "a.internal",
		"name=A.INTERNAL":                     "a.internal",
		"name=10.0.0.1":                       "b.a.internal",
		"name=spiffe://x.internal/y":          "",
		"name=a@internal":                     "",
		"suffix=internal":                     "b.a.internal a.internal",
		"suffix=a.internal":                   "b.a.internal a.internal",
		"suffix=.a.internal":                  "b.a.internal",
		"status=valid":                        "d.example c.example a.internal",
		"status=revoked":                      "b.a.internal",
		"status=expired":                      "",
		"status=pending":                      "",
		"profile=client":                      "c.example",
		"profile=nothing":                     "",
		"owner=ops":                           "d.example c.example b.a.internal a.internal",
		"owner=nobody":                        "",
		"suffix=internal&status=valid":        "a.internal",
		"expires_before=2026-11-25T12:00:00Z": "c.example b.a.internal a.internal",
		"expires_before=2026-11-25T13:00:00%2B01:00": "c.example b.a.internal a.internal",
		"expires_before=2026-11-25T10:59:59Z":        "",
	} {
		var p page
		w := s.call(t, "GET", certificates+"?"+query, "")
		w.read(http.StatusOK, &p)
		var got []string
		for _, c := range p.Items {
			got = append(got, c.Names[0])
			if c.Certificate != "" || c.Chain != "" || c.SHA256 == "" {
				t.Errorf("%q: an item is %+v", query, c)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %v, want %s", query, got, want)
		}
	}
}

// never #13: whatever the spelling, it is the same certificate.
func TestSerialSpellings(t *testing.T) {
	s := newServer(t)
	issued := s.issue(t, "a.internal")
	var pairs []string
	for i := 0; i < len(issued.Serial); i += 2 {
		pairs = append(pairs, issued.Serial[i:i+2])
	}
	for _, text := range []string{
		issued.Serial, strings.ToUpper(issued.Serial), strings.Join(pairs, ":"), strings.Join(pairs, "%20"),
		strings.Join(pairs, "%3A"), "0x" + issued.Serial, "0X" + issued.Serial, "0000" + issued.Serial,
	} {
		var got certificate
		s.call(t, "GET", certificates+"/"+text, "").read(http.StatusOK, &got)
		if !equal(t, got, issued) {
			t.Errorf("%s: %+v, want %+v", text, got, issued)
		}
		w := s.call(t, "GET", certificates+"/"+text+".pem", "")
		if w.Code != http.StatusOK || w.Body.String() != issued.Certificate+issued.Chain ||
			w.Header().Get("Content-Type") != "application/pem-certificate-chain" {
			t.Errorf("%s.pem: %d %v %s", text, w.Code, w.Header(), w.Body)
		}
	}
}

func equal(t *testing.T, a, b certificate) bool {
	t.Helper()
	left, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	right, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(left) == string(right)
}

func TestRevoke(t *testing.T) {
	s := newServer(t)
	issued, kept, plain := s.issue(t, "a.internal"), s.issue(t, "a.internal"), s.issue(t, "b.internal")
	s.clock.Advance(time.Minute)
	get := func(serial string) (found certificate) {
		s.call(t, "GET", certificates+"/"+serial, "").read(200, &found)
		return found
	}
	var got, plainly certificate
	s.call(t, "POST", certificates+"/"+issued.Serial+"/revoke", `{"reason":"keyCompromise"}`).read(200, &got)
	found := get(issued.Serial)
	want := issued
	at := s.clock.Now()
	want.Status, want.RevokedAt, want.RevocationReason = "revoked", &at, "keyCompromise"
	if !equal(t, got, want) || !equal(t, found, want) {
		t.Errorf("revoked: %+v\nfound: %+v\nwant: %+v", got, found, want)
	}
	if found := get(kept.Serial); !equal(t, found, kept) {
		t.Errorf("another was touched: %+v", found)
	}
	p := s.call(t, "POST", certificates+"/"+issued.Serial+"/revoke", `{"reason":"superseded"}`).problem(409)
	if !strings.Contains(p.Detail, "revoked already") {
		t.Error(p.Detail)
	}
	s.call(t, "POST", certificates+"/"+plain.Serial+"/revoke", `{}`).read(200, &plainly)
	if plainly.RevocationReason != "unspecified" {
		t.Errorf("without a reason: %q", plainly.RevocationReason)
	}
	s.clock.Advance(24 * time.Hour)
	s.call(t, "POST", certificates+"/"+kept.Serial+"/revoke", `{}`).problem(409)
	if found := get(kept.Serial); found.Status != "expired" {
		t.Errorf("status %q", found.Status)
	}
}

// BenchmarkIssue tells what one certificate costs through the handler, store and all; CPU-µs/op is
// user and system time of the whole process, the making of requests excluded.
func BenchmarkIssue(b *testing.B) {
	for _, clients := range []int{1, 16} {
		b.Run(fmt.Sprintf("%d clients", clients), func(b *testing.B) {
			s := newServer(b)
			sent := make([]string, 64)
			for i := range sent {
				sent[i] = csrBody(b, fmt.Sprintf("n%d.internal", i))
			}
			work := make(chan string)
			done := make(chan struct{})
			for range clients {
				go func() {
					for body := range work {
						if w := s.call(b, "POST", certificates, body); w.Code != http.StatusCreated {
							b.Errorf("%d %s", w.Code, w.Body)
						}
					}
					done <- struct{}{}
				}()
			}
			runtime.GC()
			before := cpuTime(b)
			b.ResetTimer()
			for i := range b.N {
				work <- sent[i%len(sent)]
			}
			close(work)
			for range clients {
				<-done
			}
			b.StopTimer()
			b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N), "CPU-µs/op")
		})
	}
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
