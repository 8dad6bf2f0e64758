package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// certCommands talk to a running CA.
type certCommands struct {
	Issue  certIssue  `cmd:"" help:"Get a certificate, for a fresh key or for a CSR."`
	List   certList   `cmd:"" help:"List certificates, newest first."`
	Show   certShow   `cmd:"" help:"Show one certificate."`
	Revoke certRevoke `cmd:"" help:"Revoke a certificate."`
}

// certificate is what the API tells of one.
type certificate struct {
	Serial      string    `json:"serial"`
	Status      string    `json:"status"`
	Profile     string    `json:"profile"`
	Owner       string    `json:"owner"`
	Names       []string  `json:"names"`
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
	Certificate string    `json:"certificate"`
	Chain       string    `json:"chain"`
}

type certIssue struct {
	clientFlags
	Names   []string `arg:"" optional:"" help:"DNS names and IP addresses, for a fresh key."`
	CSR     string   `name:"csr" help:"Take key and names from this file (- for stdin)." placeholder:"FILE"`
	Profile string   `help:"server (default), client or peer." placeholder:"NAME"`
	Out     string   `help:"File for certificate and chain (<name>.pem; standard output with --csr)."`
	Key     string   `help:"File for the fresh key (<name>.key)." placeholder:"FILE"`
}

// Run issues one certificate.
func (cmd *certIssue) Run(ctx context.Context, std streams) error {
	if (cmd.CSR == "") == (len(cmd.Names) == 0) {
		return fmt.Errorf("give either names or --csr: %w", errUsage)
	}
	api, err := cmd.client()
	if err != nil {
		return err
	}
	request, err := cmd.request(std)
	if err != nil {
		return err
	}
	body := map[string]string{"csr": string(request)}
	if cmd.Profile != "" {
		body["profile"] = cmd.Profile
	}
	var issued certificate
	answer, err := api.call(ctx, http.MethodPost, "/api/v1/certificates", body, &issued)
	if err != nil {
		return err
	}
	if cmd.Out != "" {
		text := issued.Certificate + issued.Chain
		if err := os.WriteFile(cmd.Out, []byte(text), 0o644); err != nil {
			return fmt.Errorf("keeping the certificate: %w", err)
		}
	}
	return cmd.show(std.out, answer, func(w io.Writer) error {
		if cmd.Out == "" {
			_, err := io.WriteString(w, issued.Certificate+issued.Chain)
			return err
		}
		_, err := fmt.Fprintf(w, "serial       %s\nvalid until  %s\ncertificate  %s\n", issued.Serial,
			issued.NotAfter.Format(time.RFC3339), cmd.Out)
		if err == nil && cmd.Key != "" {
			_, err = fmt.Fprintf(w, "key          %s\n", cmd.Key)
		}
		return err
	})
}

