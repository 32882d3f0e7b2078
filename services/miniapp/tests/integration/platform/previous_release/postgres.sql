SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

CREATE TYPE public.new_task AS (
	id uuid,
	owner uuid,
	kind text,
	description text,
	data text,
	ttl integer,
	max_attempts integer,
	created_at bigint,
	traceparent text,
	tracestate text,
	baggage text,
	idempotency_key text,
	body_digest bytea,
	changed_at bigint,
	run_at bigint,
	ready_at bigint,
	timeline text
);

CREATE TYPE public.task_change AS (
	id uuid,
	from_version bigint,
	lines text,
	status smallint,
	message text,
	progress double precision,
	result text,
	error_code text,
	error_message text,
	attempt integer,
	generation integer,
	version bigint,
	claim bigint,
	lease_until bigint,
	lost_leases integer,
	worker text,
	changed_at bigint,
	run_at bigint,
	started_at bigint,
	finished_at bigint,
	ready_at bigint,
	cancel_requested boolean,
	deleted boolean
);

SET default_tablespace = '';

SET default_table_access_method = heap;

CREATE TABLE public.accounts (
    id uuid NOT NULL,
    login text NOT NULL,
    login_key text NOT NULL,
    email text NOT NULL,
    password text NOT NULL,
    roles text NOT NULL,
    birth_date text,
    phone_number text,
    created_at bigint NOT NULL
);

CREATE TABLE public.accounts_migrations (
    version bigint NOT NULL,
    description text NOT NULL,
    installed_on timestamp with time zone DEFAULT now() NOT NULL,
    success boolean NOT NULL,
    checksum bytea NOT NULL,
    execution_time bigint NOT NULL
);

CREATE TABLE public.audit (
    id uuid NOT NULL,
    at bigint NOT NULL,
    action text NOT NULL,
    outcome text NOT NULL,
    account uuid,
    login text,
    ip text
);

CREATE TABLE public.codes (
    email text NOT NULL,
    purpose text NOT NULL,
    mac bytea,
    tries integer NOT NULL,
    sent_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    counted_since bigint NOT NULL,
    count integer NOT NULL
);

CREATE TABLE public.duties (
    id uuid NOT NULL,
    kind text NOT NULL,
    payload bytea NOT NULL,
    traceparent text,
    tracestate text,
    baggage text,
    due_at bigint,
    not_after bigint,
    attempts integer NOT NULL,
    remembered_until bigint
);

CREATE TABLE public.inbox (
    id uuid NOT NULL,
    at bigint NOT NULL,
    address text NOT NULL,
    subject text NOT NULL,
    text text NOT NULL,
    html text NOT NULL
);

CREATE TABLE public.login_looks (
    look text NOT NULL,
    account uuid NOT NULL
);

CREATE TABLE public.sessions (
    id uuid NOT NULL,
    account uuid NOT NULL,
    refresh bytea NOT NULL,
    epoch integer NOT NULL,
    created_at bigint NOT NULL,
    last_used_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    ended_at bigint,
    ip text,
    user_agent text
);

CREATE TABLE public.sign_in_failures (
    id bigint NOT NULL,
    key bytea NOT NULL,
    at bigint NOT NULL
);

ALTER TABLE public.sign_in_failures ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.sign_in_failures_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.signing_keys (
    kid text NOT NULL,
    follows text NOT NULL,
    public bytea NOT NULL,
    sealed bytea NOT NULL,
    signs_from bigint NOT NULL
);

CREATE TABLE public.spent_tokens (
    refresh bytea NOT NULL,
    session uuid NOT NULL,
    expires_at bigint NOT NULL
);

CREATE TABLE public.task_kinds (
    name text NOT NULL,
    description text NOT NULL
);

CREATE TABLE public.task_timeline_pages (
    task_id uuid NOT NULL,
    page integer NOT NULL,
    lines text NOT NULL
);

