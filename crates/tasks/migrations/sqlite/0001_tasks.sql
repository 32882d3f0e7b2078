-- Times are microseconds since 1970, ids are 16 bytes.
--
-- A task's life writes its row three times: accepted, claimed, ended. Its duty to be
-- dispatched (due_at) and its timeline are columns, so that they cost no rows of their
-- own and can't disagree with it.
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

CREATE INDEX tasks_by_owner ON tasks (owner, id) WHERE deleted = 0;
CREATE UNIQUE INDEX tasks_by_key ON tasks (owner, idempotency_key) WHERE idempotency_key IS NOT NULL;

-- What a task is in only for a part of its life stays small however many are kept, and
-- costs nothing in the other parts.
CREATE INDEX tasks_waiting ON tasks (owner, ready_at) WHERE ready_at IS NOT NULL;
CREATE INDEX tasks_due ON tasks (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX tasks_leased ON tasks (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX tasks_ended ON tasks (owner, status, finished_at, deleted) WHERE finished_at IS NOT NULL;
CREATE INDEX tasks_unhappy ON tasks (owner, status, id) WHERE status IN (3, 4) AND deleted = 0;
CREATE INDEX tasks_failed ON tasks (id) WHERE status = 4 AND deleted = 0;

-- The older part of a timeline that has grown long, so that a change stays a small write.
CREATE TABLE task_timeline_pages (
    task_id BLOB    NOT NULL,
    page    INTEGER NOT NULL,
    lines   TEXT    NOT NULL,
    PRIMARY KEY (task_id, page)
) WITHOUT ROWID;

CREATE TRIGGER tasks_turn_page AFTER UPDATE OF timeline ON tasks
WHEN octet_length(NEW.timeline) > 16384
BEGIN
    INSERT INTO task_timeline_pages (task_id, page, lines) VALUES (NEW.id, NEW.pages, NEW.timeline);
    UPDATE tasks SET pages = pages + 1, timeline = '' WHERE id = NEW.id;
END;

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
