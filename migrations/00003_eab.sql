-- External account binding and pre-authorised names (RFC 8555 sections 7.3.4 and 7.4.1).

-- +goose Up

-- What only the passphrase of the CA's keys opens.
CREATE TABLE secrets (
    id     TEXT PRIMARY KEY,
    sealed BYTEA NOT NULL
);

-- The MAC keys are not here: they follow from the id and from a secret.
CREATE TABLE acme_eab_keys (
    id         TEXT PRIMARY KEY,
    owner      TEXT NOT NULL,
    label      TEXT NOT NULL,
    once       BOOLEAN NOT NULL, -- binds one account, ever
    granted    BOOLEAN NOT NULL, -- had a grant at some time
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT
);
CREATE INDEX acme_eab_keys_newest ON acme_eab_keys (created_at, id);

ALTER TABLE acme_accounts ADD COLUMN owner TEXT;    -- the key's; NULL if not bound
ALTER TABLE acme_accounts ADD COLUMN eab_key TEXT;  -- NULL if not bound
ALTER TABLE acme_accounts ADD COLUMN eab_once BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE acme_accounts ADD COLUMN granted BOOLEAN NOT NULL DEFAULT FALSE;
CREATE UNIQUE INDEX acme_accounts_eab_once ON acme_accounts (eab_key) WHERE eab_once;
CREATE INDEX acme_accounts_newest ON acme_accounts (created_at, id);
CREATE INDEX acme_accounts_of_key ON acme_accounts (eab_key, created_at, id)
    WHERE eab_key IS NOT NULL;
CREATE INDEX acme_accounts_of_owner ON acme_accounts (owner, created_at, id)
    WHERE owner IS NOT NULL;

CREATE TABLE acme_grants (
    id         TEXT PRIMARY KEY,
    holder     TEXT NOT NULL, -- account/<id> or eab-key/<id>
    owner      TEXT NOT NULL, -- the holder's
    doc        TEXT NOT NULL, -- JSON
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX acme_grants_of_holder ON acme_grants (holder, expires_at);
CREATE INDEX acme_grants_newest ON acme_grants (created_at, id);
CREATE INDEX acme_grants_expiry ON acme_grants (expires_at);

CREATE INDEX acme_orders_newest ON acme_orders (created_at, id);

-- +goose Down
DROP INDEX acme_orders_newest;
DROP TABLE acme_grants;
DROP INDEX acme_accounts_of_owner;
DROP INDEX acme_accounts_of_key;
DROP INDEX acme_accounts_newest;
DROP INDEX acme_accounts_eab_once;
ALTER TABLE acme_accounts DROP COLUMN granted;
ALTER TABLE acme_accounts DROP COLUMN eab_once;
ALTER TABLE acme_accounts DROP COLUMN eab_key;
ALTER TABLE acme_accounts DROP COLUMN owner;
DROP TABLE acme_eab_keys;
DROP TABLE secrets;
