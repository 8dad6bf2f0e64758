package publish_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/ca/catest"
	"github.com/mayflyca/mayfly/publish"
	"github.com/mayflyca/mayfly/store/storetest"
)

// house is a door with all that is behind it.
type house struct {
	http.Handler
	store *fragile
	ca    *ca.CA
	now   time.Time
	log   *bytes.Buffer
}

func open(t testing.TB) *house {
	t.Helper()
	h := &house{store: &fragile{Store: storetest.SQLite(t)}, now: time.Now(), log: &bytes.Buffer{}}
	config := catest.Config(t, h.store.Store)
	config.Store = h.store
	h.ca = catest.Open(t, config)
	h.Handler = publish.New(publish.Config{
		CA: h.ca, Now: func() time.Time { return h.now },
		Log: slog.New(slog.NewTextHandler(h.log, nil)),
	})
	return h
}

func (h *house) issuer(t testing.TB, kind ca.IssuerKind) ca.Issuer {
	t.Helper()
	for _, issuer := range h.ca.Issuers() {
		if issuer.Kind == kind {
			return issuer
		}
	}
	t.Fatalf("there is no %s", kind)
	return ca.Issuer{}
}

// do asks, with headers given as name, value, name, value …
func (h *house) do(method, path string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func (h *house) get(t testing.TB, path, mediaType string) *httptest.ResponseRecorder {
	t.Helper()
	w := h.do(http.MethodGet, path)
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != mediaType {
		t.Fatalf("%s: %d %s\n%s", path, w.Code, w.Header(), w.Body)
	}
	return w
}

func wantPEM(t testing.TB, text []byte, want ca.Issuer) {
	t.Helper()
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" || !bytes.Equal(block.Bytes, want.Certificate) ||
		len(rest) > 0 {
		t.Errorf("not the certificate of issuer %s, and no more:\n%s", want.ID, text)
	}
}

// Making a CA is slow by intent, so all share one. The order is that of what they do to it.
func TestDoor(t *testing.T) {
	h := open(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *house)
	}{
		{"certificates", testCertificates},
		{"root by fingerprint", testRootByFingerprint},
		{"refusals", testRefusals},
		{"HEAD", testHead},
		{"revocation", testRevocation},
		{"freshness", testFreshness},
		{"store away", testStoreAway},
		{"conditions", testConditions},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, h) })
	}
}

func testCertificates(t *testing.T, h *house) {
	root, issuing := h.issuer(t, ca.Root), h.issuer(t, ca.Issuing)
	const list, one = "application/x-pem-file", "application/pkix-cert"

	wantPEM(t, h.get(t, "/roots.pem", list).Body.Bytes(), root)
	wantPEM(t, h.get(t, "/issuers.pem", list).Body.Bytes(), issuing)
	for _, issuer := range []ca.Issuer{root, issuing} {
		if got := h.get(t, "/issuers/"+issuer.ID+".cer", one); !bytes.Equal(got.Body.Bytes(), issuer.Certificate) {
			t.Errorf("/issuers/%s.cer is another certificate", issuer.ID)
		}
	}
	// What certificates say about where their issuer is must be true.
	cert, err := x509.ParseCertificate(issuing.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	path := strings.TrimPrefix(cert.IssuingCertificateURL[0], "http://ca.test:8080")
	if got := h.get(t, path, one); !bytes.Equal(got.Body.Bytes(), root.Certificate) {
		t.Errorf("%s is not the root", path)
	}
}

func testRootByFingerprint(t *testing.T, h *house) {
	root := h.issuer(t, ca.Root)
	sum := sha256.Sum256(root.Certificate)
	lower := hex.EncodeToString(sum[:])
	colons := strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
	for _, spelling := range []string{lower, strings.ToUpper(lower), colons, strings.ToLower(colons)} {
		wantPEM(t, h.get(t, "/roots/"+spelling, "application/x-pem-file").Body.Bytes(), root)
	}
	other := sha256.Sum256(h.issuer(t, ca.Issuing).Certificate) // exists, but is no root
	for _, spelling := range []string{
		hex.EncodeToString(other[:]), lower[:62], lower + "00", lower[:63] + "g", root.ID, ":",
	} {
		wantProblem(t, h.do(http.MethodGet, "/roots/"+spelling), http.StatusNotFound, "fingerprint")
	}
}

func wantProblem(t testing.TB, w *httptest.ResponseRecorder, status int, detail string) {
	t.Helper()
	var problem struct {
		Title, Detail string
		Status        int
	}
	err := json.Unmarshal(w.Body.Bytes(), &problem)
	if err != nil || w.Header().Get("Content-Type") != "application/problem+json" || w.Code != status ||
		problem.Status != status || problem.Title == "" || !strings.Contains(problem.Detail, detail) ||
		w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("want a problem document of %d about %q: %d %s\n%s", status, detail, w.Code, w.Header(), w.Body)
	}
}

