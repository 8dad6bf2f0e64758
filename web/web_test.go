package web_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/ca/catest"
	"github.com/mayflyca/mayfly/store/storetest"
	"github.com/mayflyca/mayfly/web"
)

const (
	base    = "https://ca.test:8443"
	publish = "http://ca.test:8080"
)

func door(t testing.TB, c *ca.CA, trial bool) http.Handler {
	t.Helper()
	d, err := web.New(web.Config{
		CA: c, BaseURL: base, PublishURL: publish, HTTP01Port: 80, Version: "v1.2.3", Trial: trial,
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// browse asks as a browser does.
func browse(d http.Handler, path string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w
}

// open parses the page at path.
func open(t testing.TB, d http.Handler, path string, status int) *html.Node {
	t.Helper()
	w := browse(d, path)
	if kind := w.Header().Get("Content-Type"); w.Code != status || kind != "text/html; charset=utf-8" {
		t.Fatalf("%s: %d %s", path, w.Code, kind)
	}
	tree, err := html.Parse(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// Making a CA is slow by intent, so all share one.
func TestPages(t *testing.T) {
	c := catest.New(t, storetest.SQLite(t))
	for name, test := range map[string]func(*testing.T, *ca.CA){
		"what a reader sees": testStart, "lines": testLines, "trial": testTrial, "markup": testMarkup,
		"assets": testAssets, "refusals": testRefusals, "evil subject": testEvilSubject,
	} {
		t.Run(name, func(t *testing.T) { test(t, c) })
	}
}

func testStart(t *testing.T, c *ca.CA) {
	page := open(t, door(t, c, false), "/", http.StatusOK)
	text := visible(page)
	for _, issuer := range c.Issuers() {
		cert, err := x509.ParseCertificate(issuer.Certificate)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			cert.Subject.String(), cert.NotBefore.UTC().Format("2 January 2006"),
			cert.NotAfter.UTC().Format("2 January 2006"), publish + "/issuers/" + issuer.ID + ".cer",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("the page does not say %q", want)
			}
		}
		for shard := range issuer.Shards {
			if url := fmt.Sprintf("%s/crl/%s/%d.crl", publish, issuer.ID, shard); !slices.Contains(links(page), url) {
				t.Errorf("no link to %s", url)
			}
		}
	}
	root := sha256.Sum256(c.Issuers()[0].Certificate)
	want := strings.ReplaceAll(fmt.Sprintf("% X", root[:]), " ", ":")
	shown := find(page, func(n *html.Node) bool { return attribute(n, "class") == "fingerprint" })
	if len(shown) != 1 || visible(shown[0]) != want {
		t.Errorf("the fingerprint is %s, the page shows %d", want, len(shown))
	}
	for _, want := range []string{
		"internal certificate authority", "24 hours", base + "/acme/directory", "v1.2.3",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	for _, want := range []string{"/roots.pem", "/issuers.pem", "/openapi.json"} {
		if !slices.Contains(links(page), want) {
			t.Errorf("no link to %s", want)
		}
	}
	if strings.Contains(text, "Trial") {
		t.Error("the page speaks of a trial")
	}
}

// The text that the buttons copy is what the program prints elsewhere, to the letter.
func testLines(t *testing.T, c *ca.CA) {
	page := open(t, door(t, c, false), "/", http.StatusOK)
	client := web.Client{
		BaseURL: base, RootFile: "mayfly-root.pem", Name: "$(hostname -f)", HTTP01Port: 80,
	}
	var copied []string
	for _, n := range find(page, func(n *html.Node) bool { return attribute(n, "data-copy") != "" }) {
		copied = append(copied, content(n))
	}
	for _, want := range []string{
		client.DirectoryURL(), client.FetchRoot(), client.Certbot(), client.Lego(), client.REST(),
	} {
		if !slices.Contains(copied, want) {
			t.Errorf("nothing to copy is\n%s\nbut there is\n%s", want, strings.Join(copied, "\n"))
		}
	}
	_, rest, _ := strings.Cut(strings.Join(copied, "\n"), "caBundle: ")
	bundle, err := base64.StdEncoding.DecodeString(rest[:strings.IndexByte(rest, '\n')])
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(bundle)
	if block == nil || !bytes.Equal(block.Bytes, c.Issuers()[0].Certificate) {
		t.Errorf("the bundle for Kubernetes is not the root: %s", bundle)
	}
}

func testTrial(t *testing.T, c *ca.CA) {
	text := visible(open(t, door(t, c, true), "/", http.StatusOK))
	for _, want := range []string{
		"Trial.", "without a configuration file", "--domain mayfly.localhost", "mayfly.localhost {",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page of a trial does not say %q", want)
		}
	}
}

func testMarkup(t *testing.T, c *ca.CA) {
	d := door(t, c, true)
	for path, status := range map[string]int{"/": http.StatusOK, "/nothing": http.StatusNotFound} {
		checkMarkup(t, d, open(t, d, path, status))
	}
}

// checkMarkup is what a strict policy and a screen reader need of any page: nothing inline, links
// that lead somewhere, landmarks, headings without gaps.
func checkMarkup(t *testing.T, d http.Handler, page *html.Node) {
	t.Helper()
	ids, level := map[string]bool{}, 0
	counts := map[string]int{}
	for _, n := range find(page, func(*html.Node) bool { return true }) {
		counts[n.Data]++
		ids[attribute(n, "id")] = true
		switch n.Data {
		case "style", "iframe", "object", "embed", "base", "form":
			t.Errorf("there is a <%s>", n.Data)
		case "script":
			if n.FirstChild != nil || attribute(n, "src") == "" {
				t.Error("there is a script inside the page")
			}
		case "img":
			if !slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == "alt" }) {
				t.Error("an image has no alt")
			}
		case "h1", "h2", "h3", "h4":
			if now := int(n.Data[1] - '0'); now > level+1 {
				t.Errorf("heading %q is of level %d below level %d", content(n), now, level)
			} else {
				level = now
			}
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" {
				t.Errorf("<%s %s=%q> is inline", n.Data, a.Key, a.Val)
			}
		}
	}
	for name, want := range map[string]int{"main": 1, "h1": 1, "header": 1, "footer": 1, "title": 1} {
		if counts[name] != want {
			t.Errorf("%d times <%s>", counts[name], name)
		}
	}
	for _, link := range links(page) {
		fragment, isFragment := strings.CutPrefix(link, "#")
		switch {
		case isFragment && !ids[fragment]:
			t.Errorf("link %s leads nowhere", link)
		case isFragment, strings.HasPrefix(link, publish+"/"), link == "/roots.pem", link == "/issuers.pem",
			link == "/openapi.json":
		case !strings.HasPrefix(link, "/") || browse(d, link).Code != http.StatusOK:
			t.Errorf("link %s leads nowhere", link)
		}
	}
}

