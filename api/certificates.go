package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/identity"
)

const certificatesPath = "/api/v1/certificates"

// certificate is what the API tells of one.
type certificate struct {
	_           struct{}   `additionalProperties:"true"` // there will be more, and clients must not mind
	Serial      string     `json:"serial" example:"3f6b0c7e9a41d2585f0e1c6a7b9d8e24" doc:"Serial number: 32 lower-case hexadecimal digits."`
	Status      ca.Status  `json:"status" enum:"pending,valid,revoked,expired" doc:"How it stands now. Only a valid one may be relied on."`
	Profile     string     `json:"profile" example:"server" doc:"The profile it was issued under."`
	Owner       string     `json:"owner" example:"admin token file" doc:"Whose it is, for people."`
	Names       []string   `json:"names" nullable:"false" example:"[\"db.internal\"]" doc:"Its subject alternative names."`
	Issuer      string     `json:"issuer" example:"9c1f33e07a6d5b28" doc:"The issuing CA: the first 16 hexadecimal digits of its certificate's SHA-256."`
	NotBefore   time.Time  `json:"not_before" doc:"The first second of its validity."`
	NotAfter    time.Time  `json:"not_after" doc:"The last second of its validity, inclusive."`
	IssuedAt    *time.Time `json:"issued_at,omitempty" doc:"When it was signed and recorded."`
	SHA256      string     `json:"sha256,omitempty" doc:"SHA-256 of the certificate in DER, in hexadecimal."`
	RevokedAt   *time.Time `json:"revoked_at,omitempty" doc:"When it was revoked, if it was."`
	Reason      string     `json:"revocation_reason,omitempty" example:"keyCompromise" doc:"Why it was revoked: a reason's name in RFC 5280."`
	Certificate string     `json:"certificate,omitempty" doc:"The certificate in PEM. Lists leave it out."`
	Chain       string     `json:"chain,omitempty" doc:"The issuing CA certificates in PEM, in the order a TLS server sends them, without the root. Lists leave it out."`
}

// summary tells of c without the PEM.
func (d *door) summary(c *ca.Certificate) certificate {
	out := certificate{
		Serial: c.Serial.String(), Status: c.StatusAt(d.Now()), Profile: c.Profile, Owner: c.Owner,
		Names: make([]string, len(c.Names)), Issuer: c.Issuer,
		NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(),
	}
	for i, name := range c.Names {
		out.Names[i] = name.Value
	}
	if c.DER != nil {
		at, hash := c.IssuedAt.UTC(), sha256.Sum256(c.DER)
		out.IssuedAt, out.SHA256 = &at, hex.EncodeToString(hash[:])
	}
	if c.Revocation != nil {
		at := c.Revocation.At.UTC()
		out.RevokedAt, out.Reason = &at, c.Revocation.Reason.String()
	}
	return out
}

func (d *door) whole(c *ca.Certificate) certificate {
	out := d.summary(c)
	out.Certificate, out.Chain = encodePEM(c.DER), d.chains[c.Issuer]
	return out
}

func encodePEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// chains encodes each issuer's chain once: issuers are fixed when the CA starts.
func chains(c *ca.CA) map[string]string {
	all := make(map[string]string)
	for _, issuer := range c.Issuers() {
		for _, der := range c.Chain(issuer.ID) {
			all[issuer.ID] += encodePEM(der)
		}
	}
	return all
}

// serialPath is the input of operations on one certificate.
type serialPath struct {
	Serial string `path:"serial" maxLength:"128" example:"3f6b0c7e9a41d2585f0e1c6a7b9d8e24" doc:"Serial number in hexadecimal, in any common spelling: either case, with or without colons, spaces or 0x."`
}

type oneCertificate struct {
	Body certificate
}