// Nothing here can be listed, written, or asked for in another way.
func testRefusals(t *testing.T, h *house) {
	issuer := h.issuer(t, ca.Issuing)
	for _, path := range []string{
		"/", "/crl", "/crl/", "/crl/" + issuer.ID, "/crl/" + issuer.ID + "/", "/issuers", "/issuers/", "/roots",
		"/roots/", "/index.html", "/roots.pem/", "/ROOTS.PEM", "/issuers/" + issuer.ID,
		"/issuers/" + issuer.ID + ".pem", "/issuers/../roots.pem",
		"/issuers/" + strings.ToUpper(issuer.ID) + "x.cer", "/issuers/" + strings.Repeat("0", 1<<13) + ".cer",
		"/crl/" + issuer.ID + "/99.crl", "/crl/" + issuer.ID + "/-1.crl", "/crl/" + issuer.ID + "/00.crl",
		"/crl/" + issuer.ID + "/+1.crl", "/crl/" + issuer.ID + "/18446744073709551616.crl",
		"/crl/0000000000000000/0.crl", "/crl/" + issuer.ID + "/0.crl/x", "/%00%ff",
	} {
		wantProblem(t, h.do(http.MethodGet, path), http.StatusNotFound, "")
	}
	unlisted := fmt.Sprintf("/crl/%s/%d.crl", issuer.ID, issuer.Shards)
	wantProblem(t, h.do(http.MethodGet, unlisted), http.StatusNotFound, fmt.Sprint("to ", issuer.Shards-1))
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "BREW"} {
		w := h.do(method, "/roots.pem")
		wantProblem(t, w, http.StatusMethodNotAllowed, "GET or HEAD")
		if allow := w.Header().Get("Allow"); allow != "GET, HEAD" {
			t.Errorf("%s: Allow: %q", method, allow)
		}
	}
	if h.log.Len() > 0 {
		t.Errorf("a stranger's mistake is in the log:\n%s", h.log)
	}
}

func testHead(t *testing.T, h *house) {
	for _, path := range []string{"/roots.pem", "/crl/" + h.issuer(t, ca.Root).ID + "/0.crl"} {
		get, head := h.do(http.MethodGet, path), h.do(http.MethodHead, path)
		if head.Code != http.StatusOK || head.Body.Len() > 0 ||
			fmt.Sprint(head.Header()) != fmt.Sprint(get.Header()) {
			t.Errorf("%s: HEAD gives %d %v, GET %v", path, head.Code, head.Header(), get.Header())
		}
	}
}

func FuzzPath(f *testing.F) {
	h := open(f)
	for _, path := range []string{
		"/roots.pem", "/roots/" + strings.Repeat("AA:", 31) + "AA", "/issuers/0123456789abcdef.cer",
		"/crl/" + h.issuer(f, ca.Issuing).ID + "/1.crl", "/crl/%2f/%2e%2e.crl", "//", "/a b",
	} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.Path, r.URL.RawPath = path, path
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusOK && w.Code != http.StatusNotFound {
			t.Errorf("%q: %d %s", path, w.Code, w.Body)
		}
	})
}
