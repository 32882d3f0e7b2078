-- What is written together is sent as one array of these. A type is never changed, since
-- processes of before go on using it: what needs other columns gets a type of its own.
CREATE TYPE new_task AS (
    id               uuid,
    owner            uuid,
    kind             text,
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

CREATE TYPE task_change AS (
    id               uuid,
    from_version     bigint,
    -- Added to the timeline.
    lines            text,
    status           smallint,
    message          text,
    progress         double precision,
    result           text,
    error_code       text,
    error_message    text,
    attempt          integer,
    generation       integer,
    version          bigint,
    claim            bigint,
    lease_until      bigint,
    lost_leases      integer,
    worker           text,
    changed_at       bigint,
    run_at           bigint,
    started_at       bigint,
    finished_at      bigint,
    ready_at         bigint,
    cancel_requested boolean,
    deleted          boolean
);
