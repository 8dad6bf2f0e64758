package api

import (
	"context"
	"encoding/base64"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/identity"
)

// eabKey is what the API tells of an EAB key.
type eabKey struct {
	_         struct{}   `additionalProperties:"true"`
	ID        string     `json:"id" example:"4QZ7XKJ2N5VYB3M6DFA7TWCGHE" doc:"The key's identifier, which clients call kid."`
	Status    string     `json:"status" enum:"valid,used,expired,revoked" doc:"Only a valid one binds accounts. The accounts of one that is used or expired work on; those of a revoked one are frozen."`
	Owner     string     `json:"owner" example:"team a" doc:"Whose the accounts are, and their certificates."`
	Label     string     `json:"label,omitempty" doc:"For people."`
	Once      bool       `json:"once" doc:"It binds one account and no more."`
	Accounts  int        `json:"accounts" doc:"How many accounts it has bound."`
	CreatedBy string     `json:"created_by" doc:"Who made it."`
	CreatedAt time.Time  `json:"created_at" doc:"When it was made."`
	ExpiresAt *time.Time `json:"expires_at,omitempty" doc:"When it stops binding accounts."`
	RevokedAt *time.Time `json:"revoked_at,omitempty" doc:"When it was revoked."`

	MACKey  string      `json:"mac_key,omitempty" doc:"The secret: 64 octets in base64url without padding. Only the answer that makes the key has it."`
	Clients *eabClients `json:"clients,omitempty" doc:"What to type, with the MAC key in it."`
}

// eabClients are lines for those who hold the key.
type eabClients struct {
	Certbot string `json:"certbot" doc:"Registers an account, for certbot to use from then on."`
	Lego    string `json:"lego" doc:"Registers and gets a certificate, with lego 4."`
	Caddy   string `json:"caddy" doc:"For a site in the Caddyfile."`
}

func (d *door) showEABKey(k *acmeserver.EABKey) eabKey {
	return eabKey{
		ID: k.ID, Status: k.StatusAt(d.Now()), Owner: k.Owner, Label: k.Label, Once: k.Once,
		Accounts: k.Accounts, CreatedBy: k.CreatedBy, CreatedAt: k.CreatedAt.UTC(),
		ExpiresAt: optionalTime(k.ExpiresAt), RevokedAt: optionalTime(k.RevokedAt),
	}
}

// clientLines use the root file that the guides fetch. A MAC key may begin with a hyphen, so it stands
// behind an equals sign.
func clientLines(directory, id, macKey string) *eabClients {
	return &eabClients{
		Certbot: "REQUESTS_CA_BUNDLE=mayfly-root.pem certbot register --non-interactive --agree-tos " +
			"--register-unsafely-without-email --server " + directory +
			" --eab-kid=" + id + " --eab-hmac-key=" + macKey,
		Lego: "LEGO_CA_CERTIFICATES=mayfly-root.pem lego --accept-tos --email admin@example.internal " +
			"--server " + directory + " --eab --kid=" + id + " --hmac=" + macKey +
			` --domains "$(hostname -f)" --http run`,
		Caddy: "tls {\n\tca " + directory + "\n\tca_root /etc/caddy/mayfly-root.pem\n\teab " + id + " " +
			macKey + "\n}",
	}
}

