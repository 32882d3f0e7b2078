-- Times are microseconds since 1970: as wide as timestamptz and compared the same way,
-- without a conversion on either side. For people: to_timestamp(created_at / 1e6).
--
-- A task's life writes its row three times: accepted, claimed, ended. Its duty to be
-- dispatched (due_at) and its timeline are columns, so that they cost no rows of their
-- own and can't disagree with it. Columns of the same width stand together, which spares
-- the row its padding.
CREATE TABLE tasks (
    id               uuid     NOT NULL PRIMARY KEY,
    owner            uuid     NOT NULL,
    created_at       bigint   NOT NULL,
    -- When its newest event happened.
    changed_at       bigint   NOT NULL,
    -- Grows with each change; every write is guarded by it.
    version          bigint   NOT NULL DEFAULT 1,
    -- The fencing token: grows with each claim.
    claim            bigint   NOT NULL DEFAULT 0,
    progress         double precision NOT NULL DEFAULT 0,
    run_at           bigint,
    ready_at         bigint,
    -- When a message has to go out; null once the broker confirmed it.
    due_at           bigint,
    dispatched_at    bigint,
    lease_until      bigint,
    started_at       bigint,
    finished_at      bigint,
    ttl              integer  NOT NULL,
    max_attempts     integer  NOT NULL,
    attempt          integer  NOT NULL DEFAULT 0,
    generation       integer  NOT NULL DEFAULT 1,
    lost_leases      integer  NOT NULL DEFAULT 0,
    -- How many pages of the timeline were moved to task_timeline_pages.
    pages            integer  NOT NULL DEFAULT 0,
    -- 0 Awaiting, 1 Executing, 2 Finished, 3 Canceled, 4 Failed
    status           smallint NOT NULL DEFAULT 0,
    cancel_requested boolean  NOT NULL DEFAULT false,
    deleted          boolean  NOT NULL DEFAULT false,
    kind             text     NOT NULL,
    description      text     NOT NULL,
    data             text     NOT NULL,
    traceparent      text,
    tracestate       text,
    baggage          text,
    idempotency_key  text,
    body_digest      bytea,
    message          text,
    result           text,
    error_code       text,
    error_message    text,
    worker           text,
    -- One JSON array a line: id, time, type, status, message, progress, attempt, worker.
    timeline         text     NOT NULL
) WITH (
    -- Room for the next version of a row beside it: a change that touches no index, like
    -- progress, then writes to no index, and the others stay in the page that is warm.
    fillfactor = 80,
    -- Rows die young and many. The default would wait for a fifth of all that is kept.
    autovacuum_vacuum_scale_factor = 0.01,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.05,
    autovacuum_vacuum_cost_limit = 2000
);

CREATE INDEX tasks_by_owner ON tasks (owner, id) WHERE NOT deleted;
CREATE UNIQUE INDEX tasks_by_key ON tasks (owner, idempotency_key) WHERE idempotency_key IS NOT NULL;

-- What a task is in only for a part of its life stays small however many are kept, and
-- costs nothing in the other parts.
CREATE INDEX tasks_waiting ON tasks (owner, id) INCLUDE (ready_at) WHERE ready_at IS NOT NULL;
CREATE INDEX tasks_due ON tasks (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX tasks_sent ON tasks (dispatched_at) WHERE dispatched_at IS NOT NULL;
CREATE INDEX tasks_leased ON tasks (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX tasks_canceled ON tasks (owner, id) WHERE status = 3 AND NOT deleted;
CREATE INDEX tasks_failed_of_owner ON tasks (owner, id) WHERE status = 4 AND NOT deleted;
CREATE INDEX tasks_failed ON tasks (id) WHERE status = 4 AND NOT deleted;
CREATE INDEX tasks_removed ON tasks (finished_at) WHERE deleted;

-- Of those that have ended: an owner's, for counting and for streams that go on; and all,
-- for being forgotten. The two say the same in different words, so that no plan for an
-- owner's takes the index of all.
CREATE INDEX tasks_ended ON tasks (owner, finished_at) INCLUDE (status, deleted)
    WHERE finished_at IS NOT NULL;
CREATE INDEX tasks_old ON tasks (finished_at) WHERE status >= 2;

-- The older part of a timeline that has grown long, so that a change stays a small write.
CREATE TABLE task_timeline_pages (
    task_id uuid    NOT NULL,
    page    integer NOT NULL,
    lines   text    NOT NULL,
    PRIMARY KEY (task_id, page)
);

CREATE TABLE workers (
    name         text   NOT NULL PRIMARY KEY,
    last_seen_at bigint NOT NULL,
    -- The whole report as JSON.
    report       text   NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE task_kinds (
    name        text NOT NULL PRIMARY KEY,
    -- The kind as workers describe it, JSON.
    description text NOT NULL
);
