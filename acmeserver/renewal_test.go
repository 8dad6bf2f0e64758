package acmeserver_test

import (
	"crypto/x509"
	"encoding/asn1"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/ca/catest"
	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

// certIDOf makes a certificate's id from its DER, as a client does (RFC 9773 section 4.1).
func certIDOf(t testing.TB, der []byte) string {
	t.Helper()
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := asn1.Marshal(parsed.SerialNumber)
	if err != nil {
		t.Fatal(err)
	}
	return b64(parsed.AuthorityKeyId) + "." + b64(serial[2:])
}

type renewalInfo struct {
	SuggestedWindow struct{ Start, End time.Time }
	ExplanationURL  string
}

// renewal asks for a certificate's renewal information.
func (h *house) renewal(t testing.TB, id string) (info renewalInfo, retryAfter time.Duration) {
	t.Helper()
	r := h.do("GET", baseURL+"/acme/renewal-info/"+id, "", nil).ok(t, 200)
	seconds, err := strconv.Atoi(r.header.Get("Retry-After"))
	if err != nil {
		t.Errorf("Retry-After is %q", r.header.Get("Retry-After"))
	}
	if got := r.header.Get("Cache-Control"); got != "public, max-age=60" {
		t.Errorf("Cache-Control is %q", got)
	}
	info = decode[renewalInfo](t, r)
	w := info.SuggestedWindow
	// Section 4.2: a window that ends before it starts is invalid. Some clients need two seconds.
	if w.End.Sub(w.Start) < 2*time.Second || w.Start.Nanosecond() != 0 || w.End.Nanosecond() != 0 {
		t.Errorf("the window is %s", r.body)
	}
	return info, time.Duration(seconds) * time.Second
}

// RFC 9773 sections 3 and 4: the window of a certificate in good standing.
func TestRenewalInfo(t *testing.T) {
	h := open(t)
	d := decode[map[string]any](t, h.do("GET", baseURL+"/acme/directory", "", nil))
	if d["renewalInfo"] != baseURL+"/acme/renewal-info" {
		t.Errorf("the directory has renewalInfo %v", d["renewalInfo"])
	}
	c := h.customer(t)
	der, _ := c.issue(newKey(t), "a.example.com")
	id := certIDOf(t, der)
	info, retryAfter := h.renewal(t, id)
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	w := info.SuggestedWindow
	if w.Start.Before(leaf.NotBefore.Add(14*time.Hour)) || w.End.After(leaf.NotBefore.Add(18*time.Hour)) ||
		w.End.Sub(w.Start) != time.Hour || info.ExplanationURL != "" || retryAfter != time.Hour {
		t.Errorf("from %s on: %+v, %s", leaf.NotBefore, info, retryAfter)
	}
	if again, _ := h.renewal(t, id); again != info {
		t.Errorf("asked again, it is %+v, not %+v", again, info)
	}
	page := h.do("GET", baseURL+"/acme/renewal-info/"+id+"/explanation", "", nil).ok(t, 200)
	if !strings.Contains(string(page.body), "Nothing is wrong") {
		t.Errorf("the explanation is %s", page.body)
	}
	if r := h.do("HEAD", baseURL+"/acme/renewal-info/"+id, "", nil); r.status != 200 {
		t.Errorf("HEAD gives %d", r.status)
	}
	r := h.do("POST", baseURL+"/acme/renewal-info/"+id, "", nil)
	if r.refused(t, 405, "malformed"); r.header.Get("Allow") != "GET, HEAD" {
		t.Errorf("Allow is %q", r.header.Get("Allow"))
	}
	h.pass(48 * time.Hour)
	if expired, _ := h.renewal(t, id); expired != info {
		t.Errorf("after its end it is %+v", expired)
	}
}

// A fleet that was issued in one go renews over time, and every replica says the same.
func TestRenewalIsSpread(t *testing.T) {
	issued := time.Now().Truncate(time.Second)
	for _, life := range []time.Duration{24 * time.Hour, 90 * 24 * time.Hour, time.Hour, 30 * time.Second, 10 * time.Second} {
		const fleet, bins = 6000, 6
		var starts [bins]int
		var middle time.Duration
		for i := range fleet {
			c := &ca.Certificate{Promise: ca.Promise{NotBefore: issued, NotAfter: issued.Add(life - time.Second)}}
			c.Serial, _ = ca.SerialFromBytes([]byte{1, byte(i >> 8), byte(i)})
			start, end := acmeserver.PlannedWindow(c)
			if start.Before(issued.Add(life/2)) || end.After(issued.Add(life*4/5)) || end.Sub(start) < 2*time.Second {
				t.Fatalf("%s: the window is %s to %s", life, start.Sub(issued), end.Sub(issued))
			}
			starts[min(max(bins*(start.Sub(issued)-life*7/12)/(life/8), 0), bins-1)]++
			middle += (end.Add(start.Sub(end)/2).Sub(issued) - life*2/3) / fleet
		}
		if middle.Abs() > life/100+time.Second {
			t.Errorf("%s: the middle is %s off", life, middle)
		}
		if life < time.Minute {
			continue // whole seconds
		}
		for _, n := range starts {
			if n < fleet/bins*8/10 || n > fleet/bins*12/10 {
				t.Errorf("%s: of %d, the parts of the time have %v", life, fleet, starts)
				break
			}
		}
	}
}

// The time between two looks is bounded by the life.
func TestRenewalRecheck(t *testing.T) {
	for life, want := range map[time.Duration]time.Duration{
		10 * time.Minute: time.Minute, 24 * time.Hour: time.Hour, 90 * 24 * time.Hour: 6 * time.Hour,
	} {
		s := storetest.SQLite(t)
		config := catest.Config(t, s)
		config.Profiles[0].Lifetime, config.Profiles[0].Backdate = life, 0
		h := houseOf(t, s, catest.Open(t, config), always(proven))
		der, _ := h.customer(t).issue(newKey(t), "a.example.com")
		if _, got := h.renewal(t, certIDOf(t, der)); got != want {
			t.Errorf("with a life of %s it is %s, want %s", life, got, want)
		}
	}
}

// A certificate that was revoked, whoever it was issued to, is to be replaced at once; so is one that
// was signed and never handed out.
func TestRenewalAfterRevocation(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		h := openOn(t, s, always(proven))
		admin := identity.Caller{ID: "token/1", Owner: "tests", AnyName: true, Role: identity.RoleAdmin}
		issued, err := h.ca.Issue(t.Context(), ca.Request{
			Ref: "api/1", Caller: admin, CSR: catest.CSR(t, newKey(t), "a.example.com"),
		})
		if err != nil {
			t.Fatal(err)
		}
		id := certIDOf(t, issued.DER)
		if info, _ := h.renewal(t, id); info.ExplanationURL != "" || info.SuggestedWindow.Start.Before(time.Now()) {
			t.Errorf("before: %+v", info)
		}
		if err := h.ca.Revoke(t.Context(), admin, issued.Serial, 1); err != nil {
			t.Fatal(err)
		}
		h.isUrgent(t, id, "keyCompromise")

		void := issued.Promise
		void.Ref, void.Serial[19] = "api/2", void.Serial[19]+1
		if err := s.Promise(t.Context(), void); err != nil {
			t.Fatal(err)
		}
		serial := void.Serial.Bytes()
		id = b64(h.ca.KeyID(void.Issuer)) + "." + b64(serial)
		h.do("GET", baseURL+"/acme/renewal-info/"+id, "", nil).refused(t, 404, "malformed")
		if err := s.Void(t.Context(), void.Serial, time.Now()); err != nil {
			t.Fatal(err)
		}
		h.isUrgent(t, id, "never handed out")
	})
}

