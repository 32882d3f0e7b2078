-- Times are microseconds since 1970, hashes 32 bytes. Text is compared by its bytes, as the
-- domain compares it.

CREATE TABLE accounts (
    id            uuid    NOT NULL PRIMARY KEY,
    -- As its owner writes it, and the same for all spellings that differ in case alone.
    login         text    NOT NULL,
    login_key     text    NOT NULL UNIQUE,
    -- In lower case.
    email         text    NOT NULL UNIQUE,
    -- A PHC string.
    password      text    NOT NULL,
    -- Names, separated by commas.
    roles         text    NOT NULL,
    birth_date    text,
    phone_number  text,
    created_at    bigint  NOT NULL
);

-- What each login looks like: no two accounts share a row.
CREATE TABLE login_looks (
    look     text NOT NULL PRIMARY KEY,
    account  uuid   NOT NULL REFERENCES accounts (id) ON DELETE CASCADE
);
CREATE INDEX login_looks_by_account ON login_looks (account);

-- The newest code of an address for a purpose, and how many there were lately. A row
-- without a mac is of an address that got no code, and counts all the same.
CREATE TABLE codes (
    email          text    NOT NULL,
    purpose        text    NOT NULL,
    mac            bytea,
    tries          integer NOT NULL,
    sent_at        bigint  NOT NULL,
    expires_at     bigint  NOT NULL,
    counted_since  bigint  NOT NULL,
    count          integer NOT NULL,
    PRIMARY KEY (email, purpose)
);

CREATE TABLE verified_emails (
    email       text    NOT NULL PRIMARY KEY,
    expires_at  bigint  NOT NULL
);

-- Sessions outlive their end, and their account: a token of theirs is told that it was
-- revoked, not that it is unknown.
CREATE TABLE sessions (
    id            uuid    NOT NULL PRIMARY KEY,
    account       uuid    NOT NULL,
    refresh       bytea   NOT NULL UNIQUE,
    -- Grows with each refresh; only the newest access token is valid.
    epoch         integer NOT NULL,
    created_at    bigint  NOT NULL,
    last_used_at  bigint  NOT NULL,
    expires_at    bigint  NOT NULL,
    ended_at      bigint,
    ip            text,
    user_agent    text
);
CREATE INDEX sessions_by_account ON sessions (account, created_at);
CREATE INDEX sessions_by_end ON sessions (expires_at);

-- Refresh tokens that were used, for as long as they would have been good.
CREATE TABLE spent_tokens (
    refresh     bytea   NOT NULL PRIMARY KEY,
    session     uuid    NOT NULL,
    expires_at  bigint  NOT NULL
);
CREATE INDEX spent_tokens_by_end ON spent_tokens (expires_at);

CREATE TABLE sign_in_failures (
    id   bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key  bytea   NOT NULL,
    at   bigint  NOT NULL
);
CREATE INDEX sign_in_failures_by_key ON sign_in_failures (key, at);

CREATE TABLE signing_keys (
    kid         text    NOT NULL PRIMARY KEY,
    -- A key has one successor; the first one follows ''.
    follows     text    NOT NULL UNIQUE,
    public      bytea   NOT NULL,
    sealed      bytea   NOT NULL,
    signs_from  bigint  NOT NULL
);

-- The outbox: mails and messages that are owed. Done ones that are remembered have an
-- end and are never due.
CREATE TABLE duties (
    id                uuid    NOT NULL PRIMARY KEY,
    kind              text    NOT NULL,
    payload           bytea   NOT NULL,
    traceparent       text,
    tracestate        text,
    baggage           text,
    due_at            bigint,
    not_after         bigint,
    attempts          integer NOT NULL,
    remembered_until  bigint
);
CREATE INDEX duties_due ON duties (due_at) WHERE due_at IS NOT NULL;

-- Mail that stays in the platform.
CREATE TABLE inbox (
    id       uuid    NOT NULL PRIMARY KEY,
    at       bigint  NOT NULL,
    address  text    NOT NULL,
    subject  text    NOT NULL,
    text     text    NOT NULL,
    html     text    NOT NULL
);

CREATE TABLE audit (
    id       uuid    NOT NULL PRIMARY KEY,
    at       bigint  NOT NULL,
    action   text    NOT NULL,
    outcome  text    NOT NULL,
    account  uuid,
    login    text,
    ip       text
);
CREATE INDEX audit_by_time ON audit (at);
