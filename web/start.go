package web

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"
	"time"

	"github.com/mayflyca/mayfly/ca"
)

// page is what the layout shows; each page's own struct embeds it.
type page struct {
	Title   string
	Version string
	Trial   bool
}

// startPage is what a newcomer sees at "/".
type startPage struct {
	page
	Client     Client
	Example    string // a name to put into configuration files
	Lifetime   string
	Roots      []authority
	Issuers    []authority
	RootBundle string // the roots in PEM, in base64, as Kubernetes wants them
}

// authority is a CA certificate as people want to see it.
type authority struct {
	ID          string
	Subject     string
	Fingerprint []string // SHA-256, as openssl prints it, in groups to be read out
	NotBefore   time.Time
	NotAfter    time.Time
	URL         string // of the certificate, DER
	CRLs        []string
	pem         []byte
}

func newStartPage(c Config, roots, issuers []authority) startPage {
	p := startPage{
		page: page{Title: "Mayfly", Version: c.Version, Trial: c.Trial},
		Client: Client{
			BaseURL:    c.BaseURL,
			RootFile:   "mayfly-root.pem",
			Name:       "$(hostname -f)",
			HTTP01Port: c.HTTP01Port,
		},
		Example:  "app.example.internal",
		Lifetime: inHours(c.CA.Profiles()[0].Lifetime),
		Roots:    roots,
		Issuers:  issuers,
	}
	if c.Trial {
		// Names below localhost are this machine's (RFC 6761 section 6.3): a trial needs no DNS.
		p.Example = "mayfly.localhost"
		p.Client.Name = p.Example
	}
	var bundle []byte
	for _, root := range roots {
		bundle = append(bundle, root.pem...)
	}
	p.RootBundle = base64.StdEncoding.EncodeToString(bundle)
	return p
}

func inHours(d time.Duration) string {
	if d == time.Hour {
		return "1 hour"
	}
	return fmt.Sprintf("%g hours", d.Hours())
}

// authorities tells the roots from those under them.
func authorities(all []ca.Issuer, publishURL string) (issuers, roots []authority, err error) {
	for _, issuer := range all {
		cert, err := x509.ParseCertificate(issuer.Certificate)
		if err != nil {
			return nil, nil, fmt.Errorf("reading the certificate of issuer %q: %w", issuer.ID, err)
		}
		a := authority{
			ID:          issuer.ID,
			Subject:     cert.Subject.String(),
			Fingerprint: fingerprint(issuer.Certificate),
			NotBefore:   cert.NotBefore.UTC(),
			NotAfter:    cert.NotAfter.UTC(),
			URL:         publishURL + "/issuers/" + issuer.ID + ".cer",
			pem:         pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issuer.Certificate}),
		}
		for shard := range issuer.Shards {
			a.CRLs = append(a.CRLs, fmt.Sprintf("%s/crl/%s/%d.crl", publishURL, issuer.ID, shard))
		}
		if issuer.Kind == ca.Root {
			roots = append(roots, a)
		} else {
			issuers = append(issuers, a)
		}
	}
	return issuers, roots, nil
}

// fingerprint gives four groups of eight octets, with the colon that joins them at each group's end.
func fingerprint(der []byte) []string {
	sum := sha256.Sum256(der)
	octets := strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
	const width = len("AA:") * 8
	return []string{octets[:width], octets[width : 2*width], octets[2*width : 3*width], octets[3*width:]}
}

// listing is text for a shell, by lines and words, so that no line breaks inside a word.
type listing struct {
	What  string // what it is, for the label of the button that copies it
	Lines [][]string
}

func shell(what, text string) listing {
	l := listing{What: what}
	for line := range strings.Lines(text) {
		l.Lines = append(l.Lines, strings.Split(strings.TrimSuffix(line, "\n"), " "))
	}
	return l
}
