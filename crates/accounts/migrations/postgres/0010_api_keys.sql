SET LOCAL lock_timeout = '2s';

-- A key outlives its revocation for a while, also that of its account: until then it is refused as
-- revoked, not as unknown.
CREATE TABLE api_keys (
    id            uuid    NOT NULL PRIMARY KEY,
    account       uuid    NOT NULL,
    -- SHA-256 of the key.
    hash          bytea   NOT NULL UNIQUE,
    name          text    NOT NULL,
    -- The first characters of the key.
    prefix        text    NOT NULL,
    -- Names, separated by commas.
    scopes        text    NOT NULL,
    -- Grows when the roles of the account change.
    epoch         integer NOT NULL,
    created_at    bigint  NOT NULL,
    expires_at    bigint,
    last_used_at  bigint,
    revoked_at    bigint
);
CREATE INDEX api_keys_by_account ON api_keys (account, created_at);
CREATE INDEX api_keys_by_end ON api_keys (coalesce(revoked_at, expires_at));

-- The key that an entry is about. The previous release leaves it null.
ALTER TABLE audit ADD COLUMN api_key uuid;
