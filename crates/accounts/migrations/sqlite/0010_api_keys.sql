-- A key outlives its revocation for a while, also that of its account: until then it is refused as
-- revoked, not as unknown.
CREATE TABLE api_keys (
    id            BLOB    NOT NULL PRIMARY KEY,
    account       BLOB    NOT NULL,
    -- SHA-256 of the key.
    hash          BLOB    NOT NULL UNIQUE,
    name          TEXT    NOT NULL,
    -- The first characters of the key.
    prefix        TEXT    NOT NULL,
    -- Names, separated by commas.
    scopes        TEXT    NOT NULL,
    -- Grows when the roles of the account change.
    epoch         INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER,
    last_used_at  INTEGER,
    revoked_at    INTEGER
) STRICT;
CREATE INDEX api_keys_by_account ON api_keys (account, created_at);
CREATE INDEX api_keys_by_end ON api_keys (coalesce(revoked_at, expires_at));

-- The key that an entry is about. The previous release leaves it null.
ALTER TABLE audit ADD COLUMN api_key BLOB;