func (d *door) registerCertificates() {
	register(d, huma.Operation{
		OperationID: "issue-certificate", Method: http.MethodPost, Path: certificatesPath,
		Summary: "Get a certificate for a CSR", DefaultStatus: http.StatusCreated,
		Description: "Names and key come from the CSR, everything else from the profile. The answer is " +
			"sent when the certificate is durably recorded. With an Idempotency-Key the request may be " +
			"sent again, after a broken connection say, and gets the same certificate.",
		Errors: []int{
			http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge,
			http.StatusUnsupportedMediaType,
		},
	}, d.issue)
	register(d, huma.Operation{
		OperationID: "list-certificates", Method: http.MethodGet, Path: certificatesPath,
		Summary:     "List certificates, newest first",
		Description: "Filters are joined by \"and\". A page that may not be the last has a `next` cursor.",
		Errors:      []int{http.StatusUnprocessableEntity},
	}, d.list)
	register(d, huma.Operation{
		OperationID: "get-certificate", Method: http.MethodGet, Path: certificatesPath + "/{serial}",
		Summary: "Show one certificate", Errors: []int{http.StatusNotFound},
	}, d.show)
	register(d, huma.Operation{
		OperationID: "get-certificate-pem", Method: http.MethodGet,
		Path:    certificatesPath + "/{serial}.pem",
		Summary: "Get one certificate with its chain in PEM", Errors: []int{http.StatusNotFound},
		Responses: map[string]*huma.Response{"200": {
			Description: "The leaf, then the issuing CA certificates without the root.",
			Content:     map[string]*huma.MediaType{pemChain: {Schema: &huma.Schema{Type: huma.TypeString}}},
		}},
	}, d.showPEM)
	register(d, huma.Operation{
		OperationID: "revoke-certificate", Method: http.MethodPost,
		Path:        certificatesPath + "/{serial}/revoke",
		Summary:     "Revoke a certificate",
		Description: "It is on its CRL within seconds. This cannot be undone.",
		Errors: []int{
			http.StatusBadRequest, http.StatusNotFound, http.StatusConflict,
			http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
		},
	}, d.revoke)
}

type issueInput struct {
	Key  string `header:"Idempotency-Key" maxLength:"128" pattern:"^[A-Za-z0-9._:~-]*$" example:"b2f0c1d2-deploy-17" doc:"Names this request for its sender: sent again with the same key it gets the same certificate, and another request with the same key is refused with 409."`
	Body struct {
		CSR     string `json:"csr" maxLength:"65536" example:"-----BEGIN CERTIFICATE REQUEST-----\n…\n-----END CERTIFICATE REQUEST-----\n" doc:"Certificate signing request (PKCS#10) in PEM."`
		Profile string `json:"profile,omitempty" maxLength:"64" example:"server" doc:"server (the default), client, peer, or one that this CA's operator has defined."`
	}
}

type issueOutput struct {
	Location string `header:"Location" doc:"Where to find the certificate again."`
	Body     certificate
}

func (d *door) issue(ctx context.Context, who identity.Caller, in *issueInput) (*issueOutput, error) {
	der, err := decodeCSR(in.Body.CSR)
	if err != nil {
		return nil, err
	}
	key := in.Key
	if key == "" {
		key = rand.Text()
	}
	issued, err := d.CA.Issue(ctx, ca.Request{
		Ref: "api/" + who.ID + "/" + key, Caller: who, Profile: in.Body.Profile, CSR: der,
	})
	if err != nil {
		return nil, err
	}
	return &issueOutput{
		Location: certificatesPath + "/" + issued.Serial.String(), Body: d.whole(issued),
	}, nil
}

// find reads a serial and finds its certificate.
func (d *door) find(ctx context.Context, text string) (*ca.Certificate, error) {
	serial, err := ca.ParseSerial(text)
	if err != nil {
		return nil, err
	}
	return d.CA.Certificate(ctx, serial)
}

func (d *door) show(ctx context.Context, _ identity.Caller, in *serialPath) (*oneCertificate, error) {
	found, err := d.find(ctx, in.Serial)
	if err != nil {
		return nil, err
	}
	return &oneCertificate{d.whole(found)}, nil
}

const pemChain = "application/pem-certificate-chain" // RFC 8555 section 9.1

type pemOutput struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

func (d *door) showPEM(ctx context.Context, _ identity.Caller, in *serialPath) (*pemOutput, error) {
	found, err := d.find(ctx, in.Serial)
	if err != nil {
		return nil, err
	}
	return &pemOutput{pemChain, []byte(encodePEM(found.DER) + d.chains[found.Issuer])}, nil
}

type revokeInput struct {
	Serial string `path:"serial" maxLength:"128" doc:"Serial number in hexadecimal, in any common spelling."`
	Body   struct {
		Reason string `json:"reason,omitempty" enum:"unspecified,keyCompromise,affiliationChanged,superseded,cessationOfOperation,privilegeWithdrawn" default:"unspecified" doc:"Why: a reason's name in RFC 5280 section 5.3.1."`
	}
}

func (d *door) revoke(ctx context.Context, who identity.Caller, in *revokeInput) (*oneCertificate, error) {
	serial, err := ca.ParseSerial(in.Serial)
	if err != nil {
		return nil, err
	}
	reason, err := ca.ParseReason(in.Body.Reason)
	if err != nil {
		return nil, err
	}
	if err := d.CA.Revoke(ctx, who, serial, reason); err != nil {
		return nil, err
	}
	return d.show(ctx, who, &serialPath{in.Serial})
}