// isUrgent demands a window in the past, and a page that says why.
func (h *house) isUrgent(t testing.TB, id, why string) {
	t.Helper()
	info, retryAfter := h.renewal(t, id)
	if ago := time.Since(info.SuggestedWindow.End); ago < 29*time.Minute || retryAfter != 5*time.Minute {
		t.Errorf("the window ended %s ago, Retry-After is %s", ago, retryAfter)
	}
	page := h.do("GET", info.ExplanationURL, "", nil).ok(t, 200)
	if !strings.Contains(string(page.body), why) || page.header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("the explanation is %s", page.body)
	}
}

// RFC 9773 section 4.1: each certificate has one id; another spelling of it is malformed.
func TestBadCertIDs(t *testing.T) {
	h := open(t)
	der, _ := h.customer(t).issue(newKey(t), "a.example.com")
	id := certIDOf(t, der)
	key, serial, _ := strings.Cut(id, ".")
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	octets := leaf.SerialNumber.Bytes()
	for name, bad := range map[string]string{
		"no period": key + serial, "two periods": id + ".", "three parts": id + "." + serial,
		"no key": "." + serial, "no serial": key + ".", "nothing": ".",
		"padding": id + "%3D", "padded key": key + "%3D." + serial, "not base64": key + ".%C3%BC",
		"other base64": key + ".a%2Bb", "bits left over": key[:len(key)-1] + "B." + serial,
		"line end": id + "%0A", "hex serial": key + "." + serial[:1] + "!" + serial[2:],
		"needless zero": key + "." + b64(append([]byte{0}, octets...)),
		"negative":      key + "." + b64([]byte{0x80, 1}), "zero": key + "." + b64([]byte{0}),
		"two zeros": key + "." + b64([]byte{0, 0}),
		"21 octets": key + "." + b64(slices.Repeat([]byte{1}, 21)), "long": strings.Repeat("A", 128) + "." + serial,
		"very long": strings.Repeat("A", 100_000) + "." + serial,
	} {
		r := h.do("GET", baseURL+"/acme/renewal-info/"+bad, "", nil)
		if r.status != 400 {
			t.Errorf("%s: got %d %s", name, r.status, r.body)
			continue
		}
		r.refused(t, 400, "malformed")
		h.do("GET", baseURL+"/acme/renewal-info/"+bad+"/explanation", "", nil).refused(t, 400, "malformed")
	}
	for name, unknown := range map[string]string{
		"other serial":        key + "." + b64(append([]byte{octets[0] ^ 1}, octets[1:]...)),
		"other key":           b64([]byte("another key's identifier")) + "." + serial,
		"with tag and length": key + "." + b64(append([]byte{2, 16}, octets...)),
		"RFC 9773's":          "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE",
	} {
		r := h.do("GET", baseURL+"/acme/renewal-info/"+unknown, "", nil)
		if r.refused(t, http.StatusNotFound, "malformed"); r.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: Cache-Control is %q", name, r.header.Get("Cache-Control"))
		}
	}
}

func FuzzCertID(f *testing.F) {
	for _, seed := range []string{
		"", ".", "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE", "aYhba4dGQEHhs3uEe6CuLN4ByNQ=.AIdlQyE=", "AA.AQ",
		"AA.AIA", "AA.gA", "AA.AAE", "AA.AQ.AQ", "AA\n.AQ", "AB.AQ",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		keyID, serial, err := acmeserver.ParseCertID(text)
		if err != nil {
			return
		}
		der, err := asn1.Marshal(serial.Big())
		if err != nil {
			t.Fatal(err)
		}
		if again := b64([]byte(keyID)) + "." + b64(der[2:]); again != text {
			t.Errorf("%q reads as what is written %q", text, again)
		}
	})
}