// request reads the CSR, or makes one with a fresh key, which is on disk before anybody is asked.
func (cmd *certIssue) request(std streams) ([]byte, error) {
	switch {
	case cmd.CSR == "-":
		text, err := io.ReadAll(io.LimitReader(std.in, 1<<20))
		if err != nil {
			return nil, fmt.Errorf("reading the CSR: %w", err)
		}
		return text, nil
	case cmd.CSR != "":
		text, err := os.ReadFile(cmd.CSR)
		if err != nil {
			return nil, fmt.Errorf("reading the CSR: %w", err)
		}
		return text, nil
	}
	base := strings.NewReplacer("*", "_", ":", "_", "/", "_").Replace(cmd.Names[0])
	if cmd.Key == "" {
		cmd.Key = base + ".key"
	}
	if cmd.Out == "" {
		cmd.Out = base + ".pem"
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding the key: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := createFile(cmd.Key, text); errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("the key file %s exists: choose another with --key, or make a CSR from it "+
			"and give that with --csr", cmd.Key)
	} else if err != nil {
		return nil, fmt.Errorf("keeping the key: %w", err)
	}
	var template x509.CertificateRequest
	for _, name := range cmd.Names {
		if _, err := netip.ParseAddr(name); err == nil {
			template.IPAddresses = append(template.IPAddresses, net.ParseIP(name))
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
	if err != nil {
		return nil, fmt.Errorf("making the CSR: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}), nil
}

type certList struct {
	clientFlags
	Name    string `help:"With exactly this name." placeholder:"NAME"`
	Suffix  string `help:"With a name that ends in this." placeholder:"DOMAIN"`
	Status  string `help:"valid, expired, revoked or pending." placeholder:"STATUS"`
	Profile string `help:"Of this profile." placeholder:"NAME"`
	Limit   int    `help:"At most this many." default:"50"`
	Cursor  string `help:"Continue where an earlier list ended." placeholder:"CURSOR"`
}

// Run lists one page.
func (cmd *certList) Run(ctx context.Context, std streams) error {
	api, err := cmd.client()
	if err != nil {
		return err
	}
	query := url.Values{"limit": {strconv.Itoa(cmd.Limit)}}
	for name, text := range map[string]string{
		"name": cmd.Name, "suffix": cmd.Suffix, "status": cmd.Status, "profile": cmd.Profile,
		"cursor": cmd.Cursor,
	} {
		if text != "" {
			query.Set(name, text)
		}
	}
	var page struct {
		Items []certificate `json:"items"`
		Next  string        `json:"next"`
	}
	answer, err := api.call(ctx, http.MethodGet, "/api/v1/certificates?"+query.Encode(), nil, &page)
	if err != nil {
		return err
	}
	return cmd.show(std.out, answer, func(w io.Writer) error {
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "SERIAL\tSTATUS\tVALID UNTIL\tPROFILE\tNAMES")
		for _, c := range page.Items {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", c.Serial, c.Status,
				c.NotAfter.Format(time.RFC3339), c.Profile, strings.Join(c.Names, ", "))
		}
		if err := table.Flush(); err != nil {
			return err
		}
		if page.Next != "" {
			fmt.Fprintf(w, "More: --cursor %s\n", page.Next)
		}
		return nil
	})
}

type certShow struct {
	clientFlags
	Serial string `arg:"" help:"Serial number, in any common spelling."`
}

// Run shows one certificate.
func (cmd *certShow) Run(ctx context.Context, std streams) error {
	api, err := cmd.client()
	if err != nil {
		return err
	}
	var c certificate
	answer, err := api.call(ctx, http.MethodGet, "/api/v1/certificates/"+url.PathEscape(cmd.Serial),
		nil, &c)
	if err != nil {
		return err
	}
	return cmd.show(std.out, answer, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "serial       %s\nstatus       %s\nprofile      %s\nowner        %s\n"+
			"names        %s\nvalid from   %s\nvalid until  %s\n%s%s", c.Serial, c.Status, c.Profile,
			c.Owner, strings.Join(c.Names, ", "), c.NotBefore.Format(time.RFC3339),
			c.NotAfter.Format(time.RFC3339), c.Certificate, c.Chain)
		return err
	})
}

type certRevoke struct {
	clientFlags
	Serial string `arg:"" help:"Serial number, in any common spelling."`
	Reason string `default:"unspecified" help:"unspecified, keyCompromise, superseded, …"`
	Yes    bool   `short:"y" help:"Don't ask first."`
}

// Run revokes one certificate.
func (cmd *certRevoke) Run(ctx context.Context, std streams) error {
	api, err := cmd.client()
	if err != nil {
		return err
	}
	path := "/api/v1/certificates/" + url.PathEscape(cmd.Serial)
	err = confirm(std, cmd.Yes, "revoked", func() (string, error) {
		var c certificate
		_, err := api.call(ctx, http.MethodGet, path, nil, &c)
		return fmt.Sprintf("Revoke %s (%s, %s)? This cannot be undone.", c.Serial,
			strings.Join(c.Names, ", "), c.Status), err
	})
	if err != nil {
		return err
	}
	answer, err := api.call(ctx, http.MethodPost, path+"/revoke",
		map[string]string{"reason": cmd.Reason}, nil)
	if err != nil {
		return err
	}
	return cmd.show(std.out, answer, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "revoked      %s (%s)\n", cmd.Serial, cmd.Reason)
		return err
	})
}