func (d *door) registerEABKeys() {
	register(d, huma.Operation{
		OperationID: "create-eab-key", Method: http.MethodPost, Path: eabKeysPath,
		Summary: "Make a key for external account binding", DefaultStatus: http.StatusCreated,
		Description: "Whoever holds it can make ACME accounts that belong to its owner (RFC 8555 section " +
			"7.3.4). The MAC key is in this answer and cannot be had again, except by sending the request " +
			"again with the same Idempotency-Key.",
		Errors: createErrors,
	}, d.createEABKey)
	register(d, huma.Operation{
		OperationID: "list-eab-keys", Method: http.MethodGet, Path: eabKeysPath,
		Summary: "List EAB keys, newest first", Errors: []int{http.StatusUnprocessableEntity},
	}, d.listEABKeys)
	register(d, huma.Operation{
		OperationID: "get-eab-key", Method: http.MethodGet, Path: eabKeysPath + "/{id}",
		Summary: "Show one EAB key", Errors: []int{http.StatusNotFound},
	}, d.getEABKey)
	register(d, huma.Operation{
		OperationID: "revoke-eab-key", Method: http.MethodPost, Path: eabKeysPath + "/{id}/revoke",
		Summary: "Revoke an EAB key",
		Description: "It binds no account any more, and the accounts that it bound are frozen: whatever " +
			"they ask for is refused. Their certificates live on. This cannot be undone.",
		Errors: []int{http.StatusNotFound, http.StatusConflict},
	}, d.revokeEABKey)
}

// createErrors are those of operations that make something.
var createErrors = []int{
	http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge,
	http.StatusUnsupportedMediaType,
}

type createEABKeyInput struct {
	CreateHeader
	Body struct {
		Owner     string    `json:"owner" minLength:"1" maxLength:"256" example:"team a" doc:"Whose the accounts and their certificates will be."`
		Label     string    `json:"label,omitempty" maxLength:"256" example:"the web servers" doc:"For people."`
		Once      bool      `json:"once,omitempty" doc:"Bind one account and no more."`
		ExpiresAt time.Time `json:"expires_at,omitzero" doc:"When it stops binding accounts; never, if missing."`
	}
}

type eabKeyOutput struct{ Body eabKey }

func (d *door) createEABKey(
	ctx context.Context, who identity.Caller, in *createEABKeyInput,
) (*eabKeyOutput, error) {
	made, macKey, err := d.ACME.CreateEABKey(ctx, who, acmeserver.EABKey{
		Owner: in.Body.Owner, Label: in.Body.Label, Once: in.Body.Once, ExpiresAt: in.Body.ExpiresAt,
	}, in.Key)
	if err != nil {
		return nil, err
	}
	out := &eabKeyOutput{d.showEABKey(&made)}
	out.Body.MACKey = base64.RawURLEncoding.EncodeToString(macKey)
	out.Body.Clients = clientLines(d.ACME.DirectoryURL(), made.ID, out.Body.MACKey)
	return out, nil
}

type eabKeysInput struct {
	PageInput
	Owner string `query:"owner" maxLength:"256" doc:"Keys of exactly this owner."`
}

func (d *door) listEABKeys(
	ctx context.Context, _ identity.Caller, in *eabKeysInput,
) (*pageOutput[eabKey], error) {
	if err := checkFilters(map[string]string{"owner": in.Owner}); err != nil {
		return nil, err
	}
	after, err := decodePosition(in.Cursor)
	if err != nil {
		return nil, err
	}
	found, err := d.ACME.EABKeys(ctx, in.Owner, after, in.Limit)
	if err != nil {
		return nil, err
	}
	return newPage(&in.PageInput, eabKeysPath, found, d.showEABKey,
		func(k *acmeserver.EABKey) acmeserver.Position {
			return acmeserver.Position{CreatedAt: k.CreatedAt, ID: k.ID}
		}), nil
}

func (d *door) getEABKey(
	ctx context.Context, _ identity.Caller, in *idPath,
) (*eabKeyOutput, error) {
	found, err := d.ACME.EABKey(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &eabKeyOutput{d.showEABKey(&found)}, nil
}

func (d *door) revokeEABKey(
	ctx context.Context, who identity.Caller, in *idPath,
) (*eabKeyOutput, error) {
	revoked, err := d.ACME.RevokeEABKey(ctx, who, in.ID)
	if err != nil {
		return nil, err
	}
	return &eabKeyOutput{d.showEABKey(&revoked)}, nil
}
