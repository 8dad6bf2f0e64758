package web

import (
	"fmt"
	"strings"
)

// Client is what the lines that people copy into a shell are filled with, on the start page and
// wherever else the program tells how to begin.
type Client struct {
	BaseURL    string // of the HTTPS door, no trailing slash
	RootFile   string // the file that holds the root certificate; a shell word
	Name       string // what to get a certificate for; a shell word
	HTTP01Port int    // where the CA looks for http-01 answers
}

// DirectoryURL is where ACME starts.
func (c Client) DirectoryURL() string { return c.BaseURL + "/acme/directory" }

// FetchRoot gives two lines: one fetches RootFile from a server that is not trusted yet, the other
// prints the fingerprint to compare.
func (c Client) FetchRoot() string {
	return fmt.Sprintf("curl --no-progress-meter --insecure --output %s %s/roots.pem\n"+
		"openssl x509 -in %s -noout -fingerprint -sha256", c.RootFile, c.BaseURL, c.RootFile)
}

// Certbot gives one line, for root. certbot has no flag for a CA's root certificate.
func (c Client) Certbot() string {
	line := fmt.Sprintf("REQUESTS_CA_BUNDLE=%s certbot certonly --standalone --non-interactive "+
		"--agree-tos --register-unsafely-without-email --server %s --domain %s",
		c.RootFile, c.DirectoryURL(), c.Name)
	if c.HTTP01Port != 80 {
		line += fmt.Sprintf(" --http-01-port %d", c.HTTP01Port)
	}
	return line
}

// Lego gives one line, for whoever may listen on the port, and lego 4 (lego 5 wants "run" first).
func (c Client) Lego() string {
	line := fmt.Sprintf("LEGO_CA_CERTIFICATES=%s lego --accept-tos --email admin@example.internal "+
		"--server %s --domains %s --http", c.RootFile, c.DirectoryURL(), c.Name)
	if c.HTTP01Port != 80 {
		line += fmt.Sprintf(" --http.port :%d", c.HTTP01Port)
	}
	return line + " run"
}

// REST gives the lines that make a key and a request, send it, and unpack the answer.
func (c Client) REST() string {
	return strings.Join([]string{
		"openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj / " +
			`-addext "subjectAltName=DNS:` + c.Name + `" -keyout app.key -out app.csr`,
		`jq --null-input --rawfile csr app.csr '{csr: $csr, profile: "server"}' > request.json`,
		"curl --no-progress-meter --fail-with-body --cacert " + c.RootFile +
			` --header "Authorization: Bearer $MAYFLY_TOKEN" --header "Content-Type: application/json"` +
			" --data @request.json --output answer.json " + c.BaseURL + "/api/v1/certificates",
		"jq --raw-output '.certificate + .chain' answer.json > app.pem",
	}, "\n")
}
