-- One text for Postgres and SQLite: times are BIGINT unix microseconds, ids are made in Go, and
-- nothing here depends on an engine's clock, sequences or triggers.

-- +goose Up
CREATE TABLE issuers (
    id          TEXT PRIMARY KEY,
    kind        TEXT NOT NULL,
    parent      TEXT NOT NULL,
    certificate BYTEA NOT NULL,
    key_uri     TEXT NOT NULL,
    shards      BIGINT NOT NULL,
    created_at  BIGINT NOT NULL
);

CREATE TABLE certificates (
    serial      BYTEA PRIMARY KEY,
    ref         TEXT UNIQUE, -- NULL once void, so that the reference can be tried again
    state       TEXT NOT NULL,
    issuer      TEXT NOT NULL,
    shard       BIGINT NOT NULL,
    profile     TEXT NOT NULL,
    caller      TEXT NOT NULL,
    owner       TEXT NOT NULL,
    names       TEXT NOT NULL, -- JSON
    spki_sha256 BYTEA NOT NULL,
    tbs_sha256  BYTEA NOT NULL,
    not_before  BIGINT NOT NULL,
    not_after   BIGINT NOT NULL,
    promised_at BIGINT NOT NULL,
    issued_at   BIGINT,
    der         BYTEA,
    revoked_at  BIGINT,
    reason      BIGINT
);
CREATE INDEX certificates_newest ON certificates (promised_at, serial);
CREATE INDEX certificates_unsettled ON certificates (promised_at) WHERE state = 'promised';
-- What a CRL lists: revoked and void rows, which have revoked_at too.
CREATE INDEX certificates_revoked ON certificates (issuer, shard, not_after)
    WHERE revoked_at IS NOT NULL;

-- The lower-case name reversed byte by byte, so that a suffix search is a range on an index.
CREATE TABLE certificate_names (
    reversed BYTEA NOT NULL,
    serial   BYTEA NOT NULL,
    PRIMARY KEY (reversed, serial)
);

CREATE TABLE crls (
    issuer      TEXT NOT NULL,
    shard       BIGINT NOT NULL,
    number      BIGINT NOT NULL,
    this_update BIGINT NOT NULL,
    next_update BIGINT NOT NULL,
    floor       BIGINT NOT NULL, -- it lists what had not_after at or after this
    entries     BIGINT NOT NULL, -- how many it lists
    der         BYTEA NOT NULL,
    PRIMARY KEY (issuer, shard)
);

CREATE TABLE audit_entries (
    id      TEXT PRIMARY KEY,
    at      BIGINT NOT NULL,
    kind    TEXT NOT NULL,
    actor   TEXT NOT NULL,
    subject TEXT NOT NULL,
    data    TEXT NOT NULL -- JSON
);
CREATE INDEX audit_entries_at ON audit_entries (at);

CREATE TABLE acme_accounts (
    id         TEXT PRIMARY KEY,
    thumbprint TEXT NOT NULL UNIQUE, -- RFC 7638
    version    BIGINT NOT NULL,
    status     TEXT NOT NULL,
    doc        TEXT NOT NULL, -- JSON
    created_at BIGINT NOT NULL
);

-- An order with its authorizations and challenges is one document.
CREATE TABLE acme_orders (
    id         TEXT PRIMARY KEY,
    account    TEXT NOT NULL,
    version    BIGINT NOT NULL,
    doc        TEXT NOT NULL, -- JSON
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX acme_orders_of_account ON acme_orders (account, created_at, id);
CREATE INDEX acme_orders_expiry ON acme_orders (expires_at);

CREATE TABLE tokens (
    id         TEXT PRIMARY KEY,
    hash       BYTEA NOT NULL UNIQUE, -- SHA-256 of the secret
    name       TEXT NOT NULL,
    role       TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT
);

-- One row that is written to find out whether the database takes writes at all.
CREATE TABLE probe (
    id BIGINT PRIMARY KEY,
    at BIGINT NOT NULL
);