// The page with all it loads is small; what it loads never changes under its name.
func testAssets(t *testing.T, c *ca.CA) {
	d := door(t, c, false)
	w := browse(d, "/")
	policy := w.Header().Get("Content-Security-Policy")
	for _, want := range []string{
		"default-src 'none'", "style-src 'self'", "script-src 'self'", "img-src 'self'", "form-action 'none'",
		"frame-ancestors 'none'", "base-uri 'none'",
	} {
		if !slices.Contains(strings.Split(policy, "; "), want) {
			t.Errorf("Content-Security-Policy lacks %s: %s", want, policy)
		}
	}
	total := w.Body.Len()
	loaded := map[string]bool{}
	for _, link := range links(open(t, d, "/", http.StatusOK)) {
		if strings.HasPrefix(link, "/assets/") && !loaded[link] {
			loaded[link] = true
			asset := browse(d, link)
			total += asset.Body.Len()
			kind, cache := asset.Header().Get("Content-Type"), asset.Header().Get("Cache-Control")
			if kind == "" || cache != "public, max-age=31536000, immutable" {
				t.Errorf("%s: %q, %q", link, kind, cache)
			}
			r := httptest.NewRequest(http.MethodGet, link, nil)
			r.Header.Set("If-None-Match", asset.Header().Get("ETag"))
			again := httptest.NewRecorder()
			if d.ServeHTTP(again, r); again.Code != http.StatusNotModified {
				t.Errorf("%s again: %d", link, again.Code)
			}
		}
	}
	if len(loaded) != 3 || total > 50_000 {
		t.Errorf("the page loads %v, %d bytes", loaded, total)
	}
}

func testRefusals(t *testing.T, c *ca.CA) {
	d := door(t, c, false)
	page := open(t, d, "/nothing/here", http.StatusNotFound)
	if text := visible(page); !strings.Contains(text, "no page here") || !slices.Contains(links(page), "/") {
		t.Errorf("a browser is told %s", text)
	}
	for _, tc := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/nothing", 404},
		{"GET", "/assets/", 404},
		{"GET", "/assets/mayfly.css", 404},
		{"GET", "/assets/../templates/start.html", 404},
		{"GET", "/\x00", 404},
		{"POST", "/", 405},
		{"DELETE", "/nothing", 405},
		{"BREW", "/", 405},
	} {
		r := httptest.NewRequest(tc.method, "/", nil)
		r.URL.Path = tc.path
		w := httptest.NewRecorder()
		d.ServeHTTP(w, r)
		var problem struct {
			Title, Detail string
			Status        int
		}
		err := json.Unmarshal(w.Body.Bytes(), &problem)
		if err != nil || w.Code != tc.want || problem.Status != tc.want || problem.Detail == "" ||
			w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %q: %d %s", tc.method, tc.path, w.Code, w.Body)
		}
		if tc.want == 405 && w.Header().Get("Allow") != "GET, HEAD" {
			t.Errorf("%s %q: Allow: %q", tc.method, tc.path, w.Header().Get("Allow"))
		}
	}
}
