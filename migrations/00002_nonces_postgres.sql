-- Postgres only (SQLite's one process keeps nonces in memory). Both tables are UNLOGGED, so that a
-- crash of the database empties both: whoever forgets which nonces were used forgets the key too.

-- +goose Up
CREATE UNLOGGED TABLE nonce_key (
    one     BIGINT PRIMARY KEY CHECK (one = 1),
    id      BYTEA NOT NULL,
    secret  BYTEA NOT NULL,
    horizon BIGINT NOT NULL -- nonces minted before this may have been forgotten
);
CREATE UNLOGGED TABLE used_nonces (
    source BIGINT NOT NULL, -- the bits of a uint64
    count  BIGINT NOT NULL,
    minted BIGINT NOT NULL,
    PRIMARY KEY (source, count)
);
CREATE INDEX used_nonces_minted ON used_nonces (minted);
