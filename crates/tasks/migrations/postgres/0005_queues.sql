-- The queue of a task. Processes of the previous release submit tasks of the default one only.
ALTER TABLE tasks ADD COLUMN queue text NOT NULL DEFAULT 'default';

-- Waiting tasks of other queues, and those of them that are due: a backlog of the default queue,
-- which most tasks use, delays no other.
CREATE INDEX tasks_queued ON tasks (queue, ready_at)
    WHERE ready_at IS NOT NULL AND queue <> 'default';
CREATE INDEX tasks_due_queued ON tasks (due_at) WHERE due_at IS NOT NULL AND queue <> 'default';

-- Like new_task, with the queue.
CREATE TYPE queued_task AS (
    id               uuid,
    owner            uuid,
    kind             text,
    queue            text,
    description      text,
    data             text,
    ttl              integer,
    max_attempts     integer,
    created_at       bigint,
    traceparent      text,
    tracestate       text,
    baggage          text,
    idempotency_key  text,
    body_digest      bytea,
    changed_at       bigint,
    run_at           bigint,
    ready_at         bigint,
    timeline         text
);