CREATE TABLE public.tasks (
    id uuid NOT NULL,
    owner uuid NOT NULL,
    created_at bigint NOT NULL,
    changed_at bigint NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    claim bigint DEFAULT 0 NOT NULL,
    progress double precision DEFAULT 0 NOT NULL,
    run_at bigint,
    ready_at bigint,
    due_at bigint,
    dispatched_at bigint,
    lease_until bigint,
    started_at bigint,
    finished_at bigint,
    ttl integer NOT NULL,
    max_attempts integer NOT NULL,
    attempt integer DEFAULT 0 NOT NULL,
    generation integer DEFAULT 1 NOT NULL,
    lost_leases integer DEFAULT 0 NOT NULL,
    pages integer DEFAULT 0 NOT NULL,
    status smallint DEFAULT 0 NOT NULL,
    cancel_requested boolean DEFAULT false NOT NULL,
    deleted boolean DEFAULT false NOT NULL,
    kind text NOT NULL,
    description text NOT NULL,
    data text NOT NULL,
    traceparent text,
    tracestate text,
    baggage text,
    idempotency_key text,
    body_digest bytea,
    message text,
    result text,
    error_code text,
    error_message text,
    worker text,
    timeline text NOT NULL
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0.01', autovacuum_vacuum_threshold='5000', autovacuum_vacuum_insert_scale_factor='0.02', autovacuum_analyze_scale_factor='0.05', autovacuum_vacuum_cost_limit='2000');

CREATE TABLE public.tasks_migrations (
    version bigint NOT NULL,
    description text NOT NULL,
    installed_on timestamp with time zone DEFAULT now() NOT NULL,
    success boolean NOT NULL,
    checksum bytea NOT NULL,
    execution_time bigint NOT NULL
);

CREATE TABLE public.verified_emails (
    email text NOT NULL,
    expires_at bigint NOT NULL
);

CREATE TABLE public.workers (
    name text NOT NULL,
    last_seen_at bigint NOT NULL,
    report text NOT NULL
)
WITH (fillfactor='50');

INSERT INTO public.accounts VALUES ('01a22c35-b80b-7f81-8974-e4567c821588', 'ada', 'ada', 'ada@example.com', '$argon2id$v=19$m=19456,t=2,p=1$OdxB3chnz7P0AKwu5lSQwQ$FlX4i8SW4Serl4vthpiZjTc8rD6TbBmUN9s3Fj7s8lQ', 'user', NULL, NULL, 1796038047755969);

INSERT INTO public.accounts_migrations VALUES (1, 'accounts', '2026-11-30 11:27:25.076079+00', true, '\x2b4decd14736f948a65e68eedbbd9ad873ff06b70cbd343b9b6adb1bb58af1908f1a9257da0bc75b02ff758a1cc7b4e4', 172132854);

INSERT INTO public.audit VALUES ('01a22c35-b0f9-7b33-8974-e4567bf19443', 1796038045945700, 'send_code', 'ok', NULL, NULL, '127.0.0.1');
INSERT INTO public.audit VALUES ('01a22c35-b77c-7414-8974-e4567c020a77', 1796038047612255, 'verify_email', 'ok', NULL, NULL, '127.0.0.1');
INSERT INTO public.audit VALUES ('01a22c35-b80b-7f68-8974-e4567c4f6ce3', 1796038047755963, 'register', 'ok', '01a22c35-b80b-7f81-8974-e4567c821588', 'ada', '127.0.0.1');
INSERT INTO public.audit VALUES ('01a22c35-b8eb-7ef1-8974-e4567cc3fd51', 1796038047979934, 'sign_in', 'ok', '01a22c35-b80b-7f81-8974-e4567c821588', 'ada', '127.0.0.1');

INSERT INTO public.codes VALUES ('ada@example.com', 'verification', NULL, 1, 1796038045945703, 1796038645945703, 1796038045945703, 1);

INSERT INTO public.inbox VALUES ('01a22c35-b0f9-7a62-8974-e4567aee74e7', 1796038045984084, 'ada@example.com', 'Your MiniApp verification code', 'Hello,

this code confirms your address for the next 10 minutes:

    910121

If you didn''t ask for it, nothing happens when you ignore this mail.

MiniApp
', '<!doctype html><html lang="en"><meta charset="utf-8"><title>Your MiniApp verification code</title><body style="font-family:sans-serif;line-height:1.5"><p>Hello,</p><p>this code confirms your address for the next 10 minutes:</p><p style="font-size:2em;letter-spacing:.2em"><strong>910121</strong></p><p>If you didn''t ask for it, nothing happens when you ignore this mail.</p><p>MiniApp</p></body></html>');

INSERT INTO public.login_looks VALUES ('ada', '01a22c35-b80b-7f81-8974-e4567c821588');

INSERT INTO public.sessions VALUES ('01a22c35-b968-7072-8974-e4567d260d20', '01a22c35-b80b-7f81-8974-e4567c821588', '\xa2d95bc808ae871369b5ee9fb52ba4d4f0c351963a1f45f2a654629c2e3a135b', 1, 1796038048104028, 1796038048104028, 1798630048104028, NULL, '127.0.0.1', 'curl/7.88.1');

INSERT INTO public.signing_keys VALUES ('tNZeLp9DAVPz0Wux', '', '\x3ee06c3d961d1c01b4256398956831b6909c27fe1aa9954c90a524ea9236cea7', '\xe84fbc741e1c54dc8b30cec5de6e75124101c12f24e1a2f71d699c61344e8c3db696d18249f44a727af84e4934f066d500fbac5c62fb84e461f64436', 1796038045308644);

INSERT INTO public.task_kinds VALUES ('echo', '{"name":"echo","description":"Gives the data back as the result.","dataSchema":{"description":"Any JSON"},"example":{"hello":"world"}}');
INSERT INTO public.task_kinds VALUES ('flaky', '{"name":"flaky","description":"Fails the given number of attempts, then finishes.","dataSchema":{"additionalProperties":false,"properties":{"failures":{"maximum":4294967295,"minimum":0,"type":"integer"}},"required":["failures"],"type":"object"},"example":{"failures":1}}');
INSERT INTO public.task_kinds VALUES ('hash', '{"name":"hash","description":"Applies SHA-256 to nothing, then to the hash before, for a number of rounds; the result is the last hash.","dataSchema":{"additionalProperties":false,"properties":{"rounds":{"maximum":4294967295,"minimum":1,"type":"integer"}},"required":["rounds"],"type":"object"},"example":{"rounds":1000000}}');
INSERT INTO public.task_kinds VALUES ('http', '{"name":"http","description":"Fetches a URL of the public internet; the result is the answer, whatever its status.","dataSchema":{"additionalProperties":false,"properties":{"body":{"description":"A text as it is, or any other JSON"},"headers":{"additionalProperties":{"type":"string"},"description":"Idempotency-Key is the attempt''s id where none is given","type":"object"},"method":{"default":"GET","enum":["GET","HEAD","POST","PUT","PATCH","DELETE","OPTIONS"]},"url":{"format":"uri","pattern":"^https?://","type":"string"}},"required":["url"],"type":"object"},"example":{"method":"GET","url":"https://example.com/"}}');
INSERT INTO public.task_kinds VALUES ('simulate', '{"name":"simulate","description":"Pretends to work for a random time, sometimes longer than the ttl. The same seed gives the same times.","dataSchema":{"description":"Any JSON; an object may hold a seed","properties":{"seed":{"minimum":0,"type":"integer"}}},"example":{"seed":7}}');
INSERT INTO public.task_kinds VALUES ('sleep', '{"name":"sleep","description":"Waits for a number of seconds.","dataSchema":{"additionalProperties":false,"properties":{"seconds":{"maximum":86400,"minimum":0,"type":"number"}},"required":["seconds"],"type":"object"},"example":{"seconds":1.5}}');

INSERT INTO public.tasks VALUES ('01a22c35-bce0-7666-8974-e4567de5f49e', '01a22c35-b80b-7f81-8974-e4567c821588', 1796038048992399, 1796038049028130, 3, 1, 1, NULL, NULL, NULL, NULL, NULL, 1796038049004474, 1796038049028130, 60, 3, 1, 1, 0, 0, 2, false, false, 'echo', 'Finished', '{"hello":"world"}', '00-0e5116088a9d94c24cdb9ffff141cb64-5ffc2c0ba457a80d-01', NULL, NULL, NULL, NULL, NULL, '{"hello":"world"}', NULL, NULL, 'host-11705-1', '["01a22c35-bce0-76b4-8974-e4567e36da96",1796038048992399,"created","Awaiting",null,0.0,0,null]
["01a22c35-bcec-7795-8974-e4567ef9d021",1796038049004474,"started","Executing",null,0.0,1,"host-11705-1"]
["01a22c35-bd04-7214-8974-e4567f025b6f",1796038049028130,"finished","Finished",null,1.0,1,"host-11705-1"]
');
INSERT INTO public.tasks VALUES ('01a22c35-bd41-7b4f-8974-e45681c0d4ee', '01a22c35-b80b-7f81-8974-e4567c821588', 1796038049089707, 1796038049089734, 1, 0, 0, 1796038060000000, 1796038060000000, 1796038060000000, NULL, NULL, NULL, NULL, 60, 3, 0, 1, 0, 0, 0, false, false, 'echo', 'Pending', '1', '00-46f72fd8753e47625bdb6512f5a4eb19-141cf0745a4e2419-01', NULL, NULL, 'upgrade', '\x0b72dc00514881d9cbeb77d7fdf9e260654afb1d43554f9380a60636f033c0bb', NULL, NULL, NULL, NULL, NULL, '["01a22c35-bd41-7bbe-8974-e45682057e20",1796038049089707,"created","Awaiting",null,0.0,0,null]
');
INSERT INTO public.tasks VALUES ('01a22c35-bd63-71e3-8974-e45682bf65b4', '01a22c35-b80b-7f81-8974-e4567c821588', 1796038049123117, 1796038049123169, 1, 0, 0, 4070908800000000, 4070908800000000, 4070908800000000, NULL, NULL, NULL, NULL, 60, 3, 0, 1, 0, 0, 0, false, false, 'echo', 'Later', '2', '00-2c3433b57497fe176da4af0f537a7695-6ae524dbdba9b19e-01', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '["01a22c35-bd63-72b4-8974-e45682ec7a4e",1796038049123117,"created","Awaiting",null,0.0,0,null]
');
INSERT INTO public.tasks VALUES ('01a22c35-bd09-7999-8974-e4567ff73d80', '01a22c35-b80b-7f81-8974-e4567c821588', 1796038049033600, 1796038049612238, 5, 2, 1, 1796038049590693, NULL, NULL, NULL, NULL, 1796038049604110, 1796038049612238, 60, 3, 2, 1, 0, 0, 2, false, false, 'flaky', 'Retried', '{"failures":1}', '00-97ee9af42a51ea50b986cba7295e94b8-614683d508eb522c-01', NULL, NULL, NULL, NULL, NULL, '{"attempt":2}', NULL, NULL, 'host-11705-3', '["01a22c35-bd09-79f7-8974-e4568029e3f0",1796038049033600,"created","Awaiting",null,0.0,0,null]
["01a22c35-bd10-7887-8974-e45680fc92b1",1796038049040533,"started","Executing",null,0.0,1,"host-11705-2"]
["01a22c35-bd11-7451-8974-e45681150769",1796038049041270,"retrying","Awaiting","Fails as told, 1 of 1 times",0.0,1,"host-11705-2"]
["01a22c35-bf44-71c2-8974-e45683b29a9e",1796038049604110,"started","Executing",null,0.0,2,"host-11705-3"]
["01a22c35-bf4c-73ce-8974-e45683d47ad2",1796038049612238,"finished","Finished",null,1.0,2,"host-11705-3"]
');

INSERT INTO public.tasks_migrations VALUES (1, 'tasks', '2026-11-30 11:27:25.657013+00', true, '\x5a834d54bb6b52207f59558019fe7da88e8598da8ae9a3d8d7d7ee2b097ad5c912c5f4e69cc6abb1e9e70dbedd5b63dd', 187010713);
INSERT INTO public.tasks_migrations VALUES (2, 'batches', '2026-11-30 11:27:25.860146+00', true, '\x107357ce2cfafb0e25927883f788eb984bfc062ca82bbc04153ec82d342fc31394f425753e29a6e66d83299c00dd66f3', 7875944);

SELECT pg_catalog.setval('public.sign_in_failures_id_seq', 1, false);

ALTER TABLE ONLY public.accounts
    ADD CONSTRAINT accounts_email_key UNIQUE (email);

ALTER TABLE ONLY public.accounts
    ADD CONSTRAINT accounts_login_key_key UNIQUE (login_key);

ALTER TABLE ONLY public.accounts_migrations
    ADD CONSTRAINT accounts_migrations_pkey PRIMARY KEY (version);

ALTER TABLE ONLY public.accounts
    ADD CONSTRAINT accounts_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.codes
    ADD CONSTRAINT codes_pkey PRIMARY KEY (email, purpose);

ALTER TABLE ONLY public.duties
    ADD CONSTRAINT duties_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.inbox
    ADD CONSTRAINT inbox_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.login_looks
    ADD CONSTRAINT login_looks_pkey PRIMARY KEY (look);

ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_refresh_key UNIQUE (refresh);

ALTER TABLE ONLY public.sign_in_failures
    ADD CONSTRAINT sign_in_failures_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.signing_keys
    ADD CONSTRAINT signing_keys_follows_key UNIQUE (follows);

ALTER TABLE ONLY public.signing_keys
    ADD CONSTRAINT signing_keys_pkey PRIMARY KEY (kid);

ALTER TABLE ONLY public.spent_tokens
    ADD CONSTRAINT spent_tokens_pkey PRIMARY KEY (refresh);

ALTER TABLE ONLY public.task_kinds
    ADD CONSTRAINT task_kinds_pkey PRIMARY KEY (name);

ALTER TABLE ONLY public.task_timeline_pages
    ADD CONSTRAINT task_timeline_pages_pkey PRIMARY KEY (task_id, page);

ALTER TABLE ONLY public.tasks_migrations
    ADD CONSTRAINT tasks_migrations_pkey PRIMARY KEY (version);

ALTER TABLE ONLY public.tasks
    ADD CONSTRAINT tasks_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.verified_emails
    ADD CONSTRAINT verified_emails_pkey PRIMARY KEY (email);

ALTER TABLE ONLY public.workers
    ADD CONSTRAINT workers_pkey PRIMARY KEY (name);

CREATE INDEX audit_by_time ON public.audit USING btree (at);

CREATE INDEX duties_due ON public.duties USING btree (due_at) WHERE (due_at IS NOT NULL);

CREATE INDEX login_looks_by_account ON public.login_looks USING btree (account);

CREATE INDEX sessions_by_account ON public.sessions USING btree (account, created_at);

CREATE INDEX sessions_by_end ON public.sessions USING btree (expires_at);

CREATE INDEX sign_in_failures_by_key ON public.sign_in_failures USING btree (key, at);

CREATE INDEX spent_tokens_by_end ON public.spent_tokens USING btree (expires_at);

CREATE UNIQUE INDEX tasks_by_key ON public.tasks USING btree (owner, idempotency_key) WHERE (idempotency_key IS NOT NULL);

CREATE INDEX tasks_by_owner ON public.tasks USING btree (owner, id) WHERE (NOT deleted);

CREATE INDEX tasks_canceled ON public.tasks USING btree (owner, id) WHERE ((status = 3) AND (NOT deleted));

CREATE INDEX tasks_due ON public.tasks USING btree (due_at) WHERE (due_at IS NOT NULL);

CREATE INDEX tasks_ended ON public.tasks USING btree (owner, finished_at) INCLUDE (status, deleted) WHERE (finished_at IS NOT NULL);

CREATE INDEX tasks_failed ON public.tasks USING btree (id) WHERE ((status = 4) AND (NOT deleted));

CREATE INDEX tasks_failed_of_owner ON public.tasks USING btree (owner, id) WHERE ((status = 4) AND (NOT deleted));

CREATE INDEX tasks_leased ON public.tasks USING btree (lease_until) WHERE (lease_until IS NOT NULL);

CREATE INDEX tasks_old ON public.tasks USING btree (finished_at) WHERE (status >= 2);

CREATE INDEX tasks_removed ON public.tasks USING btree (finished_at) WHERE deleted;

CREATE INDEX tasks_sent ON public.tasks USING btree (dispatched_at) WHERE (dispatched_at IS NOT NULL);

CREATE INDEX tasks_waiting ON public.tasks USING btree (owner, id) INCLUDE (ready_at) WHERE (ready_at IS NOT NULL);

ALTER TABLE ONLY public.login_looks
    ADD CONSTRAINT login_looks_account_fkey FOREIGN KEY (account) REFERENCES public.accounts(id) ON DELETE CASCADE;
