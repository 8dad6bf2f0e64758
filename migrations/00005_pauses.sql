-- Failed validations of a name by an account, with no success between them. One that is paused
-- (paused_at) may not be ordered.

-- +goose Up
CREATE TABLE acme_pauses (
    account   TEXT NOT NULL,
    name      TEXT NOT NULL,
    failures  BIGINT NOT NULL,
    first_at  BIGINT NOT NULL,
    last_at   BIGINT NOT NULL,
    paused_at BIGINT,
    PRIMARY KEY (account, name)
);
CREATE INDEX acme_pauses_newest ON acme_pauses (paused_at, account, name)
    WHERE paused_at IS NOT NULL;
CREATE INDEX acme_pauses_last ON acme_pauses (last_at) WHERE paused_at IS NULL;
