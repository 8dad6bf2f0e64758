package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/web"
)

// banner tells the person who started us where everything is and what to try. It is the only thing
// on standard output, and goes out in one piece.
func (h *house) banner(to io.Writer) error {
	var text bytes.Buffer
	fmt.Fprintf(&text, "Mayfly %s is running.\n\n", programVersion())
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, issuer := range h.ca.Issuers() {
		if issuer.Kind == ca.Root {
			fmt.Fprintf(table, "  root's SHA-256\t%s\n", fingerprint(issuer.Certificate))
		}
	}
	for _, line := range [][2]string{
		{"root", absolute(h.rootFile) + ", " + h.publishURL + "/roots.pem"},
		{"ACME directory", h.url + "/acme/directory"},
		{"console", h.url + "/"},
		{"admin token", h.adminToken},
		{"data", h.dataPlace()},
	} {
		fmt.Fprintf(table, "  %s\t%s\n", line[0], line[1])
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("writing the banner: %w", err)
	}
	if h.config.Trial() {
		text.WriteString(trialNotice)
	}
	h.invite(&text)
	if _, err := text.WriteTo(to); err != nil {
		return fmt.Errorf("writing the banner: %w", err)
	}
	return nil
}

const trialNotice = `
This is a trial, because there is no configuration file (--config): certificates can be had for
names that lead to this machine itself, such as everything below .localhost.
`

func (h *house) dataPlace() string {
	dir := absolute(h.config.DataDir)
	if h.store.Alone() {
		return dir
	}
	return dir + " (keys), Postgres (everything else)"
}

func absolute(path string) string {
	if full, err := filepath.Abs(path); err == nil {
		return full
	}
	return path
}

// invite prints lines that get a first certificate when pasted on this machine.
func (h *house) invite(to io.Writer) {
	client := web.Client{
		BaseURL: h.url, RootFile: shellWord(absolute(h.rootFile)), Name: "$(hostname -f)",
		HTTP01Port: h.config.ACME.HTTP01Port,
	}
	if h.config.Trial() {
		client.Name = "mayfly.localhost"
	}
	fmt.Fprintf(to, "\nTo get a certificate, run one of these as root in another terminal. The CA will "+
		"look for the\nproof on port %d, so that must be free.\n\n  %s\n\n  %s\n\n%s/ has more.\n\n",
		client.HTTP01Port, client.Certbot(), client.Lego(), h.url)
}

// fingerprint is a certificate's SHA-256, as openssl prints it.
func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}

// shellWord quotes a path that a shell would take apart.
func shellWord(path string) string {
	if !strings.ContainsFunc(path, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("/._-", r)
	}) {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
