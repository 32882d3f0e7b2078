-- Times are microseconds since 1970, ids are 16 bytes, hashes 32.

CREATE TABLE accounts (
    id            BLOB    NOT NULL PRIMARY KEY,
    -- As its owner writes it, and the same for all spellings that differ in case alone.
    login         TEXT    NOT NULL,
    login_key     TEXT    NOT NULL UNIQUE,
    -- In lower case.
    email         TEXT    NOT NULL UNIQUE,
    -- A PHC string.
    password      TEXT    NOT NULL,
    -- Names, separated by commas.
    roles         TEXT    NOT NULL,
    birth_date    TEXT,
    phone_number  TEXT,
    created_at    INTEGER NOT NULL
) STRICT;

-- What each login looks like: no two accounts share a row.
CREATE TABLE login_looks (
    look     TEXT NOT NULL PRIMARY KEY,
    account  BLOB NOT NULL REFERENCES accounts (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX login_looks_by_account ON login_looks (account);

-- The newest code of an address for a purpose, and how many there were lately. A row
-- without a mac is of an address that got no code, and counts all the same.
CREATE TABLE codes (
    email          TEXT    NOT NULL,
    purpose        TEXT    NOT NULL,
    mac            BLOB,
    tries          INTEGER NOT NULL,
    sent_at        INTEGER NOT NULL,
    expires_at     INTEGER NOT NULL,
    counted_since  INTEGER NOT NULL,
    count          INTEGER NOT NULL,
    PRIMARY KEY (email, purpose)
) STRICT, WITHOUT ROWID;

CREATE TABLE verified_emails (
    email       TEXT    NOT NULL PRIMARY KEY,
    expires_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Sessions outlive their end, and their account: a token of theirs is told that it was
-- revoked, not that it is unknown.
CREATE TABLE sessions (
    id            BLOB    NOT NULL PRIMARY KEY,
    account       BLOB    NOT NULL,
    refresh       BLOB    NOT NULL UNIQUE,
    -- Grows with each refresh; only the newest access token is valid.
    epoch         INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    last_used_at  INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    ended_at      INTEGER,
    ip            TEXT,
    user_agent    TEXT
) STRICT;
CREATE INDEX sessions_by_account ON sessions (account, created_at);
CREATE INDEX sessions_by_end ON sessions (expires_at);

-- Refresh tokens that were used, for as long as they would have been good.
CREATE TABLE spent_tokens (
    refresh     BLOB    NOT NULL PRIMARY KEY,
    session     BLOB    NOT NULL,
    expires_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX spent_tokens_by_end ON spent_tokens (expires_at);

CREATE TABLE sign_in_failures (
    id   INTEGER PRIMARY KEY,
    key  BLOB    NOT NULL,
    at   INTEGER NOT NULL
) STRICT;
CREATE INDEX sign_in_failures_by_key ON sign_in_failures (key, at);

CREATE TABLE signing_keys (
    kid         TEXT    NOT NULL PRIMARY KEY,
    -- A key has one successor; the first one follows ''.
    follows     TEXT    NOT NULL UNIQUE,
    public      BLOB    NOT NULL,
    sealed      BLOB    NOT NULL,
    signs_from  INTEGER NOT NULL
) STRICT;

-- The outbox: mails and messages that are owed. Done ones that are remembered have an
-- end and are never due.
CREATE TABLE duties (
    id                BLOB    NOT NULL PRIMARY KEY,
    kind              TEXT    NOT NULL,
    payload           BLOB    NOT NULL,
    traceparent       TEXT,
    tracestate        TEXT,
    baggage           TEXT,
    due_at            INTEGER,
    not_after         INTEGER,
    attempts          INTEGER NOT NULL,
    remembered_until  INTEGER
) STRICT;
CREATE INDEX duties_due ON duties (due_at) WHERE due_at IS NOT NULL;

-- Mail that stays in the platform.
CREATE TABLE inbox (
    id       BLOB    NOT NULL PRIMARY KEY,
    at       INTEGER NOT NULL,
    address  TEXT    NOT NULL,
    subject  TEXT    NOT NULL,
    text     TEXT    NOT NULL,
    html     TEXT    NOT NULL
) STRICT;

CREATE TABLE audit (
    id       BLOB    NOT NULL PRIMARY KEY,
    at       INTEGER NOT NULL,
    action   TEXT    NOT NULL,
    outcome  TEXT    NOT NULL,
    account  BLOB,
    login    TEXT,
    ip       TEXT
) STRICT;
