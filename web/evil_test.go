package web_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.step.sm/crypto/pemutil"
	"golang.org/x/net/html"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/ca/catest"
	"github.com/mayflyca/mayfly/store/storetest"
)

// never #45: the text of a certificate is hostile. Whatever stands in a subject is shown as text:
// the page has the same elements as that of an ordinary CA.
func testEvilSubject(t *testing.T, ordinary *ca.CA) {
	subject := pkix.Name{
		CommonName: `<script>alert(1)</script>`,
		Organization: []string{
			`"><img src=x onerror=alert(2)>`, `</title></h3></main><base href=//evil.test>`, `{{.Version}}`,
		},
		OrganizationalUnit: []string{"\u202etxet dedis-thgir", "\x00\x1b[31m\r\nSet-Cookie: a=b", "<!--", "]]>"},
		Locality:           []string{`' style='background:url(javascript:alert(3))`, `javascript:alert(4)`},
		Country:            []string{strings.Repeat("A", 2000)},
	}
	store := storetest.SQLite(t)
	config := catest.Fresh(t, store)
	var issuers []ca.Issuer
	for _, kind := range []ca.IssuerKind{ca.Root, ca.Issuing} {
		cert, key := evilCertificate(t, subject)
		file, err := pemutil.EncryptPKCS8PrivateKey(rand.Reader, key, config.Passphrase, x509.PEMCipherAES256)
		if err != nil {
			t.Fatal(err)
		}
		name := string(kind) + ".pem"
		if err := os.WriteFile(filepath.Join(config.KeyDir, name), pem.EncodeToMemory(file), 0o600); err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(cert.Raw)
		issuers = append(issuers, ca.Issuer{
			ID: hex.EncodeToString(sum[:8]), Kind: kind, Certificate: cert.Raw, KeyURI: "file:" + name, Shards: 1,
			CreatedAt: time.Now(),
		})
		issuers[len(issuers)-1].Parent = issuers[0].ID
	}
	if err := store.AddIssuers(t.Context(), issuers); err != nil {
		t.Fatal(err)
	}
	d := door(t, catest.Open(t, config), false)
	page := open(t, d, "/", http.StatusOK)
	checkMarkup(t, d, page)
	want := outline(open(t, door(t, ordinary, false), "/", http.StatusOK))
	if got := outline(page); got != want {
		t.Errorf("the page has the elements\n%s\nand not\n%s", got, want)
	}
	want = strings.Join(strings.Fields(strings.ReplaceAll(shownSubject(t, issuers), "\x00", "\ufffd")), " ")
	shown := find(page, func(n *html.Node) bool { return n.Data == "bdi" })
	for _, n := range shown {
		if visible(n) != want {
			t.Errorf("the subject is %q, the page shows %q", want, visible(n))
		}
	}
	if len(shown) != 3 {
		t.Errorf("the page shows %d subjects", len(shown))
	}
}

func shownSubject(t *testing.T, issuers []ca.Issuer) string {
	t.Helper()
	cert, err := x509.ParseCertificate(issuers[0].Certificate)
	if err != nil {
		t.Fatal(err)
	}
	return cert.Subject.String()
}

func evilCertificate(t *testing.T, subject pkix.Name) (*x509.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: subject, NotBefore: time.Now(),
		NotAfter: time.Now().AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return cert, plain
}

// outline names the page's elements, but for the list of CRLs, whose length differs.
func outline(page *html.Node) string {
	var names []string
	for _, n := range find(page, func(n *html.Node) bool { return n.Data != "li" && n.Parent.Data != "li" }) {
		names = append(names, n.Data)
	}
	return strings.Join(names, " ")
}
