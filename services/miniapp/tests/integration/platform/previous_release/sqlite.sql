PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE accounts_migrations (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN NOT NULL,
    checksum BLOB NOT NULL,
    execution_time BIGINT NOT NULL
);
INSERT INTO accounts_migrations VALUES(1,'accounts','2026-11-30 11:27:02',1,X'3d98cedff7c4039fc7c5c445451ff6b1d94802d05d975ec24927c337489f8a62feb4c6e3acffbd658106da6383543ee6',3242578);
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
INSERT INTO accounts VALUES(X'01a22c355e747a498d2ab45e82ea04a2','ada','ada','ada@example.com','$argon2id$v=19$m=19456,t=2,p=1$+WMtFTs/w1KSJ+3sSrnWFg$2tH08Cn1htDgkdwC2lC7aFg4CHVN3H4MN5EcERbfTVQ','user',NULL,NULL,1796038024820643);
CREATE TABLE login_looks (
    look     TEXT NOT NULL PRIMARY KEY,
    account  BLOB NOT NULL REFERENCES accounts (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
INSERT INTO login_looks VALUES('ada',X'01a22c355e747a498d2ab45e82ea04a2');
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
INSERT INTO codes VALUES('ada@example.com','verification',NULL,1,1796038023229604,1796038623229604,1796038023229604,1);
CREATE TABLE verified_emails (
    email       TEXT    NOT NULL PRIMARY KEY,
    expires_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
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
INSERT INTO sessions VALUES(X'01a22c355f9470248d2ab45e8373c13a',X'01a22c355e747a498d2ab45e82ea04a2',X'9da310921dfca02004e0756d179411e6fed0040b480df913dfc8f0a496466502',1,1796038025108009,1796038025108009,1798630025108009,NULL,'127.0.0.1','curl/7.88.1');
CREATE TABLE spent_tokens (
    refresh     BLOB    NOT NULL PRIMARY KEY,
    session     BLOB    NOT NULL,
    expires_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE sign_in_failures (
    id   INTEGER PRIMARY KEY,
    key  BLOB    NOT NULL,
    at   INTEGER NOT NULL
) STRICT;
CREATE TABLE signing_keys (
    kid         TEXT    NOT NULL PRIMARY KEY,
    -- A key has one successor; the first one follows ''.
    follows     TEXT    NOT NULL UNIQUE,
    public      BLOB    NOT NULL,
    sealed      BLOB    NOT NULL,
    signs_from  INTEGER NOT NULL
) STRICT;
INSERT INTO signing_keys VALUES('60Yz6-W57I-rYDFB','',X'1e20bdf0ed8752f2c73fbacf8dc337edee059ac9dc3afe118f7aa6a3e22dcc2a',X'5f7f1582648764f1fe0dce0b2332037c6c52ab5fe3aee0e8ba54dd0f3d02877c335fe0bdcff647af05879f6a42837e7e72a053efa54ddc4274390590',1796038022936313);
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
CREATE TABLE inbox (
    id       BLOB    NOT NULL PRIMARY KEY,
    at       INTEGER NOT NULL,
    address  TEXT    NOT NULL,
    subject  TEXT    NOT NULL,
    text     TEXT    NOT NULL,
    html     TEXT    NOT NULL
) STRICT;
INSERT INTO inbox VALUES(X'01a22c35583d790a8d2ab45e80de3eae',1796038023272287,'ada@example.com','Your MiniApp verification code',replace('Hello,\n\nthis code confirms your address for the next 10 minutes:\n\n    007158\n\nIf you didn''t ask for it, nothing happens when you ignore this mail.\n\nMiniApp\n','\n',char(10)),'<!doctype html><html lang="en"><meta charset="utf-8"><title>Your MiniApp verification code</title><body style="font-family:sans-serif;line-height:1.5"><p>Hello,</p><p>this code confirms your address for the next 10 minutes:</p><p style="font-size:2em;letter-spacing:.2em"><strong>007158</strong></p><p>If you didn''t ask for it, nothing happens when you ignore this mail.</p><p>MiniApp</p></body></html>');
CREATE TABLE audit (
    id       BLOB    NOT NULL PRIMARY KEY,
    at       INTEGER NOT NULL,
    action   TEXT    NOT NULL,
    outcome  TEXT    NOT NULL,
    account  BLOB,
    login    TEXT,
    ip       TEXT
) STRICT;
INSERT INTO audit VALUES(X'01a22c35583d79a18d2ab45e81d0df93',1796038023229602,'send_code','ok',NULL,NULL,'127.0.0.1');
INSERT INTO audit VALUES(X'01a22c355e4c7b2f8d2ab45e8240dccc',1796038024780699,'verify_email','ok',NULL,NULL,'127.0.0.1');
INSERT INTO audit VALUES(X'01a22c355e747a318d2ab45e82ac1b4d',1796038024820637,'register','ok',X'01a22c355e747a498d2ab45e82ea04a2','ada','127.0.0.1');
INSERT INTO audit VALUES(X'01a22c355f6c70b48d2ab45e83334d74',1796038025068044,'sign_in','ok',X'01a22c355e747a498d2ab45e82ea04a2','ada','127.0.0.1');
CREATE TABLE tasks_migrations (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN NOT NULL,
    checksum BLOB NOT NULL,
    execution_time BIGINT NOT NULL
);
INSERT INTO tasks_migrations VALUES(1,'tasks','2026-11-30 11:27:03',1,X'331ea4600c81bc520ba0273174443a521416805340a9ea9db06d4f2e32f4c23ebeda938845fe9a241629a65a52805861',532692);
CREATE TABLE tasks (
    id               BLOB    NOT NULL PRIMARY KEY,
    owner            BLOB    NOT NULL,
    kind             TEXT    NOT NULL,
    description      TEXT    NOT NULL,
    data             TEXT    NOT NULL,
    ttl              INTEGER NOT NULL,
    max_attempts     INTEGER NOT NULL,
    created_at       INTEGER NOT NULL,
    traceparent      TEXT,
    tracestate       TEXT,
    baggage          TEXT,
    idempotency_key  TEXT,
    body_digest      BLOB,
    -- 0 Awaiting, 1 Executing, 2 Finished, 3 Canceled, 4 Failed
    status           INTEGER NOT NULL DEFAULT 0,
    message          TEXT,
    progress         REAL    NOT NULL DEFAULT 0,
    result           TEXT,
    error_code       TEXT,
    error_message    TEXT,
    attempt          INTEGER NOT NULL DEFAULT 0,
    generation       INTEGER NOT NULL DEFAULT 1,
    -- Grows with each change; every write is guarded by it.
    version          INTEGER NOT NULL DEFAULT 1,
    -- The fencing token: grows with each claim.
    claim            INTEGER NOT NULL DEFAULT 0,
    lease_until      INTEGER,
    lost_leases      INTEGER NOT NULL DEFAULT 0,
    worker           TEXT,
    -- When its newest event happened.
    changed_at       INTEGER NOT NULL,
    run_at           INTEGER,
    started_at       INTEGER,
    finished_at      INTEGER,
    ready_at         INTEGER,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    deleted          INTEGER NOT NULL DEFAULT 0,
    -- When a message has to go out; null once the broker confirmed it.
    due_at           INTEGER,
    dispatched_at    INTEGER,
    -- How many pages of the timeline were moved to task_timeline_pages.
    pages            INTEGER NOT NULL DEFAULT 0,
    -- One JSON array a line: id, time, type, status, message, progress, attempt, worker.
    timeline         TEXT    NOT NULL
);
INSERT INTO tasks VALUES(X'01a22c35620075be8d2ab45e840adefd',X'01a22c355e747a498d2ab45e82ea04a2','echo','Finished','{"hello":"world"}',60,3,1796038025728359,'00-d20992fbc25ef34d6be865df0fb99808-a6f1e92a31405bb3-01',NULL,NULL,NULL,NULL,2,NULL,1.0,'{"hello":"world"}',NULL,NULL,1,1,3,1,NULL,0,'host-7933-1',1796038025748108,NULL,1796038025736540,1796038025748108,NULL,0,0,NULL,NULL,0,replace('["01a22c35-6200-75fb-8d2a-b45e8459cc7b",1796038025728359,"created","Awaiting",null,0.0,0,null]\n["01a22c35-6208-78a3-8d2a-b45e8502d6c6",1796038025736540,"started","Executing",null,0.0,1,"host-7933-1"]\n["01a22c35-6214-71ba-8d2a-b45e857c2c2a",1796038025748108,"finished","Finished",null,1.0,1,"host-7933-1"]\n','\n',char(10)));
INSERT INTO tasks VALUES(X'01a22c35621f775c8d2ab45e86122a90',X'01a22c355e747a498d2ab45e82ea04a2','flaky','Retried','{"failures":1}',60,3,1796038025759459,'00-7b3c3d0138786329d42e9c7c86a3c73a-9cfe6d1ab8417216-01',NULL,NULL,NULL,NULL,2,NULL,1.0,'{"attempt":2}',NULL,NULL,2,1,5,2,NULL,0,'host-7933-3',1796038026615091,1796038026593771,1796038026608085,1796038026615091,NULL,0,0,NULL,NULL,0,replace('["01a22c35-621f-77be-8d2a-b45e867338a7",1796038025759459,"created","Awaiting",null,0.0,0,null]\n["01a22c35-6238-7883-8d2a-b45e87132d8d",1796038025784532,"started","Executing",null,0.0,1,"host-7933-2"]\n["01a22c35-6239-7431-8d2a-b45e87422dbb",1796038025785262,"retrying","Awaiting","Fails as told, 1 of 1 times",0.0,1,"host-7933-2"]\n["01a22c35-6570-715c-8d2a-b45e89c11a2a",1796038026608085,"started","Executing",null,0.0,2,"host-7933-3"]\n["01a22c35-6577-7174-8d2a-b45e8a534c49",1796038026615091,"finished","Finished",null,1.0,2,"host-7933-3"]\n','\n',char(10)));
INSERT INTO tasks VALUES(X'01a22c35626c71ae8d2ab45e8822358a',X'01a22c355e747a498d2ab45e82ea04a2','echo','Pending','1',60,3,1796038025836105,'00-40650285f4d33b2f0756a43a44567e4c-d56e4550a7ef8ddc-01',NULL,NULL,'upgrade',X'f140ed2c5ef96ee6c668f588e06f0eb278183a2eb5769640b72fe9bde6ec0e1f',0,NULL,0.0,NULL,NULL,NULL,0,1,1,0,NULL,0,NULL,1796038025836131,1796038037000000,NULL,NULL,1796038037000000,0,0,1796038037000000,NULL,0,replace('["01a22c35-626c-7218-8d2a-b45e8863f530",1796038025836105,"created","Awaiting",null,0.0,0,null]\n','\n',char(10)));
INSERT INTO tasks VALUES(X'01a22c3562c471918d2ab45e88fab563',X'01a22c355e747a498d2ab45e82ea04a2','echo','Later','2',60,3,1796038025924098,'00-488e54632a03783ec4af7e11a2c787f1-ca249fbce4d93b9e-01',NULL,NULL,NULL,NULL,0,NULL,0.0,NULL,NULL,NULL,0,1,1,0,NULL,0,NULL,1796038025924149,4070908800000000,NULL,NULL,4070908800000000,0,0,4070908800000000,NULL,0,replace('["01a22c35-62c4-7262-8d2a-b45e8928f77d",1796038025924098,"created","Awaiting",null,0.0,0,null]\n','\n',char(10)));
CREATE TABLE task_timeline_pages (
    task_id BLOB    NOT NULL,
    page    INTEGER NOT NULL,
    lines   TEXT    NOT NULL,
    PRIMARY KEY (task_id, page)
) WITHOUT ROWID;
CREATE TABLE workers (
    name         TEXT    NOT NULL PRIMARY KEY,
    last_seen_at INTEGER NOT NULL,
    -- The whole report as JSON.
    report       TEXT    NOT NULL
) WITHOUT ROWID;
CREATE TABLE task_kinds (
    name        TEXT NOT NULL PRIMARY KEY,
    -- The kind as workers describe it, JSON.
    description TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO task_kinds VALUES('echo','{"name":"echo","description":"Gives the data back as the result.","dataSchema":{"description":"Any JSON"},"example":{"hello":"world"}}');
INSERT INTO task_kinds VALUES('flaky','{"name":"flaky","description":"Fails the given number of attempts, then finishes.","dataSchema":{"additionalProperties":false,"properties":{"failures":{"maximum":4294967295,"minimum":0,"type":"integer"}},"required":["failures"],"type":"object"},"example":{"failures":1}}');
INSERT INTO task_kinds VALUES('hash','{"name":"hash","description":"Applies SHA-256 to nothing, then to the hash before, for a number of rounds; the result is the last hash.","dataSchema":{"additionalProperties":false,"properties":{"rounds":{"maximum":4294967295,"minimum":1,"type":"integer"}},"required":["rounds"],"type":"object"},"example":{"rounds":1000000}}');
INSERT INTO task_kinds VALUES('http','{"name":"http","description":"Fetches a URL of the public internet; the result is the answer, whatever its status.","dataSchema":{"additionalProperties":false,"properties":{"body":{"description":"A text as it is, or any other JSON"},"headers":{"additionalProperties":{"type":"string"},"description":"Idempotency-Key is the attempt''s id where none is given","type":"object"},"method":{"default":"GET","enum":["GET","HEAD","POST","PUT","PATCH","DELETE","OPTIONS"]},"url":{"format":"uri","pattern":"^https?://","type":"string"}},"required":["url"],"type":"object"},"example":{"method":"GET","url":"https://example.com/"}}');
INSERT INTO task_kinds VALUES('simulate','{"name":"simulate","description":"Pretends to work for a random time, sometimes longer than the ttl. The same seed gives the same times.","dataSchema":{"description":"Any JSON; an object may hold a seed","properties":{"seed":{"minimum":0,"type":"integer"}}},"example":{"seed":7}}');
INSERT INTO task_kinds VALUES('sleep','{"name":"sleep","description":"Waits for a number of seconds.","dataSchema":{"additionalProperties":false,"properties":{"seconds":{"maximum":86400,"minimum":0,"type":"number"}},"required":["seconds"],"type":"object"},"example":{"seconds":1.5}}');
CREATE INDEX login_looks_by_account ON login_looks (account);
CREATE INDEX sessions_by_account ON sessions (account, created_at);
CREATE INDEX sessions_by_end ON sessions (expires_at);
CREATE INDEX spent_tokens_by_end ON spent_tokens (expires_at);
CREATE INDEX sign_in_failures_by_key ON sign_in_failures (key, at);
CREATE INDEX duties_due ON duties (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX tasks_by_owner ON tasks (owner, id) WHERE deleted = 0;
CREATE UNIQUE INDEX tasks_by_key ON tasks (owner, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX tasks_waiting ON tasks (owner, ready_at) WHERE ready_at IS NOT NULL;
CREATE INDEX tasks_due ON tasks (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX tasks_leased ON tasks (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX tasks_ended ON tasks (owner, status, finished_at, deleted) WHERE finished_at IS NOT NULL;
CREATE INDEX tasks_unhappy ON tasks (owner, status, id) WHERE status IN (3, 4) AND deleted = 0;
CREATE INDEX tasks_failed ON tasks (id) WHERE status = 4 AND deleted = 0;
CREATE TRIGGER tasks_turn_page AFTER UPDATE OF timeline ON tasks
WHEN octet_length(NEW.timeline) > 16384
BEGIN
    INSERT INTO task_timeline_pages (task_id, page, lines) VALUES (NEW.id, NEW.pages, NEW.timeline);
    UPDATE tasks SET pages = pages + 1, timeline = '' WHERE id = NEW.id;
END;
COMMIT;
