package publish

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/fault"
)

// How long a cache may keep a list of CA certificates, which grows when the CA's keys roll over, and
// a single one, whose address names its content.
const (
	listFresh = 5 * time.Minute
	certFresh = 24 * time.Hour
)

const pemFile = "application/x-pem-file"

func (d door) roots(*http.Request) (document, error) {
	return document{mediaType: pemFile, content: d.list(ca.Root), fresh: listFresh}, nil
}

func (d door) issuers(*http.Request) (document, error) {
	return document{mediaType: pemFile, content: d.list(ca.Issuing), fresh: listFresh}, nil
}

func (d door) list(kind ca.IssuerKind) []byte {
	var text bytes.Buffer
	for _, issuer := range d.CA.Issuers() {
		if issuer.Kind == kind {
			text.Write(toPEM(issuer))
		}
	}
	return text.Bytes()
}

// root lets a newcomer who knows only the fingerprint fetch the root, and check it by hashing what
// arrived. The fingerprint may be spelled as openssl prints it.
func (d door) root(r *http.Request) (document, error) {
	digits := strings.ReplaceAll(chi.URLParam(r, "sha256"), ":", "")
	sum, err := hex.DecodeString(digits)
	if err != nil || len(sum) != sha256.Size {
		return document{}, fault.New(fault.NotFound, "A root is addressed by its SHA-256 fingerprint: "+
			"64 hexadecimal digits, with or without colons.")
	}
	for _, issuer := range d.CA.Issuers() {
		if own := sha256.Sum256(issuer.Certificate); issuer.Kind == ca.Root && bytes.Equal(own[:], sum) {
			return document{mediaType: pemFile, content: toPEM(issuer), fresh: certFresh}, nil
		}
	}
	return document{}, fault.New(fault.NotFound, "No root of this CA has this fingerprint. If you "+
		"were told that it has, you may be talking to another server; /roots.pem has this one's roots.")
}

func (d door) issuer(r *http.Request) (document, error) {
	issuer, err := d.find(chi.URLParam(r, "id"))
	if err != nil {
		return document{}, err
	}
	return document{
		mediaType: "application/pkix-cert", content: issuer.Certificate, fresh: certFresh,
	}, nil
}

func (d door) find(id string) (ca.Issuer, error) {
	for _, issuer := range d.CA.Issuers() {
		if issuer.ID == id {
			return issuer, nil
		}
	}
	return ca.Issuer{}, fault.New(fault.NotFound, "No CA certificate here has this id; /roots.pem and "+
		"/issuers.pem have them all.")
}

func toPEM(issuer ca.Issuer) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issuer.Certificate})
}
